"""What a run came to, as one HTML page: counts, provinces on a tile map, letters by reason, the balance of each place.

The page needs nothing beside itself: no script, no font, no address. Nothing personal stands on it, only counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import NamedTuple
from unicodedata import east_asian_width

from mappings import divisions

COLUMNS = {
    "received": "收到 received",
    "delivered": "送达 delivered",
    "merged": "合并 merged",
    "duplicate": "重复 duplicate",
    "flagged": "存疑 flagged",
    "dead": "死信 dead",
    "filtered": "过滤 filtered",
    "waiting": "等待 waiting",
}
_ENDS = ("delivered", "merged", "duplicate", "dead", "filtered", "waiting")
_PROVINCE = "province-"
_FEW = 3
"""Fewer provinces than so many stand by themselves."""
_TILES = {
    "bt": (0, 0), "65": (0, 1), "23": (0, 8), "15": (1, 5), "22": (1, 8), "62": (2, 3), "64": (2, 4), "14": (2, 5),
    "11": (2, 6), "12": (2, 7), "21": (2, 8), "63": (3, 2), "61": (3, 4), "41": (3, 5), "13": (3, 6), "37": (3, 7),
    "54": (4, 1), "51": (4, 3), "42": (4, 5), "34": (4, 6), "32": (4, 7), "31": (4, 8), "50": (5, 4), "43": (5, 5),
    "36": (5, 6), "33": (5, 7), "53": (6, 3), "52": (6, 4), "45": (6, 5), "44": (6, 6), "35": (6, 7), "46": (7, 5),
}  # fmt: skip
"""Province key -> row and column of its tile: neighbours stay neighbours as far as squares allow."""

_STYLE = """
:root{color-scheme:light dark;--ink:#1a2230;--paper:#fff;--soft:#eef2f7;--line:#cfd8e3;--good:#1b7f4d;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf2;--paper:#12171f;--soft:#1d2530;--line:#334155;
--good:#5fd39a;--bad:#ff8a80}}
body{font:15px/1.5 system-ui,"Noto Sans SC","Microsoft YaHei",sans-serif;color:var(--ink);background:var(--paper);
margin:0 auto;max-width:72rem;padding:1.5rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right}
th:first-child,td:first-child{text-align:left}
details{margin-top:1rem}summary{cursor:pointer}
tr.exchange td{background:var(--soft);font-weight:600}.scroll{overflow-x:auto}
.verdict{font-size:1.15rem;font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}svg text{fill:currentColor;font:12px system-ui,sans-serif}
footer{margin-top:2rem;opacity:.7}
"""


class Row(NamedTuple):
    """One exchange or one of its destinations."""

    name: str
    counts: Mapping[str, int]
    exchange: bool = False
    called: str = ""
    """What it is called in Chinese, beside its name."""
    wrong: str = ""
    """Of several destinations in one: those that do not balance."""

    @property
    def balanced(self) -> bool:
        """Whether every record that was addressed there has an end. Of an exchange only its destinations say so."""
        return not self.wrong and self._whole

    @property
    def _whole(self) -> bool:
        return self.exchange or self.counts["received"] == sum(self.counts[end] for end in _ENDS)


def page(
    title: str, rows: Sequence[Row], letters: Mapping[str, int], problems: Sequence[str], made: str, more: str = ""
) -> str:
    """The page, whole.

    Args:
        title: what ran.
        rows: exchanges, each before its destinations; counts as in `COLUMNS`.
        letters: reason -> dead letters.
        problems: what the ledger could not prove; empty when it balances.
        made: when, and by what.
        more: further sections, as HTML.
    """
    provinces: Counter[str] = Counter()
    for row in rows:
        if not row.exchange and row.name.startswith(_PROVINCE):
            provinces[row.name.removeprefix(_PROVINCE)] += row.counts["delivered"]
    verdict = (
        '<p class="verdict good">账目平衡：每条记录都有去向 / balanced: every record is accounted for</p>'
        if not problems
        else f'<p class="verdict bad">账目不平：{len(problems)} 处 / not balanced: {len(problems)} problems</p>'
        + "".join(f"<p>{escape(one)}</p>" for one in problems[:50])
    )
    return "".join(
        (
            '<!doctype html><html lang="zh"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>{verdict}",
            "<h2>各省送达 / delivered by province</h2>",
            _map(provinces),
            "<h2>死信原因 / dead letters by reason</h2>",
            _bars(letters),
            "<h2>交换与目的地 / exchanges and destinations</h2>",
            _table(rows),
            more,
            f"<footer>{escape(made)}</footer></body></html>\n",
        )
    )


def _map(counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0) or 1
    tiles = [_tile(key, row, column, counts.get(key, 0), most) for key, (row, column) in _TILES.items()]
    return f'<div class="scroll"><svg width="666" height="416" role="img">{"".join(tiles)}</svg></div>'


def _tile(key: str, row: int, column: int, count: int, most: int) -> str:
    name, shade = escape(_called(key)), 0.06 + 0.8 * count / most
    return (
        f'<g transform="translate({column * 74},{row * 52})"><title>{name}: {count:,}</title>'
        f'<rect width="70" height="48" rx="6" fill="#2f6fde" fill-opacity="{shade:.2f}"/>'
        f'<text x="35" y="20" text-anchor="middle">{name}</text>'
        f'<text x="35" y="38" text-anchor="middle">{count:,}</text></g>'
    )


def _called(key: str) -> str:
    if key not in divisions.PROVINCES:
        return key
    name = divisions.PROVINCES[key].name_zh
    return "兵团" if key == divisions.BINGTUAN else name[:3] if name.startswith(("内蒙古", "黑龙江")) else name[:2]


def _bars(counts: Mapping[str, int]) -> str:
    if not counts:
        return "<p>没有 / none</p>"
    most, left = max(counts.values()), max(map(_width, counts))
    bars = [
        f'<g transform="translate(0,{at * 24})"><text x="{left}" y="15" text-anchor="end">{escape(name)}</text>'
        f'<rect x="{left + 10}" y="3" height="16" width="{max(2, round(300 * number / most))}" fill="#d9822b"/>'
        f'<text x="{left + 16 + max(2, round(300 * number / most))}" y="15">{number:,}</text></g>'
        for at, (name, number) in enumerate(sorted(counts.items(), key=lambda one: (-one[1], one[0])))
    ]
    size = f'width="{left + 400}" height="{24 * len(bars)}"'
    return f'<div class="scroll"><svg {size} role="img">{"".join(bars)}</svg></div>'


def _width(text: str) -> int:
    """Pixels that a text of 12 px takes at most, in a font that nobody knows here."""
    return sum(13 if east_asian_width(one) in "WFA" else 10 if one.isupper() else 9 for one in text)


def _table(rows: Sequence[Row]) -> str:
    """Exchanges and destinations; an exchange's provinces in one line, and each by itself below, folded."""
    each = [row for group in _groups(rows) if len(group) > 1 for row in group]
    provinces = [row for row in each if row.exchange or _is_province(row)]
    folded = (
        f"<details><summary>各省明细 / each province</summary>{_framed(provinces)}</details>"
        if any(_is_province(row) for row in provinces)
        else ""
    )
    return _framed([row for group in _groups(rows) for row in _in_one(group)]) + folded


def _framed(rows: Iterable[Row]) -> str:
    heads = "".join(f"<th>{escape(head)}</th>" for head in COLUMNS.values())
    return (
        '<div class="scroll"><table><thead><tr><th>交换 → 目的地 / exchange → destination</th>'
        f"{heads}<th>平衡 balance</th></tr></thead><tbody>{''.join(map(_line, rows))}</tbody></table></div>"
    )


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Exchanges with their destinations."""
    group: list[Row] = []
    for row in rows:
        if row.exchange and group:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _in_one(group: Sequence[Row]) -> Iterator[Row]:
    """A group with all of its provinces as one line, where there are several."""
    provinces = [row for row in group if _is_province(row)]
    if len(provinces) < _FEW:
        yield from group
        return
    together: Counter[str] = Counter()
    for row in provinces:
        together.update(row.counts)
    wrong = [row.name for row in provinces if not row.balanced]
    one = Row(f"{len(provinces)} 个省 provinces", together, wrong=", ".join(_place(name) for name in wrong))
    yield from (row for row in group if row.exchange)
    yield one
    yield from (row for row in group if not row.exchange and not _is_province(row))


def _is_province(row: Row) -> bool:
    return not row.exchange and row.name.startswith(_PROVINCE)


def _line(row: Row) -> str:
    cells = "".join(f"<td>{row.counts[name]:,}</td>" if row.counts[name] else "<td>·</td>" for name in COLUMNS)
    name = row.name if row.exchange else f"→ {_place(row.name)}"
    name = f"{name} {row.called}" if row.called else name
    mark = '<span class="good">✓</span>' if row.balanced else f'<span class="bad">✗ {escape(row.wrong)}</span>'
    kind = ' class="exchange"' if row.exchange else ""
    return f"<tr{kind}><td>{escape(name)}</td>{cells}<td>{'' if row.exchange else mark}</td></tr>"


def _place(name: str) -> str:
    key = name.removeprefix(_PROVINCE)
    return f"{key} {divisions.PROVINCES[key].name_zh}" if key in divisions.PROVINCES else name
