"""Whether the databases of a role answer: the state's, and those of stores, each asked in a thread of its own.

Who asks for readiness gets what is known, at once: an answer that is late counts as none, whatever the way to the
database does to it. What went away by itself comes back by itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from connectors.confidential import revealed
from connectors.contracts import ConnectorError
from connectors.engines import Limits, address, open_engine, store_error
from pipelines.errors import PipelineError
from pipelines.serving.roles import Role, Work
from pipelines.settings import Connector
from pipelines.stateplace import place_of

SECONDS = 2.0
"""From one question to the next."""
LATE = 3.0
"""Seconds after which an answer is late."""
LIMITS = Limits(busy_seconds=2.0, statement_seconds=5.0, connections=1, connect_seconds=3.0, silent_seconds=2.0)
_READ_ONLY = text("SELECT current_setting('transaction_read_only')")


class Reach:
    """The databases of a role. `watch` begins, or goes on with another role; called, it says which do not answer."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked: dict[str, Asked] = {}

    def watch(self, role: Role) -> None:
        """Ask the databases of this role from now on, and no others."""
        named = databases(role, self._folder)
        kept = {one: asked for one, asked in self._asked.items() if one in named}
        for gone in set(self._asked) - set(kept):
            self._asked[gone].end()
        self._asked = kept | {one: Asked(one) for one in named if one not in kept}
        for one, names in named.items():
            self._asked[one].names = names

    def __call__(self) -> list[str]:
        """What is wrong, a sentence each; empty: all answer."""
        found = {asked.names: asked.problem for asked in self._asked.values()}
        return [f"{names}: {problem}" for names, problem in found.items() if problem]

    def close(self) -> None:
        """Ask no more."""
        for asked in self._asked.values():
            asked.end()


class Asked:
    """One database, and what it said last."""

    def __init__(self, place: str) -> None:
        self.names = ""
        """Who needs it."""
        self._place = place
        self._found = ""
        self._waits_since: float | None = time.monotonic()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="reach", daemon=True).start()

    @property
    def problem(self) -> str:
        """What is wrong with it; empty: nothing."""
        since = self._waits_since
        late = time.monotonic() - since if since is not None else 0.0
        if late > LATE and not self._found:
            return f"数据库已 {late:.0f} 秒不应答 / the database has not answered for {late:.0f} s"
        return self._found

    def end(self) -> None:
        """Ask no more; who waits for an answer is not waited for."""
        self._ended.set()

    def _run(self) -> None:
        try:
            engine = open_engine(self._place, LIMITS)
        except ConnectorError as error:
            self._found, self._waits_since = str(error), None
            return
        while not self._ended.is_set():
            self._waits_since = time.monotonic()
            self._found = _asked(engine)
            self._waits_since = None
            self._ended.wait(SECONDS)
        engine.dispose()


def _asked(engine: Engine) -> str:
    """What is wrong with a database; empty: it answers, and can be written."""
    try:
        with engine.connect() as connection:
            read_only = connection.execute(_READ_ONLY).scalar_one() == "on"
    except (DBAPIError, PoolTimeout) as error:
        return str(store_error(error))
    return "数据库只读（备库？） / the database is read-only (a standby?)" if read_only else ""


def databases(role: Role, folder: Path) -> Mapping[str, str]:
    """Addresses of all databases of PostgreSQL that a role needs, and who needs them.

    What points to a variable or file that is not there is left out: who needs it says so.
    """
    found: dict[str, list[str]] = {}
    for name, url, password in _named(role, folder):
        try:
            place = address(revealed(SecretStr(url), "url"), revealed(SecretStr(password), "password"))
        except ConnectorError:
            continue
        if place.startswith("postgresql"):
            found.setdefault(place, []).append(name)
    return {place: ", ".join(names) for place, names in found.items()}


def _named(role: Role, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Name, address and password of the state and of each store, as they are written."""
    try:
        yield "state", place_of(folder, role.state.url.get_secret_value()), ""
    except PipelineError:  # it has two places: the gateway refuses it
        return
    for exchange, work in role.exchanges.items():
        for name, connector in _connectors(work):
            url = str(connector.options.get("url", ""))
            if connector.connector == "sql" and "{destination}" not in url:
                yield f"{exchange}.{name}", url, str(connector.options.get("password", ""))


def _connectors(work: Work) -> Iterator[tuple[str, Connector]]:
    yield "source", work.settings.source
    for name, sink in work.settings.sinks.items():
        yield f"sinks.{name}", sink
