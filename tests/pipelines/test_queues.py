"""When a destination is away: the others go on, its queue keeps its order, and what waits is bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from row_gate import SHOP, Gate, record, registration
from sqlalchemy import select, update
from test_live import arrive, drain

from connectors.contracts import DUPLICATE, UNAVAILABLE, Outcome
from connectors.memory import MemorySink, forget, hub
from pipelines import registering, retrying, tables, workbench
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.queues import PACED
from pipelines.settings import load

SETTINGS = """
name = "collect"
[source]
connector = "files"
path = "{state}/partners/shops"
layout = "{system}/{company}/*"
finished = "keep"
[routing]
table = "collect"
[retry]
first_seconds = 60
[sinks.north]
connector = "memory"
for = "province-11"
hub = "north"
[sinks.south]
connector = "memory"
for = "province-44"
hub = "south"
"""


class Peers:
    """The two destinations: which is away, whom it refuses to take, and every call that was made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.away: set[str] = set()
        self.stuck: set[str] = set()
        self.calls: list[tuple[str, list[str]]] = []
        whole = MemorySink.write

        def write(sink, deliveries):
            self.calls.append((sink.settings.hub, [one.key.rpartition("|")[2] for one in deliveries]))
            if sink.settings.hub in self.away:
                return [Outcome(UNAVAILABLE, "away")] * len(deliveries)
            free = [one for one in deliveries if one.key.rpartition("|")[2] not in self.stuck]
            told = dict(zip([one.id for one in free], whole(sink, free), strict=True))
            return [told.get(one.id, Outcome(UNAVAILABLE, "stuck")) for one in deliveries]

        monkeypatch.setattr(MemorySink, "write", write)

    def arrived(self, name: str) -> list[str]:
        """List codes in the order in which a destination took them."""
        return [one.key.rpartition("|")[2] for one in hub(name).delivered.values()]


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


def live(gate: Gate, *overrides: str) -> Live:
    path = gate.folder / "collect.toml"
    path.write_text(SETTINGS, "utf-8")
    running = Live(gate.state, load(path, overrides, {}), milliseconds=0)
    running.recover()
    return running


def send(gate: Gate, *codes: str, system: str = "11", serial: int | None = None) -> None:
    """Records of one collecting system, each of a vehicle of its own or all of one."""
    for code in codes:
        number = int(code[1:]) if serial is None else serial
        arrive(gate, record(code, serial=number), company=SHOP, source=f"door:{system}", system=system)


def come_back(gate: Gate, running: Live, *, due_only: bool = False) -> None:
    """The pause is over: what waits is due, and the breaker lets one call try."""
    t = tables.waiting
    with gate.state.unit_of_work() as connection:
        connection.execute(update(t).values(next_attempt="2020-01-01T00:00:00+00:00"))
    if not due_only:
        running._coordinator.closer.queues._gates.clear()
    running._followed_up = float("-inf")


def reasons(gate: Gate) -> dict[str, int]:
    with gate.state.reading() as connection:
        return Counter(connection.execute(select(tables.waiting.c.reason)).scalars())


def attempts(gate: Gate) -> set[int]:
    with gate.state.reading() as connection:
        return set(connection.execute(select(tables.waiting.c.attempts)).scalars())


def waiting(gate: Gate) -> int:
    with gate.state.reading() as connection:
        return len(connection.execute(select(tables.waiting.c.id)).all())


CLOSED = 'sinks.north.pace.maintenance=["00:00-24:00"]'


def test_in_a_maintenance_window_nothing_goes_out_and_after_it_all_that_waits(gate, peers):
    running = live(gate, CLOSED)
    for number in range(3):
        send(gate, f"J{number}")
        send(gate, f"K{number}", system="44")
        drain(running)
    assert [name for name, _ in peers.calls] == ["south"] * 3
    assert reasons(gate) == {PACED: 3}
    come_back(gate, running, due_only=True)
    drain(running)
    assert peers.arrived("north") == []
    assert attempts(gate) == {0}
    assert prove(gate.state).balanced
    running.reload(load(gate.folder / "collect.toml", [], {}))  # as when the window is over
    come_back(gate, running, due_only=True)
    drain(running)
    assert peers.arrived("north") == ["J0", "J1", "J2"]
    assert prove(gate.state).balanced
    running.close()


