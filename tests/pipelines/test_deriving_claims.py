"""Claims through stores: those that name no vehicle find it whichever comes first, and lose it again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal

import orjson
import pytest
from row_gate import SHOP, Gate, record, vin

from mappings.documents.claims import SUMS, Assessment, FittedPart
from mappings.documents.interchange import encode_document, encode_withdrawn
from mappings.records import Withdrawal
from pipelines.cli import main
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.settings import Exchange

PLATE = "京A12345"
TOLD = {"system": "44", "dialect": "document", "received_at": "2026-09-21T10:00:00+08:00"}


def assessment(count=4, **members):
    told = {
        "insurer": "PICC",
        "lossno": "L1",
        "dmgvhclid": "1",
        "reportcode": "R1",
        "vin": "",
        "plate": PLATE,
        "assessedon": date(2026, 9, 9),
        "fits": (FittedPart(partid="P-1", auditcount=Decimal(count)),),
        **dict.fromkeys(SUMS, Decimal(1)),
    }
    return Assessment(**{**told, **members})


class Lane(Gate):
    """A gate with the insurers' lane."""

    def repaired(self, *records):
        self.shop(*records)
        self.run("collect")

    def said(self, *bodies):
        self.put("outside", *bodies)
        self.run("outside-in")

    def assessed(self, *documents):
        self.said(*(encode_document(one, TOLD) for one in documents))

    def derive(self):
        (self.folder / "shops.csv").write_text(f"companycode,insurer,from,to\n{SHOP},,2020-01-01,\n", "utf-8")
        stores = self.folder / "stores"
        settings = {
            "name": "insurers",
            "agreements": ["insurers", "own-store"],
            "source": {
                "connector": "derived",
                "derivation": "claims",
                "with": {"shops": str(self.folder / "shops.csv")},
                "of": {
                    "repairs": {"url": f"sqlite:///{stores}/province-11.db"},
                    "documents": {"url": f"sqlite:///{stores}/documents-44.db", "holds": "documents"},
                },
            },
            "mapping": {
                "dialect": "document",
                "kinds": ["accident-repair", "claim-comparison", "old-part-return"],
                "profile": "strict",
            },
            "versions": {"system": "44"},
            "routing": {"table": "outside"},
            "sinks": {"all": {"connector": "sql", "url": f"sqlite:///{stores}/{{destination}}.db"}},
            "received_at": self.moment,
        }
        Coordinator(self.state, Exchange.model_validate(settings).placed(self.folder)).run()
        assert prove(self.state).problems == []

    def comparisons(self):
        """Repair and vehicle of each comparison that stands with the insurer."""
        with closing(sqlite3.connect(self.folder / "stores/insurers.db")) as connection:
            rows = connection.execute(
                "SELECT members FROM documents WHERE current AND withdrawn IS NULL AND kind = 'claim-comparison'"
            )
            told = [orjson.loads(members) for (members,) in rows]
        return sorted((one["costlistcode"], one["vin"]) for one in told)


@pytest.fixture
def gate(tmp_path):
    made = Lane(tmp_path / "state")
    yield made
    made.state.close()


def test_lines_that_differ_are_listed_by_command(gate, capsys):
    gate.repaired(record("J1"))
    gate.assessed(assessment(count=3))
    gate.derive()
    store = f"sqlite:///{gate.folder}/stores/cases.db"
    assert main(["cases", "claims", "--store", store, "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    assert told["compared"] == 1
    part = next(line for line in told["differing"][0]["lines"] if line["what"] == "part")
    assert (part["repaired"], part["approved"], part["remark"]) == ("4", "3", "more")
    assert main(["cases", "claims", "--store", store, "--report", "R9", "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["compared"] == 0
    assert main(["cases", "claims", "--store", store]) == 0
    assert "R1" in capsys.readouterr().out


@pytest.mark.parametrize("first", ["repair", "claim"])
def test_whichever_comes_first(gate, first):
    gate.repaired(record("J0", serial=9, plate="京B99999"))
    gate.assessed(assessment(vin=vin(9), lossno="L0", reportcode="R0", plate=None))
    steps = [lambda: gate.repaired(record("J1")), lambda: gate.assessed(assessment())]
    for step in steps if first == "repair" else reversed(steps):
        step()
        gate.derive()
    assert gate.comparisons() == [("J0", vin(9)), ("J1", vin(1))]


def test_a_corrected_claim_and_one_that_is_withdrawn(gate):
    gate.repaired(record("J1"))
    gate.assessed(assessment(count=9))
    gate.derive()
    assert gate.comparisons() == [("J1", vin(1))]
    gate.assessed(assessment(vin=vin(1)))
    gate.derive()
    assert len(gate.comparisons()) == 1
    gate.said(encode_withdrawn(Withdrawal("PICC", "assessment:L1", "误报"), TOLD))
    gate.derive()
    assert gate.comparisons() == []


def test_a_second_vehicle_of_the_plate_makes_it_nobodys_until_it_is_corrected(gate):
    gate.repaired(record("J1"))
    gate.assessed(assessment())
    gate.derive()
    assert len(gate.comparisons()) == 1
    gate.repaired(record("J2", serial=2))
    gate.derive()
    assert gate.comparisons() == []
    gate.repaired(record("J2", serial=2, plate="京C11111"))
    gate.derive()
    assert [one[0] for one in gate.comparisons()] == ["J1"]
