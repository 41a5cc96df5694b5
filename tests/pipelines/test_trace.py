"""Where a vehicle's records went: found by hash, proved by the record, in the order in which they came."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from engine_samples import BULK, lines, payload, run_bulk, run_stores, vin_of, write
from sqlalchemy import insert, select, update
from typer.testing import CliRunner

from pipelines import tables
from pipelines.cli.trace import trace as command
from pipelines.coordinator import Coordinator
from pipelines.journal import ADDRESSED, LINE, Journal, digest_column
from pipelines.looks import demand
from pipelines.settings import load
from pipelines.state import State
from pipelines.trace import trace
from pipelines.vinhash import vin_hash

VIN = vin_of("424242")
CODE = "JS20250612000042"


def told(folder: Path, vin: str = VIN) -> list[dict[str, Any]]:
    with State(folder / "state", own=False) as state:
        found = trace(state, state.sealer(), vin)
    assert found["vin"] == vin.upper()
    versions: list[dict[str, Any]] = found["versions"]
    return versions


def ours(**changes: str) -> dict[str, Any]:
    return payload(42, **{"vin": VIN, "vehicleplatenumber": "粤B12345", "costlistcode": CODE} | changes)


def test_one_record_in_a_part(tmp_path: Path) -> None:
    run_bulk(tmp_path, [*lines(40), ours()])
    (one,) = told(tmp_path)
    assert one["companycode"] == "44010000"
    assert one["costlistcode"] == CODE
    assert one["version"] == 1
    assert one["batch"] == "bulk-files-000001"
    assert one["exchange"] == "bulk-files"
    assert one["findings"] == []
    (destination,) = one["destinations"]
    assert (destination["name"], destination["outcome"]) == ("province-44", "delivered")
    assert [told["agreement"] for told in one["disclosed"]] == ["push"]
    assert one["proved"] is True


@pytest.mark.parametrize("run", [run_bulk, run_stores], ids=["parts", "stores"])
def test_versions_and_duplicates_in_order(tmp_path: Path, run: Any) -> None:
    run(tmp_path, [ours(), *lines(20), ours()])
    run(tmp_path, [*lines(5, first=100), ours(faultdescription="更换前刹车片")], "later.ndjson")
    first, again, second = told(tmp_path)
    assert [one["version"] for one in (first, again, second)] == [1, 1, 2]
    assert [one["fate"] for one in (first, again, second)] == ["addressed", "duplicate", "addressed"]
    assert again["destinations"] == [{"name": "province-44", "outcome": "duplicate"}]
    assert {one["costlistcode"] for one in (first, again, second)} == {CODE}
    assert second["batch"] > first["batch"]
    assert all(one["proved"] for one in (first, again, second))


def test_record_of_a_store_that_is_gone_is_found_but_not_proved(tmp_path: Path) -> None:
    run_stores(tmp_path, [ours()])
    for left in (tmp_path / "stores").iterdir():
        left.unlink()
    (one,) = told(tmp_path)
    assert (one["proved"], one["costlistcode"], one["version"]) == (False, "", 1)
    assert not list((tmp_path / "stores").iterdir())


def test_letter_is_an_entry_with_its_reasons(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours(), ours(costlistcode="JS2", settledate="20251332", repairmileage="-5")])
    delivered, dead = told(tmp_path)
    assert delivered["destinations"][0]["outcome"] == "delivered"
    assert dead["destinations"] == [{"name": "", "outcome": "dead"}]
    assert dead["costlistcode"] == "JS2"
    assert len(dead["findings"]) >= 2
    assert {reason["code"] for reason in dead["reasons"]} == set(dead["findings"])


def test_filtered_record_is_told_with_why(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours(vehicleplatenumber="使014578")])
    (one,) = told(tmp_path)
    assert one["destinations"] == [{"name": "", "outcome": "filtered"}]
    assert one["note"]


def test_waiting_delivery_is_proved_by_what_waits(tmp_path: Path) -> None:
    run_stores(tmp_path, [ours(costlistcode="JS1")], "before.ndjson")
    blocked = tmp_path / "stores" / "province-44.db"
    blocked.unlink()
    blocked.mkdir()
    run_stores(tmp_path, [ours()])
    one = told(tmp_path)[-1]
    assert one["destinations"] == [{"name": "province-44", "outcome": "waiting"}]
    assert (one["costlistcode"], one["proved"]) == (CODE, True)


def test_refused_delivery_has_its_letter(tmp_path: Path) -> None:
    source = write(tmp_path / "in.ndjson", [ours()])
    options = ["sinks.provinces.connector=memory", "sinks.provinces.hub=trace-refuse", "sinks.provinces.mode=refuse"]
    exchange = load(BULK, [f"source.path={source}"], {})
    plain = exchange.model_dump(mode="json", by_alias=True)
    plain["sinks"] = {"provinces": dict([("for", "province-*"), *(o.split(".")[2].split("=") for o in options)])}
    with State(tmp_path / "state", own=True) as state:
        Coordinator(state, type(exchange).model_validate(plain)).run()
    (one,) = told(tmp_path)
    (destination,) = one["destinations"]
    assert destination["outcome"] == "dead"
    assert destination["reasons"]
    assert len(destination["letter"]) == 32


def test_decided_batch_is_in_flight(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    with State(tmp_path / "state", own=True) as state, state.unit_of_work() as connection:
        connection.execute(update(tables.batches).values(state="decided"))
        connection.execute(update(tables.parts).values(promoted=False))
    (one,) = told(tmp_path)
    assert one["destinations"] == [{"name": "province-44", "outcome": "in_flight"}]
    assert one["proved"] is True


def test_unknown_vehicle_and_no_vin_have_nothing(tmp_path: Path) -> None:
    run_bulk(tmp_path, [*lines(10, broken=2), ours()])
    assert told(tmp_path, vin_of("000000")) == []
    assert told(tmp_path, "LSV") == []
    assert len(told(tmp_path, VIN.lower().upper())) == 1


@pytest.mark.parametrize("name", ["key_hi", "key_lo", "content", "vin"])
def test_a_column_is_that_of_the_journal(name: str) -> None:
    book = Journal(np.zeros(1_000, LINE))
    book.lines["vin"] = np.arange(1_000, dtype=np.uint64) << np.uint64(40)
    book.routes.append(("province-44",))
    assert np.array_equal(digest_column(book.pack(), name), book.lines[name])
    assert len(digest_column(Journal(np.zeros(0, LINE)).pack(), name)) == 0


def test_a_million_lines_are_searched_in_a_second(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    book = Journal(np.zeros(100_000, LINE))
    book.lines["vin"] = np.arange(1, 100_001, dtype=np.uint64)
    book.lines["fate"] = ADDRESSED
    packed = book.pack()
    with State(tmp_path / "state", own=True) as state, state.unit_of_work() as connection:
        rows = [{"batch": "bulk-files-000001", "item": n, "source": "x", "lines": packed} for n in range(1, 11)]
        connection.execute(insert(tables.journals), rows)
    assert int(vin_hash(VIN)) > 100_000
    with State(tmp_path / "state", own=False) as state:
        sealer = state.sealer()
        began = time.process_time()
        found = trace(state, sealer, VIN)
        took = time.process_time() - began
    assert len(found["versions"]) == 1
    assert took < 1


# -- the command -------------------------------------------------------------------------------------------------------


def call(folder: Path, *arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(command)
    found = CliRunner().invoke(app, ["--state", str(folder / "state"), *arguments])
    return found.exit_code, found.stdout


def looks(folder: Path) -> list[tuple[str, str]]:
    t = tables.looks
    with State(folder / "state", own=False) as state, state.reading() as connection:
        return [(row.who, row.purpose) for row in connection.execute(select(t).order_by(t.c.id))]


def test_command_gives_one_object_and_logs_the_look(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    code, text = call(tmp_path, "--vin", VIN.lower(), "--json")
    assert code == 0
    found = json.loads(text)
    assert found["vin"] == VIN
    assert {"companycode", "costlistcode", "version", "batch", "findings", "destinations"} <= set(found["versions"][0])
    assert looks(tmp_path) == [("", "")]


def test_who_looks_is_written_down_without_the_vin(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    for _ in range(2):
        code, text = call(tmp_path, "--vin", VIN, "--by", "李四", "--for", "投诉 12")
        assert code == 0
        assert CODE in text.replace("\n", "")
    assert looks(tmp_path) == [("李四", "投诉 12")] * 2
    with State(tmp_path / "state", own=False) as state, state.reading() as connection:
        (hashed,) = set(connection.execute(select(tables.looks.c.vin)).scalars())
        assert hashed == state.sealer().pseudonym(VIN)


def test_where_it_is_demanded_nobody_looks_without_a_name_and_a_purpose(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    with State(tmp_path / "state", own=True) as state:
        demand(state, demanded=True)
    assert call(tmp_path, "--vin", VIN, "--by", "李四")[0] != 0
    assert looks(tmp_path) == []
    assert call(tmp_path, "--vin", VIN, "--by", "李四", "--for", "投诉 12")[0] == 0


def test_command_says_that_nothing_is_known(tmp_path: Path) -> None:
    run_bulk(tmp_path, [ours()])
    assert "nothing is known" in call(tmp_path, "--vin", vin_of("000000"))[1]
