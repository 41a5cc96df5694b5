"""One batch through Beam: every envelope accounted, the same bytes in every run, and nothing decided after an error."""

from __future__ import annotations

import hashlib
import json

import pytest
from sqlalchemy import func, select

from mappings.vin import check_digit
from pipelines import steps, tables
from pipelines.coordinator import Coordinator
from pipelines.journal import Journal
from pipelines.runcounts import counts_of
from pipelines.settings import Exchange
from pipelines.state import State


def line(number):
    head = f"LSVAB12C0CE{number:06d}"
    basic = {
        "companycode": "44030001",
        "companyname": "某某汽车维修有限公司",
        "vehicleplatenumber": ("粤B", "沪A", "京A")[number % 3] + "12345",
        "vin": head[:8] + check_digit(head) + head[9:],
        "repairdate": "20250605",
        "repairmileage": "-5" if number % 10 == 9 else "52000",
        "settledate": "20250605",
        "faultdescription": "发动机异响",
        "costlistcode": f"JS{number}",
    }
    projects = [{"repairproject": "更换火花塞", "workinghours": "2"}]
    return json.dumps({"basicInfo": basic, "vehiclepartslist": [], "repairprojectlist": projects}, ensure_ascii=False)


@pytest.fixture
def place(tmp_path):
    for name in ("a", "b", "c"):
        path = tmp_path / "in" / f"{name}.ndjson"
        path.parent.mkdir(exist_ok=True)
        numbers = range(ord(name) * 1000, ord(name) * 1000 + 40)
        path.write_text("".join(line(n) + "\n" for n in numbers), "utf-8")
    return tmp_path


def exchange(place, name, **batch):
    return Exchange.model_validate(
        {
            "name": "collect",
            "source": {"connector": "files", "path": str(place / "in"), "format": "ndjson", "finished": "keep"},
            "mapping": {"dialect": "national"},
            "versions": {"system": "44"},
            "routing": {"table": "home"},
            "sinks": {"out": {"connector": "avro", "path": str(place / f"out-{name}")}},
            "received_at": "2025-06-06T10:00:00+08:00",
            "batch": batch,
        }
    )


def run(place, name, **batch):
    """The totals of one run on a state of its own, and its parts by name."""
    with State(place / f"state-{name}", own=True) as state:
        counts = counts_of(state, Coordinator(state, exchange(place, name, **batch)).run())
        assert counts.balanced
    parts = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in (place / f"out-{name}").glob("*.avro")}
    return {name: n for name, n in counts.totals.items() if n}, parts


def test_receipts_cover_every_envelope_once(place):
    totals, parts = run(place, "one", block=7)
    assert totals == {"received": 120, "delivered": 108, "dead": 12}
    assert len(parts) == 9
    with State(place / "state-one", own=False) as state, state.reading() as connection:
        books = [Journal.unpack(packed) for packed in connection.execute(select(tables.journals.c.lines)).scalars()]
    assert [book.lines["ordinal"].tolist() for book in books] == [list(range(40))] * 3
    assert [book.counts() for book in books] == [{"addressed": 36, "dead": 4}] * 3
    assert not list((place / "state-one" / "staging").iterdir())


def test_runs_make_the_same_bytes_whatever_the_workers(place):
    first = run(place, "one", workers=1)
    assert run(place, "again", workers=1) == first
    assert run(place, "two", workers=2) == first


@pytest.mark.parametrize("step", ["decode", "judge", "address"])
def test_an_error_without_a_reason_stops_the_job_and_decides_nothing(place, monkeypatch, step):
    good = getattr(steps, step)

    def broken(bench, load):
        if load.task.number == 1:
            message = "a bug"
            raise ZeroDivisionError(message)
        return good(bench, load)

    with monkeypatch.context() as patch, State(place / "state-one", own=True) as state:
        patch.setattr(steps, step, broken)
        with pytest.raises(Exception, match="a bug"):
            Coordinator(state, exchange(place, "one")).run()
        with state.reading() as connection:
            assert connection.execute(select(tables.batches.c.state)).scalars().all() == ["open"]
            for table in (tables.journals, tables.parts, tables.items, tables.letters.letters, tables.version_front):
                assert connection.execute(select(func.count()).select_from(table)).scalar_one() == 0
    assert not list((place / "out-one").glob("*.avro"))
    assert run(place, "one") == run(place, "other")
    left = [p for p in (place / "out-one").rglob("*") if p.is_file() and p.suffix != ".avro"]
    assert left == []
