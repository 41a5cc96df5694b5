"""The outbox: deliveries by destination, a few at a time, and what became of each."""

from __future__ import annotations

import pytest
from engine_samples import BULK

from connectors.contracts import ACCEPTED, DUPLICATE, REFUSED, UNAVAILABLE, Delivery, Outcome, fingerprint
from connectors.gates import Pause
from pipelines.outbox import Outbox, Sent, status_of
from pipelines.queues import Queues
from pipelines.settings import load
from pipelines.state import State


class Sink:
    """Answers with what it is told for each key; remembers how many came at once."""

    def __init__(self, answers=(), exact=False):
        self.answers, self.exact, self.calls = dict(answers), exact, []

    def write(self, deliveries):
        self.calls.append([d.key for d in deliveries])
        return [Outcome(self.answers.get(d.key, ACCEPTED), "why") for d in deliveries]


def sent(number, destination="ministry", merged_into=""):
    delivery = Delivery(f"{number:032x}", destination, f"k{number}", 1, "c", b"{}", "batch-1", merged_into)
    return Sent(0, number, delivery, b"{}")


def test_deliveries_are_written_so_many_at_a_time_by_destination():
    sinks = {"a": Sink(), "b": Sink()}
    outbox = Outbox(lambda name: (f"sink-{name}", sinks[name]), 2)
    for number in range(5):
        outbox.put(sent(number, "ab"[number % 2]))
    outcomes = outbox.flush()
    assert (sinks["a"].calls, sinks["b"].calls) == ([["k0", "k2"], ["k4"]], [["k1", "k3"]])
    assert outcomes.accounts["a"].sink == "sink-a"
    assert outcomes.accounts["a"].counts == {"delivered": 3, "in_flight": -3}
    assert outcomes.accounts["a"].digest == sum(fingerprint(sent(n, "a").delivery) for n in (0, 2, 4))
    assert outbox.flush() is outcomes
    assert len(sinks["a"].calls) == 2


@pytest.mark.parametrize(
    ("status", "end", "stands"),
    [(DUPLICATE, "duplicate", 0), (REFUSED, "dead", 0), (UNAVAILABLE, "waiting", 0), (ACCEPTED, "merged", 1)],
)
def test_every_answer_ends_in_its_own_account_and_is_remembered(status, end, stands):
    outbox = Outbox(lambda _: ("store", Sink({"k1": status})), 10)
    outbox.put(sent(1, merged_into="k0" if status == ACCEPTED else ""))
    outbox.put(sent(2))
    outcomes = outbox.flush()
    account = outcomes.accounts["ministry"]
    assert account.counts == {end: 1, "delivered": 1, "in_flight": -2}
    assert account.stands == 1 + stands
    assert [(unusual.sent.ordinal, status_of(unusual)) for unusual in outcomes.exceptions] == [(1, end)]
    assert outcomes.standing["batch-1", "ministry"][0] == 1 + stands


@pytest.mark.parametrize(("exact", "end"), [(False, "delivered"), (True, "duplicate")])
def test_a_duplicate_after_an_attempt_without_an_answer_is_that_attempts(exact, end):
    outbox = Outbox(lambda _: ("store", Sink({"k1": DUPLICATE}, exact)), 10, tried_before=True)
    outbox.put(sent(1))
    assert outbox.flush().accounts["ministry"].counts == {end: 1, "in_flight": -1}


def test_a_sink_whose_gate_is_closed_is_not_called(tmp_path):
    class Paused(Sink):
        def pause(self):
            return Pause(30.0, "maintenance")

    sink = Paused()
    with State(tmp_path, own=True) as state:
        queues = Queues(state, load(BULK, [], {}))
        outbox = Outbox(lambda _: ("store", sink), 10, queues=queues)
        outbox.put(sent(1))
        (unusual,) = outbox.flush().exceptions
    assert sink.calls == []
    assert unusual.outcome == Outcome(UNAVAILABLE, "maintenance")
