"""The settings that each run kept: by them the ledger asks the sinks again, and a trace finds the stores.

They are sealed, because the address of a store may hold a password.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, select

from dlq.sealing import Sealer
from pipelines import tables
from pipelines.settings import Exchange
from pipelines.state import SETTINGS


def keep(exchange: Exchange, sealer: Sealer) -> dict[str, Any]:
    """The values of a `runs` row that tell which settings, placed (`Exchange.placed`), it ran with."""
    plain = exchange.model_dump(mode="json", by_alias=True)
    return {"receipts": exchange.rules.receipts, "settings": sealer.seal(orjson.dumps(plain), SETTINGS)}


def same_sinks(connection: Connection, sealer: Sealer, run: int, kept: Mapping[str, Any]) -> bool:
    """Whether a run kept the sinks and the receipts of these values of a row: else its deliveries lie elsewhere.

    Raises:
        SealError: what it kept was changed, or sealed with another key.
    """
    t = tables.runs
    before = connection.execute(select(t.c.receipts, t.c.settings).where(t.c.id == run)).one()
    if before.settings is None:
        return False
    told = [orjson.loads(sealer.unseal(sealed, SETTINGS))["sinks"] for sealed in (before.settings, kept["settings"])]
    return bool(before.receipts == kept["receipts"] and told[0] == told[1])


def kept_exchange(connection: Connection, sealer: Sealer, run: int) -> Exchange | None:
    """The settings that a run kept; None when it kept none.

    Raises:
        SealError: they were changed, or sealed with another key.
    """
    sealed = connection.execute(select(tables.runs.c.settings).where(tables.runs.c.id == run)).scalar()
    return Exchange.model_validate(orjson.loads(sealer.unseal(sealed, SETTINGS))) if sealed else None


def newest_run(connection: Connection, exchange: str) -> int | None:
    """The newest run of an exchange that kept its settings."""
    t = tables.runs
    statement = select(t.c.id).where(t.c.exchange == exchange, t.c.settings.is_not(None)).order_by(t.c.id.desc())
    return connection.execute(statement.limit(1)).scalar()


def newest_exchange(connection: Connection, sealer: Sealer, exchange: str) -> Exchange | None:
    """The settings that an exchange last ran with; None where no run kept any.

    Raises:
        SealError: they were changed, or sealed with another key.
    """
    run = newest_run(connection, exchange)
    return kept_exchange(connection, sealer, run) if run is not None else None
