"""Replays ordered beside a gateway that runs: done once by the gateway, answered, whatever is killed in between."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from postgres_states import states_on
from row_gate import Gate, record
from sqlalchemy import select, update
from test_live import arrive, live, settings
from test_serving_service import SHOP, Running, folder, payload, vingate, wait_for  # noqa: F401 - a fixture

from connectors.contracts import Unavailable
from connectors.memory import forget
from dlq.letters import Filters, LetterStore
from pipelines import live as living
from pipelines import replayorders, tables
from pipelines.batchwork import BatchWork
from pipelines.ledger import prove
from pipelines.lettering import order_letters
from pipelines.replayorders import Orders
from pipelines.state import State


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """Orders are looked for in every step."""
    monkeypatch.setattr(living, "FOLLOW_UP_SECONDS", 0.0)
    monkeypatch.setattr(replayorders, "_LOOK_SECONDS", 0.01)


@pytest.fixture(params=["sqlite", "postgresql"])
def gate(request, tmp_path, monkeypatch):
    if request.param == "sqlite":
        made = Gate(tmp_path / "state")
        yield made
        made.state.close()
    else:
        with states_on(request.getfixturevalue("postgres"), monkeypatch):
            made = Gate(tmp_path / "state")
            yield made
            made.state.close()
    forget("live")


def bad(code, serial):
    """A record whose VIN has a wrong check digit: the strict profile refuses it, the lenient one does not."""
    one = record(code, serial=serial)
    vin = one["basicInfo"]["vin"]
    one["basicInfo"]["vin"] = vin[:8] + ("1" if vin[8] != "1" else "2") + vin[9:]
    return one


def letters(gate):
    with gate.state.reading() as connection:
        return list(LetterStore(connection, gate.state.sealer()).search(Filters()))


def order(gate, *names):
    """Order letters beside the gateway, as a command does that does not own the state."""
    with State(gate.folder, own=False) as beside:
        return order_letters(beside, names or [one.id for one in letters(gate)], 0)


def outcomes(told):
    return sorted(one.outcome for one in told.letters)


def answers(gate):
    with gate.state.reading() as connection:
        rows = connection.execute(select(tables.replay_orders)).all()
    return {row.letter: row.outcome for row in rows if row.answered_at}


def change(gate, **values):
    with gate.state.unit_of_work() as connection:
        connection.execute(update(tables.replay_orders).values(**values))


def turn(running, times=3):
    for _ in range(times):
        running.step(0)


def generations(gate):
    return sorted(one.generation for one in letters(gate))


@pytest.fixture
def running(gate):
    """An exchange that runs, and two letters that it made."""
    made = live(gate)
    arrive(gate, bad("J1", 1), bad("J2", 2), record("J3", serial=3))
    turn(made)
    assert [one.reason for one in letters(gate)] == ["VIN_CHECK_DIGIT"] * 2
    yield made
    made.close()
    assert prove(gate.state).balanced


def mend(gate, running):
    running.reload(settings(gate, "mapping.profile=lenient"))


def test_an_order_is_done_by_the_running_gateway_and_answered(gate, running):
    mend(gate, running)
    assert outcomes(order(gate)) == ["ordered", "ordered"]
    turn(running)
    assert list(answers(gate).values()) == ["resolved"] * 2
    assert {one.state for one in letters(gate)} == {"resolved"}
    assert [row[0] for row in gate.rows("province-11")] == ["J3", "J1", "J2"]
    again = order(gate)
    assert (outcomes(again), again.went_through) == (["resolved", "resolved"], True)
    before = running._coordinator.newest
    turn(running)
    assert running._coordinator.newest == before


def test_who_waits_is_told_what_came_of_it(gate, running):
    mend(gate, running)
    names = [one.id for one in letters(gate)]
    with ThreadPoolExecutor() as pool, State(gate.folder, own=False) as beside:
        told = pool.submit(order_letters, beside, names, 60)
        while not told.done():
            running.step(0.01)
        assert outcomes(told.result()) == ["resolved", "resolved"]
        assert len(told.result().batches) == 1


def test_what_dies_again_counts_one_generation_an_order_and_parks_after_three(gate, running):
    for generation in (1, 2, 3):
        assert outcomes(order(gate)) == ["ordered", "ordered"]
        assert outcomes(order(gate)) == ["ordered", "ordered"]  # the same order
        turn(running)
        assert generations(gate) == [generation] * 2
    assert set(answers(gate).values()) == {"parked"}
    assert outcomes(order(gate)) == ["skipped", "skipped"]
    turn(running)
    assert generations(gate) == [3, 3]


@pytest.mark.parametrize("place", ["before", "decided", "answer"])
def test_a_gateway_that_is_killed_anywhere_does_it_once(gate, running, monkeypatch, place):
    """Killed before the replay is decided, after that and before it is delivered, before it is answered."""
    order(gate)
    with monkeypatch.context() as patch:
        if place == "before":
            patch.setattr(BatchWork, "decide", killed)
        elif place == "decided":
            patch.setattr(running._coordinator.closer, "finish", killed)
        else:
            patch.setattr(Orders, "_answer", lambda _, answers, batch: killed() if answers else None)
        with pytest.raises(KeyboardInterrupt):
            turn(running)
    restarted = live(gate)
    turn(restarted)
    assert list(answers(gate).values()) == ["open", "open"]
    assert generations(gate) == [1, 1]
    restarted.close()


def killed(*_given, **_named):
    raise KeyboardInterrupt


def test_a_letter_that_breaks_the_steps_is_told_alone_and_the_others_go_on(gate, running, monkeypatch):
    mend(gate, running)
    (bad_one, good_one) = letters(gate)
    again = running._coordinator._again

    def breaks(names):
        if bad_one.id in names:
            raise ZeroDivisionError
        return again(names)

    monkeypatch.setattr(running._coordinator, "_again", breaks)
    order(gate)
    turn(running)
    assert answers(gate) == {bad_one.id: "failed", good_one.id: "resolved"}
    assert [one for one in letters(gate) if one.id == bad_one.id] == [bad_one]


def test_a_replay_in_which_the_gateway_ends_again_and_again_is_left_alone(gate, running):
    order(gate)
    change(gate, tries=replayorders.TRIES)
    turn(running)
    assert set(answers(gate).values()) == {"failed"}
    assert generations(gate) == [0, 0]


def test_an_outage_leaves_the_order_as_it_was(gate, running, monkeypatch):
    order(gate)
    with monkeypatch.context() as patch:
        patch.setattr(running._coordinator, "_again", away)
        with pytest.raises(Unavailable):
            turn(running)
    turn(running)
    assert set(answers(gate).values()) == {"open"}
    assert generations(gate) == [1, 1]


def away(_names):
    raise Unavailable("away")


def test_a_letter_that_was_discarded_meanwhile_is_left(gate, running):
    order(gate)
    with gate.state.unit_of_work() as connection:
        store = LetterStore(connection, gate.state.sealer())
        for one in letters(gate):
            store.discard(one.id, "not wanted", datetime.now(UTC))
    turn(running)
    assert set(answers(gate).values()) == {"skipped"}


def test_orders_of_another_exchange_wait_for_it(gate, running):
    order(gate)
    change(gate, exchange="another")
    turn(running)
    assert answers(gate) == {}


# -- the command beside a service --------------------------------------------------------------------------------------


def test_the_command_works_beside_a_service_and_says_what_happened(folder):  # noqa: F811 - the fixture
    with closing(Running(folder)) as service:
        service.call("lcipproaccountcompany", SHOP)
        service.login()
        body = payload(1, vin="LSVAA218OK2000001") | {"access_token": service.token}
        body["basicInfo"].pop("companycode")
        service.post("lcipprocarfixrecordadd", body)

        def replay(*more):
            return vingate("letters", "replay", "--all", "--state", service.state, *more)

        def letters_are_there():
            return json.loads(replay("--json", "--wait", 60).stdout)["letters"]

        (told,) = wait_for(letters_are_there, service.log.read_text)
        assert told["outcome"] == "open"
        refused = replay("--settings", service.role)
        assert (refused.returncode, "by its own settings" in refused.stderr) == (2, True)
        shown = vingate("letters", "show", told["id"], "--state", service.state, "--json")
        assert json.loads(shown.stdout)["generation"] == 1
        done = replay()
        assert (done.returncode, "open 1" in done.stdout) == (1, True), done.stderr
        assert service.end(signal.SIGTERM) == 0
