"""The sheet judge: tells plainly clean repair records from all others, column by column.

What is not plainly clean is doubtful, and is judged by itself (`mappings.quickjudge`, `mappings.judge`). A property
test holds the judges together: what this one accepts, the careful one accepts with the same content and no finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from mappings import plainly, vin
from mappings.findings import Profile
from mappings.sheet import Sheet
from mappings.vinarrays import right_digits

Column = Any
"""An Arrow array of texts."""
Mask = NDArray[np.bool_]
SheetJudge = Callable[[Sheet, "str | Sequence[str]", date], tuple[Sheet, list[int]]]

_BLANK = pa.scalar("I" * vin.LENGTH)
_NEVER = r"\b\B"
"""A pattern that nothing matches."""
_FIRST_DAY = date(1970, 1, 1).toordinal()


def compile_sheet_judge(profile: Profile, *, remarks: bool = True) -> SheetJudge:
    """A function (sheet as read, company of the envelopes, latest settle date) -> the clean ones, who is doubtful.

    The company is one for all records of the block, or one for each; it stands in where a record names none. The
    doubtful are positions in the block, in order, those that are odd among them. `remarks`: see
    `mappings.plainly.bounds`.
    """
    lengths, most = profile.lengths, plainly.bounds(profile, remarks=remarks)
    texts = {name: _Known(plainly.text(lengths[name])) for name in ("companycode", "companyname", "faultdescription")}
    names = {rows: _Known(plainly.text(lengths[f"{rows}.name"])) for rows in ("parts", "projects")}
    quantities, hours = _Known(plainly.amount(Decimal(10**6))), _Known(plainly.amount(most.hours_per_project))
    mileages = f"[1-9][0-9]{{0,{most.mileage_digits - 1}}}" if most.mileage_digits else _NEVER
    days = _Known(plainly.day)

    def judge(sheet: Sheet, companies: str | Sequence[str], latest: date) -> tuple[Sheet, list[int]]:
        batch = _with_company(sheet, companies)
        good: Mask = _plates(batch.column("plate"), most)
        good &= _fits(batch.column("mileage"), mileages)
        good &= _coded(batch.column("costlistcode"), plainly.LIST_CODE, most.longest_list_code)
        for name, known in texts.items():
            good &= known.mask(batch.column(name))
        good &= _timely(batch, days, latest)
        parts, projects = batch.column("parts"), batch.column("projects")
        good &= _filled(parts, projects)
        quantity, code = parts.values.field("quantity"), parts.values.field("code")
        for rows, fit in (
            (parts, names["parts"].mask(parts.values.field("name"))),
            (parts, quantities.mask(quantity)),
            (parts, _coded(code, plainly.CODE, most.longest_code)),
            (projects, names["projects"].mask(projects.values.field("name"))),
            (projects, hours.mask(projects.values.field("hours"))),
        ):
            good[_owners(rows, ~fit)] = False
        for i in _tired(projects, hours, most):
            good[i] = False
        doubtful = np.ones(len(sheet), bool)
        doubtful[sheet.places[good]] = False
        return Sheet(batch.filter(pa.array(good)), sheet.places[good], {}), np.flatnonzero(doubtful).tolist()

    return judge


class _Known(dict[str, Any]):
    """Memo of a check: text -> its typed value, or None for what is not plainly clean."""

    _LIMIT = 65_536

    def __init__(self, check: Callable[[str], Any]) -> None:
        super().__init__()
        self._check = check

    def __missing__(self, raw: str) -> Any:  # noqa: ANN401 - typed values of every kind
        value = self._check(raw)
        if len(raw) <= 256:
            if len(self) >= self._LIMIT:
                self.clear()
            self[raw] = value
        return value

    def ordinals(self, column: Column) -> NDArray[np.int64]:
        """The proleptic Gregorian ordinals of a column of dates; 0 for what is not plainly one."""
        coded = column.dictionary_encode()
        days = [self[raw] for raw in coded.dictionary.to_pylist()]
        return spread(coded, np.array([*[day.toordinal() if day else 0 for day in days], 0]))

    def mask(self, column: Column) -> Mask:
        """Which texts of a column are plainly clean."""
        coded = column.dictionary_encode()
        return spread(coded, np.array([*[self[raw] is not None for raw in coded.dictionary.to_pylist()], False]))


def spread(coded: pa.DictionaryArray, known: NDArray[Any]) -> NDArray[Any]:
    """What is known of each different text, and last of a missing one, for each text of the column."""
    found: NDArray[Any] = known[coded.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
    return found


def _mask(found: Column) -> Mask:
    """A column of truth values, where missing is false."""
    mask: Mask = found.fill_null(False).to_numpy(zero_copy_only=False).copy()
    return mask


def _fits(column: Column, pattern: str) -> Mask:
    """Which texts match a pattern as a whole."""
    return _mask(pc.match_substring_regex(column, f"^(?:{pattern})$"))


def _plates(column: Column, most: plainly.Bounds) -> Mask:
    """Which plates are ordinary or new-energy ones."""
    two = "(?:[0-9]*[A-Z]){3}"
    ordinary = _fits(column, f"{most.plate_head}{plainly.SERIAL}{{5}}") & ~_fits(column, f"..{two}.*")
    return ordinary | _fits(column, most.plates("$^"))


_WORDS = pa.array(sorted(plainly.WORDS))


def _coded(column: Column, characters: str, longest: int) -> Mask:
    """Which texts are codes that mean something."""
    fit = _fits(column, f"{plainly.FIRST}{characters}*") & _mask(pc.less_equal(pc.binary_length(column), longest))
    return fit & ~_mask(pc.is_in(pc.ascii_lower(column), value_set=_WORDS))


def _with_company(sheet: Sheet, companies: str | Sequence[str]) -> pa.RecordBatch:
    """The columns, with the company that each envelope came from where the record names none."""
    batch = sheet.batch
    codes = batch.column("companycode")
    if not codes.null_count:
        return batch
    own = companies if isinstance(companies, str) else pa.array([companies[i] for i in sheet.places], pa.string())
    return batch.set_column(0, batch.schema.field(0), pc.coalesce(codes, own))


def _timely(batch: pa.RecordBatch, days: _Known, latest: date) -> Mask:
    """Which records have a VIN with the right check digit, dates in order, and a model year that fits."""
    first, last = (days.ordinals(batch.column(name)) for name in ("repairdate", "settledate"))
    good: Mask = (first > 0) & (last > 0) & (first <= last) & (last <= latest.toordinal())
    characters = _characters(batch.column("vin"))
    good &= right_digits(characters)
    made = np.full(256, np.iinfo(np.int64).max)
    for character, year in plainly.model_years(latest).items():
        made[ord(character)] = year
    repaired = (first - _FIRST_DAY).astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
    good &= made[characters[:, 9]] <= repaired + 1
    return good


def _characters(vins: Column) -> NDArray[np.uint8]:
    """The bytes of VINs, 17 a row; what has not 17 is a row of I, which no VIN may hold."""
    fit = pc.equal(pc.binary_length(vins), vin.LENGTH).fill_null(False)
    if pc.all(fit).as_py() is False:
        vins = pc.if_else(fit, vins, _BLANK)
    return np.frombuffer(b"".join(vins.cast(pa.binary()).to_pylist()), np.uint8).reshape(len(vins), vin.LENGTH)


def _filled(parts: Column, projects: Column) -> Mask:
    """Which records have both lists, and a row in one of them."""
    counts = [rows.value_lengths().fill_null(0).to_numpy(zero_copy_only=False) for rows in (parts, projects)]
    filled: Mask = ~_mask(pc.or_(parts.is_null(), projects.is_null())) & (counts[0] + counts[1] > 0)
    return filled


def _owners(rows: Column, chosen: Mask) -> NDArray[np.intp]:
    """The records to which the chosen rows belong."""
    owners: NDArray[np.intp] = np.searchsorted(rows.offsets.to_numpy(), np.flatnonzero(chosen), side="right") - 1
    return owners


def _tired(projects: Column, hours: _Known, most: plainly.Bounds) -> Iterator[int]:
    """Records whose hours may be too many together."""
    counts = projects.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    for i in np.flatnonzero(counts > most.few).tolist():
        sent = projects.slice(i, 1).flatten().field("hours").to_pylist()
        known = [hours[raw] for raw in sent if raw is not None]
        if None in known or sum(known) > most.hours_per_record:
            yield i
