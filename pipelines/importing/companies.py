"""Companies of an older platform -> accounts with the codes and password hashes that they have; may be run again.

An account that is there is never changed, but for one thing: where it has no password and a reset list is asked for, it
gets one. Details that suffice for the register of operators go there by the inbox.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mappings import uscc
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from mappings.records import Operator
from pipelines import tables
from pipelines.door import applications, passwords
from pipelines.door.accounts import ACTIVE, CLOSED, PENDING
from pipelines.door.moments import written
from pipelines.door.passwords import Cost
from pipelines.importing import remarks as why
from pipelines.importing.inlet import Inlet, Payload
from pipelines.importing.remarks import Reason, Remarks, open_private
from pipelines.importing.tabular import Row, Stored, as_text
from pipelines.state import State

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "companycode": ("company", "企业编码", "企业编号", "maintCode"),
    "companyname": ("企业名称", "维修企业名称", "maintName"),
    "companyunifiedsocialcreditidentifier": ("uscc", "统一社会信用代码", "社会信用代码"),
    "password": ("companypassword", "passwordhash", "密码", "密码哈希"),
    "state": ("账户状态",),
    "application": ("appId", "应用编号"),
    "secret": ("secretKey", "appSecret", "应用密钥"),
    "companyroadtransportationlicense": ("道路运输经营许可证号",),
    "companyaddress": ("企业地址", "地址"),
    "companypostalcode": ("邮政编码", "邮编"),
    "companyeconomiccategory": ("companyeconomicategory", "经济类型"),
    "companycategory": ("企业类别",),
    "companylinkmanname": ("联系人",),
    "companylinkmantel": ("联系电话",),
    "companysuperintendentname": ("companysupereintendentname", "负责人"),
    "companysuperintendenttel": ("companysupereintendenttel", "负责人电话"),
    "companybusinessscope": ("经营范围",),
    "roadtransportationlicensestartdate": ("许可证开始日期",),
    "roadtransportationlicenseenddate": ("许可证截止日期",),
    "companyoperationstate": ("经营状态",),
    "companyadministrativedivisioncode": ("行政区划代码", "行政区划"),
    "companyemail": ("电子邮箱", "邮箱"),
}
"""Our names -> headers that are known by themselves."""
NEEDED = ("companycode", "companyname")
HASHES = ("", "md5", "sha1", "sha256", "plain")
"""What stands in the password column where it does not say so itself: hex digits, or passwords as they are."""

_STATES = {"": ACTIVE, ACTIVE: ACTIVE, "1": ACTIVE, "启用": ACTIVE, "正常": ACTIVE, PENDING: PENDING, "待审核": PENDING}
_STATES |= {CLOSED: CLOSED, "停用": CLOSED, "注销": CLOSED}
_CODE = re.compile(r"[!-~]{1,50}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_MADE = Cost(ln=10)
"""Cost of hashes of passwords made here: 92 random bits need no more; the first good login makes them dear."""
_CHUNK = 200
_ABOUT = frozenset(COLUMNS) - {"password", "state", "application", "secret"}


@dataclass(frozen=True, slots=True)
class _Shaped:
    """A row made fit for the table of accounts."""

    place: str
    company: str
    name: str
    uscc: str
    state: str
    password: str = field(repr=False)
    """Stored form; empty: none that can be used."""
    plain: str = field(repr=False)
    """A password that has still to be hashed (dear)."""
    application: tuple[str, str] = field(repr=False)
    """Name and secret with which it signs calls; both empty where it has none."""
    body: bytes
    """What the register of operators gets; empty: not enough is known."""
    reasons: tuple[Reason, ...]


class Companies:
    """Takes companies into the accounts of a state.

    Args:
        state: where the accounts are.
        remarks: what is counted.
        now: the moment of the import.
        hashes: one of `HASHES`.
        reset_list: file to which new passwords of companies without one are written, readable by its owner only; None:
            they get none.
        operators: name of the exchange that keeps the register of operators; empty: none.
    """

    def __init__(
        self,
        state: State,
        remarks: Remarks,
        now: datetime,
        hashes: str = "",
        reset_list: Path | None = None,
        operators: str = "operators",
    ) -> None:
        self._state, self._remarks, self._now, self._hashes = state, remarks, now, hashes
        self._resets = reset_list
        self._inlet = Inlet(state, operators, "operators", "auto", "lenient", now, Remarks()) if operators else None

    def take(self, rows: Iterable[Row]) -> None:
        """Take all rows, some hundred to a commit.

        Raises:
            UnsafeFile: others could read the reset list.
        """
        rest = iter(rows)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            while chunk := list(islice(rest, _CHUNK)):
                self._take(chunk, pool)

    def _take(self, rows: list[Row], pool: ThreadPoolExecutor) -> None:
        shaped: dict[str, _Shaped] = {}
        for row in rows:
            one = self._shaped(row)
            if one is None:
                continue
            if one.company in shaped:
                self._known(one, shaped[one.company].uscc)
            else:
                shaped[one.company] = one
        with self._state.reading() as connection:
            there = _there(connection, list(shaped))
        new = [one for code, one in shaped.items() if code not in there]
        bare: list[str] = []
        for code, (known, password) in there.items():
            reset = bool(self._resets) and not password and not _differs(shaped[code], known)
            self._known(shaped[code], known, [Reason(why.PASSWORD_RESET)] if reset else ())
            bare += [code] if reset else []
        new, made = self._with_passwords(new, bare, pool)
        with self._state.unit_of_work() as connection:
            fresh = _insert(connection, new, self._now)
            taken = {one.company for one in new if not self._enrolled(connection, one)}
            for code in bare:
                t = tables.accounts
                empty = (t.c.company == code) & (t.c.password == "")
                connection.execute(update(t).where(empty).values(password=made[code], changed_at=written(self._now)))
        for one in new:
            other = [Reason(why.APPLICATION_TAKEN, "application")] if one.company in taken else []
            outcome = "new" if one.company in fresh else "known"
            self._remarks.note(one.place, one.company, outcome, [*one.reasons, *other])
        told = [Payload(one.body, one.place, one.company) for one in new if one.body]
        if told and self._inlet:
            self._inlet.put(told)

    def _enrolled(self, connection: Connection, one: _Shaped) -> bool:
        """Keep the secret with which a new company signs; False where its application is another company's."""
        name, secret = one.application
        if not name:
            return True
        try:
            applications.enrol(connection, self._state.sealer(), name, one.company, secret)
        except ValueError:
            return False
        return True

    def _known(self, one: _Shaped, known: str, reasons: Sequence[Reason] = ()) -> None:
        if _differs(one, known):
            self._remarks.note(one.place, one.company, "left_out", [Reason(why.COMPANY_DIFFERS)])
        else:
            self._remarks.note(one.place, one.company, "known", reasons)

    def _with_passwords(
        self, new: list[_Shaped], bare: list[str], pool: ThreadPoolExecutor
    ) -> tuple[list[_Shaped], dict[str, str]]:
        """The same with hashes for all that can have one, and hashes for known accounts without any."""
        plain = [one.plain for one in new if one.plain]
        dear = iter(list(pool.map(passwords.hashed, plain)))
        new = [replace(one, password=next(dear), plain="") if one.plain else one for one in new]
        without = {one.company: one.name for one in new if not one.password}
        if self._resets is None:
            none = Reason(why.PASSWORD_NONE)
            return [one if one.password else replace(one, reasons=(*one.reasons, none)) for one in new], {}
        lines = {code: passwords.generate() for code in (*without, *bare)}
        if lines:
            _write(self._resets, lines)
        codes = list(lines)
        hashed = pool.map(lambda code: passwords.hashed(lines[code], _MADE), codes)
        made = dict(zip(codes, hashed, strict=True))
        reset = Reason(why.PASSWORD_RESET)
        return [
            one if one.password else replace(one, password=made[one.company], reasons=(*one.reasons, reset))
            for one in new
        ], made

    def _shaped(self, row: Row) -> _Shaped | None:
        cells = row.cells
        code, name = cells.get("companycode", ""), cells.get("companyname", "")
        wrong = [Reason(why.ROW_BROKEN)] if row.broken else []
        if not _CODE.fullmatch(code):
            wrong.append(Reason(why.CODE_FORM, "companycode"))
        if not name and not row.broken:
            wrong.append(Reason(why.NAME_MISSING, "companyname"))
        if wrong:
            self._remarks.note(row.place, "", "left_out", wrong)
            return None
        reasons: list[Reason] = []
        state = _STATES.get(cells.get("state", "").lower())
        if state is None:
            reasons.append(Reason(why.STATE_UNKNOWN, "state"))
        identity = uscc.normalise(cells.get("companyunifiedsocialcreditidentifier", ""))
        if identity:
            found = (problem for problem, _ in uscc.problems(identity))
            reasons += [Reason(problem, "companyunifiedsocialcreditidentifier") for problem in found]
        stored, plain = self._password(cells.get("password", ""))
        if cells.get("password", "") and not (stored or plain):
            reasons.append(Reason(why.PASSWORD_FORM, "password"))
        application = cells.get("application", ""), cells.get("secret", "")
        if any(application) and not all(application):
            reasons.append(Reason(why.APPLICATION_HALF, "application"))
            application = "", ""
        body = _operator(cells, self._now)
        if not body:
            reasons.append(Reason(why.REGISTER_INCOMPLETE))
        return _Shaped(
            row.place,
            code,
            name,
            identity,
            state or PENDING,
            stored,
            plain,
            application,
            body,
            tuple(dict.fromkeys(reasons)),
        )

    def _password(self, text: str) -> tuple[str, str]:
        """(stored form, "") or ("", password to be hashed); both empty where it can be no password."""
        if self._hashes == "plain":
            return "", text if 0 < len(text.encode()) <= passwords.LONGEST else ""
        if self._hashes and _HEX.fullmatch(text):
            text = f"{{{self._hashes.upper()}}}{text}"
        return (text, "") if passwords.known_form(text) else ("", "")


