"""Old parts by the shipped exchanges: from an insurer's assessment to a case of the waste ledger, and back again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from row_gate import Gate, record, vin

from mappings.documents.claimforms import encode_assessment
from mappings.documents.claims import SUMS, Assessment, FittedPart
from pipelines.partners.hosting import Hosted, hosted
from pipelines.trace import trace

SHOP, SYSTEM, PLATE = "440103000000002", "44", "粤A12345"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Hosted]:
    with hosted(["insurers", "solid-waste"], tmp_path / "stand-ins") as made:
        yield made


def repair() -> dict[str, Any]:
    told = record("W1", company=SHOP, plate=PLATE)
    told["vehiclepartslist"] = [{"partsname": "蓄电池", "partsquantity": "1", "partscode": "B-1"}]
    told["repairprojectlist"] = [{"repairproject": "事故维修", "workinghours": "1"}]
    return told


def packet(*, back: bool) -> bytes:
    fits = (FittedPart(partid="B-1", auditcount=Decimal(1), fitbackflag=back),)
    told = {"insurer": "PICC", "lossno": "L1", "dmgvhclid": "1", "reportcode": "R1", "vin": vin(1), "plate": PLATE}
    return encode_assessment(
        Assessment(**told, assessedon=date(2026, 9, 9), fits=fits, **dict.fromkeys(SUMS, Decimal(1)))
    )


def generated(number: str) -> dict[str, Any]:
    told = {"code": "900-052-31", "quantity": "1", "unit": "只", "costlistcode": "W1", "day": "2026-09-11"}
    return {"schema": "vingate.waste/1", "kind": "waste-event", "companycode": SHOP, "number": number,
            "event": "generated", **told}  # fmt: skip


def derive(gate: Gate, running: Hosted) -> list[str]:
    """Run both exchanges, insurers first; the reasons of the waste cases that stand."""
    shops = gate.folder / "shops.csv"
    shops.write_text(f"companycode,from\n{SHOP},2020-01-01\n", "utf-8")
    gate.run("insurers", f"sinks.insurers.url={running.urls['insurers']}", f"source.with.shops={shops}")
    gate.run("solid-waste", f"sinks.solid-waste.url={running.urls['solid-waste']}", "source.today=2026-10-20")
    with closing(sqlite3.connect(gate.folder / "stores/cases-44.db")) as connection:
        rows = connection.execute(
            "SELECT members FROM documents WHERE kind = 'waste-case' AND current AND withdrawn IS NULL"
        ).fetchall()
    return sorted(orjson.loads(members)["reason"] for (members,) in rows)


def test_where_an_old_part_went_meets_the_ledger_and_a_correction_turns_the_case(gate, running):
    url = f"sinks.solid-waste.url={running.urls['solid-waste']}"
    gate.shop(repair(), company=SHOP, system=SYSTEM)
    gate.run("collect")
    gate.put("outside", packet(back=True), name="a.xml")
    gate.put("outside", generated("E1"))
    gate.run("outside-in", url)
    assert derive(gate, running) == ["old-part-returned"]
    gate.put("outside", packet(back=False), name="b.xml")
    gate.run("outside-in", url)
    assert derive(gate, running) == [], "it stays, and the ledger has it"
    gate.put("outside", {**generated("E2"), "quantity": "-1", "reverses": "E1"})
    gate.run("outside-in", url)
    assert derive(gate, running) == ["old-part-undeclared", "undeclared"]
    word = {"companycode": SHOP, "vin": vin(1), "settlementSeq": "W1", "settlementDate": "2026-09-10"}
    gate.put("outside", {**word, "oldPartDisposal": "1"})
    gate.run("outside-in", url)
    assert derive(gate, running) == [], "the owner has it, and nobody says otherwise"
    assert derive(gate, running) == []
    assert gate.letters() == []


def test_a_trace_tells_of_each_document_the_fields_of_its_own_kind(gate, running):
    gate.shop(repair(), company=SHOP, system=SYSTEM)
    gate.run("collect")
    word = {"companycode": SHOP, "vin": vin(1), "settlementSeq": "W1", "settlementDate": "2026-09-10"}
    gate.put("outside", packet(back=True), name="a.xml")
    gate.put("outside", {**word, "oldPartDisposal": "2"})
    gate.run("outside-in")
    derive(gate, running)
    told = trace(gate.state, gate.state.sealer(), vin(1))["versions"]
    fields = {
        (one["exchange"], one["costlistcode"].partition(":")[0], disclosed["destination"]): {
            field["path"] for field in disclosed["fields"]
        }
        for one in told
        for disclosed in one["disclosed"]
    }
    kinds = {kind for exchange, kind, _ in fields if exchange == "outside-in"}
    assert kinds == {"assessment", "old-part-disposal"}
    assert "members.disposal" in fields["outside-in", "old-part-disposal", "documents"]
    assert "members.disposal" not in fields["outside-in", "assessment", "documents"]
    assert {len(one["disclosed"]) for one in told if one["exchange"] == "outside-in"} == {1}
    assert ("insurers", "accident-repair", "insurers") in fields, "named by its journal: nobody here keeps it"
    assert "members.approvedhours" in fields["insurers", "claim-comparison", "insurers"]
    assert "members.approvedhours" not in fields["insurers", "accident-repair", "insurers"]
