"""What reasons and steps say to people, in Chinese and English."""

from __future__ import annotations

from typing import NamedTuple

from mappings import divisions


class Text(NamedTuple):
    """One sentence in both languages."""

    zh: str
    en: str

    def __str__(self) -> str:
        return f"{self.zh} / {self.en}"


REASONS = {
    "came-down": Text("上级下发的记录不再上报", "it came down from above and is never sent up again"),
    "at-home": Text("车籍地即采集地，无需下发", "the vehicle is at home where the record was collected"),
    "held": Text("目的地已有该版本", "the destination holds this version already"),
    "embassy": Text("使馆号牌，无车籍省份", "an embassy plate (使) has no home province"),
    "military": Text("军队或武警号牌，无车籍省份", "a military or armed police plate has no home province"),
    "temporary": Text("临时号牌，无车籍省份", "a temporary plate (临) has no home province"),
    "rescue": Text("应急救援号牌未写明省份", "a rescue plate (应急) that names no province"),
    "no-system": Text("登记地没有参与联网的系统", "registered where no system takes part"),
    "home-unknown": Text(
        "号牌无法识别且无登记信息，等待车辆登记", "plate unreadable and no registration: waits for a registration"
    ),
}
"""Reason code -> text, for the codes that this package and the shipped tables use."""


def reason(code: str) -> Text:
    """The text of a reason code; a code of a user's own table stands for itself."""
    return REASONS.get(code, Text(code, code))


def province(key: str) -> Text:
    """A province by its key; an unknown key stands for itself."""
    found = divisions.PROVINCES.get(key)
    return Text(f"{found.name_zh}({key})", f"{found.name_en} ({key})") if found else Text(key, key)
