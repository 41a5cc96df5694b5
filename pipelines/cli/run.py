"""`vingate run`: everything that there is to do for one exchange."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import uncollected, without
from pipelines.cli.days import chosen_days
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.cli.running import EnvironmentConfig, EnvironmentType, JobEndpoint, Prism, Runner, as_overrides
from pipelines.cli.watching import watching
from pipelines.crew import crew
from pipelines.runcounts import RunCounts, Waits, counts_of, open_letters, waiting_for
from pipelines.runnable import EMBEDDED
from pipelines.settings import Exchange, load
from pipelines.state import State
from pipelines.usable import begun, usable


def run(
    settings: Annotated[Path, typer.Argument(help="交换的设置文件 / the exchange's settings file (.toml)")],
    state: Annotated[Path, typer.Option("--state", help="状态目录，没有则新建 / the state's folder, made if missing")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="覆盖设置 a.b=值，可多次 / override a setting; repeatable")
    ] = None,
    runner: Runner = "",
    prism: Prism = None,
    job_endpoint: JobEndpoint = "",
    environment_type: EnvironmentType = "",
    environment_config: EnvironmentConfig = "",
    state_url: Annotated[
        str,
        typer.Option(
            "--state-url",
            help="状态所在的 PostgreSQL 数据库，或 env:NAME、file:PATH；默认为目录内的 SQLite"
            " / database of PostgreSQL for the state, or env:NAME, file:PATH; default: SQLite in the folder",
        ),
    ] = "",
    first: Annotated[
        str, typer.Option("--from", help="补读此日起的记录，与 --to 同用 / read records of days again: first day")
    ] = "",
    last: Annotated[str, typer.Option("--to", help="末日，默认同首日 / last day; default: the first")] = "",
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="推导类交换：代码或规则变更后全部重新推导，只发送不同之处"
            " / of an exchange that derives, after code or rules changed: derive all anew, tell only what differs",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """运行一个交换：读取、校验、路由、投递并入账 / run an exchange: take in all that waits, account for it.

    可随时中断；再次运行从断点继续，不会重复投递。
    It may be killed at any moment: run it again, it goes on from there, and nothing is delivered twice.

    [bold]示例 / examples:[/bold]

    vingate run deploy/exchanges/bulk-files.toml --set source.path=in --set sinks.provinces.path=out --state var/bulk

    vingate run collect.toml --set batch.workers=2 --state var/collect --json

    vingate run collect.toml --state var/collect --state-url env:STATE_URL

    [bold]补报：按日重读数据库来源，已发送的不会重复 / backfill: days of a database again, nothing is sent twice[/bold]

    vingate run upload.toml --from 2026-08-01 --to 2026-08-31 --state var/shop

    [bold]规则或程序更新后重新推导，只发送不同之处 / derive anew by new rules or code: only what differs is told[/bold]

    vingate run deploy/exchanges/solid-waste.toml --again --state var/nation

    [bold]同样的步骤，另一个 runner / the same steps on another runner[/bold] (docs/runners.md):

    vingate run collect.toml --state var/collect --runner prism --prism ~/bin/prism

    vingate run collect.toml --state var/collect --runner portable --job-endpoint localhost:8099
    """
    days = chosen_days(first, last)
    if again and days is not None:
        wrong_use("--again 与 --from、--to 不能同用 / --again does not go together with --from and --to")
    where = as_overrides(
        runner=runner,
        prism=prism,
        job_endpoint=job_endpoint,
        environment_type=environment_type,
        environment_config=environment_config,
    )
    exchange = load(settings, [*(overrides or ()), *where])
    usable(exchange.placed(state))
    begun(exchange.placed(state))
    began = time.monotonic()
    if exchange.runner == EMBEDDED and exchange.batch.workers > 1:
        crew()  # it loads what workers need while this process loads what it needs itself
    with State(state, own=True, url=state_url) as opened, watching() as observer, _quiet_stdout():
        with uncollected(), without("pymongo", "pyarrow", "requests"):
            from pipelines.coordinator import Coordinator  # imported late: it takes Beam along, and Beam much else

        before = waiting_for(opened, exchange.name)
        counts = counts_of(opened, Coordinator(opened, exchange, observer).run(days, again=again))
        letters = open_letters(opened, exchange.name)
        waits = waiting_for(opened, exchange.name)
    told = as_object(exchange, state, counts, letters, time.monotonic() - began)
    if as_json:
        emit(told)
    else:
        _show(told, counts, before, waits)
        given = [part for one in (*(overrides or ()), *where) for part in ("--set", _without_secrets(one))]
        checked = ["vingate", "check", str(settings), *given, "--state", str(state)]
        _next(told, [shlex.join(checked)] if waits else [])
    raise typer.Exit(0 if counts.balanced else 1)


def as_object(exchange: Exchange, state: Path, counts: RunCounts, letters: int, seconds: float) -> dict[str, Any]:
    """The stable form of `vingate run --json` (docs/json.md)."""
    return {
        "exchange": exchange.name,
        "run": counts.run,
        "state": str(state),
        "totals": {**counts.totals, "flagged": counts.flagged},
        "balanced": counts.balanced,
        "problems": counts.problems,
        "destinations": {name: dict(found) for name, found in counts.destinations.items()},
        "already_done": counts.already_done,
        "letters": letters,
        "seconds": round(seconds, 3),
    }


@contextmanager
def _quiet_stdout() -> Iterator[None]:
    """What libraries print goes to stderr: stdout is the result's."""
    with redirect_stdout(sys.stderr):
        yield


