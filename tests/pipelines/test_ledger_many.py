"""The ledger of many micro-batches: a few queries for all of them, and still every row of any of them is named."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from row_gate import Gate, record
from sqlalchemy import delete, event, insert, select, update
from test_live import arrive, live

from pipelines import tables
from pipelines.ledger import prove
from pipelines.problems import LETTERS

MANY = 24


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """A state of many micro-batches of one record, each fourth of which is a letter."""
    made = Gate(tmp_path_factory.mktemp("many") / "state")
    running = live(made, records=1)
    for number in range(MANY):
        broken = {"day": "2026-13-01"} if number % 4 == 3 else {}
        arrive(made, record(f"J{number}", serial=number, **broken))
    while running.step(0):
        pass
    running.close()
    yield made
    made.state.close()


def statements(state):
    """How many statements proving takes."""
    counted = []
    listener = lambda *_: counted.append(1)  # noqa: E731
    event.listen(state.engine, "before_cursor_execute", listener)
    try:
        proof = prove(state)
    finally:
        event.remove(state.engine, "before_cursor_execute", listener)
    return len(counted), proof


def batch_of(gate, number):
    with gate.state.reading() as connection:
        return connection.execute(select(tables.batches.c.id).where(tables.batches.c.number == number)).scalar_one()


def store(gate, statement, *values):
    with closing(sqlite3.connect(gate.folder / "stores" / "province-11.db")) as database:
        assert database.execute(statement, values).rowcount == 1
        database.commit()


def test_many_batches_take_no_more_statements_than_a_few(gate, tmp_path):
    few = Gate(tmp_path / "state")
    running = live(few, records=1)
    arrive(few, record("J1"), record("J2", day="2026-13-01"))
    while running.step(0):
        pass
    running.close()
    small, proof = statements(few.state)
    few.state.close()
    assert (proof.balanced, proof.batches) == (True, 2)
    large, proof = statements(gate.state)
    assert (proof.balanced, proof.batches) == (True, MANY)
    assert large == small
    assert proof.destinations["province-11"]["records"] == MANY * 3 // 4


def only(gate):
    """The one problem that is found, in one of the batches and no other."""
    (found,) = prove(gate.state).problems
    return found.kind, found.batch, found.destination


@pytest.mark.parametrize("number", [1, MANY // 2 + 1, MANY - 1])
def test_a_row_of_any_batch_that_was_changed_or_deleted_is_named(gate, number):
    batch = batch_of(gate, number)
    store(gate, "UPDATE repairs SET faultdescription = faultdescription || 'x' WHERE batch = ?", batch)
    assert only(gate) == ("altered-record", batch, "province-11")
    store(gate, "UPDATE repairs SET faultdescription = rtrim(faultdescription, 'x') WHERE batch = ?", batch)
    store(gate, "UPDATE repairs SET batch = '-' || batch WHERE batch = ?", batch)
    assert only(gate) == ("missing-record", batch, "province-11")
    store(gate, "UPDATE repairs SET batch = substr(batch, 2) WHERE batch = ?", f"-{batch}")
    assert prove(gate.state).balanced


def test_a_row_that_moved_to_another_batch_is_named_in_both(gate):
    first, second = batch_of(gate, 1), batch_of(gate, 2)
    store(gate, "UPDATE repairs SET batch = ? WHERE batch = ?", second, first)
    found = {(one.kind, one.batch) for one in prove(gate.state).problems}
    assert found == {("missing-record", first), ("extra-record", second)}
    code = "UPDATE repairs SET batch = ? WHERE batch = ? AND costlistcode = 'J0'"
    store(gate, code, first, second)
    assert prove(gate.state).balanced


@pytest.mark.parametrize("number", [4, MANY])
def test_a_letter_of_any_batch_that_was_changed_or_deleted_is_named(gate, number):
    batch, letters, bodies = batch_of(gate, number), tables.letters.letters, tables.letters.bodies
    with gate.state.reading() as connection:
        letter = connection.execute(select(letters).where(letters.c.batch == batch)).one()
        body = connection.execute(select(bodies).where(bodies.c.id == letter.id)).one()
    with gate.state.unit_of_work() as connection:
        connection.execute(update(letters).where(letters.c.id == letter.id).values(source="elsewhere"))
    assert only(gate)[1:] == (batch, LETTERS)
    with gate.state.unit_of_work() as connection:
        connection.execute(delete(bodies).where(bodies.c.id == letter.id))
        connection.execute(delete(letters).where(letters.c.id == letter.id))
    assert only(gate) == ("missing-letter", batch, LETTERS)
    with gate.state.unit_of_work() as connection:
        connection.execute(insert(letters), dict(letter._mapping))
        connection.execute(insert(bodies), dict(body._mapping))
    assert prove(gate.state).balanced


def test_a_journal_of_any_batch_that_was_changed_is_named(gate):
    batch, t = batch_of(gate, MANY // 2), tables.journals
    with gate.state.reading() as connection:
        before = connection.execute(select(t.c.lines).where(t.c.batch == batch)).scalar_one()
    for changed in (b"", before):
        with gate.state.unit_of_work() as connection:
            connection.execute(update(t).where(t.c.batch == batch).values(lines=changed))
        if not changed:
            assert {one.batch for one in prove(gate.state).problems} == {batch}
    assert prove(gate.state).balanced