def test_no_more_calls_than_a_budget_has_and_what_waits_for_it_has_not_been_tried(gate, peers, tmp_path):
    budget = f'sinks.north.pace.budget={{calls = 2, seconds = 3600, folder = "{tmp_path}/budgets"}}'
    running = live(gate, budget)
    for number in range(4):
        send(gate, f"J{number}")
        drain(running)
    assert peers.arrived("north") == ["J0", "J1"]
    assert reasons(gate) == {PACED: 2}
    come_back(gate, running)  # another process would ask as well
    drain(running)
    assert peers.arrived("north") == ["J0", "J1"]
    assert attempts(gate) == {0}
    send(gate, "K0", system="44")
    drain(running)
    assert peers.arrived("south") == ["K0"]
    for file in (tmp_path / "budgets").iterdir():
        file.unlink()
    come_back(gate, running)
    drain(running)
    assert peers.arrived("north") == ["J0", "J1", "J2", "J3"]  # in one call
    assert prove(gate.state).balanced
    running.close()


def test_an_attempt_that_a_crash_left_without_an_answer_counts_though_a_window_holds_it_back_now(gate, peers):
    running = live(gate, CLOSED)
    send(gate, "J0")
    drain(running)
    counts = tables.batch_destinations
    with gate.state.unit_of_work() as connection:
        connection.execute(update(tables.waiting).values(trying=True))
        connection.execute(update(counts).values(in_flight=counts.c.waiting, waiting=0))
    running.recover()
    assert attempts(gate) == {1}
    running.close()


def test_a_budget_that_cannot_be_asked_lets_no_call_through(gate, peers, tmp_path):
    (tmp_path / "file").write_text("")
    running = live(gate, f'sinks.north.pace.budget={{calls = 2, folder = "{tmp_path}/file"}}')
    send(gate, "J0")
    send(gate, "K0", system="44")
    drain(running)
    assert [name for name, _ in peers.calls] == ["south"]
    assert waiting(gate) == 1
    running.close()


def test_files_of_a_destination_wait_for_its_window_too(gate):
    north = 'connector = "files", path = "{state}/north"'
    running = live(gate, f'sinks={{north = {{{north}, pace = {{maintenance = ["00:00-24:00"]}}}}}}')
    send(gate, "J0")
    drain(running)
    folder = gate.state.path / "north"
    assert list(folder.rglob("*.ndjson")) == []
    assert gate.account("collect", "province-11")["waiting"] == 1
    assert prove(gate.state).balanced
    running.reload(load(gate.folder / "collect.toml", [f"sinks={{north = {{{north}}}}}"], {}))
    come_back(gate, running)
    drain(running)
    assert len(list(folder.rglob("*.ndjson"))) == 1
    assert gate.account("collect", "province-11")["delivered"] == 1
    assert prove(gate.state).balanced
    running.close()


def test_a_window_that_is_none_is_refused_with_its_place(gate):
    with pytest.raises(SettingsError, match="maintenance"):
        live(gate, 'sinks.north.pace.maintenance=["always"]')


def test_others_go_on_while_one_is_away_and_it_is_not_called_again(gate, peers):
    running = live(gate)
    peers.away.add("north")
    for number in range(5):
        send(gate, f"J{number}")
        send(gate, f"K{number}", system="44")
        drain(running)
    assert peers.arrived("south") == [f"K{n}" for n in range(5)]
    assert sum(name == "north" for name, _ in peers.calls) == 1
    assert waiting(gate) == 5
    assert gate.account("collect", "province-11")["waiting"] == 5
    assert prove(gate.state).balanced
    running.close()


def test_it_drains_in_the_order_of_intake_when_it_is_back(gate, peers):
    running = live(gate)
    peers.away.add("north")
    codes = [f"J{number}" for number in range(120)]
    for at in range(0, 120, 40):
        send(gate, *codes[at : at + 40])
        drain(running)
    peers.away.clear()
    come_back(gate, running)
    drain(running)
    assert peers.arrived("north") == codes
    assert waiting(gate) == 0
    assert prove(gate.state).balanced
    running.close()


def test_a_probe_that_fails_leaves_the_rest_alone(gate, peers):
    running = live(gate)
    peers.away.add("north")
    send(gate, *[f"J{number}" for number in range(130)])
    drain(running)
    peers.calls.clear()
    come_back(gate, running)
    drain(running)
    assert [len(codes) for _, codes in peers.calls] == [50]
    assert waiting(gate) == 130
    assert prove(gate.state).balanced
    running.close()


def test_a_vehicle_waits_behind_its_own_record_and_others_pass(gate, peers):
    running = live(gate)
    peers.stuck.add("J1")
    send(gate, "J1", serial=1)
    send(gate, "J2", serial=2)
    drain(running)
    send(gate, "J3", serial=1)
    send(gate, "J4", serial=2)
    drain(running)
    assert peers.arrived("north") == ["J2", "J4"]
    peers.stuck.clear()
    come_back(gate, running)
    drain(running)
    assert peers.arrived("north") == ["J2", "J4", "J1", "J3"]
    assert prove(gate.state).balanced
    running.close()


