"""What waits and pieces of orders, changed or removed by hand: the ledger names it, and nothing of it is sent."""

from __future__ import annotations

import pytest
from row_gate import Gate, record
from sqlalchemy import text
from test_exchange_rows import _INSERT, _ITEMS, steps  # noqa: F401 - a fixture

from dlq.errors import Tampered
from pipelines import tables
from pipelines.ledger import prove
from pipelines.sealedrows import open_waiting


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


@pytest.fixture
def waiting(gate):
    """Deliveries that wait for their destination."""
    gate.shop(record("J1"))
    gate.run("collect")
    gate.shop(record("J2", serial=2), record("J3", serial=3))
    with gate.locked("province-11"):
        gate.run("collect", *HURRY)
    assert [one.destination for one in gate.waiting()] == ["province-11"] * 2
    return gate


def by_hand(gate, statement):
    with gate.state.unit_of_work() as connection:
        assert connection.execute(text(statement)).rowcount == 1
    return [(one.kind, one.batch, one.destination) for one in prove(gate.state).problems]


HURRY = ("sinks.provinces.busy_seconds=0", "retry.first_seconds=0")
FIRST = "WHERE id = (SELECT min(id) FROM {})"


@pytest.mark.parametrize(
    "change", ["version = 7", "merged_into = '11|x|y'", "vin = vin + 1", "item = 9", "ordinal = 9", "exchange = 'push'"]
)
def test_a_changed_column_of_what_waits_is_found_and_not_sent(waiting, change):
    found = by_hand(waiting, f"UPDATE waiting SET {change} {FIRST.format('waiting')}")
    assert ("waiting", "collect-000002", "province-11") in found
    row = tables.waiting.select().order_by(tables.waiting.c.id)
    with waiting.state.reading() as connection, pytest.raises(Tampered):
        open_waiting(waiting.state.sealer(), connection.execute(row).first())


def test_a_removed_row_of_what_waits_is_found(waiting):
    found = by_hand(waiting, f"DELETE FROM waiting {FIRST.format('waiting')}")
    assert ("waiting", "collect-000002", "province-11") in found


def test_rows_that_were_sealed_for_their_names_alone_still_go(waiting):
    t, sealer = tables.waiting, waiting.state.sealer()
    with waiting.state.unit_of_work() as connection:
        for row in connection.execute(t.select()).all():
            older = sealer.seal(open_waiting(sealer, row), row.id.encode())
            connection.execute(t.update().where(t.c.id == row.id).values(record=older, next_attempt=""))
    waiting.run("collect")
    assert len(waiting.rows("province-11")) == 3


@pytest.mark.parametrize(
    "change",
    ["system = '44'", "company = 'other'", "\"order\" = 'G2'", "step = 'settle'", "intake = 1", "source = 'x'"],
)
def test_a_changed_column_of_a_piece_is_found(gate, steps, change):  # noqa: F811 - the fixture
    steps(_INSERT, _ITEMS)
    gate.run("collect")
    found = by_hand(gate, f"UPDATE fragments SET {change} {FIRST.format('fragments')}")
    assert found == [("waiting", "collect-000002", "")]


def test_a_removed_piece_is_found(gate, steps):  # noqa: F811 - the fixture
    steps(_INSERT, _ITEMS)
    gate.run("collect")
    found = by_hand(gate, f"DELETE FROM fragments {FIRST.format('fragments')}")
    assert found == [("waiting", "collect-000002", "")]
