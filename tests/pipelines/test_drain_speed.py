"""After an outage what waited goes out in order of each vehicle, and in far fewer calls than it came in."""

from __future__ import annotations

import pytest
from row_gate import Gate
from test_live import drain
from test_queues import Peers, come_back, live, send, waiting

from connectors.memory import MemorySink, forget
from pipelines.ledger import prove

RECORDS, VEHICLES = 60, 6
DEEPEST = RECORDS // VEHICLES
"""Records of each vehicle."""


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()
    forget("north")
    forget("south")


@pytest.fixture
def peers(monkeypatch):
    return Peers(monkeypatch)


def sent(number: int) -> tuple[str, int]:
    """A record and its vehicle, by the place at which it comes: vehicles take turns."""
    return f"J{number:03d}", number % VEHICLES


def come(gate: Gate, number: int) -> None:
    code, serial = sent(number)
    send(gate, code, serial=serial)


def outage(gate: Gate, peers: Peers, running) -> None:
    """Records come one by one, each in a batch of its own, while the destination is away; then it is back."""
    peers.away.add("north")
    for number in range(RECORDS):
        come(gate, number)
        assert drain(running) == 1
    assert waiting(gate) == RECORDS
    peers.away.clear()
    peers.calls.clear()
    come_back(gate, running)


def in_order(peers: Peers, records: int) -> bool:
    """Whether each vehicle's records arrived as they were sent, each of them once."""
    wanted = [[sent(n)[0] for n in range(records) if sent(n)[1] == vehicle] for vehicle in range(VEHICLES)]
    place = dict(map(sent, range(records)))
    arrived = peers.arrived("north")
    return [[code for code in arrived if place[code] == vehicle] for vehicle in range(VEHICLES)] == wanted


def test_a_peer_that_may_refuse_one_record_alone_is_called_as_often_as_its_deepest_vehicle_needs(gate, peers):
    running = live(gate)
    outage(gate, peers, running)
    running.step(0)  # one look at what is due is enough
    assert waiting(gate) == 0
    assert in_order(peers, RECORDS)
    calls = [codes for _, codes in peers.calls]
    assert len(calls) <= DEEPEST + 3  # the one that was tried before goes apart, and the first few are a page
    assert all(len({int(code[1:]) % VEHICLES for code in codes}) == len(codes) for codes in calls)
    assert prove(gate.state).balanced
    running.close()


def test_a_store_that_takes_a_call_as_a_whole_is_called_for_a_page_at_a_time(gate, peers, monkeypatch):
    monkeypatch.setattr(MemorySink, "atomic", True, raising=False)
    running = live(gate)
    outage(gate, peers, running)
    running.step(0)
    assert peers.arrived("north") == [sent(n)[0] for n in range(RECORDS)]
    assert [len(codes) for _, codes in peers.calls] == [1, 49, RECORDS - 50]  # the first was tried before
    assert prove(gate.state).balanced
    running.close()


def test_it_drains_while_more_comes_in_and_what_comes_queues_behind(gate, peers, monkeypatch):
    running = live(gate)
    outage(gate, peers, running)
    records = RECORDS
    write = MemorySink.write

    def meanwhile(sink, deliveries):
        """With every call that goes out a further record comes in."""
        nonlocal records
        if records < 2 * RECORDS:
            come(gate, records)
            records += 1
        return write(sink, deliveries)

    monkeypatch.setattr(MemorySink, "write", meanwhile)
    left = [waiting(gate)]
    while left[-1]:
        running.step(0)
        running._followed_up = float("-inf")
        left.append(waiting(gate))
    came = records - RECORDS
    assert left == sorted(left, reverse=True)
    assert came * 4 < RECORDS  # four go out for one that comes in
    monkeypatch.setattr(MemorySink, "write", write)
    drain(running)
    assert in_order(peers, records)
    assert prove(gate.state).balanced
    running.close()
