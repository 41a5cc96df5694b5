"""`vingate letters`: look at dead letters, replay, discard and reopen them."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dlq import console as screens
from dlq.errors import DlqError
from dlq.letter import CLAIMED, Letter
from dlq.letters import Filters, LetterStore
from dlq.views import view, view_count
from pipelines.audit import note_disclosure
from pipelines.bodies import locator_of
from pipelines.cli import choosing as by
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.errors import StateBusy
from pipelines.keptsettings import newest_exchange
from pipelines.leaving import as_told
from pipelines.state import State

if TYPE_CHECKING:
    from pipelines.lettering import Replayed

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_BY_ITS_OWN = (
    "服务运行中：按其当前设置重放，不能用 --settings 或 --set；请修改其设置文件（自动重载），或先停止服务"
    " / the running service replays by its own settings: without --settings and --set; edit its files, which are read"
    " again, or stop it first"
)
_ON_SCREEN = 50
_MORE = (
    f"只显示前 {_ON_SCREEN} 条；--limit 或 --json 显示更多 / only {_ON_SCREEN} are shown; --limit or --json show more"
)
All = Annotated[bool, typer.Option("--all", help="符合条件的全部 / all that the filters let through")]


@app.command("list")
def list_(
    state: by.StateFolder,
    reason: by.Reason = "",
    source: by.SourceName = "",
    company: by.Company = "",
    exchange: by.ExchangeName = "",
    stage: by.Stage = "",
    in_state: by.InState = "",
    destination: by.Destination = "",
    vin: by.Vin = "",
    older_than: by.OlderThan = "",
    newer_than: by.NewerThan = "",
    parked: by.Parked = None,
    limit: Annotated[int | None, typer.Option(min=1, help=f"最多条数，屏幕默认 {_ON_SCREEN} / at most")] = None,
    as_json: AsJson = False,
) -> None:
    """列出死信 / list dead letters, oldest first; with --json all of them, one object a line.

    [bold]示例 / examples:[/bold]

    vingate letters list --state var/nation --in open --reason VIN_CHECK_DIGIT

    vingate letters list --state var/nation --company 440300000000001 --older-than 2d --json
    """
    most = limit if limit is not None or as_json else _ON_SCREEN + 1
    filters = by.chosen_by(
        reason, source, company, exchange, stage, in_state, destination, vin, older_than, newer_than, parked, most
    )
    with State(state, own=False) as opened, opened.reading() as connection:
        found = LetterStore(connection, opened.sealer()).search(filters)
        if as_json:
            for letter in found:
                emit(view(letter))
            return
        letters = list(found)
    screen = console()
    screen.print(screens.list_table(letters[:_ON_SCREEN] if limit is None else letters))
    if limit is None and len(letters) > _ON_SCREEN:
        screen.print(_MORE, style="dim")
    if letters:
        screen.print(f"查看一条 / look at one: vingate letters show {letters[0].id[:12]} --state {state}", style="dim")


@app.command()
def show(
    letter_id: Annotated[
        str, typer.Argument(metavar="ID", help="死信编号或其开头至少 6 位 / the id, or 6 digits of it")
    ],
    state: by.StateFolder,
    unmask: Annotated[
        bool, typer.Option("--unmask", help="原文不脱敏，须写明 --by 与 --for / the original bytes")
    ] = False,
    who: Annotated[str, typer.Option("--by", help="查看人 / who looks")] = "",
    purpose: Annotated[str, typer.Option("--for", help="用途 / for what purpose")] = "",
    as_json: AsJson = False,
) -> None:
    """显示一条死信的全部原因与脱敏原文 / show one letter: every reason, its replays, and its body masked.

    --unmask 输出原文，并在状态目录的 audit.ndjson 中记录查看人与用途。
    With --unmask the original bytes are printed, and who looked and why is noted in the state's audit.ndjson.
    Of a delivery that was refused only what its agreement lets through is shown.

    [bold]示例 / examples:[/bold]

    vingate letters show 3f2a9c --state var/nation

    vingate letters show 3f2a9c --state var/nation --unmask --by zhang.wei --for "call the shop back" > body.json
    """
    if unmask and not (who.strip() and purpose.strip()):
        wrong_use("--unmask 需要 --by 查看人 和 --for 用途 / --unmask needs --by WHO and --for PURPOSE")
    with State(state, own=False) as opened, opened.reading() as connection:
        store = LetterStore(connection, opened.sealer())
        letter = store.get(letter_id)
        store = LetterStore(connection, opened.sealer(), locator_of(connection, opened.sealer(), letter.exchange))
        history, body, trouble = store.history(letter.id), None, ""
        try:
            body = store.body(letter)
        except DlqError as error:
            if unmask:
                raise
            trouble = str(error)
        if unmask:
            note_disclosure(opened.path, letter, who.strip(), purpose.strip())
        elif body is not None and letter.destination:
            body = as_told(body, letter.destination, newest_exchange(connection, opened.sealer(), letter.exchange))
    if unmask and body is not None:
        _original(letter, body, as_json=as_json)
    elif as_json:
        emit(view(letter, body, history, trouble))
    else:
        console().print(screens.show(letter, body, history, trouble))


def _original(letter: Letter, body: bytes, *, as_json: bool) -> None:
    """The bytes as they are; in JSON as text where they are text, else in base64."""
    if not as_json:
        sys.stdout.flush()
        sys.stdout.buffer.write(body)
        return
    try:
        emit({"id": letter.id, "body_sha256": letter.body_sha256, "encoding": "utf-8", "original": body.decode()})
    except UnicodeDecodeError:
        coded = base64.b64encode(body).decode()
        emit({"id": letter.id, "body_sha256": letter.body_sha256, "encoding": "base64", "original": coded})


@app.command()
def stats(state: by.StateFolder, exchange: by.ExchangeName = "", as_json: AsJson = False) -> None:
    """统计死信：按交换、状态、原因 / count letters by exchange, state and primary reason; --json: one object a line.

    [bold]示例 / example:[/bold]  vingate letters stats --state var/nation
    """
    with State(state, own=False) as opened, opened.reading() as connection:
        every = LetterStore(connection, opened.sealer()).counts()
    counts = [one for one in every if exchange in ("", one.exchange)]
    if as_json:
        for count in counts:
            emit(view_count(count))
    else:
        console().print(screens.stats(counts))


@app.command()
def discard(
    state: by.StateFolder,
    note: Annotated[str, typer.Option(help="作废原因，必填 / why it is given up: a must")],
    ids: by.Ids = None,
    everything: All = False,
    reason: by.Reason = "",
    source: by.SourceName = "",
    company: by.Company = "",
    exchange: by.ExchangeName = "",
    older_than: by.OlderThan = "",
    as_json: AsJson = False,
) -> None:
    """作废死信，须说明原因；可用 reopen 恢复 / give letters up, with a note that says why; reopen takes it back.

    [bold]示例 / example:[/bold]  vingate letters discard 3f2a9c --note "门店确认为测试数据" --state var/nation
    """
    filters = by.chosen_by(reason, source, company, exchange, "", "", "", "", older_than, "", None)
    moment = datetime.now(UTC)
    with State(state, own=False) as opened, opened.unit_of_work() as connection:
        store = LetterStore(connection, opened.sealer())
        wanted = filters._replace(state="open") if everything else filters
        meant = [letter.id for letter in by.letters_meant(store, ids, everything, wanted)]
        for name in meant:
            store.discard(name, note, moment)
        changed = [store.get(name) for name in meant]
    _changed(changed, as_json=as_json)


@app.command()
def reopen(
    state: by.StateFolder,
    ids: by.Ids = None,
    note: Annotated[str, typer.Option(help="备注 / a note")] = "",
    as_json: AsJson = False,
) -> None:
    """重新打开已作废、停放或遗留的死信 / open discarded, parked or abandoned letters again.

    [bold]示例 / example:[/bold]  vingate letters reopen 3f2a9c --state var/nation
    """
    try:
        with State(state, own=True) as opened:
            changed = _reopened(opened, ids, note, claimed=True)
    except StateBusy:
        with State(state, own=False) as opened:
            changed = _reopened(opened, ids, note, claimed=False)
    _changed(changed, as_json=as_json)


def _reopened(opened: State, ids: list[str] | None, note: str, *, claimed: bool) -> list[Letter]:
    """Letters that were opened again; those that are claimed only where no gateway can be working on them."""
    moment = datetime.now(UTC)
    with opened.unit_of_work() as connection:
        store = LetterStore(connection, opened.sealer())
        meant = list(by.letters_meant(store, ids, False, Filters()))
        for letter in meant:
            if letter.state == CLAIMED and not claimed:
                wrong_use(
                    f"死信 {letter.id} 正在处理 / letter {letter.id} is being worked on: wait, or stop the service"
                )
            store.reopen(letter.id, moment, note)
        return [store.get(letter.id) for letter in meant]


def _changed(letters: list[Letter], *, as_json: bool) -> None:
    if as_json:
        for letter in letters:
            emit(view(letter))
    else:
        console().print(screens.list_table(letters))


@app.command()
def replay(
    state: by.StateFolder,
    ids: by.Ids = None,
    everything: All = False,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="改用此设置文件，默认为该交换上次运行的设置 / settings to use instead"),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="覆盖设置 a.b=值 / override a setting, with --settings; repeatable"),
    ] = None,
    reason: by.Reason = "",
    source: by.SourceName = "",
    company: by.Company = "",
    exchange: by.ExchangeName = "",
    stage: by.Stage = "",
    destination: by.Destination = "",
    vin: by.Vin = "",
    older_than: by.OlderThan = "",
    newer_than: by.NewerThan = "",
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="服务运行中时最多等待秒数 / seconds to wait for a running service")
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """重放死信：原文按原企业身份从同一入口再次进入 / replay letters: the original bytes enter by the same door again.

    原因修正后再重放：更正映射、规则或路由表。重复执行不会重复投递；三次失败后停放。
    Mend the cause first: mapping, profile or routing table. Doing it twice does nothing twice; after three failures a
    letter is parked until it is reopened.

    服务运行中时由服务按其当前设置重放，本命令等待结果 / a running service replays by its own settings, and this waits.

    [bold]示例 / examples:[/bold]

    vingate letters replay 3f2a9c 77b012 --state var/nation

    vingate letters replay --all --reason NO_ROUTE --state var/nation

    vingate letters replay --all --settings collect.toml --set mapping.profile=lenient --state var/nation --json
    """
    from pipelines.cli.watching import watching
    from pipelines.lettering import order_letters, replay_letters

    filters = by.chosen_by(reason, source, company, exchange, stage, "", destination, vin, older_than, newer_than, None)

    def meant(opened: State) -> list[str]:
        with opened.reading() as connection:
            store = LetterStore(connection, opened.sealer())
            wanted = filters._replace(state="open", parked=False) if everything else filters
            return [letter.id for letter in by.letters_meant(store, ids, everything, wanted)]

    try:
        with State(state, own=True) as opened, watching() as observer:
            told = replay_letters(opened, meant(opened), settings, overrides or (), observer)
    except StateBusy:
        if settings is not None or overrides:
            wrong_use(_BY_ITS_OWN)
        with State(state, own=False) as opened:
            told = order_letters(opened, meant(opened), wait)
    if as_json:
        emit(told.as_object())
    else:
        _told(told, state)
    raise typer.Exit(0 if told.went_through else 1)


def _told(told: Replayed, state: Path) -> None:
    screen = console()
    for one in told.letters:
        mark = "[green]✓[/green]" if one.outcome in ("resolved", "waiting") else "[red]✗[/red]"
        screen.print(f"{mark} {one.id[:12]}  {one.outcome}  {one.why}")
    counts = Counter(one.outcome for one in told.letters)
    screen.print(
        ", ".join(f"{name} {number}" for name, number in counts.items()) or "没有可重放的死信 / none to replay"
    )
    if not told.went_through:
        screen.print(f"查看原因 / see why: vingate letters show ID --state {state}", style="dim")
