"""A repair whose report number is another vehicle's waits for a person, who decides, changes it, and takes it back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import orjson
import pytest
from row_gate import record, vin
from test_environment_ways import REPORT, Loop, inspection

from pipelines.cli import main
from pipelines.ledger import prove

SECOND = "110105112609021315501012"


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path / "state")
    made.outside(inspection(), inspection(SECOND, serial=2, day="2026-09-02"))
    made.repaired(record("J1", serial=3, fault=f"尾气超标 报告编码{{{REPORT}}}"))
    yield made
    made.state.close()


def follow(loop):
    """(States of cases by report or repair, vehicles of closures) after outside-in and environment ran."""
    if list((loop.partners / "outside").glob("im-match-*")):
        loop.run("outside-in")
    loop.close("environment-files")
    with closing(sqlite3.connect(loop.folder / "stores/cases-44.db")) as connection:
        rows = connection.execute(
            "SELECT kind, members FROM documents WHERE current AND withdrawn IS NULL ORDER BY record_key"
        ).fetchall()
    told = [(kind, orjson.loads(members)) for kind, members in rows]
    states = {one["number"].split("/")[0]: one["state"] for kind, one in told if kind == "im-case"}
    assert prove(loop.state).problems == []
    return states, [(one["vin"], one["test_no"]) for kind, one in told if kind == "closure"]


def key(loop):
    with closing(sqlite3.connect(loop.folder / "stores/province-11.db")) as connection:
        return connection.execute("SELECT record_key FROM repairs").fetchone()[0]


def call(loop, command, *options):
    stores = f"sqlite:///{loop.folder}/stores"
    given = ["--repairs", f"{stores}/province-11.db"] if command == "match" else []
    place = ["--documents", f"{stores}/documents-44.db", "--into", str(loop.partners / "outside")]
    who = ["--by", "1007", "--reason", "报告编号录错"]
    return main(["cases", command, "--repair", key(loop), *who, *given, *place, *options])


def test_a_decision_moves_the_repair_to_the_vehicle_that_was_tested(loop):
    states, closures = follow(loop)
    assert (states[key(loop)], closures) == ("to-match", [])
    assert call(loop, "match", "--report", REPORT, "--vin", vin(1)) == 0
    states, closures = follow(loop)
    assert (states, closures) == ({REPORT: "repaired", SECOND: "failed"}, [(vin(1), REPORT)])


def test_a_changed_decision_leaves_the_first_vehicle_and_both_stand_in_the_history(loop):
    follow(loop)
    call(loop, "match", "--report", REPORT, "--vin", vin(1))
    follow(loop)
    call(loop, "match", "--report", SECOND, "--vin", vin(2))
    states, closures = follow(loop)
    assert (states, closures) == ({REPORT: "failed", SECOND: "repaired"}, [(vin(2), SECOND)])
    with closing(sqlite3.connect(loop.folder / "stores/documents-44.db")) as connection:
        kept = connection.execute("SELECT count(*) FROM documents WHERE kind = 'im-match'").fetchone()[0]
    assert kept == 5, "two sides, the first one's next version, another side, and what was withdrawn"


def test_what_is_taken_back_waits_again_and_says_who_took_it_back(loop):
    follow(loop)
    call(loop, "match", "--report", REPORT, "--vin", vin(1))
    follow(loop)
    assert call(loop, "unmatch") == 0
    states, closures = follow(loop)
    assert (states[key(loop)], closures) == ("to-match", [])
    with closing(sqlite3.connect(loop.folder / "stores/documents-44.db")) as connection:
        why = connection.execute("SELECT withdrawn FROM documents WHERE withdrawn IS NOT NULL").fetchall()
    assert len(why) == 2
    assert all("1007" in one for (one,) in why)


def test_none_takes_it_out_of_the_queue(loop):
    follow(loop)
    assert call(loop, "match", "--none") == 0
    states, closures = follow(loop)
    assert (states, closures) == ({REPORT: "failed", SECOND: "failed"}, [])


@pytest.mark.parametrize("options", [[], ["--report", REPORT], ["--none", "--report", REPORT, "--vin", "V"]])
def test_half_a_decision_is_none(loop, options):
    assert call(loop, "match", *options) == 2
    assert not list((loop.partners / "outside").glob("im-match-*"))


def test_an_unknown_repair_and_an_undecided_one_are_named(loop, capsys):
    assert main(["cases", "match", "--repair", "11|x|y", "--by", "1", "--reason", "r", "--none",
                 "--repairs", f"sqlite:///{loop.folder}/stores/province-11.db",
                 "--documents", f"sqlite:///{loop.folder}/stores/documents-44.db"]) == 2  # fmt: skip
    assert "11|x|y" in capsys.readouterr().err
    assert call(loop, "unmatch") == 2
