"""What stand-ins look at: small checks of their own, each giving what is wrong in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pipelines.partners.protocol import Judge

Check = Callable[[Any], str]
"""A member's value -> what is wrong with it; empty when nothing is."""

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,9})?")
_CODE = re.compile(r"\d{3}-\d{3}-(?P<category>\d{2})|\d{3}-\d{3}-S(?P<general>\d{2})")
_WEIGHTS = (8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2)
_VALUES = dict(
    zip("0123456789ABCDEFGHJKLMNPRSTUVWXYZ", (*range(10), *range(1, 9), *range(1, 6), 7, 9, *range(2, 10)), strict=True)
)
_PHONE = re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)")
_DIGEST = re.compile(r"[0-9a-f]{24,128}")
_PLATE = re.compile(r"[京津冀晋蒙辽吉黑沪苏浙皖闽赣鲁豫鄂湘粤桂琼渝川贵云藏陕甘青宁新][A-Z][A-Z0-9]{5,6}")


def text(value: object) -> str:
    """A text that says something."""
    return "" if isinstance(value, str) and value.strip() else "应为文本 / a text is needed"


def number(value: object) -> str:
    """A plain decimal, as text or number, not negative."""
    plain = str(value)
    if isinstance(value, bool) or not _NUMBER.fullmatch(plain):
        return "应为数字 / a number is needed"
    return "不可为负 / not negative" if plain.startswith("-") else ""


def signed(value: object) -> str:
    """A plain decimal, as text or number, of either sign."""
    return number(str(value).removeprefix("-")) if not isinstance(value, bool) else number(value)


def day(value: object) -> str:
    """A day, `YYYY-MM-DD` or `YYYYMMDD`."""
    for form in ("%Y-%m-%d", "%Y%m%d"):
        try:
            datetime.strptime(str(value), form)  # noqa: DTZ007 - a day, no moment
        except ValueError:
            continue
        return ""
    return "应为日期 / a day is needed"


def vin(value: object) -> str:
    """17 characters of the VIN's alphabet; the check digit where the maker is Chinese or North American."""
    if not isinstance(value, str) or len(value) != 17 or any(one not in _VALUES for one in value):
        return "VIN 应为 17 位，不含 I、O、Q / a VIN has 17 characters, none of them I, O, Q"
    total = sum(weight * _VALUES[one] for weight, one in zip(_WEIGHTS, value, strict=True)) % 11
    binding = value[0] in "L12345"
    wrong = "VIN 检验位有误，请企业核对车辆并更正 / wrong check digit: the shop is to look and correct it"
    return wrong if binding and value[8] != "0123456789X"[total] else ""


def waste_code(value: object) -> str:
    """A code of the catalogues: eight digits in threes, threes and two, or with S before the last two."""
    return "" if isinstance(value, str) and _CODE.fullmatch(value) else "废物代码有误 / not a waste code"


def suffix_agrees(members: Mapping[str, Any]) -> Iterable[str]:
    """The last two digits of a hazardous waste's code are its category."""
    found = _CODE.fullmatch(str(members.get("code", "")))
    if found and found["category"] and members.get("category") != f"HW{found['category']}":
        yield f"category: 代码 {members['code']} 属 HW{found['category']} / is of HW{found['category']}"


def one_of(*values: str) -> Check:
    """One of some words."""
    return lambda value: "" if value in values else f"应为 {'、'.join(values)} 之一 / one of {', '.join(values)}"


def stars(value: object) -> str:
    """A whole number from 1 to 5."""
    return "" if value in (1, 2, 3, 4, 5) and not isinstance(value, bool) else "应为 1-5 / 1 to 5"


def impersonal(members: object) -> Iterable[str]:
    """Nothing that looks like a phone or a plate stands anywhere, digests aside, in which any digits may follow."""
    words = " ".join(_texts(members))
    if _PHONE.search(words):
        yield "含有电话号码 / holds a phone number"
    if _PLATE.search(words):
        yield "含有车牌号码 / holds a plate"


def without(*names: str) -> Callable[[Mapping[str, Any]], Iterable[str]]:
    """Members that must not be there at all."""
    return lambda members: [f"{name}: 不应提供 / must not be told" for name in names if name in members]


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, str) and not _DIGEST.fullmatch(value):
        yield value


def judge(
    needed: Mapping[str, Check],
    may: Mapping[str, Check] | None = None,
    *more: Callable[[Mapping[str, Any]], Iterable[str]],
) -> Judge:
    """Rules: members that must be there, members that may, and rules over all of them."""

    def look(members: Mapping[str, Any]) -> list[str]:
        wrong = [f"{name}: 缺少 / missing" for name in needed if members.get(name) is None]
        for name, check in {**needed, **(may or {})}.items():
            value = members.get(name)
            if value is not None and (why := check(value)):
                wrong.append(f"{name}: {why}")
        for rule in more:
            wrong += rule(members)
        return wrong

    return look
