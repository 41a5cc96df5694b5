"""Applications: who signs calls of the Shanghai interfaces (appId, companyIdentity of 二级维护), and with which secret.

A signature is made with the secret itself, so it cannot be kept as a hash: it is sealed.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import NamedTuple

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from dlq.sealing import Sealer
from pipelines import tables
from pipelines.door.accounts import NoSuchCompany, find
from pipelines.door.moments import storable

ACTIVE, CLOSED = "active", "closed"
LONGEST = 64
"""Characters of the longest name of an application."""


@dataclass(frozen=True, slots=True)
class Application:
    """An application that may call now."""

    app: str
    company: str
    companyname: str
    secret: str = field(repr=False)


class Listed(NamedTuple):
    """An application as the operator sees it."""

    app: str
    company: str
    state: str


def enrol(connection: Connection, sealer: Sealer, app: str, company: str, secret: str = "") -> str:
    """Give a company an application, or an application a new secret.

    Returns:
        The new secret, to be told once, where none was given; else the empty text.

    Raises:
        NoSuchCompany: the company has no account.
        ValueError: the application belongs to another company, or its name is empty or longer than 64 characters.
    """
    if not storable(app, LONGEST):
        msg = f"应用编号为 1 至 {LONGEST} 个字符 / an application's name has 1 to {LONGEST} characters"
        raise ValueError(msg)
    if find(connection, company) is None:
        raise NoSuchCompany(company)
    t = tables.applications
    made = "" if secret else secrets.token_hex(16)
    values = {"secret": sealer.seal((secret or made).encode(), _context(app)), "state": ACTIVE}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = dialect.insert(t).values(app=app, company=company, **values).on_conflict_do_nothing()
    if connection.execute(fresh.returning(t.c.app)).first() is None:
        again = update(t).where(t.c.app == app, t.c.company == company).values(**values)
        if connection.execute(again).rowcount != 1:
            msg = f"应用 {app} 属于另一企业 / the application {app} belongs to another company"
            raise ValueError(msg)
    return made


def application_of(connection: Connection, sealer: Sealer, app: str) -> Application | None:
    """The application of that name; None where there is none, it is closed, or its company's account is not active.

    Raises:
        SealError: its secret was sealed with another key, or changed.
    """
    if not storable(app, LONGEST):
        return None
    t, a = tables.applications, tables.accounts
    row = connection.execute(
        select(t.c.app, t.c.company, t.c.secret, a.c.companyname)
        .join(a, a.c.company == t.c.company)
        .where(t.c.app == app, t.c.state == ACTIVE, a.c.state == "active")
    ).first()
    if row is None:
        return None
    return Application(row.app, row.company, row.companyname, sealer.unseal(row.secret, _context(app)).decode())


def close(connection: Connection, app: str) -> bool:
    """End an application; whether there was one."""
    t = tables.applications
    return connection.execute(update(t).where(t.c.app == app).values(state=CLOSED)).rowcount == 1


def listed(connection: Connection, company: str = "") -> list[Listed]:
    """All applications, or those of one company, by name."""
    t = tables.applications
    chosen = select(t.c.app, t.c.company, t.c.state).order_by(t.c.app)
    if company:
        chosen = chosen.where(t.c.company == company)
    return [Listed(*row) for row in connection.execute(chosen)]


def _context(app: str) -> bytes:
    return b"application:" + app.encode()