def _differs(one: _Shaped, known: str) -> bool:
    """Whether an account's USCC says that it is another company's."""
    return bool(known and one.uscc and known != one.uscc)


def rows_of_records(engine: Engine, records: str) -> Iterator[Row]:
    """The companies that stand in the records of a database (maintCode, maintName): code and name are all it says.

    Raises:
        SourceUnfit: no such table or columns.
    """
    stored = Stored(engine, records, "--records")
    stored.demand("maintCode", "maintName")
    code, name = stored["maintCode"], stored["maintName"]
    with engine.connect() as connection:
        pairs = connection.execute(select(code, name).distinct().order_by(code)).all()
    names: dict[str, str] = {}
    for one, other in pairs:
        names[as_text(one)] = as_text(other) or names.get(as_text(one), "")
    for number, (one, other) in enumerate(names.items(), 1):
        yield Row(f"company {number}", {"companycode": one, "companyname": other})


def _operator(cells: Mapping[str, str], now: datetime) -> bytes:
    """The registration that the register of operators takes, or nothing where its rules would refuse it."""
    members = {name: cells[name] for name in sorted(_ABOUT) if cells.get(name)}
    body = orjson.dumps({**members, "companypassword": "not-exchanged"})
    found = judge(read(body, "national"), Context(profile("lenient"), now))
    if not isinstance(found.record, Operator) or found.rejected:
        return b""
    kept = found.record.model_dump(exclude_none=True)
    return orjson.dumps({name: value if isinstance(value, str) else f"{value:%Y%m%d}" for name, value in kept.items()})


