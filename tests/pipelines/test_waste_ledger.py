"""Shops' waste ledgers as CSV tables of HJ 1259, by the shipped exchange: every entry can be read again."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from row_gate import Gate

from mappings.documents.interchange import encode_withdrawn
from mappings.findings import profile
from mappings.judging import Context
from mappings.reading import judge, read
from mappings.records import Withdrawal
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.partners.hosting import hosted
from pipelines.settings import load

SHOP = "440103000000002"
EVENTS = ("generated", "stored", "taken-out", "handed-over", "used", "disposed", "transported", "received", "counted")


def event(number: int, of: str, **members: object) -> dict[str, object]:
    return {
        "schema": "vingate.waste/1",
        "kind": "waste-event",
        "companycode": SHOP,
        "number": f"E{number}",
        "event": of,
        "day": "2026-09-03",
        "code": "900-044-49",
        "category": "HW49",
        "quantity": "2",
        "unit": "只",
        **members,
    }


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def taken_in(gate: Gate, name: str, payloads: list[bytes], url: str) -> None:
    place = gate.folder / "partners/outside"
    place.mkdir(parents=True, exist_ok=True)
    (place / f"{name}.ndjson").write_bytes(b"\n".join(payloads))
    settings = load(DEPLOY / "exchanges/outside-in.toml", [f"sinks.solid-waste.url={url}"])
    Coordinator(gate.state, settings).run()


def sent(gate: Gate) -> dict[str, list[str]]:
    """Name of each file -> its lines."""
    Coordinator(gate.state, load(DEPLOY / "exchanges/waste-ledger.toml", [])).run()
    files = sorted((gate.folder / "outgoing/waste-ledger").glob("*.csv"))
    return {file.name: file.read_text("utf-8").splitlines() for file in files}


def test_every_event_goes_out_as_a_row_of_its_table_under_the_code_in_force(gate, tmp_path):
    with hosted(["solid-waste"], tmp_path / "stand-ins") as running:
        rows = [event(at, of, **({"method": "R4"} if of == "used" else {})) for at, of in enumerate(EVENTS)]
        rows.append(event(90, "generated", quantity="-2", reverses="E0"))
        taken_in(gate, "a", [orjson.dumps(one) for one in rows], running.urls["solid-waste"])
        files = sent(gate)
    assert len(files) == 8, "used and disposed share a table"
    found = {}
    for head, *lines in files.values():
        for line in lines:
            body = f"{head}\n{line}".encode()
            judged = judge(read(body), Context(profile("strict"), datetime(2026, 9, 21, tzinfo=UTC)))
            assert not judged.rejected
            found[judged.record.number] = judged.record
    assert {number: one.event for number, one in found.items()} == {
        **{f"E{at}": of for at, of in enumerate(EVENTS)},
        "E90": "generated",
    }
    assert {(one.code, one.category, one.unit, one.issuer) for one in found.values()} == {
        ("900-052-31", "HW31", "piece", SHOP)
    }
    assert (found["E90"].quantity, found["E90"].reverses) == (-2, "E0")
    assert prove(gate.state).problems == []


def test_an_entry_that_is_corrected_stands_once_and_is_a_letter_that_asks_for_a_red_one(gate, tmp_path):
    with hosted(["solid-waste"], tmp_path / "stand-ins") as running:
        for name, quantity in (("a", "2"), ("b", "5")):
            taken_in(gate, name, [orjson.dumps(event(1, "generated", quantity=quantity))], running.urls["solid-waste"])
            files = sent(gate)
    assert [len(lines) for lines in files.values()] == [2]
    with gate.state.reading() as connection:
        (letter,) = connection.execute(tables.letters.letters.select()).all()
    assert (letter.exchange, letter.stage) == ("waste-ledger", "deliver")
    assert prove(gate.state).problems == []


def test_an_entry_that_is_withdrawn_is_a_letter_that_asks_for_a_red_one(gate, tmp_path):
    told = {"system": "44", "dialect": "document", "received_at": "2026-09-03T10:00:00+08:00"}
    with hosted(["solid-waste"], tmp_path / "stand-ins") as running:
        url = running.urls["solid-waste"]
        taken_in(gate, "a", [orjson.dumps(event(1, "generated"))], url)
        assert len(sent(gate)) == 1
        gone = Withdrawal(SHOP, "waste-event:E1", "误报")
        taken_in(gate, "b", [encode_withdrawn(gone, told)], url)
        assert len(sent(gate)) == 1
    with gate.state.reading() as connection:
        letters = connection.execute(tables.letters.letters.select()).all()
    assert prove(gate.state).problems == []
    assert [(one.exchange, one.stage) for one in letters] == [("waste-ledger", "deliver")]
