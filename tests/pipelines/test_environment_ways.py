"""Closures to the environment department by SQL, by files and by SFTP: new, corrected, withdrawn, redelivered."""

from __future__ import annotations

import sqlite3
import sys
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from emission_gate import REPORT, Loop, corrected, inspection, mistaken
from row_gate import SHOP, record, vin

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import sshd

from pipelines.ledger import prove
from pipelines.partners.environment import ENVIRONMENT
from pipelines.trace import trace

TABLES = ("RepairInfo_M", "VehiclePartslist_M", "RepairProjectList_M")


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path / "state")
    made.told()
    yield made
    made.state.close()


class Rows:
    """The department's tables, on SQLite."""

    def __init__(self, folder):
        self.file = folder / "stores/environment-im.db"
        self.url = f"sqlite:///{self.file}"

    def read(self, table):
        with closing(sqlite3.connect(self.file)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(f'SELECT * FROM "{table}"')]

    def change(self, statement):
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute(statement)


class ServerRows(Rows):
    """The same on PostgreSQL."""

    def __init__(self, postgres, url):
        self.server, self.url = postgres, url
        self.database = url.rpartition("/")[2].partition("?")[0]

    def read(self, table):
        columns = [
            one[0]
            for one in self.server.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s ORDER BY ordinal_position",
                table, database=self.database,
            )
        ]  # fmt: skip
        rows = self.server.execute(f'SELECT * FROM "{table}"', database=self.database)
        return [{name: str(value) for name, value in zip(columns, row, strict=True)} for row in rows]

    def change(self, statement):
        self.server.execute(statement, database=self.database)


@pytest.fixture(params=["sqlite", "postgresql"])
def theirs(request, loop):
    if request.param == "sqlite":
        return Rows(loop.folder)
    return ServerRows(request.getfixturevalue("postgres"), request.getfixturevalue("postgres_url"))


def standing(theirs):
    """RepairVeID -> what stands of it in the three tables."""
    found = defaultdict(lambda: {name: [] for name in TABLES})
    for name in TABLES:
        for row in theirs.read(name):
            found[row["RepairVeID"]][name].append(row)
    return dict(found)


def as_message(closure):
    """A closure's rows as the department's REST interface would see them, whose rules are nobody's but its own."""
    (info,) = closure["RepairInfo_M"]
    days = {name: str(info[name]).replace("-", "") for name in ("repairdate", "settledate")}
    told = {name: str(value) for name, value in info.items()} | days
    return {
        **told, "vehiclepartslist": closure["VehiclePartslist_M"], "repairprojectlist": closure["RepairProjectList_M"],
    }  # fmt: skip


def test_closures_are_rows_of_three_tables_that_the_department_finds_right(loop, theirs):
    counted = loop.close("environment-sql", f"sinks.environment.url={theirs.url}")
    assert counted.destinations["environment"]["delivered"] == 2
    found = standing(theirs)
    by_code = {one["RepairInfo_M"][0]["Costlistcode"]: one for one in found.values()}
    assert sorted(by_code) == ["J1", "J2"]
    assert [list(ENVIRONMENT.judges["closures"](as_message(one))) for one in by_code.values()] == [[], []]
    (info,) = by_code["J1"]["RepairInfo_M"]
    assert (info["test_no"], info["Vin"], info["companyuniquecode"]) == (REPORT, vin(1), SHOP)
    assert [(one["partsname"], str(one["rowno"])) for one in by_code["J1"]["VehiclePartslist_M"]] == [("火花塞", "1")]
    assert "13812345678" not in by_code["J2"]["RepairInfo_M"][0]["Faultdescription"], "masked by the agreement"


def test_a_correction_replaces_and_a_withdrawal_removes_and_nothing_else_moves(loop, theirs):
    way = f"sinks.environment.url={theirs.url}"
    loop.close("environment-sql", way)
    before = standing(theirs)
    corrected(loop)
    loop.close("environment-sql", way)
    (changed,) = [key for key, one in standing(theirs).items() if one != before[key]]
    assert len(standing(theirs)[changed]["VehiclePartslist_M"]) == 2
    mistaken(loop)
    loop.close("environment-sql", way)
    (left,) = standing(theirs).values()
    assert left["RepairInfo_M"][0]["Costlistcode"] == "J1"


def test_a_redelivery_changes_nothing(loop, theirs):
    way = f"sinks.environment.url={theirs.url}"
    loop.close("environment-sql", way)
    before = standing(theirs)
    loop.close("environment-sql", way, "name=environment-again", f"sinks.cases.url=sqlite:///{loop.folder}/again.db")
    assert standing(theirs) == before


def test_a_trace_names_what_went_into_tables_that_have_no_vin(loop):
    loop.close("environment-sql")
    found = trace(loop.state, loop.state.sealer(), vin(1))
    told = {one["costlistcode"] for one in found["versions"] if one["exchange"] == "environment-sql"}
    assert f"closure:J1/{vin(1)}" in told


