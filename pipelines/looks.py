"""Who looked where a vehicle's records went, and what for: looking is logged before anything is shown (事后追溯)."""

from __future__ import annotations

import getpass
import os
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select

from dlq.sealing import Sealer
from pipelines import tables
from pipelines.errors import SettingsError
from pipelines.state import State

_DEMANDED = "looks-demanded"


def demand(state: State, *, demanded: bool) -> None:
    """Keep in the state whether whoever looks must say who and what for, as its role's settings have it."""
    t = tables.meta
    with state.reading() as connection:
        same = _demanded(connection) is demanded
    if not same:
        with state.unit_of_work() as connection:
            connection.execute(delete(t).where(t.c.name == _DEMANDED))
            if demanded:
                connection.execute(insert(t), {"name": _DEMANDED, "value": "1"})


def note_look(state: State, sealer: Sealer, vin: str, who: str, purpose: str) -> None:
    """Write down who looks at a vehicle; the VIN stands there as its keyed hash.

    Raises:
        SettingsError: the state demands who and what for, and one of them is missing.
    """
    who, purpose = who.strip(), purpose.strip()
    with state.unit_of_work() as connection:
        if _demanded(connection) and not (who and purpose):
            message = (
                "此状态要求写明查询人与目的：--by 查询人 --for 目的"
                " / this state demands who looks and what for: --by WHO --for PURPOSE"
            )
            raise SettingsError(message)
        moment = datetime.now(UTC).isoformat()
        look = {"who": who, "purpose": purpose, "vin": sealer.pseudonym(vin), "account": account()}
        connection.execute(insert(tables.looks), {"moment": moment, **look})


def account() -> str:
    """The account of the operating system."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _demanded(connection: Connection) -> bool:
    t = tables.meta
    return connection.execute(select(t.c.value).where(t.c.name == _DEMANDED)).first() is not None
