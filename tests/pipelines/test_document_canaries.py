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
from document_canaries import Made, Maker, chance
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
from routing.treatments import WITHHOLD

OUTSIDE = sorted(set(SHIPPED) - set(STATUTORY))
MANY = 210
"""Documents of each system, of its kinds in equal shares."""


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
        settings["sinks"][self.name] |= {"url": url, "retry": {"tries": 1}}
        settings["agreements"] = ["own-store", self.name]
        for own in ("documents", "cases"):
            settings["sinks"][own] = {"connector": "sql", "for": own, "url": f"sqlite:///{{state}}/{own}.db"}
        return Exchange.model_validate(settings).placed(self.folder / "state")

    def feed(self) -> None:
        rows = []
        for kind in self.kinds:
            maker = Maker(kind, self.agreement.terms(kind), chance(self.name, kind))
            for _ in range(MANY // len(self.kinds)):
                document, made = maker.document()
                self.made.append((document, made))
                rows.append(encode_document(document, {}))
        (self.folder / "in").mkdir()
        (self.folder / "in" / "a.ndjson").write_bytes(b"\n".join(rows))

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
        total = len(lane.made)
        lane.run(Mood(down=True))
        assert lane.counts() == [0, total, 0]
        lane.run(Mood(picky=3))
        delivered, waiting, dead = lane.counts()
        assert (waiting, delivered + dead) == (0, total)
        assert dead >= total // 3
        letters = lane.letters()
        assert len(letters) == dead
        metrics = lane.metrics()
        assert "vingate_letters" in metrics
        lane.stand_in.mood = Mood()
        Coordinator(lane.state, lane.exchange).replay(letters[: len(letters) // 2])
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
    everything = outside + views + traced
    for document, made in lane.made:
        terms = lane.agreement.terms(document.KIND)
        gone = [path for path in made.values if terms.treatment(path) == WITHHOLD]
        assert [path for path in gone for value in made.values[path] if value in everything] == []
        assert [value for value in made.personal if value in everything] == []
        if not terms.lane:
            assert [value for value in made.amounts if value in everything] == []
    assert outside.count("词") > total / 2, "and what may be told was told"
    assert load_agreement(name).approval in traced or not any(d.identity.vin for d, _ in lane.made)


def _rows(state: State) -> str:
    """What the state says in the clear of what was disclosed, and its letters' rows."""
    with state.reading() as connection:
        return "".join(
            orjson.dumps([str(value) for value in row]).decode()
            for table in (tables.terms, tables.disclosures, tables.letters.letters, tables.waiting)
            for row in connection.execute(select(table))
        )
