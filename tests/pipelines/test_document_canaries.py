"""Documents under the shipped agreements, on the whole way: what is withheld or personal shows nowhere.

The shipped exchange of each system outside, its own agreement, form and protocol, against its stand-in, which is down,
then picky, then well: encoded, waiting, retried, refused, shown, replayed, traced, counted, logged.
"""

from __future__ import annotations

import logging
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from document_canaries import Haystack, Made, Maker, chance
from sqlalchemy import select

from mappings.documents import Document
from mappings.documents.interchange import encode_document
from pipelines import tables
from pipelines.cli import main
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.partners import catalogue
from pipelines.partners.hosting import Hosted, hosted
from pipelines.partners.protocol import Partner
from pipelines.partners.server import Mood
from pipelines.serving.metrics import Page
from pipelines.serving.standing import families
from pipelines.settings import Exchange
from pipelines.state import State
from routing.agreements import SHIPPED, STATUTORY, load_agreement
from routing.treatments import PASS, WITHHOLD

OUTSIDE = sorted(set(SHIPPED) - set(STATUTORY))
MANY = 1_000
"""Documents of each system, at least, of its kinds in equal shares."""
BAD_DAY, REPLAYED = 240, 60
"""Those of them that wait because it is down, and letters that are replayed."""


class Lane:
    """One system outside: its exchange as shipped, fed with documents, and everything that anybody saw of it."""

    def __init__(self, name: str, folder: Path, running: Hosted) -> None:
        self.name, self.folder = name, folder
        self.agreement = load_agreement(name)
        self.stand_in = running.stand_ins[name]
        self.kinds = sorted(set(self.agreement.kinds) - {"repair", "im-case"})
        self.state = State(folder / "state", own=True)
        self.exchange = self._exchange(running.urls[name])
        self.made: list[tuple[Document, Made]] = []

    def _exchange(self, url: str) -> Exchange:
        settings = tomllib.loads((DEPLOY / "exchanges" / f"{self.name}.toml").read_text("utf-8"))
        settings["source"] = {"connector": "files", "path": str(self.folder / "in"), "format": "ndjson"}
        settings["source"]["finished"] = "keep"
        settings["mapping"]["kinds"] = self.kinds
        settings["routing"]["table"] = settings["routing"]["table"].format(here=DEPLOY / "exchanges")
        settings["retry"] = {"first_seconds": 0}
        patient = {"call_seconds": 300, "connect_seconds": 60, "retry": {"tries": 1, "deadline_seconds": 600}}
        settings["sinks"][self.name] |= {"url": url, **patient}
        settings["agreements"] = ["own-store", self.name]
        for own in ("documents", "cases"):
            settings["sinks"][own] = {"connector": "sql", "for": own, "url": f"sqlite:///{{state}}/{own}.db"}
        return Exchange.model_validate(settings).placed(self.folder / "state")

    def feed(self) -> None:
        """Make the documents; the first `BAD_DAY` of them are sent, the others when they are asked for."""
        for kind in self.kinds:
            maker = Maker(kind, self.agreement.terms(kind), chance(self.name, kind))
            self.made += [maker.document() for _ in range(-(-MANY // len(self.kinds)))]
        chance(self.name).shuffle(self.made)
        self._rows = [encode_document(document, {}) for document, _ in self.made]
        (self.folder / "in").mkdir()
        (self.folder / "in" / "a.ndjson").write_bytes(b"\n".join(self._rows[:BAD_DAY]))

    def feed_the_rest(self) -> None:
        (self.folder / "in" / "b.ndjson").write_bytes(b"\n".join(self._rows[BAD_DAY:]))

    def planted(self, kind: str, path: str) -> list[str]:
        """The values of a member, each of which stands in what was sent."""
        found = []
        for (document, made), row in zip(self.made, map(bytes.decode, self._rows), strict=True):
            if kind == document.KIND:
                values = made.values.get(path, ())
                assert [value for value in values if value not in row] == []
                assert any(one in row for one in made.personal) == bool(made.personal)
                found += values
        return found

    def run(self, mood: Mood) -> None:
        self.stand_in.mood = mood
        Coordinator(self.state, self.exchange).run()
        assert prove(self.state).problems == []

    def counts(self) -> list[int]:
        """Delivered, waiting, dead at the system outside."""
        t = tables.batch_destinations
        with self.state.reading() as connection:
            rows = connection.execute(select(t).where(t.c.destination == self.name)).all()
        return [sum(getattr(row, name) for row in rows) for name in ("delivered", "waiting", "dead")]

    def letters(self) -> list[str]:
        t = tables.letters.letters
        with self.state.reading() as connection:
            return list(connection.execute(select(t.c.id).order_by(t.c.id)).scalars())

    def metrics(self) -> str:
        page = Page()
        with self.state.reading() as connection:
            found = list(families(connection, [self.exchange.name], datetime.now(UTC)))
        page.add(lambda: found)
        return page.text().decode()


@pytest.fixture
def bodies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whatever reached a stand-in: bodies as they came, with their headers."""
    seen: list[str] = []

    def spied(partner: Partner) -> Partner:
        def spy(read: Any) -> Any:
            def looked(body: bytes, headers: Any) -> Any:
                seen.append(body.decode() + repr(dict(headers)))
                return read(body, headers)

            return looked

        return partner._replace(protocols=[one._replace(read=spy(one.read)) for one in partner.protocols])

    for name, partner in list(catalogue.PARTNERS.items()):
        monkeypatch.setitem(catalogue.PARTNERS, name, spied(partner))
    return seen


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_withheld_or_personal_shows_on_the_way_of_documents(
    name: str,
    tmp_path: Path,
    bodies: list[str],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with hosted([name], tmp_path / "stand-ins") as running, caplog.at_level(logging.DEBUG):
        lane = Lane(name, tmp_path, running)
        lane.feed()
        lane.run(Mood(down=True))
        assert lane.counts() == [0, BAD_DAY, 0]
        lane.feed_the_rest()
        lane.run(Mood(picky=3))
        total = len(lane.made)
        assert total >= MANY
        delivered, waiting, dead = lane.counts()
        assert (waiting, delivered + dead) == (0, total)
        assert dead >= total // 3
        letters = lane.letters()
        assert len(letters) == dead
        metrics = lane.metrics()
        assert "vingate_letters" in metrics
        lane.stand_in.mood = Mood()
        Coordinator(lane.state, lane.exchange).replay(letters[:REPLAYED])
        assert prove(lane.state).problems == []
        disclosed = _rows(lane.state)
        lane.state.close()
        state = str(tmp_path / "state")
        for one in letters[:: max(1, len(letters) // 12)]:
            main(["letters", "show", one, "--state", state])
            main(["letters", "show", one, "--state", state, "--json"])
        main(["letters", "list", "--state", state])
        main(["letters", "stats", "--state", state])
        main(["ledger", "--state", state, "--json"])
        shown = capsys.readouterr()
        views = caplog.text + shown.out + shown.err + metrics + disclosed
        for vin in sorted({document.identity.vin for document, _ in lane.made if document.identity.vin})[:12]:
            assert main(["trace", "--vin", vin, "--state", state, "--json"]) == 0
        traced = capsys.readouterr().out
    outside = "".join(bodies)
    everything = Haystack(outside + views + traced)
    for kind in lane.kinds:
        terms, made = lane.agreement.terms(kind), [one for document, one in lane.made if kind == document.KIND]
        values = {path: lane.planted(kind, path) for path in made[0].values}
        gone = [value for path in values if terms.treatment(path) == WITHHOLD for value in values[path]]
        assert everything.holding(gone) == set()
        assert everything.holding(value for one in made for value in one.personal) == set()
        if not terms.lane:
            assert everything.holding(value for one in made for value in one.amounts) == set()
        passed = [path for path in values if terms.treatment(path) == PASS]
        arrived = [path for path in passed if all(_told(value, outside) for value in _some(values[path]))]
        assert len(arrived) > len(passed) / 2, f"{kind}: what may be told is told, as far as the partner's form has it"
    assert load_agreement(name).approval in traced or not any(d.identity.vin for d, _ in lane.made)


def test_documents_of_no_vehicle_that_wait_go_out_many_to_a_call(tmp_path: Path, bodies: list[str]) -> None:
    """They have no order of a vehicle to keep, so they do not wait for each other."""
    with hosted(["credit"], tmp_path / "stand-ins") as running:
        lane = Lane("credit", tmp_path, running)
        lane.feed()
        lane.run(Mood(down=True))
        assert lane.counts() == [0, BAD_DAY, 0]
        bodies.clear()
        lane.run(Mood())
        assert lane.counts()[1] == 0
        lane.state.close()
    assert len(bodies) <= 8, "a few first, then all"


def _some(values: list[str]) -> list[str]:
    return values[:: max(1, len(values) // 20)]


def _told(value: str, outside: str) -> bool:
    """Whether a value arrived; some forms write days without hyphens."""
    return value in outside or value.replace("-", "") in outside


def _rows(state: State) -> str:
    """What the state says in the clear of what was disclosed, and its letters' rows."""
    with state.reading() as connection:
        return "".join(
            orjson.dumps([str(value) for value in row]).decode()
            for table in (tables.terms, tables.disclosures, tables.letters.letters, tables.waiting)
            for row in connection.execute(select(table))
        )
