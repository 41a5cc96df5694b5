"""Letters on a terminal: rich tables for people. The commands themselves are in `pipelines`.

Whatever stood in a payload is printed as plain text: rich markup and control sequences in it do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dlq.letter import Letter
from dlq.letters import Count, Replay
from dlq.views import totals, view_body
from mappings.shapes import mask_shapes

_STATES = {
    "open": "待处理 open",
    "claimed": "处理中 claimed",
    "resolved": "已解决 resolved",
    "discarded": "已作废 discarded",
}
_COLOURS = {"open": "yellow", "claimed": "cyan", "resolved": "green", "discarded": "dim"}
_KINDS = {
    "refused": "由上报方或接收方更正 / the sender or receiver corrects it",
    "unavailable": "自动重试 / retried by itself",
    "bug": "由本方处理 / this side mends it",
}


def list_table(letters: Iterable[Letter]) -> RenderableType:
    """Letters as a table, one a row."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in (
        "死信 letter",
        "状态 state",
        "阶段 stage",
        "原因 reason",
        "公司 company",
        "来源 source",
        "接收 received",
    ):
        table.add_column(title, overflow="fold")
    shown = 0
    for letter in letters:
        shown += 1
        table.add_row(
            letter.id[:12],
            _state(letter),
            letter.stage,
            _plain(_codes(letter)),
            _plain(letter.named_company or letter.system),
            _plain(f"{letter.source}:{letter.offset}"),
            letter.received_at[:19],
        )
    return table if shown else Text("没有符合条件的死信 / no such letters", style="dim")


def show(
    letter: Letter,
    body: bytes | None = None,
    history: Sequence[Replay] = (),
    trouble: str = "",
) -> RenderableType:
    """One letter with all its reasons, its replays, and its body masked."""
    parts: list[RenderableType] = [_facts(letter), Text(), *_reasons(letter)]
    if history:
        parts += [Text(), Text("重放 replays", style="bold"), _history(history)]
    if body is not None:
        parts += [
            Text(),
            Text(f"原文（已脱敏） body, masked ({letter.body_size} bytes)", style="bold"),
            Text(view_body(body)),
        ]
    if trouble:
        parts += [Text(), Text(mask_shapes(trouble), style="red")]
    return Group(*parts)


def stats(counts: Sequence[Count]) -> RenderableType:
    """The statistics as a table, with a line of totals."""
    if not counts:
        return Text("没有死信 / no letters", style="dim")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("交换 exchange", "状态 state", "原因 reason"):
        table.add_column(title)
    table.add_column("死信 letters", justify="right")
    for count in counts:
        table.add_row(_plain(count.exchange), _STATES.get(count.state, count.state), count.reason, f"{count.letters:,}")
    line = ", ".join(f"{_STATES.get(state, state)} {number:,}" for state, number in totals(counts).items())
    return Group(table, Text(line, style="bold"))


_OWN = ("死信 letter", "来自死信 parent", "原文 body")
"""Facts that this side made itself."""


def _facts(letter: Letter) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    kept = "引用 by reference" if letter.ref else "加密保存 sealed"
    rows = (
        ("死信 letter", letter.id),
        ("交换 exchange", f"{letter.exchange} (批次 batch {letter.batch})"),
        ("阶段 stage", f"{letter.stage} ({letter.step})"),
        ("来源 source", f"{letter.source}:{letter.offset}"),
        ("公司 company", letter.named_company or "-"),
        ("采集系统 system", letter.system or "-"),
        ("格式 dialect", f"{letter.dialect or '-'} {letter.mapping}"),
        ("判定 profile", f"{letter.profile} (vingate {letter.build})"),
        ("目的地 destination", letter.destination or "-"),
        ("记录 record", letter.record_key or "-"),
        ("接收 received", letter.received_at),
        ("尝试 attempts", f"{letter.attempts} (第 {letter.generation} 代 generation {letter.generation})"),
        ("原文 body", f"{letter.body_size:,} bytes, {kept}, SHA-256 {letter.body_sha256[:16]}…"),
        ("由批次解决 resolved by", letter.resolved_by),
        ("备注 note", letter.note),
        ("来自死信 parent", letter.parent),
    )
    table.add_row("状态 state", _state(letter))
    for name, value in rows:
        if value:
            # An id or a digest can look like a number that is masked by its shape; neither tells anything of a payload.
            table.add_row(name, Text(value) if name in _OWN else _plain(value))
    return table


def _reasons(letter: Letter) -> Iterator[RenderableType]:
    for number, reason in enumerate(letter.current, 1):
        yield Text(f"{number}. {reason.code} {reason.field}", style="bold red")
        yield Text(f"   {reason.zh} / {reason.en}")
        if reason.value or reason.expected:
            yield Text(f"   值 value: {reason.value or '-'}    应为 expected: {reason.expected or '-'}")
        yield Text(
            f"   {reason.remedy_zh} / {reason.remedy_en} ({_KINDS.get(reason.kind, reason.kind)})", style="green"
        )


def _history(history: Sequence[Replay]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("代 generation", "批次 batch", "结果 outcome", "原因 reasons", "时间 at"):
        table.add_column(title)
    for replay in history:
        codes = " ".join(reason.code for reason in replay.reasons)
        table.add_row(str(replay.generation), _plain(replay.batch), replay.outcome, codes, replay.at[:19])
    return table


def _codes(letter: Letter) -> str:
    return " ".join(dict.fromkeys(reason.code for reason in letter.current))


def _state(letter: Letter) -> Text:
    text = Text(_STATES.get(letter.state, letter.state), style=_COLOURS.get(letter.state, ""))
    return text.append(" 停放 parked", style="red") if letter.parked else text


def _plain(value: str) -> Text:
    """Text as it is: no markup, masked, nothing that a terminal acts on."""
    return Text(mask_shapes(value))
