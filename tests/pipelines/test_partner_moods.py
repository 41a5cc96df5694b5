"""Bad days of every stand-in, on request, and the gateway on the shipped settings: nothing lost, nothing doubled."""

from __future__ import annotations

import asyncio

import orjson
import pytest
from outside_documents import TAKES, record, settings
from sqlalchemy import select

from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.partners.hosting import hosted
from pipelines.partners.server import Mood
from pipelines.settings import Exchange
from pipelines.state import State

MANY = 24
BAD = {
    "slow": Mood(slow_seconds=1.0),
    "down": Mood(down=True),
    "picky": Mood(picky=4),
    "wrong": Mood(wrong=True),
}
"""Every mode there is, as `vingate partner --slow/--down/--picky/--wrong` sets it."""


class Day:
    """An exchange with one system outside."""

    def __init__(self, name, folder, running):
        self.name, self.folder, self.stand_in = name, folder, running.stand_ins[name]
        self.state = State(folder / "state", own=True)
        made = settings(name)
        made["source"] = {"connector": "files", "path": str(folder / "in"), "format": "ndjson", "finished": "keep"}
        made["mapping"]["kinds"] = [TAKES[name]]
        made["retry"] = {"first_seconds": 0}
        made["agreements"] = list(dict.fromkeys(["own-store", *made["agreements"]]))
        made["sinks"][name] |= {"url": running.urls[name], "retry": {"tries": 1}, "call_seconds": 0.3}
        self.exchange = Exchange.model_validate(made).placed(folder / "state")

    def run(self, mood, numbers=()):
        if numbers:
            (self.folder / "in").mkdir(exist_ok=True)
            rows = [orjson.dumps(_as_sent(record(self.name, number))) for number in numbers]
            (self.folder / "in" / f"{numbers[0]}.ndjson").write_bytes(b"\n".join(rows))
        self.stand_in.mood = mood
        Coordinator(self.state, self.exchange).run()
        assert prove(self.state).problems == []
        return self.counts()

    def counts(self):
        t = tables.batch_destinations
        with self.state.reading() as connection:
            rows = connection.execute(select(t).where(t.c.destination == self.name)).all()
        return {name: sum(getattr(row, name) for row in rows) for name in ("delivered", "waiting", "dead", "duplicate")}

    def taken(self):
        return sum(number for name, number in self.stand_in.kept.counts().items() if name != "refused")

    def letters(self):
        t = tables.letters.letters
        with self.state.reading() as connection:
            return list(connection.execute(select(t.c.id).where(t.c.state != "resolved")).scalars())


def _as_sent(told):
    return {name: told[name] for name in ("schema", "kind", "companycode", "costlistcode", "vin", "day", "members")}


@pytest.mark.parametrize("mood", list(BAD))
@pytest.mark.parametrize("name", sorted(TAKES))
def test_a_bad_day_loses_nothing_and_doubles_nothing(name, mood, tmp_path):
    with hosted([name], tmp_path / "stand-ins") as running:
        day = Day(name, tmp_path, running)
        assert day.run(Mood(), range(1, 4)) == {"delivered": 3, "waiting": 0, "dead": 0, "duplicate": 0}
        bad = day.run(BAD[mood], range(100, 100 + MANY))
        if mood == "picky":
            assert bad == {"delivered": 3 + MANY * 3 // 4, "waiting": 0, "dead": MANY // 4, "duplicate": 0}
            day.stand_in.mood = Mood()
            Coordinator(day.state, day.exchange).replay(day.letters())
        else:
            assert bad == {"delivered": 3, "waiting": MANY, "dead": 0, "duplicate": 0}
            assert day.taken() == (3 if mood != "wrong" else 3 + MANY), "what a wrong one took it does not say"
            day.run(BAD[mood])
            day.run(Mood())
        assert prove(day.state).problems == []
        assert (day.letters(), day.counts()["waiting"]) == ([], 0)
        assert day.taken() == 3 + MANY
        counts = day.counts()
        assert counts["delivered"] == 3 + MANY
        assert counts["duplicate"] == 0
        day.state.close()


def test_a_slow_stand_in_bears_a_caller_who_gives_up(tmp_path):
    sent = []

    async def gone():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/im", "headers": [], "query_string": b""}
    with hosted(["environment"], tmp_path) as running:
        stand_in = running.stand_ins["environment"]
        asyncio.run(stand_in.app()(scope, gone, send))
        assert (sent[0]["status"], stand_in.kept.counts()) == (408, {})