def test_records_of_one_vehicle_never_overtake_each_other_in_a_call(gate, peers):
    running = live(gate)
    peers.away.add("north")
    send(gate, "J1", "J2", "J3", serial=1)
    drain(running)
    peers.away.clear()
    peers.calls.clear()
    peers.stuck.add("J1")
    come_back(gate, running)
    drain(running)
    assert peers.calls == [("north", ["J1"])]
    peers.stuck.clear()
    come_back(gate, running)
    drain(running)
    assert peers.arrived("north") == ["J1", "J2", "J3"]
    running.close()


def test_what_waits_is_bounded_and_nothing_more_is_taken_in(gate, peers):
    running = live(gate, "retry.most_waiting=3")
    peers.away.add("north")
    send(gate, "J1", "J2", "J3")
    drain(running)
    send(gate, "J4")
    assert drain(running) == 0
    with gate.state.reading() as connection:
        assert len(connection.execute(select(tables.inbox.c.id)).all()) == 1, (
            "it lies in the inbox, whose bound is next"
        )
    peers.away.clear()
    come_back(gate, running)
    drain(running)
    assert peers.arrived("north") == ["J1", "J2", "J3", "J4"]
    running.close()


def test_a_start_tries_once_and_knows_what_waits(gate, peers):
    running = live(gate)
    peers.away.add("north")
    send(gate, "J1", serial=1)
    drain(running)
    running.close()
    peers.away.clear()
    again = live(gate)
    send(gate, "J2", serial=1)
    send(gate, "J3", serial=3)
    drain(again)
    assert peers.arrived("north") == ["J3"]
    assert waiting(gate) == 2
    again.close()


def test_what_the_ledger_counts_is_what_stands(gate, peers):
    running = live(gate)
    peers.away.add("north")
    send(gate, "J1", "J2")
    drain(running)
    peers.away.clear()
    come_back(gate, running)
    drain(running)
    account = gate.account("collect", "province-11")
    assert (account["delivered"], account["waiting"], account["in_flight"]) == (2, 0, 0)
    assert prove(gate.state).destinations["province-11"]["records"] == 2
    running.close()


def test_what_was_being_tried_is_tried_again_in_the_order_of_intake(gate, peers):
    running = live(gate)
    peers.away.add("north")
    codes = [f"J{number}" for number in range(11)]
    for code in codes:  # a batch each: by their text ids the tenth comes before the second
        send(gate, code)
        drain(running)
    with gate.state.unit_of_work() as connection:
        retrying._mark(connection, connection.execute(select(tables.waiting)).all())
    running.close()
    peers.away.clear()
    again = live(gate)
    assert peers.arrived("north") == codes
    assert prove(gate.state).balanced
    again.close()


def test_of_waiting_rows_a_duplicate_is_a_delivery_only_where_an_attempt_went_before(gate, peers, monkeypatch):
    running = live(gate)
    peers.away.add("north")
    send(gate, "J1")
    drain(running)  # tried, without an answer
    send(gate, "J2")
    drain(running)  # joins the queue
    monkeypatch.setattr(MemorySink, "write", lambda sink, deliveries: [Outcome(DUPLICATE, "")] * len(deliveries))
    come_back(gate, running)
    drain(running)
    counts = gate.account("collect", "province-11")
    assert (counts["delivered"], counts["duplicate"], counts["waiting"]) == (1, 1, 0)
    running.close()


def test_registrations_are_written_out_and_read_only_where_they_are_news_for_what_waits(gate, monkeypatch):
    gate.register(registration(1, "31"))
    read = []
    for module, name in ((registering, "snapshot"), (workbench, "read_registrations")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *told, name=name, real=real: (read.append(name), real(*told))[1])
    monkeypatch.setattr(registering, "reread", lambda *_: ())
    coordinator = Coordinator(gate.state, gate.exchange("push", "source.url=sqlite:///{state}/stores/none.db"))
    coordinator.begin()
    for _ in range(3):
        coordinator.follow_up()
    assert read == []
    gate.register(registration(1, "44"))
    with gate.state.unit_of_work() as connection:
        batch = connection.execute(select(tables.batches.c.id)).scalars().first()
        row = dict.fromkeys(("item", "ordinal", "vin", "version"), 0) | {"id": "x", "exchange": "push", "batch": batch}
        connection.execute(tables.waiting.insert(), row | {"reason": "", "record": b"", "next_attempt": "9"})
    monkeypatch.setattr(retrying, "_place", lambda *told: read.append("placed"))
    for _ in range(3):
        coordinator.follow_up()
    assert read == ["snapshot", "placed"]
    coordinator.sinks.close()
