"""Settings that change while something is still to be delivered: said with batch and sink, and nothing is lost."""

from __future__ import annotations

import pytest
from engine_samples import BULK, Killed, payload, write
from sqlalchemy import select

from connectors.contracts import Misconfigured
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.ledger import prove
from pipelines.settings import Exchange, load
from pipelines.state import State


@pytest.fixture
def state(tmp_path):
    with State(tmp_path / "state", own=True) as made:
        yield made


@pytest.fixture
def exchange(tmp_path):
    source = write(tmp_path / "in.ndjson", [payload(1)])
    return load(BULK, [f"source.path={source}", f"sinks.provinces.path={tmp_path / 'out'}"], {})


def with_sinks(exchange, sinks):
    return Exchange.model_validate(exchange.model_dump(mode="json", by_alias=True) | {"sinks": sinks})


def kill_at(state, exchange, name):
    def tell(event):
        if event.name == name:
            raise Killed

    with pytest.raises(Killed):
        Coordinator(state, exchange, tell).run()


@pytest.mark.parametrize("change", ["renamed", "another connector"])
def test_a_decided_batch_names_the_sink_of_files_that_it_needs(tmp_path, state, exchange, change):
    kill_at(state, exchange, "decided")
    (sink,) = exchange.model_dump(mode="json", by_alias=True)["sinks"].values()
    rows = {"connector": "memory", "for": "*"}
    changed = {"provinces": rows} if change == "another connector" else {"others": sink}
    with pytest.raises(Misconfigured, match=r"(?s)sinks\.provinces.*bulk-files-000001"):
        Coordinator(state, with_sinks(exchange, changed)).run()
    Coordinator(state, exchange).run()
    assert len(list((tmp_path / "out").rglob("*.avro"))) == 1
    assert (prove(state).totals["delivered"], prove(state).problems) == (1, [])


@pytest.mark.parametrize(
    "setting",
    ['rules.history=["MILEAGE_REGRESSION"]', "rules.merge=shop", 'versions.also_held=["headquarters"]'],
)
def test_what_is_decided_by_the_coordinator_is_refused_beside_sinks_of_files(tmp_path, state, setting):
    exchange = load(BULK, [f"source.path={tmp_path}", f"sinks.provinces.path={tmp_path / 'out'}", setting], {})
    with pytest.raises(SettingsError, match=setting.partition("=")[0]):
        Coordinator(state, exchange)
    rows = {
        "provinces": {"connector": "memory", "for": "province-*"},
        "receipts": {"connector": "files", "for": "receipts", "path": str(tmp_path / "receipts")},
    }
    told = exchange.rules.model_copy(update={"receipts": "receipts"})
    Coordinator(state, with_sinks(exchange.model_copy(update={"rules": told}), rows))


def test_what_no_sink_serves_waits_and_was_never_tried(state, exchange):
    nobody = {"others": {"connector": "memory", "for": "nobody"}}
    Coordinator(state, with_sinks(exchange, nobody)).run()
    with state.reading() as connection:
        (row,) = connection.execute(select(tables.waiting.c.reason, tables.waiting.c.attempts)).all()
    assert "no sink serves province-" in row.reason
    assert row.attempts == 0


def test_rows_wait_where_their_sink_writes_files_now(tmp_path, state, exchange):
    rows = {"provinces": {"connector": "memory", "for": "*", "hub": str(tmp_path)}}
    kill_at(state, with_sinks(exchange, rows), "decided")
    Coordinator(state, exchange).run()
    assert prove(state).totals["waiting"] == 1
