"""Orders that come in pieces: which are asked for, which are opened, and how many at a time."""

from __future__ import annotations

import orjson
import pytest
from engine_samples import BULK
from sqlalchemy import event, insert, update

from pipelines import assembling, tables
from pipelines.assembling import assemble, expire
from pipelines.segments import read_rows
from pipelines.settings import load
from pipelines.state import State

NOW, OLD = "2026-09-21T21:30:00+08:00", "2026-01-01T00:00:00+08:00"
EXCHANGE = load(BULK, [], {})


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


class Pieces:
    """Pieces put into a state by hand, shops that have a name, and what is asked and opened of them."""

    def __init__(self, state, monkeypatch):
        self.state, self.sealer, self.asked, self.opened, self._number = state, state.sealer(), [], [], 0
        whole = type(self.sealer).unseal
        monkeypatch.setattr(type(self.sealer), "unseal", lambda *given: self.opened.append(given[2]) or whole(*given))
        event.listen(state.engine, "before_cursor_execute", lambda *given: self.asked.append(given[2]))

    def put(self, *steps, order="O1", company="S1", system="31", received_at=NOW):
        with self.state.unit_of_work() as connection:
            for step in steps:
                self._number += 1
                name = f"{order}-{self._number}"
                body = self.sealer.seal(orjson.dumps({"orderCode": order}), name.encode())
                connection.execute(insert(tables.fragments), {
                    "id": name, "exchange": EXCHANGE.name, "system": system, "company": company, "order": order,
                    "step": step, "intake": self._number, "source": "x", "offset": 0, "body": body,
                    "received_at": received_at, "batch": "b",
                })  # fmt: skip

    def name(self, *companies):
        with self.state.unit_of_work() as connection:
            for company in companies:
                connection.execute(insert(tables.accounts), {
                    "company": company, "companyname": f"厂{company}", "state": "active", "uscc": company,
                    "password": "", "registered_at": NOW, "changed_at": NOW,
                })  # fmt: skip

    def taken(self, batches, number=7):
        """Per batch the pieces that it took, which are ticked off as a batch does it."""
        t, found = tables.fragments, []
        for _, ids in batches:
            found.append(ids)
            with self.state.unit_of_work() as connection:
                connection.execute(update(t).where(t.c.id.in_(ids)).values(assembled=number))
        return found

    def assemble(self):
        return self.taken(assemble(self.state, EXCHANGE, self.sealer))

    def expire(self):
        return self.taken(expire(self.state, EXCHANGE, self.sealer, NOW))


@pytest.fixture
def pieces(state, monkeypatch):
    made = Pieces(state, monkeypatch)
    made.name("S1", "S2", "S3")
    return made


def test_what_is_not_whole_is_neither_asked_for_nor_opened_one_by_one(pieces):
    for number in range(50):
        pieces.put("insert", "items", order=f"O{number}")
        pieces.put("insert", "items", "settle", order=f"N{number}", company="nobody")
    pieces.asked.clear()
    assert pieces.assemble() == []
    assert len([one for one in pieces.asked if one.startswith("SELECT")]) < 5
    assert pieces.opened == []


def test_of_many_the_whole_ones_are_taken_in_the_order_of_their_news(pieces):
    pieces.put("insert", "items", order="A")
    pieces.put("insert", "items", "settle", order="B")
    pieces.put("settle", order="A")
    pieces.put("insert", "settle", "settle", order="C")
    assert pieces.assemble() == [["A-1", "A-2", "A-6", "B-3", "B-4", "B-5"]]
    pieces.put("correction", order="B")
    assert pieces.assemble() == [["B-10"]]
    assert pieces.assemble() == []


def test_it_is_the_same_on_postgresql(tmp_path, monkeypatch, postgres_url):
    with State(tmp_path / "other", own=True, url=postgres_url) as state:
        there = Pieces(state, monkeypatch)
        there.name("S1")
        there.put("insert", "items", order="A")
        there.put("insert", "items", "settle", "car", order="B")
        assert there.assemble() == [["B-3", "B-4", "B-5"]]


def test_of_one_code_at_two_interfaces_each_is_whole_for_itself(pieces):
    pieces.put("insert", "items", "car")
    assert pieces.assemble() == []
    pieces.put("order")
    assert pieces.assemble() == [["O1-3", "O1-4"]]
    pieces.put("settle")
    assert pieces.assemble() == [["O1-1", "O1-2", "O1-5"]]
    pieces.put("car")
    assert pieces.assemble() == [["O1-6"]]


@pytest.mark.parametrize("how", ["whole", "too old"])
def test_a_system_may_have_any_name(pieces, how):
    pieces.put("insert", "items", "settle", system="a/b\0", received_at=OLD)
    made = assemble(pieces.state, EXCHANGE, pieces.sealer) if how == "whole" else None
    items, ids = next(made or expire(pieces.state, EXCHANGE, pieces.sealer, NOW))
    assert [item.system for item in items] == ["a/b\0"]
    assert len(ids) == 3
    assert len(list(read_rows(items[0].extra["sealed"], pieces.sealer))) == (1 if how == "whole" else 3)


def test_no_batch_has_more_senders_than_items_can_be_told_apart(pieces, monkeypatch):
    monkeypatch.setattr(assembling, "_SENDERS", 2)
    for number, company in enumerate(("S1", "S2", "S3", "S1")):
        pieces.put("insert", "items", "settle", order=f"O{number}", company=company)
    assert [len(ids) for ids in pieces.assemble()] == [6, 6]


def test_what_grew_too_old_is_given_up_a_bounded_number_at_a_time(pieces, monkeypatch):
    monkeypatch.setattr(assembling, "_PIECES", 3)
    monkeypatch.setattr(assembling, "_SENDERS", 2)
    pieces.put("insert", "items", order="new")
    for number, company in enumerate(("S1", "S2", "S3", "S1")):
        pieces.put("insert", "items", order=f"O{number}", company=company, received_at=OLD)
    batches = pieces.expire()
    assert [len(ids) for ids in batches] == [3, 3, 2]
    assert [one for ids in batches for one in ids] == [f"O{n // 2}-{n + 3}" for n in range(8)]
