"""Killed while what waited is tried again, marked or sent and not accounted: it ends as if undisturbed."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from crashkit import COLLECT, Kill, Server, picture
from row_gate import MOMENT, Gate, record
from sqlalchemy import update

from pipelines import tables

HURRY = ("sinks.provinces.busy_seconds=0",)
MARKED, FLUSHED = Kill(COLLECT, "marked"), Kill(COLLECT, "flushed")


def stuck(folder):
    """A state on which 61 deliveries wait for one store, one of them of a record that was corrected meanwhile."""
    gate = Gate(folder)
    (gate.partners / "expected.json").write_text(json.dumps({"received_at": MOMENT}))
    gate.shop(record("J0"))
    gate.run("collect")
    gate.shop(*(record(f"J{number}", serial=number) for number in range(1, 60)))
    gate.shop(record("J60", serial=60), record("J7", serial=7, fault="更正"))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    with gate.state.unit_of_work() as connection:
        connection.execute(update(tables.waiting).values(next_attempt=""))
    assert len(gate.waiting()) == 61
    gate.state.close()
    return folder


@pytest.fixture(scope="module")
def server():
    with closing(Server()) as running:
        yield running


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    folder = stuck(tmp_path_factory.mktemp("whole") / "state")
    assert server.play(folder, [], COLLECT, last=COLLECT) == []
    found = picture(folder)
    assert (found["problems"], found["state: waiting"], found["totals"]["delivered"]) == ([], [], 61)
    return found


@pytest.mark.parametrize(
    "kills",
    [(MARKED,), (FLUSHED,), (MARKED._replace(count=2), MARKED, FLUSHED), (FLUSHED._replace(count=2), FLUSHED)],
    ids=("before the effect", "after the effect", "before a later one, then after it", "twice after the effect"),
)
def test_killed_in_an_attempt_it_ends_as_if_nothing_had_happened(server, whole, tmp_path, kills):
    folder = stuck(tmp_path / "state")
    assert server.play(folder, list(kills), COLLECT, last=COLLECT) == list(kills)
    found = picture(folder)
    different = {name for name in whole if whole[name] != found.get(name)}
    assert different <= {"state: positions", "state: batches"}, "which tell when each state's files were written"
