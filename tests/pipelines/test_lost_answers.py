"""A peer took what was sent, and its answer was lost: sent again it says that it knows it, and the ledger is right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from engine_samples import Killed, payload, write
from sqlalchemy import select
from test_reconcile import SETTINGS

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import httppeer

from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.settings import load
from pipelines.state import State


@pytest.fixture(scope="module")
def server():
    with httppeer.serving() as running:
        yield running


@pytest.fixture
def hub(server, tmp_path, root):
    hub = server.hub(tmp_path.name)
    hub.plain = True
    (tmp_path / "send.toml").write_text(SETTINGS.format(place=tmp_path, root=root, url=hub.url), "utf-8")
    write(tmp_path / "outbox" / "a.ndjson", [payload(1)])
    return hub


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


def coordinator(state, place, **more):
    return Coordinator(state, load(place / "send.toml", [], {}), **more)


def proved(state):
    """What the ledger says is delivered, what verify found of it, and what is wrong."""
    proof = prove(state)
    told = proof.exchanges["send"].destinations["province"]
    return told["delivered"], told["records"], proof.problems


@pytest.fixture
def killed_before_the_close(tmp_path):
    def tell(event):
        if event.name == "effect" and event.done:
            raise Killed

    def kill(state):
        with pytest.raises(Killed):
            coordinator(state, tmp_path, observer=tell).run()

    return kill


def test_what_was_sent_again_for_want_of_an_answer_is_proved_by_a_receipt(tmp_path, state, hub):
    hub.faults.append("lost")
    for _ in range(2):
        coordinator(state, tmp_path).run()
    assert (len(hub.taken), len(hub.calls)) == (1, 2)
    assert proved(state) == (1, 1, [])


@pytest.mark.parametrize("lost", [False, True], ids=["answered", "unanswered"])
def test_killed_between_call_and_close_it_ends_the_same(tmp_path, state, hub, killed_before_the_close, lost):
    hub.faults.extend(["lost"] * lost)
    killed_before_the_close(state)
    coordinator(state, tmp_path).run()
    assert proved(state) == (1, 1, [])


def test_without_room_for_the_receipt_it_waits(tmp_path, state, hub):
    hub.faults.append("lost")
    receipts = tmp_path / "state" / "accepted"
    receipts.write_text("in the way")
    for _ in range(2):
        coordinator(state, tmp_path).run()
    receipts.unlink()
    assert (len(hub.taken), proved(state)) == (1, (0, 0, []))
    coordinator(state, tmp_path).run()
    assert proved(state) == (1, 1, [])


def test_what_was_held_back_and_never_sent_is_a_duplicate_like_any_other(tmp_path, state, hub):
    """A maintenance window is no attempt: what the peer knows by then it has from somebody else."""
    with State(tmp_path / "other", own=True) as other:
        coordinator(other, tmp_path).run()
    write(tmp_path / "outbox" / "b.ndjson", [payload(1)])
    path = tmp_path / "send.toml"
    whole = path.read_text("utf-8")
    path.write_text(whole.replace("[sinks.province]", '[sinks.province]\nmaintenance = ["00:00-24:00"]'), "utf-8")
    for _ in range(2):
        coordinator(state, tmp_path).run()
    with state.reading() as connection:
        assert connection.execute(select(tables.waiting.c.attempts)).scalars().all() == [0]
    path.write_text(whole, "utf-8")
    coordinator(state, tmp_path).run()
    assert proved(state) == (0, 0, [])
    assert prove(state).totals["duplicate"] == 1
