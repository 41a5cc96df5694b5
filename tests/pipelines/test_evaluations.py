"""Owners' evaluations by shipped exchanges: one a visit; the same again is a duplicate, a second changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from row_gate import Gate, record, vin

from mappings.documents.credit import CreditSubject, Transmission
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.records import Withdrawal
from pipelines.partners.hosting import Hosted, hosted

SHOP, SYSTEM = "440103000000002", "44"


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Hosted]:
    with hosted(["credit"], tmp_path / "stand-ins") as made:
        yield made


def evaluation(stars: int, day: str = "2026-09-12", **members: Any) -> dict[str, Any]:
    items = ("维修质量", "维修效率", "维修收费", "服务态度", "服务环境")
    visit = {"companycode": SHOP, "costlistcode": "W1", "vin": vin(1), "evaluationdate": day}
    return {**visit, **dict.fromkeys(items, stars), **members}


def kept(gate: Gate) -> list[tuple[str, int]]:
    """Numbers and versions of the evaluations that stand in the store."""
    with closing(sqlite3.connect(gate.folder / "stores/documents-44.db")) as connection:
        return connection.execute(
            "SELECT costlistcode, version FROM documents WHERE kind = 'evaluation' AND current AND withdrawn IS NULL"
            " ORDER BY seq"
        ).fetchall()


def entry(gate: Gate, running: Hosted) -> dict[str, Any]:
    """The shop's credit entry of September: mean of its evaluations, and what does not count."""
    gate.run("credit", f"sinks.credit.url={running.urls['credit']}")
    with closing(sqlite3.connect(gate.folder / "stores/cases-44.db")) as connection:
        ((members,),) = connection.execute(
            "SELECT members FROM documents WHERE kind = 'credit-entry' AND current AND withdrawn IS NULL"
        ).fetchall()
    told = orjson.loads(members)
    figures = {one["name"]: one["counted"] for one in told["measures"]}
    return {"mean": figures["evaluation_mean"], "second": [one["reason"] for one in told["uncounted"]]}


def test_one_a_visit(gate, running):
    gate.shop(record("W1", company=SHOP, plate="粤A12345"), company=SHOP, system=SYSTEM)
    gate.run("collect")
    september = Transmission(companycode=SHOP, period="2026-09", received=1, accepted=1, silentdays=29)
    subject = CreditSubject(companycode=SHOP, uscc="91310112132259241T", since=date(2020, 1, 1))
    told = {"system": SYSTEM, "dialect": "document", "received_at": "2026-09-21T10:00:00+08:00"}
    gate.put("outside", evaluation(4), *(encode_document(one, told) for one in (september, subject)))
    gate.run("outside-in")
    assert entry(gate, running) == {"mean": "4", "second": []}
    gate.put("outside", evaluation(4))
    assert gate.run("outside-in").totals["duplicate"] == 1
    gate.put("outside", evaluation(1))
    gate.put("outside", evaluation(2, "2026-09-13"))
    gate.run("outside-in")
    assert [version for _, version in kept(gate)] == [1, 1, 1], "none is a correction of another"
    assert entry(gate, running) == {"mean": "4", "second": ["second", "second"]}
    first = kept(gate)[0][0]
    gate.put("outside", encode_withdrawn(Withdrawal(SHOP, first, "误评"), told), evaluation(5, evaluationno="E1"))
    gate.run("outside-in")
    assert entry(gate, running) == {"mean": "5", "second": ["second", "second"]}, "a correction by its own operation"
    gate.put("outside", evaluation(3, evaluationno="E1"))
    gate.run("outside-in")
    assert entry(gate, running)["mean"] == "3"
    assert gate.letters() == []
