"""The runs of an exchange: begun, gone on with after a kill, ended. Each keeps the settings that it ran with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import Connection, insert, select, update

from dlq.sealing import Sealer
from pipelines import tables
from pipelines.keptsettings import keep, same_sinks
from pipelines.settings import Exchange
from pipelines.state import State


class Begun(NamedTuple):
    """A run that has begun."""

    run: int
    killed: Sequence[int] = ()
    """Runs that were not ended, this one among them where it goes on: what they did may not be marked yet."""
    resumed: bool = False
    """Whether it goes on with one that was killed, under its number."""


class Runs:
    """The runs of one exchange, by its settings as they are placed."""

    def __init__(self, state: State, exchange: Exchange, sealer: Sealer) -> None:
        self._state, self._exchange, self._sealer = state, exchange, sealer

    def begin(self) -> Begun:
        """A new run, or the one that was killed where that had the same sinks; any other that was killed is over."""
        t = tables.runs
        kept = keep(self._exchange, self._sealer)
        unended = select(t.c.id).where(t.c.exchange == self._exchange.name, t.c.ended_at.is_(None))
        with self._state.unit_of_work() as connection:
            killed = connection.execute(unended.order_by(t.c.id.desc())).scalars().all()
            resumed = bool(killed) and same_sinks(connection, self._sealer, killed[0], kept)
            for run in killed[1:] if resumed else killed:
                _end(connection, run)
            if not resumed:
                return Begun(self._add(connection), killed)
            connection.execute(update(t).where(t.c.id == killed[0]).values(**kept))
            return Begun(killed[0], killed, resumed)

    def aside(self) -> int:
        """A run for one thing; one that was killed is left to who calls it again."""
        with self._state.unit_of_work() as connection:
            return self._add(connection)

    def end(self, run: int) -> None:
        """A run is over."""
        with self._state.unit_of_work() as connection:
            _end(connection, run)

    def _add(self, connection: Connection) -> int:
        row = {"exchange": self._exchange.name, "started_at": _now(), **keep(self._exchange, self._sealer)}
        made = connection.execute(insert(tables.runs), row).inserted_primary_key
        return int(made[0]) if made else 0


def _end(connection: Connection, run: int) -> None:
    t = tables.runs
    connection.execute(update(t).where(t.c.id == run).values(ended_at=_now()))


def _now() -> str:
    return datetime.now(UTC).isoformat()
