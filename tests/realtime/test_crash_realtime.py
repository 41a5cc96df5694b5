"""The real-time crash kit, a few rounds of it: `make crash` plays a hundred."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from proof import order_problems, store_problems
from rounds import Line, left, record, recorded, table

KIT = Path(__file__).parent / "crash_rounds.py"
SEED = "5"
"""Of rounds in which processes, broker, database, network and disks fail."""
KEY, OTHER = ("440300000000001", "N-1"), ("440300000000001", "N-2")


def test_what_was_accepted_is_in_every_store_whatever_breaks():
    command = [sys.executable, str(KIT), "--rounds", "4", "--seconds", "2.5", "--seed", SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["failed"] == []
    assert report["accepted"] > 100
    assert report["answers"]["refused"] > 0
    assert report["answers"]["corrected"] > 0
    assert {"kill gateway", "kill supervisor", "kill broker", "kill database"} <= set(report["faults"])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "LOST"),
        ([(1, "a", True)], "LOST"),
        ([(1, "a", False), (2, "b", True), (2, "b", False)], "DOUBLED"),
        ([(1, "a", False), (2, "x", True)], "OTHER CONTENT"),
        ([(1, "a", True), (2, "b", True)], "WRONG CURRENT"),
        ([(1, "a", False), (2, "b", True), (3, "b", False)], "LOST"),
    ],
)
def test_the_kit_sees_what_is_wrong_in_a_store(rows, said):
    found = store_problems("ministry", {KEY: rows} if rows else {}, {KEY: ["a", "b"]}, Counter())
    assert said in found[0]


def test_the_kit_sees_what_nobody_sent_and_counts_what_was_superseded():
    superseded = Counter()
    rows = {KEY: [(2, "b", True)], ("1", "2"): [(1, "a", True)]}
    (found,) = store_problems("ministry", rows, {KEY: ["a", "b"]}, superseded)
    assert "NOBODY SENT ('1', '2')" in found
    assert superseded == {"ministry": 1}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(KEY, 1, False), (KEY, 2, False), (OTHER, 1, False)], ""),
        ([(KEY, 2, False), (OTHER, 1, False)], ""),
        ([(KEY, 2, False), (KEY, 1, True), (OTHER, 1, False)], "LATE"),
        ([(KEY, 1, False), (OTHER, 1, False), (KEY, 2, False)], "OUT OF ORDER"),
        ([(("1", "2"), 1, False), (KEY, 1, False), (KEY, 2, False)], ""),
    ],
)
def test_the_kit_sees_records_of_a_vehicle_that_came_out_of_order(rows, said):
    found = order_problems("ministry", {"VIN": rows}, [[(KEY, 1), (KEY, 2), (OTHER, 1)], [(("1", "2"), 1)]])
    assert bool(found) == bool(said)
    assert not found or said in found[0]


def played(number, *wrong, seed="7", **answers):
    return Line(seed, number, ["kill broker", "disk full", "kill broker"], answers, number, 2.0, 3.0, list(wrong))


def test_a_run_goes_on_with_its_own_rounds_that_stand_in_the_record(tmp_path):
    path = tmp_path / "var" / "crash.jsonl"
    assert recorded(path, "7") == recorded(None, "7") == []
    for line in (played(1), played(2, "LOST"), played(3, seed="8"), played(2)):
        record(path, line)
    assert recorded(path, "7") == [played(1), played(2)]


def test_a_run_whose_rounds_are_all_recorded_plays_none_and_tells_of_them(tmp_path):
    for line in (played(1, new=3), played(2, "LOST", new=4)):
        record(tmp_path / "rounds", line)
    command = [sys.executable, str(KIT), "--rounds", "2", "--seed", "7", "--record", str(tmp_path / "rounds")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert (report["rounds"], report["failed"], report["accepted"]) == (2, [2], 7)
    assert table([played(1, new=3), played(2, "LOST", new=4)]) in done.stdout


def test_all_rounds_are_a_table():
    lines = [played(1, new=1_000, corrected=20, refused=5), played(2, unanswered=4), played(4, "LOST", repeated=1)]
    rows = dict(row.strip("| ").split(" | ") for row in table(lines).splitlines()[2:])
    assert rows == {
        "rounds": "3 (numbers 1-2, 4)",
        "ended well: lost 0, doubled 0, ledgers balanced": "**2**",
        "failed": "4",
        "accepted: new, corrected, repeated": "1,021",
        "refused, each with its letter": "5",
        "without an answer, sent again": "4",
        "fault: kill broker": "6",
        "fault: disk full": "3",
        "seconds until everything ran again, median / most": "2.0 / 4.0",
        "seconds until everything had arrived, median / most": "2.0 / 2.0",
    }


@pytest.mark.parametrize(("seconds", "said"), [([], "?"), ([30, 90], "10 min"), ([600], "1 h 40 min")])
def test_the_time_that_is_left_follows_from_the_rounds_before(seconds, said):
    assert left(seconds, 10) == said
