"""A run that was killed goes on: where its settings stayed, where they changed, and when its files come again."""

from __future__ import annotations

import pytest
from engine_samples import BULK, Killed, payload, write
from sqlalchemy import select

from pipelines import planning, tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.lettering import replay_letters
from pipelines.runcounts import counts_of
from pipelines.settings import load
from pipelines.state import State
from pipelines.workbench import forget


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


@pytest.fixture
def exchange(tmp_path):
    """Four files, one a batch."""
    for number in range(4):
        write(tmp_path / "in" / f"{number}.ndjson", [payload(number), payload(100 + number, vin="LSVAA218XXX")])

    def made(out="out", *more):
        places = [f"source.path={tmp_path / 'in'}", f"sinks.provinces.path={tmp_path / out}"]
        return load(BULK, [*places, "batch.items=1", *more], {})

    return made


def kill_at(state, exchange, name, count=1):
    seen = []

    def tell(event):
        seen.extend([event] * (event.name == name))
        if len(seen) == count:
            raise Killed

    with pytest.raises(Killed):
        Coordinator(state, exchange, tell).run()
    forget()  # what a process remembers


def run(state, exchange):
    return counts_of(state, Coordinator(state, exchange).run())


def runs(state):
    with state.reading() as connection:
        return [(row.id, row.ended_at is not None) for row in connection.execute(select(tables.runs))]


def files(folder):
    return len(list(folder.rglob("*.avro")))


@pytest.mark.parametrize("moment", ["staged", "decided", "closed"])
def test_it_goes_on_under_its_number(state, exchange, moment):
    kill_at(state, exchange(), moment, 3)
    told = run(state, exchange())
    assert (told.run, told.totals["received"], told.totals["delivered"], told.totals["dead"]) == (1, 8, 4, 4)
    assert runs(state) == [(1, True)]


@pytest.mark.parametrize("moment", ["staged", "decided", "closed"])
def test_into_another_folder_it_goes_on_as_another_run_and_both_are_proved(tmp_path, state, exchange, moment):
    kill_at(state, exchange(), moment, 3)
    told = run(state, exchange("elsewhere"))
    assert told.run == 2
    assert runs(state) == [(1, True), (2, True)]
    proof = prove(state)
    assert proof.problems == []
    assert (proof.totals["received"], proof.totals["delivered"], proof.totals["duplicate"]) == (8, 4, 0)
    assert files(tmp_path / "out") == (2 if moment == "staged" else 3)
    assert files(tmp_path / "out") + files(tmp_path / "elsewhere") == 4


def test_letters_that_are_replayed_meanwhile_leave_it_as_it_was(tmp_path, state, exchange):
    run(state, exchange())
    with state.reading() as connection:
        (letter, *_) = connection.execute(select(tables.letters.letters.c.id)).scalars()
    write(tmp_path / "in" / "4.ndjson", [payload(4)])
    kill_at(state, exchange(), "closed")
    settings = tmp_path / "other.toml"
    settings.write_text(BULK.read_text("utf-8").replace("/out/", "/elsewhere/"), "utf-8")
    replay_letters(state, [letter], settings)
    assert runs(state) == [(1, True), (2, False), (3, True)]
    told = run(state, exchange())
    assert (told.run, told.totals["received"]) == (2, 1)
    assert prove(state).problems == []


def test_content_that_comes_back_under_its_name_is_counted_as_known(tmp_path, state, exchange):
    place = tmp_path / "in" / "0.ndjson"
    first = place.read_text("utf-8")
    kill_at(state, exchange(), "opened", 3)
    write(place, [payload(50)])
    kill_at(state, exchange(), "opened", 3)
    place.write_text(first, "utf-8")
    told = run(state, exchange())
    assert (told.totals["received"], told.totals["delivered"], told.totals["duplicate"]) == (11, 5, 2)
    assert prove(state).problems == []


def test_of_a_long_run_only_what_is_not_marked_is_looked_at(state, exchange, monkeypatch):
    looked = []
    whole = planning.unpacked_items
    monkeypatch.setattr(planning, "unpacked_items", lambda packed: looked.append(packed) or whole(packed))
    kill_at(state, exchange(), "closed", 4)
    run(state, exchange())
    assert len(looked) == 3