def test_the_ledger_names_a_row_that_the_department_changed(loop, theirs):
    loop.close("environment-sql", f"sinks.environment.url={theirs.url}")
    theirs.change("""DELETE FROM "RepairProjectList_M" """)
    problems = prove(loop.state).problems
    assert problems
    assert all("environment" in str(one) for one in problems)


# -- files -------------------------------------------------------------------------------------------------------------


def lines(folder):
    """The lines of all files by name, as the department reads them: the last of each RepairVeID."""
    found = {}
    for file in sorted(folder.glob("*.ndjson")):
        for line in file.read_bytes().splitlines():
            row = orjson.loads(line)
            found[row["RepairVeID"]] = row
    return found


@pytest.fixture(params=["folder", "sftp"])
def drop(request, loop, tmp_path):
    """Where files go, and the settings of it."""
    if request.param == "folder":
        yield loop.folder / "outgoing/environment", []
        return
    (tmp_path / "server").mkdir()
    with sshd.serving(tmp_path / "server") as server:
        told = {**server.settings(tmp_path / "there"), "staging": "{state}/sftp-environment"}
        listed = ", ".join(f'{name} = "{value}"' for name, value in {"connector": "sftp", **told}.items())
        yield tmp_path / "there", [f"sinks.environment.into={{{listed}}}"]


def test_closures_are_lines_of_files_in_order(loop, drop):
    folder, settings = drop
    assert loop.close("environment-files", *settings).destinations["environment"]["delivered"] == 2
    first = lines(folder)
    assert sorted(one["Costlistcode"] for one in first.values()) == ["J1", "J2"]
    assert all(not list(ENVIRONMENT.judges["closures"](one)) for one in first.values())
    corrected(loop)
    mistaken(loop)
    loop.close("environment-files", *settings)
    last = lines(folder)
    assert last.keys() == first.keys()
    kept, gone = sorted(last.values(), key=lambda one: "withdrawn" in one)
    assert (kept["Costlistcode"], len(kept["vehiclepartslist"])) == ("J1", 2)
    assert set(gone) == {"RepairVeID", "withdrawn"}
    assert prove(loop.state).problems == []


# -- results, as the department's database has them ------------------------------------------------------------------


def results(database, *rows):
    columns = list(rows[0])
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS InspectionData ({', '.join(columns)})")
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO InspectionData VALUES ({marks})", [list(row.values()) for row in rows])


def test_rows_of_their_table_are_results_and_one_that_was_told_before_is_the_same(loop, tmp_path):
    database = tmp_path / "im.db"
    new = inspection("110105112609051315501013", serial=3, day="2026-09-05")
    results(database, inspection(), new)
    counted = loop.run("inspections-sql", f"source.url=sqlite:///{database}")
    assert (counted.totals["received"], counted.totals["duplicate"], counted.totals["delivered"]) == (2, 1, 1)
    results(database, inspection("110105112609121315501014", serial=3, day="2026-09-12", passed=True))
    assert loop.run("inspections-sql", f"source.url=sqlite:///{database}").totals["delivered"] == 1
    loop.repaired(record("J5", serial=3, day="20260910", fault="尾气超标"))
    loop.close("environment-files")
    told = {one["Costlistcode"]: one["test_no"] for one in lines(loop.folder / "outgoing/environment").values()}
    assert told["J5"] == "110105112609051315501013"


# -- test_no, as M stations send it ------------------------------------------------------------------------------------


def station_row(code, report, *, serial=3, company=SHOP):
    return {
        "Costlistcode": code, "test_no": report, "Vehicleplatenumber": "京A12345", "Vin": vin(serial),
        "repairmileage": "50000", "repairdate": "20260910", "settledate": "20260910", "companyuniquecode": company,
        "companyname": "北京某某汽车维修有限公司", "Faultdescription": "抖动", "uploader": "1",
        "uploadTime": "20260911080000",
        "VehiclePartslist_M": [{"partsname": "火花塞", "partsquantity": "4", "partscode": "P-1"}],
        "RepairProjectList_M": [{"repairproject": "更换火花塞", "workinghours": "1.5"}],
    }  # fmt: skip


def test_test_no_links_a_record_and_a_row_alone_is_a_repair(loop):
    loop.close("environment-files")
    folder = loop.folder / "outgoing/environment"
    assert "J3" not in {one["Costlistcode"] for one in lines(folder).values()}
    loop.outside(inspection("110105112609051315501013", serial=3), inspection("110105112609051315501014", serial=5))
    loop.put(
        "m-stations",
        station_row("J3", "110105112609051315501013"),
        {"jkid": "uploadRepairClosureM", "jksqm": "x",
         "data": [{"body": [station_row("J9", "110105112609051315501014", serial=5)]}]},
    )  # fmt: skip
    assert loop.run("m-stations").destinations["documents"]["delivered"] == 2
    loop.close("environment-files")
    told = {one["Costlistcode"]: one.get("test_no") for one in lines(folder).values()}
    assert told["J3"] == "110105112609051315501013"
    assert told["J9"] == "110105112609051315501014"
