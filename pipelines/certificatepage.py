"""The page of an export certificate: A4, Chinese and English, in an embedded open font, so that any machine shows it.

The same JSON gives the same bytes with the same version of the libraries: times in the file are the certificate's day.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import orjson
from fpdf import FPDF
from fpdf.enums import Align, XPos, YPos
from fpdf.fonts import TTFFont

from mappings.dates import SHANGHAI
from routing.vehiclehistory import shipped_words

FONT = "NotoSansSC"
_FONT_FILE = "data/fonts/NotoSansSC-GBK.otf"
_MARGIN, _LABEL, _LINE = 18.0, 78.0, 7.0
_COLUMNS = ((30.0, "月份 month"), (42.0, "类别 category"), (64.0, "主要部位 main parts"), (38.0, "里程 km, from"))
_CATEGORIES = {"maintenance": "保养 maintenance", "repair": "维修 repair"}


class _Page(FPDF):
    """A4 with the code at the foot of each page; `release` it when it is written."""

    def __init__(self, code: str, font: Path) -> None:
        super().__init__(format="A4")
        self.set_margins(_MARGIN, _MARGIN)
        self.set_auto_page_break(auto=True, margin=22)
        self._code = code
        self.add_font(FONT, fname=font)
        added = self.fonts[FONT.lower()]
        self._known = frozenset(added.cmap) if isinstance(added, TTFFont) else frozenset()

    def release(self) -> None:
        """Close the font's file, which is read until the page is written."""
        added = self.fonts[FONT.lower()]
        if isinstance(added, TTFFont):
            added.close()

    def footer(self) -> None:
        self.set_y(-18)
        self.set_font(FONT, size=8)
        self.cell(0, 5, f"验证码 verification code {self._code}　　{self.page_no()} / {{nb}}", align="C")

    def readable(self, text: str) -> str:
        """The text; a character that the font lacks stands as its number."""
        return "".join(one if ord(one) in self._known else f"[U+{ord(one):04X}]" for one in text)

    def heading(self, text: str, size: float) -> None:
        self.set_font(FONT, size=size)
        self.cell(0, size * 0.6, text, align="C", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def entry(self, label: str, value: object) -> None:
        """A line of the first table."""
        self.set_font(FONT, size=10)
        self.cell(_LABEL, _LINE, label, border="B")
        shown = "—" if value in (None, "") else str(value)
        self.multi_cell(0, _LINE, self.readable(shown), border="B", new_x=XPos.LMARGIN, new_y=YPos.NEXT)

    def row(self, values: Iterable[str]) -> None:
        """A line of the list of visits."""
        self.set_font(FONT, size=9)
        for (width, _), value in zip(_COLUMNS, values, strict=True):
            self.cell(width, _LINE, self.readable(value), border=1)
        self.ln(_LINE)


def printed(body: bytes, attachment: str) -> bytes:
    """The PDF of a certificate's JSON, with the JSON inside."""
    with as_file(files("pipelines").joinpath(_FONT_FILE)) as font:
        whole = orjson.loads(body)
        page = _Page(whole["code"], font)
        try:
            _write(page, whole, body, attachment)
            return bytes(page.output())
        finally:
            page.release()


def _write(page: _Page, whole: dict[str, Any], body: bytes, attachment: str) -> None:
    certificate, code = whole["certificate"], whole["code"]
    day = datetime.combine(datetime.fromisoformat(certificate["day"]).date(), time(), SHANGHAI)
    page.set_creation_date(day)
    page.set_title(f"Vehicle repair certificate {code}")
    page.set_producer("vingate")
    page.set_lang("zh-CN")
    page.embed_file(bytes=body, basename=attachment, mime_type="application/json", modification_date=day, compress=True)
    page.add_page()
    page.heading("机动车维修情况证明", 20)
    page.heading("Certificate of vehicle repairs, for export", 12)
    page.ln(6)
    _facts(page, certificate)
    _history(page, certificate["history"])
    _visits(page, certificate["history"]["records"])
    _how(page, code, whole["signature"])


def _facts(page: _Page, certificate: dict[str, Any]) -> None:
    for label, name in (
        ("车辆识别代号 VIN", "vin"),
        ("生产企业 maker", "maker"),
        ("申请单位 requested by", "requesterName"),
        ("申请单位代码 its code", "requester"),
        ("申请编号 order", "orderNo"),
        ("批准文号 approval", "approval"),
        ("出口证明编号 proof of export", "exportProof"),
        ("截至日期 as of", "day"),
        ("出具系统 issued by", "issuer"),
    ):
        page.entry(label, certificate[name])


def _history(page: _Page, history: dict[str, Any]) -> None:
    for label, name in (
        ("重要部件维修记录 repairs of main components", "carComponentRecordsFlag"),
        ("车身结构维修记录 repairs of the structure", "carConstructRecordsFlag"),
        ("里程表异常 odometer fell", "odometerFlag"),
    ):
        page.entry(label, "有 yes" if history[name] else "无 no")
    for label, name in (
        ("保养次数 visits with maintenance", "mainTainTimes"),
        ("最近保养 last maintenance", "lastMainTainTime"),
        ("最近维修 last repair", "lastRepairTime"),
        ("估计里程 km, estimated mileage", "mileageEstimate"),
    ):
        page.entry(label, history[name])


def _visits(page: _Page, visits: list[dict[str, Any]]) -> None:
    page.ln(4)
    if not visits:
        page.entry("维修记录 visits", "无 none")
        return
    names = {group.id: f"{group.zh} {group.en}" for group in shipped_words().group}
    page.row(title for _, title in _COLUMNS)
    for one in visits:
        groups = [names.get(group, group) for group in one["groups"]] or ["—"]
        for place, group in enumerate(groups):
            first = place == 0
            page.row(
                (
                    one["month"] if first else "",
                    _CATEGORIES.get(one["category"], one["category"]) if first else "",
                    group,
                    str(one["mileageFrom"]) if first else "",
                )
            )


def _how(page: _Page, code: str, signature: dict[str, Any]) -> None:
    page.ln(4)
    page.set_font(FONT, size=9)
    for line in (
        f"验证码 verification code: {code}",
        f"签名密钥 signing key: {signature['key']} ({signature['algorithm']})",
        "本证明依据汽车维修电子健康档案，仅含上传的维修记录，不含车主、号牌与维修企业信息；"
        "附件 JSON 带有签名，以其为准。",
        "Drawn from the repair archive: uploaded repairs only; no owner, plate or shop. "
        "The signed JSON attached is what counts.",
    ):
        page.multi_cell(0, 5, page.readable(line), align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
