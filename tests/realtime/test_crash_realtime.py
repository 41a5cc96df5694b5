"""The real-time crash kit, a few rounds of it: `make crash` plays a hundred."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from proof import order_problems, store_problems

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
