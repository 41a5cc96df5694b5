"""The page of a state: whole, without anything from elsewhere, its numbers those of the ledger, nothing personal."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import orjson
from engine_samples import lines, run_bulk

from mappings import divisions
from pipelines.cli import main
from pipelines.page import _TILES, Row, page


class Reader(HTMLParser):
    """Texts of the page; fails on an element that stays open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert not [value for name, value in attrs if name in ("src", "href")], "the page loads nothing"
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def rows(**counts: int) -> list[Row]:
    return [Row("collect", Counter(received=9), exchange=True), Row("province-44", Counter(counts))]


def test_every_province_has_a_tile_of_its_own():
    assert set(_TILES) == {key for key in divisions.PROVINCES if key not in ("71", "81", "82")}
    assert len(set(_TILES.values())) == len(_TILES)


def test_a_destination_that_lost_one_shows_it():
    assert "✗" not in page("t", rows(received=3, delivered=2, dead=1), {}, [], "")
    assert "✗" in page("t", rows(received=3, delivered=2), {}, [], "")


def nation(**wrong: int) -> str:
    """A page of one exchange with four provinces, one of which has these counts."""
    good = Counter(received=2, delivered=2)
    found = [Row(f"province-{key}", good, called="") for key in ("11", "12", "13")]
    told = [Row("collect", Counter(received=8), exchange=True), *found, Row("province-44", Counter(wrong))]
    return page("t", [*told, Row("receipts", good), Row("credit", good, exchange=True)], {}, [], "")


def test_provinces_stand_in_one_line_and_each_by_itself_below():
    text = nation(received=2, delivered=2)
    found = Reader(text).texts
    assert found.index("→ 4 个省 provinces") < found.index("→ receipts") < found.index("credit")
    assert found.index("credit") < found.index("→ 44 广东省")
    assert found[found.index("→ 4 个省 provinces") + 1] == "8"
    assert found.count("→ 44 广东省") == 1
    assert "✗" not in text


def test_one_province_that_lost_one_is_named_in_the_line_of_all():
    found = Reader(nation(received=3, delivered=2)).texts
    assert "✗ 44 广东省" in found
    assert found.count("✗ ") == 1, "and by itself below"


def test_a_long_reason_is_not_cut():
    name = "车辆识别代号含有不允许的字符，且与品牌、厂牌型号、发动机号均不相符 VIN_ALPHABET_AND_MORE"
    text = page("t", [], {name: 1}, [], "")
    assert int(re.search(rf'<text x="(\d+)" y="15" text-anchor="end">{name}', text)[1]) >= 33 * 12 + 22 * 8


def test_a_destination_is_called_what_it_is_called():
    told = page("t", [Row("credit", Counter(received=1, delivered=1), called="信用交通")], {}, [], "")
    assert "→ credit 信用交通" in Reader(told).texts


def test_what_it_is_told_cannot_become_markup():
    text = page("<b>t</b>", [Row("<script>", Counter(received=1, delivered=1))], {"<i>": 1}, ["<u>"], "<s>")
    assert not re.search(r"<(b|script|i|u|s)>", text)
    Reader(text)


def test_the_page_of_a_state(tmp_path, capsys):
    run_bulk(tmp_path, lines(40, broken=3))
    assert main(["page", "--state", str(tmp_path / "state"), "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["balanced"] is True
    text = Path(told["page"]).read_text("utf-8")
    found = Reader(text).texts
    assert "bulk-files" in found
    assert "车辆识别代号不是 17 位 VIN_LENGTH" in found
    assert "40" in found
    assert "LSVAA" not in text
