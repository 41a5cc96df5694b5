"""`vingate import`: bring the companies, records and registrations of an older platform over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from connectors.confidential import revealed
from mappings.layout import dialect_names
from pipelines.cli.out import AsJson, console, emit, wrong_use
from pipelines.cli.payloads import existing, payloads
from pipelines.errors import StateBusy, StateMissing
from pipelines.importing import companies as shops
from pipelines.importing import registrations as vehicles
from pipelines.importing import remarks as why
from pipelines.importing.inlet import AT_ONCE, Inlet, Payload
from pipelines.importing.records import Layout, Records
from pipelines.importing.remarks import Reason, Remarks
from pipelines.importing.tabular import Columns, Row, csv_rows, database, shown_address, table_rows
from pipelines.state import State

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")

_NAMES = Layout()

Source = Annotated[
    str,
    typer.Argument(
        metavar="FILE_OR_URL",
        help="文件，或数据库地址（或 env:变量、file:路径）/ a file, or a database's address (or env:NAME, file:PATH)",
    ),
]
StateFolder = Annotated[Path, typer.Option("--state", help="状态目录 / the state's folder")]
StateUrl = Annotated[
    str,
    typer.Option(
        "--state-url",
        help="新建状态所在的 PostgreSQL，或 env:NAME、file:PATH；默认为目录内的 SQLite"
        " / database of PostgreSQL for a new state, or env:NAME, file:PATH; default: SQLite in the folder",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option("--column", help="列名对应，可多次 / which header a member has: companycode=企业代号"),
]
Encoding = Annotated[str, typer.Option(help="CSV 编码，默认自动 / encoding of a CSV file: utf-8, gbk; found by itself")]
Delimiter = Annotated[str, typer.Option(help="CSV 分隔符，默认自动 / separator of a CSV file; found by itself")]
Table = Annotated[str, typer.Option("--table", help="数据库表名 / name of the database's table")]
Report = Annotated[
    Path | None, typer.Option("--report", help="不符合项逐行写入此文件，仅本人可读 / file for what does not fit")
]
ExchangeName = Annotated[str, typer.Option("--exchange", help="进入哪个交换 / name of the exchange that takes them")]
Rules = Annotated[str, typer.Option("--profile", help="报告所用的校验严格度 / profile of the report: strict, lenient")]


@app.command()
def companies(
    source: Source,
    state: StateFolder,
    state_url: StateUrl = "",
    column: Column = None,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    table: Table = "",
    records: Annotated[
        str, typer.Option(help="没有企业表时，从此记录表取企业 / table of records to take companies from")
    ] = "rr_repair_record",
    hashes: Annotated[
        str, typer.Option("--hash", help="密码列的形式 / what the password column holds: md5, sha1, sha256, plain")
    ] = "",
    reset_list: Annotated[
        Path | None,
        typer.Option(help="为没有可用密码的企业生成新密码并写入此文件（仅本人可读）/ file for new passwords"),
    ] = None,
    operators: Annotated[
        str, typer.Option(help="企业名册交换，空为不送 / exchange of the register of operators; empty: none")
    ] = "operators",
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """迁入企业：保留企业编码与密码哈希，已有账户不改动 / bring companies over with their codes and password hashes.

    可重复执行，从断点继续；报告列出不符合项。密码形式：$scrypt$…、{MD5}…、{SHA1}…、{SHA256}…，或用 --hash 指明。
    It may be run again and goes on. Password forms: $scrypt$..., {MD5}..., {SHA1}..., {SHA256}..., or as --hash says.

    [bold]示例 / examples:[/bold]

    vingate import companies shops.csv --hash md5 --column companycode=企业代号 --state var/province

    vingate import companies sqlite:///old.db --reset-list new-passwords.csv --state var/province
    """
    if hashes.lower() not in shops.HASHES:
        wrong_use(f"--hash {hashes}: 应为 / must be one of {', '.join(shops.HASHES[1:])}")
    columns = Columns(shops.COLUMNS, _given(column), shops.NEEDED)
    place = _place(source)
    with _opened(state, state_url) as opened, Remarks(report) as remarks, ExitStack() as ends:
        taker = shops.Companies(opened, remarks, datetime.now(UTC), hashes.lower(), reset_list, operators)
        if "://" in place:
            engine = ends.enter_context(database(place))
            rows = table_rows(engine, table, columns) if table else shops.rows_of_records(engine, records)
        else:
            rows = _rows(place, columns, encoding, delimiter)
        taker.take(rows)
    extra = {"reset_list": str(reset_list) if reset_list and reset_list.exists() else ""}
    _tell("companies", place, remarks, extra, as_json=as_json)


@app.command()
def records(
    source: Source,
    state: StateFolder,
    state_url: StateUrl = "",
    exchange: ExchangeName = "collect",
    dialect: Annotated[
        str, typer.Option(help=f"文件的方言或映射文件 / {', '.join(dialect_names())}, or the path of a mapping")
    ] = "auto",
    company: Annotated[str, typer.Option(help="文件中没有企业编码时 / company code, where the file holds none")] = "",
    table: Table = _NAMES.records,
    items_table: Annotated[str, typer.Option(help="维修项目表 / table of work")] = _NAMES.items,
    parts_table: Annotated[str, typer.Option(help="配件表，可没有 / table of parts, may be absent")] = _NAMES.parts,
    key: Annotated[str, typer.Option(help="连接各表的列 / column that holds the tables together")] = _NAMES.key,
    rules: Rules = "lenient",
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """迁入维修记录：CSV 等文件，或国家平台库结构的数据库 / bring records over, from files or a platform's database.

    记录进入收件箱，由 vingate serve 按同样的规则处理；不合格的成为死信。上级下发的与已删除的不迁入。
    Records go to the inbox, where vingate serve takes them by the same rules; what is refused becomes a letter. What
    came from above, or was deleted, is left out. It may be run again: what is there is known.

    [bold]示例 / examples:[/bold]

    vingate import records 2023.csv --dialect my-export.toml --state var/province --report misfits.ndjson

    vingate import records postgresql+psycopg://reader@old-host/archive --state var/province
    """
    place, now = _place(source), datetime.now(UTC)
    with _opened(state, state_url) as opened, Remarks(report) as remarks, ExitStack() as ends:
        if "://" in place:
            layout = Layout(table, items_table, parts_table, key)
            pages = Records(ends.enter_context(database(place)), layout).pages(remarks)
            inlet = Inlet(opened, exchange, "records", "national", rules, now, remarks)
        else:
            dialect = str(Path(dialect).absolute()) if dialect.endswith(".toml") else dialect
            pages = _pages(_file(place), dialect, company, remarks)
            inlet = Inlet(opened, exchange, "records", dialect, rules, now, remarks)
        for page in pages:
            if page:
                inlet.put(page)
    _tell("records", place, remarks, {"exchange": exchange}, as_json=as_json)


@app.command()
def registrations(
    source: Source,
    state: StateFolder,
    state_url: StateUrl = "",
    exchange: ExchangeName = "registrations",
    column: Column = None,
    encoding: Encoding = "",
    delimiter: Delimiter = "",
    table: Table = "",
    rules: Rules = "lenient",
    report: Report = None,
    as_json: AsJson = False,
) -> None:
    """迁入车籍：CSV 文件或数据库表 / bring registrations of vehicles over, from a CSV file or a database's table.

    [bold]示例 / examples:[/bold]

    vingate import registrations vehicles.csv --column valid_from=初次登记日期 --state var/province

    vingate import registrations sqlite:///old.db --table vehicle --state var/province
    """
    columns = Columns(vehicles.COLUMNS, _given(column), vehicles.NEEDED)
    place, now = _place(source), datetime.now(UTC)
    if "://" in place and not table:
        wrong_use("请用 --table 指明车籍表 / name the table of registrations by --table")
    with _opened(state, state_url) as opened, Remarks(report) as remarks, ExitStack() as ends:
        inlet = Inlet(opened, exchange, "registrations", "registration-feed", rules, now, remarks)
        rows = (
            table_rows(ends.enter_context(database(place)), table, columns)
            if "://" in place
            else _rows(place, columns, encoding, delimiter)
        )
        for page in vehicles.pages(rows, remarks):
            inlet.put(page)
    _tell("registrations", place, remarks, {"exchange": exchange}, as_json=as_json)


@contextmanager
def _opened(folder: Path, url: str) -> Iterator[State]:
    """The state, made where there is none; a gateway may be running on it."""
    try:
        opened = State(folder, own=False, url=url)
    except StateMissing:
        with suppress(StateBusy):  # a gateway is making it
            State(folder, own=True, url=url).close()
        opened = State(folder, own=False, url=url)
    with opened:
        yield opened


def _place(source: str) -> str:
    """The source itself, where it was named by variable or file."""
    return revealed(SecretStr(source), "FILE_OR_URL").strip()


def _file(place: str) -> Path:
    (path,) = existing([Path(place)])
    return path


def _rows(place: str, columns: Columns, encoding: str, delimiter: str) -> Iterator[Row]:
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        wrong_use(f"--encoding {encoding}: 没有这种编码 / no such encoding")
    if delimiter and len(delimiter) != 1:
        wrong_use("--delimiter: 一个字符 / one character")
    return csv_rows(_file(place), columns, encoding, delimiter)


def _given(pairs: list[str] | None) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, header = pair.partition("=")
        if not (equals and name.strip() and header.strip()):
            wrong_use(f"--column {pair}: 应为 数据项=列名 / must be MEMBER=HEADER")
        found[name.strip()] = header.strip()
    return found


def _pages(path: Path, dialect: str, company: str, remarks: Remarks) -> Iterator[list[Payload]]:
    found = payloads(path, dialect)
    while chunk := list(islice(found, AT_ONCE)):
        for one in chunk:
            if one.problem:
                remarks.note(f"byte {one.offset}", "", "left_out", [Reason(why.ROW_BROKEN)])
        yield [Payload(one.body, f"byte {one.offset}", "", company) for one in chunk if not one.problem]


def _tell(kind: str, place: str, remarks: Remarks, extra: dict[str, str], *, as_json: bool) -> None:
    found = {"kind": kind, "source": shown_address(place), **remarks.summary(), **extra}
    if as_json:
        emit(found)
        return
    screen = console()
    screen.print(
        f"读取 read {remarks.read:,} · 新增 new {remarks.new:,} · 已有 known {remarks.known:,} · "
        f"不合格 refused {remarks.refused:,} · 未迁入 left out {remarks.left_out:,}",
        markup=False,
    )
    for code, count in sorted(remarks.reasons.items(), key=lambda pair: (-pair[1], pair[0])):
        screen.print(f"  {code}  {count:,}", markup=False)
    for name in ("report", "reset_list"):
        if found.get(name):
            screen.print(f"{name}: {found[name]}", markup=False, style="dim")