_HEADS = {
    "received": "收到\nreceived",
    "delivered": "送达\ndelivered",
    "duplicate": "重复\nduplicate",
    "merged": "合并\nmerged",
    "dead": "死信\ndead",
    "filtered": "过滤\nfiltered",
    "waiting": "等待\nwaiting",
}


_SECRETS = ("password", "token", "secret", "key", "auth")


def _without_secrets(override: str) -> str:
    """`a.b=c`; `a.b=...` where the value may be a secret, or hold one."""
    name, _, value = override.partition("=")
    hidden = "@" in value or any(word in name for word in _SECRETS)
    return f"{name}=..." if hidden else override


def _show(told: dict[str, Any], counts: RunCounts, before: Mapping[str, Waits], waits: Mapping[str, Waits]) -> None:
    from rich.table import Table

    screen = console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("去向\ndestination")
    for head in _HEADS.values():
        table.add_column(head, justify="right")
    for name, found in told["destinations"].items():
        table.add_row(name, *(_number(found[column]) for column in _HEADS))
    table.add_section()
    table.add_row("合计 total", *(_number(counts.totals[column]) for column in _HEADS), style="bold")
    screen.print(table)
    verdict = "[green]✓ 平衡 balanced[/green]" if counts.balanced else "[red]✗ 不平衡 not balanced[/red]"
    flagged = f"，标记 {counts.flagged:,}" if counts.flagged else ""
    screen.print(f"\n{verdict}  第 {counts.run} 次运行，{told['seconds']:.1f} 秒{flagged} / run {counts.run}")
    for problem in counts.problems:
        screen.print(f"  {problem}", style="red", markup=False)
    went = _tell_waiting(before, waits)
    if counts.already_done and not went and not waits:
        screen.print(
            "没有新内容：全部已处理过，未重复投递 / nothing new: all had been done before, nothing was doubled"
        )


def _tell_waiting(before: Mapping[str, Waits], now: Mapping[str, Waits]) -> bool:
    """Say what became of what had waited, and what waits; whether any of the former went on."""
    screen, went = console(), False
    for name, waited in before.items():
        count = waited.deliveries - (now[name].deliveries if name in now else 0)
        if count > 0:
            went = True
            screen.print(
                f"先前等待 {name} 的 {count:,} 条已处理 / {count:,} that had waited went on: {name}", markup=False
            )
    for name, waits in now.items():
        count, moment = waits.deliveries, datetime.fromisoformat(waits.tried_from).astimezone().strftime("%H:%M:%S")
        screen.print(
            f"{count:,} 条等待 {name}：它未能接收，不会丢失；{moment} 起再次运行即重试"
            f" / {count:,} wait for {name}, which did not take them; none is lost: run this again from {moment}",
            markup=False,
            style="yellow",
        )
    return went


def _next(told: dict[str, Any], first: list[str]) -> None:
    state = told["state"]
    lines = [*first, f"vingate ledger --state {state}"]
    if told["letters"]:
        lines.append(f"vingate letters list --in open --state {state}")
        lines.append(f"vingate letters stats --state {state}")
    else:
        lines.append(f"vingate trace --vin VIN --state {state}")
        lines.append(f"vingate letters stats --state {state}")
    screen = console()
    screen.print(f"待处理死信 {told['letters']:,} / open letters\n接下来 / what next:")
    for line in lines:
        screen.print(f"  {line}", markup=False, soft_wrap=True)


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"