def _there(connection: Connection, codes: list[str]) -> dict[str, tuple[str, str]]:
    a = tables.accounts
    rows = connection.execute(select(a.c.company, a.c.uscc, a.c.password).where(a.c.company.in_(codes)))
    return {company: (known, password) for company, known, password in rows}


def _insert(connection: Connection, new: list[_Shaped], now: datetime) -> set[str]:
    """Make the accounts that are still not there; the codes of those that were made."""
    a = tables.accounts
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh: set[str] = set()
    for one in new:
        row: dict[str, Any] = {
            "company": one.company,
            "companyname": one.name,
            "uscc": one.uscc,
            "password": one.password,
            "state": one.state,
            "failures": 0,
            "locked_until": "",
            "registered_at": written(now),
            "changed_at": written(now),
        }
        made = dialect.insert(a).values(row).on_conflict_do_nothing().returning(a.c.company)
        if connection.execute(made).first() is not None:
            fresh.add(one.company)
    return fresh


def _write(path: Path, lines: Mapping[str, str]) -> None:
    """Add passwords to the reset list, before they count; of two lines of one company the later one counts."""
    with open_private(path, append=True) as file:
        if not file.tell():
            file.write(b"companycode,password\n")
        file.writelines(f"{code},{password}\n".encode() for code, password in lines.items())
        file.flush()
        os.fsync(file.fileno())
