"""bench/soak*: what is sampled of a process and a folder, the rule for flat, and how it is told."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "bench"))

import soak_plot
import soak_signs

_GROWS = """
import sys, threading
kept, files = [], []
for line in sys.stdin:
    kept.append(bytearray(b"x" * (40 << 20)))
    files += [open(sys.executable, "rb") for _ in range(7)]
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("grown", flush=True)
"""


def test_memory_handles_and_threads_of_a_process_are_seen_to_grow():
    with subprocess.Popen([sys.executable, "-c", _GROWS], stdin=-1, stdout=-1, text=True) as child:

        def grown():
            child.stdin.write("\n")
            child.stdin.flush()
            assert child.stdout.readline() == "grown\n"
            return soak_signs.of_process(child.pid)

        before, after = grown(), grown()
        child.kill()
    assert {kind: round(after[kind] - before[kind]) for kind in ("handles", "threads")} == {"handles": 7, "threads": 1}
    assert 35 < after["memory"] - before["memory"] < 60
    assert soak_signs.of_process(child.pid) == {}


def test_a_folder_is_as_large_as_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for name in ("one", "deep/two"):
        (tmp_path / name).write_bytes(b"x" * (3 << 20))
    assert soak_signs.of_folder(tmp_path) == 6
    assert soak_signs.of_folder(tmp_path / "none") == 0


def run(kind, *values):
    return [{("gateway", kind): float(value)} for value in values]


@pytest.mark.parametrize(
    ("samples", "flat"),
    [
        (run("memory", 100, 180, 200, 200, 220, 220), True),
        (run("memory", 100, 180, 200, 200, 221, 221), False),
        (run("memory", 1, 1, 1_000, 1_000, 1_050, 1_050), True),
        (run("memory", 1, 1, 1_000, 1_000, 1_051, 1_051), False),
        (run("memory", 0, 0, 0, 100, 100, 100, 100, 900, 100), True),  # one peak
        (run("handles", 10, 20, 20, 20, 24, 24), True),
        (run("handles", 10, 20, 20, 20, 25, 25), False),
        (run("threads", 5, 5, 5, 5, 8, 8), False),
        (run("kept", 0, 0, 1_000, 1_000, 9_000, 9_000), True),  # grows with what is kept
    ],
)
def test_flat_is_by_the_medians_of_the_last_two_thirds(samples, flat):
    (judged,) = soak_signs.judge(samples)
    assert judged.flat is flat
    assert soak_signs.verdict([judged]) == ("**Flat.**" if flat else f"**Not flat**: {' '.join(judged.sign)}.")
    assert soak_signs.leaks([judged]) == ([] if flat else [" ".join(judged.sign)])


def test_a_backlog_that_grows_is_told_and_is_no_leak():
    judged = soak_signs.judge(run("backlog", 0, 0, 10, 10, 1_011, 1_011))
    assert soak_signs.leaks(judged) == []
    assert soak_signs.verdict(judged) == "**Flat.** More came in than was done meanwhile: the backlog grew (gateway)."
    assert soak_signs.verdict(soak_signs.judge(run("backlog", 0, 0, 10, 10, 1_010, 1_010))) == "**Flat.**"


def test_a_run_without_thirds_or_without_a_process_is_not_judged():
    with pytest.raises(ValueError, match="2 samples"):
        soak_signs.judge(run("memory", 1, 1))
    with pytest.raises(ValueError, match="gateway memory was not there"):
        soak_signs.judge([*run("memory", 1, 1, 1, 1), {}, {}])


def test_what_grew_stands_out_in_the_tables():
    samples = [
        {("gateway", "memory"): memory, ("gateway", "threads"): 5, ("state", "kept"): kept, ("state", "backlog"): 1_500}
        for memory, kept in ((100.4, 10), (200, 20), (300, 3_000))
    ]
    assert soak_signs.tables(soak_signs.judge(samples)) == (
        "| start / middle / end | memory, MB | threads |\n|---|---|---|\n"
        "| gateway | **100 / 200 / 300** | 5 / 5 / 5 |\n"
        "\n"
        "| start / middle / end | kept, MB | backlog, records |\n|---|---|---|\n"
        "| state | 10 / 20 / 3,000 | 1,500 / 1,500 / 1,500 |\n"
    )


def test_the_rule_names_every_bound():
    assert "memory: 5% or 20 MB; handles: 5% or 4; threads: 2;" in soak_signs.RULE
    assert "kept:" not in soak_signs.RULE


def test_the_picture_has_a_panel_for_each_kind_and_a_line_for_each_sign():
    one, two = ("a & b", "memory"), ("c", "memory")
    samples = [{one: 0.0, two: 50.0, ("c", "threads"): 5.0}, {one: 100.0, ("c", "threads"): 5.0}]
    root = ET.fromstring(soak_plot.draw([0, 60], samples, "<title>"))  # noqa: S314 - our own text
    lines = [one.get("points").split() for one in root.iter("{http://www.w3.org/2000/svg}polyline")]
    texts = [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [len(line) for line in lines] == [2, 1, 2]
    assert {"<title>", "memory", "threads", "a & b", "1.0 min"} <= set(texts)
    begin, end = (tuple(map(float, point.split(","))) for point in lines[0])
    assert begin[0] < end[0]
    assert begin[1] > end[1]  # upwards
