"""Registers of road administration and parts traceability: polled from their stand-ins, or as files, into our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from row_gate import Gate
from sqlalchemy import func, select

from connectors.contracts import Unavailable
from connectors.registry import feed
from mappings import divisions
from mappings.layout import load_layout
from pipelines import tables
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.nation import DEPLOY
from pipelines.partners import giving
from pipelines.partners.hosting import Hosted, hosted
from pipelines.settings import load

EXCHANGES = {"road-administration": "road-register", "parts-traceability": "parts-traceability"}
GIVEN = {"road-administration": giving.ROAD_REGISTER, "parts-traceability": giving.PARTS_TRACEABILITY}


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    made = Gate(tmp_path / "state")
    yield made
    made.state.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Hosted]:
    with hosted(list(EXCHANGES), tmp_path / "stand-ins") as made:
        yield made


def feeds(gate: Gate, running: Hosted, name: str) -> dict[str, object]:
    return {
        of: feed(
            "http",
            {
                "url": running.urls[name],
                "request": {"method": "GET", "path": f"/v1/{of}", "query": {"after": "{cursor}", "limit": "1"}},
                "records": "rows",
                "key": "id",
                "body": "record",
                "record_cursor": "id",
                "position": str(gate.folder / "feeds" / f"{name}-{of}.position"),
                "every_seconds": 0.01,
                "retry": {"tries": 1},
            },
        )
        for of in ("operators", "vehicles")
    }


def live(gate: Gate, running: Hosted, name: str) -> Live:
    settings = load(DEPLOY / "exchanges" / f"{EXCHANGES[name]}.toml", [])
    made = Live(gate.state, settings, feeds(gate, running, name), records=100, milliseconds=0)
    made.recover()
    return made


def drained(running: Live) -> None:
    idle = 0
    for _ in range(100):
        idle = 0 if running.step(0.05) else idle + 1
        if idle > 3:
            return
    raise AssertionError


def registered(gate: Gate) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Company code -> name; VIN -> plate and home."""
    o, r = tables.operators, tables.registrations
    with gate.state.reading() as connection:
        shops = connection.execute(select(o.c.companycode, o.c.companyname).where(o.c.current)).all()
        vehicles = connection.execute(select(r.c.vin, r.c.plate, r.c.home).where(r.c.current)).all()
    return {one.companycode: one.companyname for one in shops}, {one.vin: (one.plate, one.home) for one in vehicles}


@pytest.mark.parametrize("name", sorted(EXCHANGES))
def test_what_a_system_hands_out_fills_both_registers(name, gate, running):
    drained(live(gate, running, name))
    shops, vehicles = registered(gate)
    given = GIVEN[name]
    assert shops == {one["companycode"]: one["companyname"] for one in given["operators"]}
    assert vehicles.keys() == {one["vin"] for one in given["vehicles"]}
    assert prove(gate.state).problems == []


def test_a_mot_code_is_no_division(gate, running):
    drained(live(gate, running, "road-administration"))
    assert registered(gate)[1] == {"LZYTBTE69G1037563": ("粤A10001D", "44"), "LGXC16DF1A0069957": ("宁A12345", "64")}


def test_only_what_is_new_comes_after_that_and_a_correction_stands(gate, running):
    drained(live(gate, running, "road-administration"))
    moved = dict(giving.ROAD_REGISTER["vehicles"][0], authority="19", vehicleplatenumber="湘A10001D")
    river = dict(moved, vin="LGBH52E01HY349442", authority="34")
    lines = b"\n".join(map(orjson.dumps, (moved, river)))
    url = running.urls["road-administration"]
    assert httpx.put(f"{url}/v1/vehicles", content=lines, trust_env=False).json() == {"given": 2}
    again = live(gate, running, "road-administration")
    drained(again)
    _, vehicles = registered(gate)
    assert vehicles["LZYTBTE69G1037563"] == ("湘A10001D", "43")
    assert "LGBH52E01HY349442" not in vehicles, "长航 is no province, though 34 is a division"
    with gate.state.reading() as connection:
        taken = connection.execute(select(func.sum(tables.batches.c.received))).scalar_one()
        reasons = connection.execute(select(tables.letters.letters.c.reason)).scalars().all()
    assert taken == 4 + 2
    assert reasons == ["CODE_NOT_IN_TABLE"]


def test_a_system_that_is_away_is_asked_again(gate, running):
    stand_in = running.stand_ins["parts-traceability"]
    stand_in.mood = stand_in.mood.model_copy(update={"down": True})
    one = feeds(gate, running, "parts-traceability")["operators"]
    with pytest.raises(Unavailable):
        one.take(10, 0)
    stand_in.mood = stand_in.mood.model_copy(update={"down": False})
    drained(live(gate, running, "parts-traceability"))
    assert len(registered(gate)[0]) == 1


def test_a_stand_in_refuses_lines_and_pages_that_are_none(running):
    url = f"{running.urls['parts-traceability']}/v1/operators"
    assert httpx.put(url, content=b"{}\n[1]\n", trust_env=False).status_code == 400
    assert httpx.get(url, params={"after": "x"}, trust_env=False).status_code == 400
    assert len(httpx.get(url, trust_env=False).json()["rows"]) == 1


def test_the_same_registers_come_as_files(gate, tmp_path):
    place = tmp_path / "drop"
    place.mkdir()
    rows = [one for of in ("operators", "vehicles") for one in giving.ROAD_REGISTER[of]]
    (place / "register.ndjson").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    settings = load(DEPLOY / "exchanges" / "road-register.toml", [f"source.path={place}"])
    Coordinator(gate.state, settings).run()
    shops, vehicles = registered(gate)
    assert (len(shops), len(vehicles)) == (2, 2)
    assert prove(gate.state).problems == []


def test_the_mapping_knows_every_authority():
    layout = load_layout(str(DEPLOY / "mappings" / "road-register.toml"))
    codes = dict(layout.shape[1].members["home"].codes)
    assert codes.pop("*") == "MOT {}"
    assert codes == {one.mot: key for key, one in divisions.PROVINCES.items()}
