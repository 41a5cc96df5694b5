"""Faults: what goes wrong in shops, each with its share and the codes that it must bring (domain 1.4, 6.3, 9.1).

A fault changes the content of one visit. Shares are of a thousand visits; softwares that are known for a fault have
it more often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mappings.vin import check_digit
from pipelines.sample.chance import Random, between, odds
from pipelines.sample.content import Content
from pipelines.sample.fleet import is_bound, wrong_digit
from pipelines.sample.places import PROVINCES
from pipelines.sample.words import LONG_STORY

Change = Callable[[Random, Content], bool]
"""Changes the content; False when this content does not lend itself to the fault (nothing was changed then)."""

FILLER_VINS = ("LSVFD66R1A2197381", "LSVC6A47EN1605546", "LVGBM51K8NG062816")
"""VINs of a client's list of fillers whose check digit is wrong (domain 6.3)."""
FAKE_VINS = ("LFV3B28R393001234", "LS5A2DEW2DJ100505")
"""VINs of the same list that pass every check (domain 6.2): only history can tell."""
UNREADABLE = ("未上牌", "车牌模糊", "A12345", "无牌照", "待定")
_UNCHANGED_PLATES = ("normal", "nev-small")
_ALL_LETTERS = ("11", "12", "31", "44", "50")
"""Provinces where every letter is issued."""
_LETTERS = {province.character: province.letters for province in PROVINCES if province.key not in _ALL_LETTERS}


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a payload goes wrong."""

    name: str
    share: float
    """Of a thousand visits."""
    change: Change
    codes: tuple[str, ...] = ()
    more: tuple[tuple[str, float], ...] = ()
    """Softwares with a share of their own."""
    stepwise: bool = False
    """Whether it shows in a single step of the three-step dialect."""


def _forget(content: Content) -> None:
    """Another VIN: what was remarked on the old one no longer holds."""
    content.codes = tuple(code for code in content.codes if not code.startswith("VIN_"))


def _vin(value: str) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.vin = value
        _forget(content)
        return True

    return change


def _vin_cut(length: int) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.vin = content.vin[:length]
        _forget(content)
        return True

    return change


def _vin_letters(rng: Random, content: Content) -> bool:
    tail = content.vin[11:].replace("0", "O").replace("1", "I")
    if tail == content.vin[11:]:
        tail = "O" + tail[1:]
    content.vin = content.vin[:11] + tail
    _forget(content)
    return True


def _vin_digit(rng: Random, content: Content) -> bool:
    if not is_bound(content.vin):
        return False
    content.vin = wrong_digit(rng, content.vin)
    return True


def _vin_listed(vins: tuple[str, ...]) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.vin = vins[between(rng, 0, len(vins) - 1)]
        _forget(content)
        return True

    return change


def _vin_year(rng: Random, content: Content) -> bool:
    if not is_bound(content.vin):
        return False
    vin = content.vin[:9] + "UZ0"[between(rng, 0, 2)] + content.vin[10:]
    content.vin = vin[:8] + check_digit(vin) + vin[9:]
    return True


def _plate(values: tuple[str, ...], kind: str) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.plate = values[between(rng, 0, len(values) - 1)]
        content.plate_kind, content.plate_home = kind, ""
        return True

    return change


def _plate_syntax(rng: Random, content: Content) -> bool:
    if content.plate_kind != "normal":
        return False
    content.plate = content.plate[:-1] if odds(rng, 0.6) else content.plate[:2] + "O" + content.plate[3:]
    return True


def _plate_letter(rng: Random, content: Content) -> bool:
    known = _LETTERS.get(content.plate[:1])
    if content.plate_kind not in _UNCHANGED_PLATES or known is None:
        return False
    strange = [letter for letter in "VWXYZTPK" if letter not in known]
    if not strange:
        return False
    content.plate = content.plate[0] + strange[0] + content.plate[2:]
    return True


def _plate_other(rng: Random, content: Content) -> bool:
    if content.plate_kind not in _UNCHANGED_PLATES or not content.plate[-1].isdigit():
        return False
    content.plate = content.plate[:-1] + str((int(content.plate[-1]) + 1) % 10)
    return True


def _date_impossible(rng: Random, content: Content) -> bool:
    year, month, _ = content.settle
    content.settle = (year, month, 31) if odds(rng, 0.5) else (year, 13, 32)
    if month not in (2, 4, 6, 9, 11):
        content.settle = (year, 13, 32)
    return True


def _date_order(rng: Random, content: Content) -> bool:
    content.repair = (content.settle[0] + 1, content.settle[1], min(content.settle[2], 28))
    return True


def _date_future(rng: Random, content: Content) -> bool:
    content.settle = (2062, content.settle[1], min(content.settle[2], 28))
    return True


def _header_early(rng: Random, content: Content) -> bool:
    year, month, day = content.settle
    if day < 6:
        return False
    content.header = (year, month, day - 4)
    return True


def _text(name: str, *values: str) -> Change:
    def change(rng: Random, content: Content) -> bool:
        setattr(content, name, values[between(rng, 0, len(values) - 1)])
        return True

    return change


def _mileage(make: Callable[[Random, int], int]) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.mileage = str(make(rng, int(content.mileage)))
        return True

    return change


def _mileage_back(rng: Random, content: Content) -> bool:
    """Lower than at an earlier visit: by far more than a vehicle drives meanwhile."""
    if not content.returning or int(content.mileage) < 10_000:
        return False
    content.mileage = str(int(content.mileage) * 6 // 10)
    return True


def _empty(rng: Random, content: Content) -> bool:
    content.parts, content.projects = [], []
    content.codes = tuple(code for code in content.codes if code != "HOURS_OUTLIER")
    return True


def _part(index: int, *values: str) -> Change:
    def change(rng: Random, content: Content) -> bool:
        if not content.parts:
            return False
        row = list(content.parts[-1])
        row[index] = values[between(rng, 0, len(values) - 1)]
        content.parts[-1] = (row[0], row[1], row[2])
        return True

    return change


def _hours(*values: str) -> Change:
    def change(rng: Random, content: Content) -> bool:
        content.projects[-1] = (content.projects[-1][0], values[between(rng, 0, len(values) - 1)])
        return True

    return change


def _report(rng: Random, content: Content) -> bool:
    number = f"330100112109{between(rng, 10, 28)}1015501{between(rng, 100, 999)}"
    content.fault = f"{content.fault} 报告编码{{{number}}}"
    return True


def _blank_record(rng: Random, content: Content) -> bool:
    """The hand-driven tool of xklc: no VIN, N/A in quantity, hours and code (payload 02)."""
    if not content.parts:
        return False
    content.vin = ""
    _forget(content)
    content.parts[-1] = (content.parts[-1][0], "N/A", "N/A")
    content.projects[-1] = (content.projects[-1][0], "N/A")
    content.fault = "小修"
    return True


_PRICED = (("tuhu", 0.0), ("chengdu-tuhu", 0.0))
"""Clients that send prices for hours anyway."""
_WORDLESS = (*_PRICED, ("liquanchun", 0.0))
"""Clients whose fault description is a constant."""

FAULTS: tuple[Fault, ...] = (
    Fault("vin-missing", 1.4, _vin(""), ("VIN_MISSING",), (("xklc", 8.0),), stepwise=True),
    Fault("vin-13", 1.1, _vin_cut(13), ("VIN_LENGTH",), stepwise=True),
    Fault("vin-14", 0.8, _vin_cut(14), ("VIN_LENGTH",), stepwise=True),
    Fault("vin-letters", 1.6, _vin_letters, ("VIN_ALPHABET",), stepwise=True),
    Fault("plate-missing", 1.1, _plate(("N/A", "无", ""), "missing"), ("MANDATORY_MISSING",), (("xklc", 6.0),)),
    Fault(
        "plate-unreadable",
        1.9,
        _plate(UNREADABLE, "unknown"),
        ("PLATE_SYNTAX", "PLATE_PROVINCE_UNKNOWN"),
        stepwise=True,
    ),
    Fault("date-impossible", 1.4, _date_impossible, ("DATE_FORMAT",)),
    Fault("date-order", 1.6, _date_order, ("DATE_ORDER",)),
    Fault("settle-future", 1.4, _date_future, ("SETTLEDATE_IN_FUTURE",)),
    Fault("header-before-settle", 0.0, _header_early, ("SETTLEDATE_IN_FUTURE",), (("foshan", 4.0), ("chengdu", 4.0))),
    Fault("mileage-text", 1.4, _text("mileage", "约5万公里", "五万", "不详"), ("MILEAGE_NOT_NUMERIC",), stepwise=True),
    Fault("mileage-negative", 0.9, _text("mileage", "-5", "-1200"), ("MILEAGE_NEGATIVE",), stepwise=True),
    Fault("mileage-missing", 1.1, _text("mileage", "", "N/A"), ("MANDATORY_MISSING",)),
    Fault("content-empty", 1.4, _empty, ("EMPTY_CONTENT",)),
    Fault("listcode-missing", 0.8, _text("listcode", ""), ("MANDATORY_MISSING",)),
    Fault("company-missing", 0.7, _text("companyname", "", "无"), ("MANDATORY_MISSING",)),
    Fault(
        "record-blank",
        0.0,
        _blank_record,
        ("VIN_MISSING", "QUANTITY_NOT_NUMERIC", "HOURS_NOT_NUMERIC", "PLACEHOLDER_PARTSCODE"),
        (("xklc", 4.0),),
    ),
    Fault("vin-check-digit", 12.0, _vin_digit, ("VIN_CHECK_DIGIT",), stepwise=True),
    Fault("vin-filler", 0.0, _vin_listed(FILLER_VINS), ("VIN_CHECK_DIGIT",), (("xklc", 15.0),)),
    Fault("vin-fake", 0.0, _vin_listed(FAKE_VINS), (), (("xklc", 20.0),)),
    Fault("vin-year", 1.2, _vin_year, ("VIN_MODEL_YEAR",), stepwise=True),
    Fault("plate-syntax", 6.0, _plate_syntax, ("PLATE_SYNTAX",), stepwise=True),
    Fault("plate-letter", 1.2, _plate_letter, ("PLATE_LETTER_UNKNOWN",), stepwise=True),
    Fault("plate-changed", 2.0, _plate_other),
    Fault("mileage-zero", 8.0, _text("mileage", "0"), ("MILEAGE_ZERO",), (("comhs", 20.0),), stepwise=True),
    Fault("mileage-outlier", 1.0, _mileage(lambda rng, km: 3_000_001 + km * 3), ("MILEAGE_OUTLIER",), stepwise=True),
    Fault("mileage-regression", 18.0, _mileage_back),
    Fault("quantity-zero", 5.0, _part(1, "0"), ("QUANTITY_ZERO",), (("comhs", 25.0),), stepwise=True),
    Fault("hours-zero", 4.0, _hours("0"), ("HOURS_ZERO",), (("comhs", 15.0), *_PRICED), stepwise=True),
    Fault("quantity-na", 1.5, _part(1, "N/A"), ("QUANTITY_NOT_NUMERIC",), (("xklc", 50.0),)),
    Fault("hours-na", 1.5, _hours("N/A"), ("HOURS_NOT_NUMERIC",), (("xklc", 50.0), *_PRICED)),
    Fault("quantity-negative", 0.8, _part(1, "-1"), ("QUANTITY_NEGATIVE",)),
    Fault("hours-negative", 0.5, _hours("-0.5"), ("HOURS_NEGATIVE",), _PRICED),
    Fault("partscode-none", 12.0, _part(2, "无", "N/A", "-"), ("PLACEHOLDER_PARTSCODE",), (("xklc", 60.0),)),
    Fault("name-none", 4.0, _part(0, "无", "N/A"), ("PLACEHOLDER_NAME",), (("comhs", 12.0),)),
    Fault("fault-none", 12.0, _text("fault", "无", "", "N/A"), ("PLACEHOLDER_FAULT",), _WORDLESS),
    Fault("hours-price", 4.0, _hours("50.0", "128", "260"), ("HOURS_OUTLIER",), _PRICED),
    Fault("text-long", 1.0, _text("fault", LONG_STORY * (600 // len(LONG_STORY))), ("TOO_LONG",), _WORDLESS),
    Fault("company-other", 2.0, _text("companyname", "91310112132259241T", "某某汽修"), ()),
    Fault("report-number", 4.0, _report, ("REPORT_LINK",), _WORDLESS),
)
"""Every fault of content. At most one befalls a visit."""

BY_NAME = {fault.name: fault for fault in FAULTS}


class Misfortune:
    """The faults that befall the visits of one software, by their shares."""

    def __init__(self, software: str) -> None:
        self._steps: list[tuple[float, Fault]] = []
        total = 0.0
        for fault in FAULTS:
            if software == "shanghai" and not fault.stepwise:
                continue
            share = dict(fault.more).get(software, fault.share)
            if share:
                total += share / 1000
                self._steps.append((total, fault))
        self._total = total

    def befall(self, rng: Random, content: Content) -> None:
        """Maybe change the content by one fault, and note its name and codes."""
        chance = rng.random()
        if chance >= self._total:
            return
        for bound, fault in self._steps:
            if chance < bound:
                if fault.change(rng, content):
                    content.codes += fault.codes
                    content.quirks += (fault.name,)
                return
