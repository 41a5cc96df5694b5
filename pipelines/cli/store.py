"""`vingate store`: months of a store that is divided by months: out into its archive, back, and by their periods."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from mappings.dates import day_in_shanghai
from pipelines.cli.out import AsJson, console, emit
from pipelines.errors import SettingsError
from pipelines.retention import Retention, due, keep_to, load_retention

app = typer.Typer(help="按月归档、恢复与保存期限 / months of a store: archive, reload, retention", no_args_is_help=True)

SettingsFile = Annotated[Path, typer.Argument(help="设置文件 / settings: [store], [archive], [retention]")]
Month = Annotated[
    str, typer.Argument(help="结算月份 / month of settlement, YYYY-MM; 0: 无月份的记录 / what names none")
]


@app.callback()
def _group() -> None:
    """按月归档、恢复与保存期限 / months of a store: archive, reload, retention."""


@app.command("months")
def months(
    settings: SettingsFile,
    prove: Annotated[
        bool, typer.Option("--prove", help="读取归档文件并核对 / read the files and compare them")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """各月在库与归档的条数 / how many versions of each month stand in the store, and in the archive.

    [bold]示例 / example:[/bold]  vingate store months province-store.toml --prove
    """
    with closing(load_retention(settings).archives()) as archives:
        standing, files, strays = archives.months(), archives.archives(), archives.strays()
        for one in files if prove else ():
            if one.state == "archived":
                archives.prove(one)
    rows = [{"month": _text(month), "online": count} for month, count in standing.items() if count]
    told = [{**one._asdict(), "month": _text(one.month)} for one in files]
    if as_json:
        emit({"months": rows, "archives": told, "strays": strays, "proved": prove})
        return
    for row in rows:
        _say(f"{row['month']}  {row['online']:>12,}  在库 / online")
    for kept in files:
        _say(f"{_text(kept.month)}  {kept.count:>12,}  {kept.state}  {kept.file}")
    for name in strays:
        _say(f"不在目录中 / not in the catalogue: {name}")


@app.command("archive")
def archive(settings: SettingsFile, month: Month, as_json: AsJson = False) -> None:
    """将一个月写入 Avro 文件，核对后移出库 / write a month to a file, prove it, take it out of the store.

    中断后重新执行即可。退出码 2：未移出任何记录。 / Cut off, call it again. Exit 2: nothing was taken out.

    [bold]示例 / example:[/bold]  vingate store archive province-store.toml 2021-03
    """
    with closing(load_retention(settings).archives()) as archives:
        found = archives.archive(_number(month))
    told = {"month": month, "archived": found.count if found else 0, "file": found.file if found else ""}
    _tell(told, f"{month}: 归档 / archived {told['archived']:,}  {told['file']}", as_json)


@app.command("reload")
def reload(settings: SettingsFile, month: Month, as_json: AsJson = False) -> None:
    """将已归档的月份装回库中 / bring an archived month back into the store.

    重复执行无影响；其间的新版本仍为现行。 / Again it does nothing; versions that came meanwhile stay current.

    [bold]示例 / example:[/bold]  vingate store reload province-store.toml 2021-03
    """
    with closing(load_retention(settings).archives()) as archives:
        came = archives.reload(_number(month))
    _tell({"month": month, "reloaded": came}, f"{month}: 装回 / reloaded {came:,}", as_json)


@app.command("retention")
def retention(
    settings: SettingsFile,
    apply: Annotated[bool, typer.Option("--apply", help="执行；否则只列出 / do it; else only list")] = False,
    today: Annotated[
        str, typer.Option("--today", help="按此日计算 YYYY-MM-DD / the day that counts; by itself today")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """按保存期限列出或执行到期事项 / what is due by the periods of the settings, and why.

    [bold]示例 / example:[/bold]  vingate store retention province-store.toml --apply
    """
    found: Retention = load_retention(settings)
    if found.retention is None:
        message = f"{settings}: 缺少 [retention] / has no [retention]"
        raise SettingsError(message)
    day = _day(today) if today else day_in_shanghai(datetime.now(UTC))
    with closing(found.archives()) as archives:
        there = found.retention, archives.months(), archives.archives(), day
        fresh = archives.fresh([one.month for one in due(*there) if one.what == "archive"])
        wanted = list(due(*there, fresh))
        for one, _ in keep_to(archives, wanted) if apply else ((one, None) for one in wanted):
            if not as_json:
                _say(f"{one.what}  {_text(one.month)}  {one.count:,}")
    told = [{"what": one.what, "month": _text(one.month), "count": one.count} for one in wanted]
    _tell({"due": told, "applied": apply, "reason": found.retention.reason}, found.retention.reason, as_json)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = f"不是日期，应为 YYYY-MM-DD / no day, write YYYY-MM-DD: {text}"
        raise SettingsError(message) from None


def _number(month: str) -> int:
    """202103 of 2021-03; 0 of 0."""
    if month == "0":
        return 0
    try:
        return int(f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%Y%m}")
    except ValueError:
        message = f"不是月份 / no month: {month}"
        raise SettingsError(message) from None


def _text(month: int) -> str:
    return f"{month // 100:04d}-{month % 100:02d}" if month else "0"


def _tell(told: dict[str, Any], text: str, as_json: bool) -> None:
    if as_json:
        emit(told)
    else:
        _say(text)


def _say(text: str) -> None:
    console().print(text, highlight=False, markup=False)
