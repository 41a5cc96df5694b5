"""Which letters a command means: the options that choose, and their meaning as filters of the letter store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from dlq.letter import STAGES, STATES, Letter
from dlq.letters import Filters, LetterStore
from pipelines.cli.days import moment
from pipelines.cli.out import wrong_use

StateFolder = Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")]
Ids = Annotated[list[str] | None, typer.Argument(help="死信编号或其开头至少 6 位 / letter ids, or 6 digits of them")]
Reason = Annotated[str, typer.Option(help="原因代码 / a reason's code: VIN_CHECK_DIGIT")]
SourceName = Annotated[str, typer.Option("--source", help="来源名的一部分 / part of the source's name")]
Company = Annotated[str, typer.Option(help="企业编码 / company code")]
ExchangeName = Annotated[str, typer.Option("--exchange", help="交换名 / name of the exchange")]
Stage = Annotated[str, typer.Option(help=f"阶段 / {', '.join(STAGES)}")]
InState = Annotated[str, typer.Option("--in", help=f"死信状态 / {', '.join(STATES)}")]
Destination = Annotated[str, typer.Option(help="目的地 / destination")]
Vin = Annotated[str, typer.Option(help="车辆识别代号 / VIN")]
OlderThan = Annotated[str, typer.Option(help="早于 / older than: 30m, 12h, 2d, 3w, or a moment in ISO 8601")]
NewerThan = Annotated[str, typer.Option(help="晚于 / newer than: 30m, 12h, 2d, 3w, or a moment in ISO 8601")]
Parked = Annotated[bool | None, typer.Option("--parked/--not-parked", help="是否停放 / parked after three replays")]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def chosen_by(
    reason: str,
    source: str,
    company: str,
    exchange: str,
    stage: str,
    state: str,
    destination: str,
    vin: str,
    older_than: str,
    newer_than: str,
    parked: bool | None,
    limit: int | None = None,
) -> Filters:
    """The filters of a command's options.

    Raises:
        WrongUse: a stage, state or age that there is not.
    """
    for name, value, known in (("--stage", stage, STAGES), ("--in", state, STATES)):
        if value and value not in known:
            wrong_use(f"{name} {value}: 应为 / must be one of {', '.join(known)}")
    return Filters(
        reason=reason.strip().upper(),
        source=source,
        company=company,
        exchange=exchange,
        stage=stage,
        state=state,
        destination=destination,
        vin=vin,
        parked=parked,
        older_than=_since(older_than, "--older-than") if older_than else None,
        newer_than=_since(newer_than, "--newer-than") if newer_than else None,
        limit=limit,
    )


def _since(text: str, option: str) -> datetime:
    """An age (`30m`, `12h`, `2d`, `3w`) or a moment in ISO 8601 as a moment.

    Raises:
        WrongUse: neither, or an age beyond all records.
    """
    age = re.fullmatch(r"(\d{1,6})\s*([mhdw])", text.strip().lower())
    if not age:
        return moment(text, option, also="、2d、12h / or an age: 2d, 12h")
    try:
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    except OverflowError:
        wrong_use(f"{option} {text}: 太久以前 / too long ago")


def letters_meant(store: LetterStore, ids: list[str] | None, everything: bool, filters: Filters) -> Iterator[Letter]:
    """The letters that were named, or with `--all` those that the filters let through.

    Raises:
        WrongUse: neither ids nor `--all`, or filters beside ids.
        NoSuchLetter: an id that is not there.
    """
    if ids:
        if everything or filters != Filters():
            wrong_use("请只用编号，或只用 --all 加条件 / name ids, or use --all with filters, not both")
        for name in dict.fromkeys(ids):
            yield store.get(name)
    elif everything:
        yield from store.search(filters)
    else:
        wrong_use("请写出死信编号，或用 --all 加条件 / name letter ids, or use --all with filters")
