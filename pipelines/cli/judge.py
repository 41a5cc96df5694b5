"""`vingate judge`: hold payload files against the standard, without state or secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mappings.findings import REJECT, Finding, catalogue, profile
from mappings.judge import judge as weigh
from mappings.judging import Context, Judgement
from mappings.reading import AUTO, known, read
from mappings.records import RepairRow
from pipelines.cli.days import moment
from pipelines.cli.out import AsJson, console, emit
from pipelines.cli.payloads import Payload, existing, payloads

if TYPE_CHECKING:
    from rich.console import Console


_TOO_LARGE = "PAYLOAD_TOO_LARGE: "
"""How the file connectors' word on a payload beyond their limit begins."""


class Judged(NamedTuple):
    """What judging one payload of a file found."""

    file: str
    item: int
    dialect: str
    findings: tuple[Finding, ...]
    records: list[dict[str, Any]]

    @property
    def accepted(self) -> bool:
        """Whether nothing rejects it."""
        return all(finding.severity != REJECT for finding in self.findings)


def judge(
    files: Annotated[list[Path], typer.Argument(help="报文文件：JSON、NDJSON、CSV、Avro，可压缩 / payload files")],
    dialect: Annotated[
        str, typer.Option(help="auto、方言名或映射文件 / auto, a dialect's name, or a mapping file (.toml)")
    ] = AUTO,
    profile_name: Annotated[
        str, typer.Option("--profile", help="strict、lenient 或规则文件 / strict, lenient, or a profile file (.toml)")
    ] = "strict",
    received_at: Annotated[
        str, typer.Option(help="接收时间 ISO 8601，默认现在，无时区按北京时间 / when it came; default: now")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """校验报文文件：识别方言、列出全部问题 / judge payload files: recognise the dialect, list every finding.

    只看内容，不需要状态与密钥；企业身份由令牌决定，因此不要求 companycode。
    Content alone is judged; a shop's identity is its token, so no companycode is asked for.

    [bold]示例 / examples:[/bold]

    vingate judge upload.json

    vingate judge export.csv --dialect csv --profile lenient

    vingate judge day.ndjson.gz --received-at 2026-09-30T20:00:00 --json
    """
    rules = profile(profile_name)
    if dialect != AUTO:
        known(dialect)
    context = Context(rules, moment(received_at, "--received-at") if received_at else datetime.now(UTC))
    rejected = total = 0
    screen = None if as_json else console()
    for path in existing(files):
        for judged in judged_file(path, dialect, context):
            total += 1
            rejected += not judged.accepted
            if screen is None:
                emit(as_object(judged))
            else:
                _show(screen, judged)
    if screen is not None:
        screen.print(
            f"\n共 {total} 条，通过 {total - rejected}，拒绝 {rejected} / {total} payloads, {rejected} rejected"
        )
    raise typer.Exit(1 if rejected else 0)


def judged_file(path: Path, dialect: str, context: Context) -> Iterator[Judged]:
    """Judge every payload of a file, in order."""
    named = "" if dialect == AUTO else known(dialect)
    for item, payload in enumerate(payloads(path, dialect)):
        if payload.problem:
            yield Judged(str(path), item, named, (_unreadable(payload),), [])
        else:
            found = weigh(read(payload.body, dialect), context)
            yield Judged(str(path), item, found.dialect, found.findings, [] if found.rejected else _records(found))


def as_object(judged: Judged) -> dict[str, Any]:
    """The stable form of one line of `vingate judge --json` (docs/json.md)."""
    return {
        "file": judged.file,
        "item": judged.item,
        "dialect": judged.dialect,
        "verdict": "accept" if judged.accepted else "reject",
        "findings": [
            {"code": f.code, "severity": f.severity, "field": f.field, "value": f.value, "expected": f.expected}
            for f in judged.findings
        ],
        "records": judged.records,
    }


def _unreadable(payload: Payload) -> Finding:
    """What could not even be cut out as one payload: by its length, or because no text can be read there."""
    code = "STRUCTURE_WRONG" if payload.problem.startswith(_TOO_LARGE) else "NOT_JSON"
    return Finding(code, REJECT, "", payload.problem, "一条可读的报文 / one readable payload")


def _records(found: Judgement) -> list[dict[str, Any]]:
    """What an accepted payload says, flat; never a password: judging keeps none."""
    if isinstance(found.record, RepairRow):
        return [_flat(found.record)]
    return [{name: _value(value) for name, value in found.members.items()}] if found.members else []


def _flat(row: RepairRow) -> dict[str, Any]:
    record: dict[str, Any] = {name: _value(value) for name, value in row._asdict().items()}
    record["parts"] = [{name: _value(value) for name, value in part._asdict().items()} for part in row.parts]
    record["projects"] = [{name: _value(value) for name, value in one._asdict().items()} for one in row.projects]
    return record


def _value(value: object) -> object:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {name: _value(item) for name, item in value.items()}
    return [_value(item) for item in value] if isinstance(value, list | tuple) else value


_COLOURS = {"reject": "red", "flag": "yellow", "info": "dim"}
_WORDS = {"reject": "拒绝 reject", "flag": "标记 flag", "info": "提示 info"}


def _show(screen: Console, judged: Judged) -> None:
    from rich.padding import Padding
    from rich.text import Text

    verdict = Text("✓ 通过 accept ", "bold green") if judged.accepted else Text("✗ 拒绝 reject ", "bold red")
    screen.print(verdict + Text(f"{judged.file} #{judged.item}  ") + Text(judged.dialect or "?", "cyan"))
    for finding in judged.findings:
        text = catalogue()[finding.code]
        where = finding.field + (f" ({finding.wire})" if finding.wire else "")
        lines = [
            Text(f"{_WORDS[finding.severity]} ", _COLOURS[finding.severity]) + Text(f"{finding.code} {where}"),
            Text(f"{text.zh} / {text.en}  [{text.clause}]"),
        ]
        if finding.value or finding.expected:
            lines.append(Text(f"值 value: {finding.value or '-'}    应为 expected: {finding.expected or '-'}"))
        for number, line in enumerate(lines):
            screen.print(Padding(line, (0, 0, 0, 6 if number else 2)))
