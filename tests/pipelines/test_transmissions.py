"""Counts of uploads: by shop and month, each month once it is over, and the store left alone until then."""

from __future__ import annotations

from collections import Counter
from datetime import date

import orjson
import pytest
from row_gate import SHOP, Gate, record

from mappings.documents.credit import Transmission
from pipelines.transmissions import TransmissionSettings, TransmissionSource


@pytest.fixture
def gate(tmp_path):
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


def source(gate, today):
    url = f"sqlite:///{gate.folder}/stores/province-11.db"
    return TransmissionSource(TransmissionSettings(url=url, state=gate.folder, system="11", today=today))


def told(made, done):
    found = {}
    for item in made.plan(done):
        bodies = [body for block in made.read(item) for body in block.bodies]
        found[item.extra["month"]] = [Transmission.of_members(orjson.loads(body)["members"]) for body in bodies]
    return found


def test_a_month_is_told_once_it_is_over(gate):
    gate.shop(
        record("J1"), record("J2", serial=2, day="20260920"), record("J1", fault="另一种"), record("J3", plate="京A")
    )
    bad = record("J4")
    bad["basicInfo"]["vin"] = "SHORT"
    gate.shop(bad)
    gate.run("collect")
    assert told(source(gate, date(2026, 9, 30)), {}) == {}
    (one,) = told(source(gate, date(2026, 10, 1)), {})["2026-09"]
    counts = Counter(received=5, accepted=4, dead=1, corrected=1)
    assert (one.companycode, one.period) == (SHOP, "2026-09")
    assert {name: getattr(one, name) for name in counts} == counts
    assert (one.late, one.silentdays) == (3, 29)


def test_months_that_were_told_are_not_looked_for_again(gate, monkeypatch):
    gate.shop(record("J1"))
    gate.run("collect")
    gate.moment = "2026-10-05T10:00:00+08:00"
    gate.shop(record("J2", day="20261004"))
    gate.run("collect")
    made = source(gate, date(2026, 11, 2))
    assert list(told(made, {})) == ["2026-09", "2026-10"]
    assert list(told(made, {"transmissions": "2026-09"})) == ["2026-10"]
    monkeypatch.setattr(TransmissionSource, "_accepted", lambda *_: pytest.fail("the store was read"))
    assert told(made, {"transmissions": "2026-10"}) == {}


def test_receipt_at_midnight_counts_in_china_s_month(gate):
    gate.moment = "2026-09-30T16:30:00+00:00"  # October 1st in China
    gate.shop(record("J1"))
    gate.run("collect")
    assert list(told(source(gate, date(2026, 11, 1)), {})) == ["2026-10"]
