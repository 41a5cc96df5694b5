"""Gateways that share a state on PostgreSQL: an exchange from inbox to store, envelopes for it, and what must hold."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from datetime import UTC, datetime

from row_gate import SHOP, record, vin
from sqlalchemy import select

from connectors.contracts import Arrival
from pipelines import tables
from pipelines.inbox import Inbox, Judged
from pipelines.journal import Journal
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.nation import DEPLOY
from pipelines.settings import Exchange
from pipelines.state import State

NAME = "collect"
KEY = "keys/sealing.key"


def settings(store: str, **more: object) -> dict[str, object]:
    """Settings of the exchange: every record goes into one store."""
    return {
        "name": NAME,
        "source": {"connector": "memory", "hub": "nothing"},
        "mapping": {"dialect": "auto", "company": "source"},
        "versions": {"mode": "assign", "system": "11"},
        "rules": {"history": ["MILEAGE_REGRESSION", "PRICE_AS_HOURS"]},
        "routing": {"table": str(DEPLOY / "tables/own-store.toml")},
        "retry": {"first_seconds": 0.01, "most_seconds": 0.05},
        "sinks": {"store": {"connector": "sql", "for": "store", "url": store}},
        **more,
    }


class Member:
    """A gateway in a folder of its own, driven a step at a time."""

    def __init__(self, folder, url: str, key_of=None, store: str = "", **more: object) -> None:
        self.folder = folder
        if key_of is not None:
            (folder / "keys").mkdir(parents=True, mode=0o700)
            shutil.copy(key_of.folder / KEY, folder / KEY)
        self.state = State(folder, own=True, url=url, shared=True)
        self.share = self.state.share
        self.share.partitioned.add(NAME)
        self.live = Live(
            self.state, Exchange.model_validate(settings(store or url, **more)), records=100, milliseconds=0
        )
        self.live.recover()

    def step(self) -> None:
        """Look at the others, then at what is to do."""
        self.share.look()
        self.share.balance()
        while self.live.step(0):
            pass

    def close(self) -> None:
        """Leave."""
        try:
            self.live.close()
        finally:
            self.live._coordinator.sinks.close()
            self.state.close()

    def dies(self) -> None:
        """Be gone without a word: nothing is given back, and the session ends."""
        self.share._ended.set()
        lease = self.share.lease
        lease._ended.set()
        lease._renewer.join()
        lease._leave()
        self.live._coordinator.sinks.close()
        self.state.engine.dispose()
        self.state._unlock()


def put(state: State, *payloads: object, company: str = SHOP, source: str = "door:national", dialect: str = "") -> None:
    """Payloads in the inbox, in a commit, as a door puts them there."""
    bodies = [one if isinstance(one, bytes) else json.dumps(one, ensure_ascii=False).encode() for one in payloads]
    judged = [Judged(Arrival(body, source, "", company, "11"), dialect) for body in bodies]
    with state.engine.begin() as connection:
        Inbox(NAME, state.sealer()).put(connection, judged, datetime.now(UTC))


def partitions(state: State) -> dict[str, int]:
    """How many partitions each member has."""
    found: dict[str, int] = defaultdict(int)
    t = tables.leases
    with state.reading() as connection:
        for owner in connection.execute(select(t.c.owner).where(t.c.name.startswith("partition:"))).scalars():
            found[owner] += 1
    return dict(found)


def intakes(state: State) -> dict[int, list[tuple[tuple[int, int, int], int]]]:
    """VIN hash -> (intake number, place in the inbox) of its records, in order of their intake numbers."""
    j, b = tables.journals, tables.batches
    found: dict[int, list[tuple[tuple[int, int, int], int]]] = defaultdict(list)
    with state.reading() as connection:
        rows = connection.execute(
            select(b.c.number, j.c.item, j.c.lines).join(b, b.c.id == j.c.batch).where(b.c.kind == "inbox")
        )
        for number, item, packed in rows:
            for line in Journal.unpack(packed).lines:
                if line["vin"]:
                    place = (number, item, int(line["ordinal"]))
                    found[int(line["vin"])].append((place, int(line["offset"])))
    return {hashed: sorted(one) for hashed, one in found.items()}


def in_order(state: State) -> bool:
    """Whether intake numbers follow the inbox, for every vehicle."""
    return all([place for _, place in one] == sorted(place for _, place in one) for one in intakes(state).values())


def balanced(state: State) -> bool:
    """Whether the ledger holds, the stores asked too."""
    proof = prove(state)
    assert proof.problems == []
    return proof.balanced


__all__ = ["record", "vin"]
