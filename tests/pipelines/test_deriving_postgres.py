"""Documents and what is derived from stores, with state and stores on PostgreSQL."""

from __future__ import annotations

import pytest
import test_deriving as deriving
from postgres_states import states_on
from row_gate import record, vin
from sqlalchemy import create_engine, text

from pipelines.coordinator import Coordinator
from pipelines.ledger import prove

gate, _shipped = deriving.gate, deriving._shipped


@pytest.fixture(autouse=True)
def on_postgres(postgres, monkeypatch):
    with states_on(postgres, monkeypatch):
        yield


test_delivered_once = deriving.test_what_follows_is_delivered_once_and_again_only_where_it_changed
test_withdrawn = deriving.test_what_follows_no_longer_is_withdrawn
test_killed = deriving.test_killed_around_the_decision_and_changed_meanwhile


def test_both_stores_are_on_the_server(gate, postgres):
    with postgres.database() as source, postgres.database() as target:
        repairs = f"sinks.provinces.url={source}"
        of = {"repairs": {"url": source}}
        sink = {"all": {"connector": "sql", "url": target}}
        gate.shop(record("J1"), record("J2", serial=2))
        gate.run("collect", repairs)
        exchange = gate.derived(source={"connector": "derived", "derivation": "milestones", "of": of}, sinks=sink)
        Coordinator(gate.state, exchange).run()
        gate.shop(record("J1", serial=3), record("J3", serial=2))
        gate.run("collect", repairs)
        Coordinator(gate.state, exchange).run()
        assert prove(gate.state).problems == []
        engine = create_engine(target)
        with engine.connect() as connection:
            asked = text("SELECT costlistcode, version, withdrawn IS NOT NULL FROM documents WHERE current ORDER BY 1")
            rows = [tuple(row) for row in connection.execute(asked)]
        engine.dispose()
    expected = [(vin(1), 2, True), (vin(2), 2, False), (vin(3), 1, False)]
    assert rows == [(f"milestone:{car}", version, gone) for car, version, gone in sorted(expected)]
