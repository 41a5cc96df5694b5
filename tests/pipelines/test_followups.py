"""What follows is asked for in one statement, and whatever there is to do is found by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from pipelines import tables
from pipelines.followups import Following, following
from pipelines.state import State

WAITING = {
    "batch": "b-1",
    "item": 0,
    "ordinal": 0,
    "reason": "",
    "vin": 1,
    "version": 1,
    "record": b"",
    "next_attempt": "",
}
PIECE = {"system": "31", "company": "1", "order": "A", "step": "s", "intake": 1, "source": "", "offset": 0, "body": b""}
PART = {"batch": "b-1", "destination": "d", "sink": "s", "temporary": "t", "sha256": "", "count": 1}
REPLAY = {"asked_at": "", "attempts": 0, "tries": 0, "answered_at": "", "outcome": "", "why": "", "batch": ""}
BACKFILL = {"asked_at": "", "answered_at": "", "outcome": ""}
ROWS = {
    "waiting": {"id": "1", "destination": "d", **WAITING},
    "without-a-home": {"id": "1", "destination": "", **WAITING},
    "fragments": {"id": "1", "received_at": "", "batch": "b-1", **PIECE},
    "parts": {"final": "f", **PART},
    "replay_orders": {"letter": "1", **REPLAY},
    "backfill_orders": {"id": "b-1/0/0/d", **BACKFILL},
}
DONE = {
    "fragments": {"assembled": 2},
    "parts": {"promoted": True},
    "replay_orders": {"answered_at": "2026-09-30"},
    "backfill_orders": {"answered_at": "2026-09-30"},
}


@pytest.fixture(params=["sqlite", "postgresql"])
def state(tmp_path: Path, request: pytest.FixtureRequest):
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    with State(tmp_path / "state", own=True, url=url) as state:
        row = {"id": "b-1", "exchange": "collect", "number": 1, "run": 1, "kind": "inbox", "state": "closed"}
        with state.unit_of_work() as connection:
            connection.execute(insert(tables.runs), {"exchange": "collect", "started_at": ""})
            connection.execute(insert(tables.batches), {**row, "received_at": "", "items": b"[]"})
        yield state


def found(state: State, exchange: str = "collect") -> Following:
    with state.glancing() as connection:
        return following(connection, exchange)


def put(state: State, name: str) -> Any:
    table = tables.metadata.tables["waiting" if name == "without-a-home" else name]
    row = ROWS[name]
    with state.unit_of_work() as connection:
        connection.execute(insert(table), {**row, **({"exchange": "collect"} if "exchange" in table.c else {})})
    return table


def test_where_there_is_nothing_one_statement_says_so(state: State) -> None:
    asked: list[str] = []
    event.listen(state.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert found(state) == Following(anything=False, registrations=0)
    assert len([one for one in asked if one != "BEGIN"]) == 1


@pytest.mark.parametrize("name", ROWS)
def test_what_there_is_to_do_is_found_until_it_is_done(state: State, name: str) -> None:
    table = put(state, name)
    assert found(state).anything
    assert not found(state, "report").anything, "another exchange's"
    with state.unit_of_work() as connection:
        connection.execute(update(table).values(DONE[name]) if name in DONE else table.delete())
    assert not found(state).anything


def test_the_newest_registration_is_told(state: State) -> None:
    row = {"vin": "V", "intake": 1, "current": True, "home": "51", "record": "", "delivery_id": "", "batch": ""}
    with state.unit_of_work() as connection:
        connection.execute(
            insert(tables.registrations), [{**row, "valid_from": str(n), "sequence": n} for n in (3, 7, 5)]
        )
    assert found(state) == Following(anything=False, registrations=7)
