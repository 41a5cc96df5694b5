"""bench/: a partial run replaces its own sections and says of them alone when and how they were made."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def bench(monkeypatch):
    spec = importlib.util.spec_from_file_location("bench_run", ROOT / "bench" / "run.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "bench_run", module)
    spec.loader.exec_module(module)
    return module


def test_a_partial_run_speaks_for_its_own_sections_alone(bench, tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\nHead.\n\n## One\n\nMade long ago.\n\n1\n\n## Two\n\nMade long ago.\n\n2\n", "utf-8")
    run = bench.Bench(tmp_path, 2, bench.made_by(2, ["store"]))
    run.say("## Two\n\n22\n")
    run.say("## Three\n\n3\n")
    bench.write_results(run.sections, path)
    head, one, two, three = path.read_text("utf-8").split("\n## ")
    assert (head, one) == ("# Results\n\nHead.\n", "One\n\nMade long ago.\n\n1\n")
    for section, figure in ((two, "22"), (three, "3")):
        assert "`python bench/run.py --runs 2 --only store`" in section
        assert "at commit " in section
        assert section.rstrip().endswith(f"\n\n{figure}")


def test_every_section_of_the_results_says_when_it_was_made():
    sections = (ROOT / "bench" / "RESULTS.md").read_text("utf-8").split("\n## ")[1:]
    assert [one.split("\n")[0] for one in sections if "202" not in one.split("|")[0]] == []
