"""Accounts of repair shops: registration, login with lock-out, and what the operator does with them.

All functions work on a connection whose transaction the caller commits: also after a refusal, since wrong passwords are
counted. Several gateways on one database agree: what is decided by an account is decided with its row locked. A
password may be given as text or as `Given`, whose hashing was done beforehand, outside of the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from mappings.records import Operator
from pipelines import tables
from pipelines.door import passwords, tokens
from pipelines.door.companycodes import next_code
from pipelines.door.moments import storable, written
from pipelines.door.passwords import Given
from pipelines.door.tokens import TokenRules
from pipelines.errors import PipelineError

ACTIVE, PENDING, CLOSED = "active", "pending", "closed"
"""States of an account: it may call, it waits for approval, it is ended."""

CREDENTIALS_WRONG = "CREDENTIALS_WRONG"
"""Unknown company, wrong password, or locked: the caller cannot tell which."""
COMPANY_PENDING = "COMPANY_PENDING"
COMPANY_CLOSED = "COMPANY_CLOSED"
COMPANY_EXISTS = "COMPANY_EXISTS"
"""The USCC is registered, and the password is another one (or may not be tried now)."""
PASSWORD_UNFIT = "PASSWORD_UNFIT"  # noqa: S105 - the name of a refusal
"""Too short, too long, or with control characters."""

UNKNOWN, WRONG, LOCKED = "unknown", "wrong", "locked"
"""Causes behind CREDENTIALS_WRONG, for logs and metrics only."""

LONGEST_NAME = 64
"""Characters of the longest company code or USCC that is looked for."""
_LOCK = "accounts"


class NoSuchCompany(PipelineError):
    """No account has this company code."""

    exit_code = 2

    def __init__(self, company: str) -> None:
        self.company = company
        super().__init__(f"没有企业编码为 {company} 的账户 / no account has the company code {company}")

    def __reduce__(self) -> tuple[type[NoSuchCompany], tuple[str]]:
        return type(self), (self.company,)


@dataclass(frozen=True, slots=True)
class LockRules:
    """After how many wrong passwords in a row an account is locked, and for how long: doubled each time, capped."""

    after: int = 5
    first: timedelta = timedelta(minutes=1)
    longest: timedelta = timedelta(hours=1)

    def lock_for(self, failures: int) -> timedelta:
        """How long the account is locked after so many wrong passwords in a row; zero below `after`."""
        if failures < self.after:
            return timedelta(0)
        return min(self.first * (1 << min(failures - self.after, 30)), self.longest)


DEFAULT_LOCKS = LockRules()


class Registered(NamedTuple):
    """What became of a registration."""

    company: str
    """Company code; empty where it was refused."""
    state: str
    """`active` or `pending`; empty where it was refused."""
    refusal: str = ""
    """COMPANY_EXISTS, COMPANY_CLOSED or PASSWORD_UNFIT; empty where it was accepted."""
    new: bool = False
    """Whether the account was made now (False: the same registration came again)."""


class Login(NamedTuple):
    """What became of a login."""

    token: str | None
    """The new token, to be sent and kept nowhere."""
    refusal: str = ""
    """CREDENTIALS_WRONG, COMPANY_PENDING or COMPANY_CLOSED; empty where there is a token."""
    cause: str = ""
    """`unknown`, `wrong` or `locked`: for logs and metrics, never for the caller."""

    def __repr__(self) -> str:
        return f"Login(token={'***' if self.token else None}, refusal={self.refusal!r}, cause={self.cause!r})"


class Account(NamedTuple):
    """An account as the operator sees it: without its password."""

    company: str
    companyname: str
    uscc: str
    state: str
    failures: int
    locked_until: datetime | None
    registered_at: datetime
    changed_at: datetime
    resettable: bool
    """Whether it has no password and waits for a reset."""


def register(
    connection: Connection,
    operator: Operator,
    password: str | Given,
    now: datetime,
    *,
    approve: bool,
    rules: LockRules = DEFAULT_LOCKS,
) -> Registered:
    """Make an account for a judged registration, or answer the same registration with the same code again.

    Args:
        connection: in the caller's transaction, to be committed also after a refusal.
        operator: the registration; its division has 6 digits, its USCC was judged. A company code in it is not heeded.
        password: the password of the shop.
        now: the moment.
        approve: True where registrations count at once, False where the operator approves them.
        rules: wrong passwords for a known USCC count like those of logins, so that nothing can be tried here either.

    Raises:
        ValueError: the registration was not judged: no USCC, or a division that is none.
    """
    given = _given(password)
    _one_at_a_time(connection)
    a = tables.accounts
    uscc = operator.companyunifiedsocialcreditidentifier
    if not storable(uscc, LONGEST_NAME):
        msg = "统一社会信用代码不可用 / the USCC cannot be used"
        raise ValueError(msg)
    held = connection.execute(select(a).where(a.c.uscc == uscc).order_by(a.c.company).with_for_update()).all()
    if not held:
        return _open(connection, operator, given, now, ACTIVE if approve else PENDING)
    tried = [row for row in held if given.fits(row.password)] or held  # a right password counts against no sister
    causes = [_prove(connection, row, given, now, rules) for row in tried]
    fitting = next((row for row, cause in zip(tried, causes, strict=True) if not cause), None)
    if fitting is None:
        return Registered("", "", COMPANY_EXISTS)
    if fitting.state == CLOSED:
        return Registered("", "", COMPANY_CLOSED)
    if fitting.companyname != operator.companyname:
        _change(connection, fitting.company, now, companyname=operator.companyname)
    return Registered(fitting.company, fitting.state)


def login(
    connection: Connection,
    company: str,
    password: str | Given,
    now: datetime,
    *,
    rules: LockRules = DEFAULT_LOCKS,
    tokens_by: TokenRules = tokens.DEFAULT,
) -> Login:
    """Give a token to a company that says its password.

    Unknown company, wrong password and locked account are one refusal and take the same time.

    Args:
        connection: in the caller's transaction, to be committed also after a refusal.
        company: company code as sent.
        password: password as sent.
        now: the moment.
        rules: lock-out.
        tokens_by: life and number of tokens.
    """
    given = _given(password)
    a = tables.accounts
    mine = select(a).where(a.c.company == company).with_for_update()
    row = connection.execute(mine).first() if storable(company, LONGEST_NAME) else None
    if row is None:
        given.fits("")
        _as_long_as_counting(connection, now)
        return Login(None, CREDENTIALS_WRONG, UNKNOWN)
    cause = _prove(connection, row, given, now, rules)
    if cause == LOCKED:
        _as_long_as_counting(connection, now)
    if cause:
        return Login(None, CREDENTIALS_WRONG, cause)
    if row.state != ACTIVE:
        return Login(None, COMPANY_PENDING if row.state == PENDING else COMPANY_CLOSED)
    return Login(tokens.issue(connection, company, now, tokens_by))


def hashes_of(connection: Connection, *, company: str | None = None, uscc: str | None = None) -> list[str]:
    """The stored hashes that a login of a company, or a registration of a USCC, will be compared with.

    For `Given.fits`, in a worker thread, before the transaction begins. An empty list: compare with the empty text.
    """
    a = tables.accounts
    column, name = (a.c.company, company) if company is not None else (a.c.uscc, uscc)
    if not storable(name or "", LONGEST_NAME):
        return []
    return list(connection.execute(select(a.c.password).where(column == name)).scalars())


def approve(connection: Connection, company: str, now: datetime) -> None:
    """Let a pending or closed company call.

    Raises:
        NoSuchCompany: there is none.
    """
    _change(connection, company, now, state=ACTIVE)


def close(connection: Connection, company: str, now: datetime) -> None:
    """End a company's account and its tokens; its code is never given to another one.

    Raises:
        NoSuchCompany: there is none.
    """
    _change(connection, company, now, state=CLOSED)
    tokens.revoke(connection, company)


def unlock(connection: Connection, company: str, now: datetime) -> None:
    """Forget a company's wrong passwords.

    Raises:
        NoSuchCompany: there is none.
    """
    _change(connection, company, now, failures=0, locked_until="")


def reset_password(connection: Connection, company: str, now: datetime, password: str | Given = "") -> str:
    """Set a company's password, end its tokens and its lock.

    Returns:
        The new password, to be told once, where none was given; else the empty text.

    Raises:
        NoSuchCompany: there is none.
        ValueError: the given password may not be set.
    """
    made = passwords.generate() if password == "" else ""
    given = _given(made or password)
    if not given.acceptable:
        msg = (
            f"密码至少 {passwords.SHORTEST} 个字符，至多 {passwords.LONGEST} 字节，不含控制字符 / a password has "
            f"{passwords.SHORTEST} characters at least, {passwords.LONGEST} bytes at most, no control characters"
        )
        raise ValueError(msg)
    _change(connection, company, now, password=given.hashed(), failures=0, locked_until="")
    tokens.revoke(connection, company)
    return made


def listed(
    connection: Connection, *, state: str = "", text: str = "", after: str = "", most: int = 1_000
) -> list[Account]:
    """Accounts in the order of their codes.

    Args:
        connection: to read on.
        state: only those in this state.
        text: only those whose code or USCC begins with it, or whose name contains it.
        after: only those behind this code (to go on where a list ended).
        most: at most so many.
    """
    a = tables.accounts
    chosen = select(a).where(a.c.company > after).order_by(a.c.company).limit(most)
    if state:
        chosen = chosen.where(a.c.state == state)
    if text:
        begins = (column.startswith(text, autoescape=True) for column in (a.c.company, a.c.uscc))
        chosen = chosen.where(or_(*begins, a.c.companyname.contains(text, autoescape=True)))
    return [_account(row) for row in connection.execute(chosen)]


def counts(connection: Connection) -> dict[str, int]:
    """How many accounts there are, by state."""
    a = tables.accounts
    rows: Sequence[Any] = connection.execute(select(a.c.state, func.count()).group_by(a.c.state)).all()
    return {state: number for state, number in rows}


def find(connection: Connection, company: str) -> Account | None:
    """One account, or None."""
    a = tables.accounts
    row = connection.execute(select(a).where(a.c.company == company)).first()
    return _account(row) if row else None


def _given(password: str | Given) -> Given:
    return Given(password) if isinstance(password, str) else password


def _one_at_a_time(connection: Connection) -> None:
    """Hold back other registrations, of any gateway, until this transaction ends: codes and USCC stay unique."""
    m = tables.meta
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(m).values(name=_LOCK, value="").on_conflict_do_nothing())
    connection.execute(update(m).where(m.c.name == _LOCK).values(value=""))


def _open(connection: Connection, operator: Operator, given: Given, now: datetime, state: str) -> Registered:
    if not given.acceptable:
        return Registered("", "", PASSWORD_UNFIT)
    company = next_code(connection, operator.companyadministrativedivisioncode)
    row = {
        "company": company,
        "companyname": operator.companyname,
        "uscc": operator.companyunifiedsocialcreditidentifier,
        "password": given.hashed(),
        "state": state,
        "failures": 0,
        "locked_until": "",
        "registered_at": written(now),
        "changed_at": written(now),
    }
    connection.execute(insert(tables.accounts), row)
    return Registered(company, state, new=True)


def _prove(connection: Connection, row: Any, given: Given, now: datetime, rules: LockRules) -> str:
    """Empty where the password is right and the account not locked, else the cause; counts and renews.

    While an account is locked nothing is counted, so that a client which blindly tries again does not lock it for ever.
    """
    fits = given.fits(row.password)
    if row.locked_until and now < datetime.fromisoformat(row.locked_until):
        return LOCKED
    a = tables.accounts
    mine = update(a).where(a.c.company == row.company)
    if not fits:
        failures = row.failures + 1
        lock = rules.lock_for(failures)
        connection.execute(mine.values(failures=failures, locked_until=written(now + lock) if lock else ""))
        return WRONG
    stored = given.renewed(row.password)
    if row.failures or row.locked_until or stored != row.password:
        connection.execute(mine.values(failures=0, locked_until="", password=stored))
    return ""


def _as_long_as_counting(connection: Connection, now: datetime) -> None:
    """Write something and take it back, so that the commit takes as long as that of a counted wrong password."""
    t = tables.nonces
    nonce = token_hex(8)
    connection.execute(insert(t), {"app": "", "nonce": nonce, "expires_at": written(now)})
    connection.execute(delete(t).where(t.c.app == "", t.c.nonce == nonce))


def _change(connection: Connection, company: str, now: datetime, **values: Any) -> None:
    a = tables.accounts
    changed = update(a).where(a.c.company == company).values(changed_at=written(now), **values)
    if connection.execute(changed).rowcount != 1:
        raise NoSuchCompany(company)


def _account(row: Any) -> Account:
    return Account(
        row.company,
        row.companyname,
        row.uscc,
        row.state,
        row.failures,
        datetime.fromisoformat(row.locked_until) if row.locked_until else None,
        datetime.fromisoformat(row.registered_at),
        datetime.fromisoformat(row.changed_at),
        resettable=not row.password,
    )
