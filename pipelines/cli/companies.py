"""`vingate companies`: accounts of repair shops, and what the operator does with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from sqlalchemy import Connection

from connectors.confidential import revealed
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.door import accounts, applications
from pipelines.door.accounts import Account
from pipelines.state import State

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_ON_SCREEN = 50
_STATES = (accounts.ACTIVE, accounts.PENDING, accounts.CLOSED)
StateFolder = Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")]
Codes = Annotated[list[str], typer.Argument(metavar="CODE...", help="企业编码 / company codes")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="企业编码 / company code")]


@app.command("list")
def list_(
    state: StateFolder,
    text: Annotated[
        str, typer.Argument(help="编码或信用代码的开头、名称的一部分 / start of code or USCC, part of the name")
    ] = "",
    in_state: Annotated[str, typer.Option("--in", help=f"账户状态 / {', '.join(_STATES)}")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help=f"最多条数，屏幕默认 {_ON_SCREEN} / at most")] = None,
    as_json: AsJson = False,
) -> None:
    """列出企业账户 / list accounts in the order of their codes; with --json all of them, one object a line.

    [bold]示例 / examples:[/bold]

    vingate companies list --state var/province --in pending

    vingate companies list 330106 --state var/province --json
    """
    if in_state and in_state not in _STATES:
        wrong_use(f"--in {in_state}: 应为 / must be one of {', '.join(_STATES)}")
    with State(state, own=False) as opened, opened.reading() as connection:
        if as_json:
            _emit_all(connection, in_state, text, limit)
            return
        most = limit or _ON_SCREEN
        found = accounts.listed(connection, state=in_state, text=text, most=most + 1)
        counts = accounts.counts(connection)
    _table(found[:most])
    screen = console()
    if len(found) > most:
        screen.print(f"只显示前 {most} 家；用 --limit 或 --json 显示更多 / only {most} are shown", style="dim")
    screen.print(" · ".join(f"{name} {counts.get(name, 0):,}" for name in _STATES), style="dim")


@app.command()
def approve(codes: Codes, state: StateFolder, as_json: AsJson = False) -> None:
    """批准企业上报 / let pending or closed companies call.

    [bold]示例 / example:[/bold]  vingate companies approve 330106000000001 --state var/province
    """
    _each(codes, state, accounts.approve, as_json=as_json)


@app.command()
def close(codes: Codes, state: StateFolder, as_json: AsJson = False) -> None:
    """停用企业账户，其令牌几秒内失效 / end accounts; their tokens end within seconds, their codes stay taken.

    [bold]示例 / example:[/bold]  vingate companies close 330106000000001 --state var/province
    """
    _each(codes, state, accounts.close, as_json=as_json)


@app.command()
def unlock(codes: Codes, state: StateFolder, as_json: AsJson = False) -> None:
    """解除多次输错密码的锁定 / forget the wrong passwords that locked accounts.

    [bold]示例 / example:[/bold]  vingate companies unlock 330106000000001 --state var/province
    """
    _each(codes, state, accounts.unlock, as_json=as_json)


@app.command()
def reset(codes: Codes, state: StateFolder, as_json: AsJson = False) -> None:
    """重置密码：新密码只显示这一次 / set new passwords, shown this once only; tokens and locks of the companies end.

    [bold]示例 / example:[/bold]  vingate companies reset 330106000000001 --state var/province
    """
    now = datetime.now(UTC)
    with State(state, own=False) as opened, opened.unit_of_work() as connection:
        made = [(code, accounts.reset_password(connection, code, now)) for code in dict.fromkeys(codes)]
    for code, password in made:
        if as_json:
            emit({"company": code, "password": password})
        else:
            console().print(f"{code}  {password}", markup=False)


@app.command()
def application(
    code: Code,
    name: Annotated[str, typer.Argument(help="appId，或二级维护的 companyIdentity / appId, or companyIdentity")],
    state: StateFolder,
    secret: Annotated[
        str,
        typer.Option(
            help="沿用已有密钥：env:变量 或 file:路径 / a secret that is there already: env:NAME or file:PATH"
        ),
    ] = "",
    end: Annotated[bool, typer.Option("--end", help="停用该应用 / end the application")] = False,
    as_json: AsJson = False,
) -> None:
    """为上海签名接口发放应用密钥，只显示一次 / give a company a signing secret for Shanghai's interfaces, shown once.

    [bold]示例 / example:[/bold]  vingate companies application 310000010001 shop-app-1 --state var/province
    """
    if secret and not secret.startswith(("env:", "file:")):
        wrong_use("--secret 应为 env:变量 或 file:路径 / must be env:NAME or file:PATH")
    given = revealed(SecretStr(secret), "--secret")
    with State(state, own=False) as opened, opened.unit_of_work() as connection:
        mine = {one.app for one in applications.listed(connection, code)}
        if end and name not in mine:
            wrong_use(f"企业 {code} 没有应用 {name} / the company {code} has no application {name}")
        try:
            made = "" if end else applications.enrol(connection, opened.sealer(), name, code, given)
        except ValueError as error:
            wrong_use(str(error))
        if end:
            applications.close(connection, name)
    if as_json:
        emit({"company": code, "application": name, "state": "closed" if end else "active", "secret": made})
    else:
        console().print(f"{name}  {made or ('已停用 / ended' if end else '已启用 / active')}", markup=False)


def shown(account: Account) -> dict[str, object]:
    """An account as JSON: never its password."""
    return {
        "company": account.company,
        "companyname": account.companyname,
        "uscc": account.uscc,
        "state": account.state,
        "failures": account.failures,
        "locked_until": account.locked_until,
        "registered_at": account.registered_at,
        "changed_at": account.changed_at,
        "reset_needed": account.resettable,
    }


def _emit_all(connection: Connection, in_state: str, text: str, limit: int | None) -> None:
    after, left = "", limit
    while left is None or left > 0:
        most = min(left or 1_000, 1_000)
        page = accounts.listed(connection, state=in_state, text=text, after=after, most=most)
        for one in page:
            emit(shown(one))
        if len(page) < most:
            return
        after, left = page[-1].company, None if left is None else left - len(page)


def _each(codes: list[str], state: Path, act: Callable[[Connection, str, datetime], None], *, as_json: bool) -> None:
    """Do it to all of them or, where one is unknown, to none."""
    now = datetime.now(UTC)
    with State(state, own=False) as opened, opened.unit_of_work() as connection:
        for code in dict.fromkeys(codes):
            act(connection, code, now)
        found = [account for code in dict.fromkeys(codes) if (account := accounts.find(connection, code))]
    if as_json:
        for one in found:
            emit(shown(one))
    else:
        _table(found)


def _table(found: list[Account]) -> None:
    from rich.table import Table  # imported late: machines do not need it
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("编码 code", "名称 name", "信用代码 USCC", "状态 state", "锁定至 locked until", "注册 registered"):
        table.add_column(title, overflow="fold")
    for one in found:
        locked = f"{one.locked_until:%Y-%m-%d %H:%M:%S}Z" if one.locked_until else ""
        state = f"{one.state}（待重置 reset needed）" if one.resettable else one.state
        cells = (one.company, one.companyname, one.uscc, state, locked, f"{one.registered_at:%Y-%m-%d}")
        table.add_row(*map(Text, cells))
    console().print(table)
