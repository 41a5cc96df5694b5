"""Places of intake numbers: found by the journals that are kept, in batches of every size and of every number."""

from __future__ import annotations

import numpy as np
import pytest
from row_gate import Gate, record, vin
from sqlalchemy import insert, select

from pipelines import tables
from pipelines.journal import LINE, Journal
from pipelines.ledger import prove
from pipelines.places import Places
from pipelines.trace import trace
from pipelines.versions import pack_intake


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def batch_of(gate, number, *lengths):
    """A batch with items of so many envelopes."""
    run = {"exchange": "x", "started_at": ""}
    row = {"id": f"x-{number}", "exchange": "x", "number": number, "kind": "known", "state": "closed"}
    with gate.state.unit_of_work() as connection:
        run = connection.execute(insert(tables.runs), run).inserted_primary_key[0]
        connection.execute(insert(tables.batches), row | {"run": run, "received_at": "", "items": b"[]"})
        for item, length in enumerate(lengths):
            lines = Journal(np.zeros(length, LINE)).pack()
            kept = {"batch": row["id"], "item": item, "source": "", "lines": lines}
            connection.execute(insert(tables.journals), kept)


def test_a_number_leads_to_the_item_and_ordinal_of_its_place(gate):
    batch_of(gate, 7, 3, 0, 2)
    with gate.state.reading() as connection:
        places = Places(connection)
        found = [places(pack_intake(7, place)) for place in range(5)]
        assert found == [(7, 0, 0), (7, 0, 1), (7, 0, 2), (7, 2, 0), (7, 2, 1)]
        assert [places.number(*place) for place in found] == [pack_intake(7, place) for place in range(5)]
        assert places(7 << 36 | 2 << 24 | 1) == (7, 2, 1), "an older number says it itself"
        assert places(pack_intake(8, 4)) == (8, 0, 4), "nothing is kept of it"
        own = {0: Journal(np.zeros(1, LINE)), 1: Journal(np.zeros(2, LINE))}
        assert Places(connection, 8, own)(pack_intake(8, 2)) == (8, 1, 1)


def test_a_gateway_goes_on_with_batches_of_every_number(gate):
    """Past the number at which signed columns could take no intake number of 28 bits of batch."""
    gate.shop(record("J1"), record("J2", serial=2))
    gate.run("collect")
    batch_of(gate, 1 << 30)
    broken = record("J3", serial=3)
    broken["basicInfo"]["settledate"] = "?"
    gate.shop(record("J1", fault="二"), broken, {"costlistcode": "J2", "withdrawn": "重复上传"})
    gate.run("collect")
    assert gate.versions("province-11")[2:] == [("J1", 2, "二"), ("J2", 2, None)]
    with gate.state.reading() as connection:
        (letter,) = gate.letters()
        assert Places(connection)(letter.intake) == ((1 << 30) + 1, 0, 1)
        numbers = connection.execute(select(tables.version_front.c.intake)).scalars().all()
    assert sorted(numbers) == [pack_intake((1 << 30) + 1, 0), pack_intake((1 << 30) + 1, 2)]
    told = [(one["version"], one["withdrawn"]) for one in trace(gate.state, gate.state.sealer(), vin(2))["versions"]]
    assert told == [(1, False), (2, True)]
    assert prove(gate.state).problems == []
