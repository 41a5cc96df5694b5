"""Registrations of vehicles (车籍) of an older platform -> payloads of `registration-feed`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import orjson

from mappings import divisions, plates
from mappings.dates import day
from mappings.placeholders import is_placeholder
from pipelines.importing import remarks as why
from pipelines.importing.inlet import AT_ONCE, Payload
from pipelines.importing.remarks import Reason, Remarks
from pipelines.importing.tabular import Row

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "vin": ("车辆识别代码", "车辆识别代号", "VIN码", "车架号"),
    "plate": ("车牌号码", "车牌号", "号牌号码", "vehicleplatenumber"),
    "home": ("车籍", "车籍地", "注册地", "行政区划代码"),
    "valid_from": ("注册日期", "登记日期", "生效日期"),
    "valid_to": ("注销日期", "截止日期", "失效日期"),
}
"""Our names -> headers that are known by themselves."""
NEEDED = ("vin", "valid_from")

_ENDING = re.compile("(省|市|(壮族|回族|维吾尔)?自治区)$")
_SHORT = {_ENDING.sub("", province.name_zh): key for key, province in divisions.PROVINCES.items()}
"""Names of provinces as people write them (新疆 is the region; 兵团 is named as such)."""


def pages(rows: Iterable[Row], remarks: Remarks) -> Iterator[list[Payload]]:
    """Payloads, some hundred at a time; what is no row is remarked and left out."""
    found = (payload for row in rows if (payload := _payload(row, remarks)) is not None)
    while page := list(islice(found, AT_ONCE)):
        yield page


def _payload(row: Row, remarks: Remarks) -> Payload | None:
    if row.broken:
        remarks.note(row.place, "", "left_out", [Reason(why.ROW_BROKEN)])
        return None
    cells = {name: None if is_placeholder(value) else value for name, value in row.cells.items()}
    plate, reasons = cells.get("plate"), []
    home = _home(cells.get("home") or "")
    if not home and plate:
        home = plates.province_key(plates.normalise(plate)) or ""
        reasons = [Reason(why.HOME_FROM_PLATE, "home")] if home else []
    body = {
        "schema": "vingate.registration/1",
        "vin": cells.get("vin"),
        "plate": plate,
        "home": home or None,
        "valid_from": _day(cells.get("valid_from")),
        "valid_to": _day(cells.get("valid_to")),
    }
    return Payload(orjson.dumps(body), row.place, cells.get("vin") or "", "", tuple(reasons))


def _home(text: str) -> str:
    """A province key: as it is, of a GB/T 2260 code, or by the province's name; else the text, which is refused."""
    if text in divisions.PROVINCES:
        return text
    return divisions.of_division(text) or _named(_ENDING.sub("", text)) or text


def _named(short: str) -> str:
    """The key of the one province of a short name, or whose short name begins so; else nothing."""
    if short in _SHORT:
        return _SHORT[short]
    begun = [key for name, key in _SHORT.items() if len(short) > 1 and name.startswith(short)]
    return begun[0] if len(begun) == 1 else ""


def _day(text: str | None) -> str | None:
    found = day(text)
    return found.isoformat() if found else text
