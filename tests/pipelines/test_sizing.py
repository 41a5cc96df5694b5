"""How many machines a load needs: laws of the model, sources of its figures, and measurements beside what it says."""

import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli import main
from pipelines.sizing import (
    FIGURES,
    Figures,
    Load,
    Machine,
    bulk_seconds,
    loop_seconds,
    parts,
    plan,
    records_per_second,
)
from pipelines.sizing.figures import FigureWrong

ROOT = Path(__file__).parents[2]
RESULTS = (ROOT / "bench" / "RESULTS.md").read_text("utf-8")
KEPT = json.loads((ROOT / "bench" / "sizing.json").read_text("utf-8"))
WITHIN = 0.20

counts = st.integers(0, 10**10)
loads = st.builds(Load, counts, st.floats(1, 50), counts, st.floats(0.5, 1_000), st.integers(0, 3))
machines = st.builds(Machine, st.integers(1, 128), st.floats(0.1, 10), st.floats(10, 5_000))


def resources(found):
    """(phase, kind, resource) -> the resource."""
    return {(p.flow, k.name, r.name): r for p in found.phases for k in p.kinds for r in k.resources}


def totals(found):
    return [(phase.cpu_s, phase.kept_bytes, phase.database_bytes, phase.machines) for phase in found.phases]


# --- laws ---


@given(loads, machines, counts, counts, st.floats(1, 10), st.floats(0.1, 1))
def test_more_never_needs_less(load, machine, records, backlog, peak, hurry):
    more = Load(
        load.records_per_day + records, load.peak * peak, load.backlog + backlog, load.hours * hurry, load.stores
    )
    one, other = plan(load, machine), plan(more, machine)
    for less, larger in zip(totals(one), totals(other), strict=True):
        assert all(a <= b for a, b in zip(less, larger, strict=True))
    after = resources(other)
    for place, used in resources(one).items():
        assert used.demand <= after[place].demand
        assert used.machines <= after[place].machines


@given(loads.filter(lambda load: load.records_per_day), machines, st.floats(1, 20))
def test_a_peak_scales_what_is_busy_and_nothing_that_stays(load, machine, times):
    calm, busy = plan(load, machine), plan(replace(load, peak=load.peak * times), machine)
    assert busy.phases[1].rate == pytest.approx(calm.phases[1].rate * times)
    after = resources(busy)
    for place, used in resources(calm).items():
        assert after[place].demand == pytest.approx(used.demand * (times if place[0] == "day" else 1))
    assert [(p.cpu_s, p.kept_bytes, p.database_bytes) for p in busy.phases] == [
        (p.cpu_s, p.kept_bytes, p.database_bytes) for p in calm.phases
    ]


@given(loads, machines)
def test_without_a_backlog_or_days_nothing_is_needed_for_them(load, machine):
    none, _ = plan(replace(load, backlog=0), machine).phases
    _, idle = plan(replace(load, records_per_day=0), machine).phases
    for phase in (none, idle):
        assert (phase.kinds, phase.machines, phase.bottleneck) == ((), 0, None)
        assert (phase.rate, phase.cpu_s, phase.kept_bytes, phase.database_bytes, phase.one_machine) == (0, 0, 0, 0, 0)


@given(loads, machines)
def test_the_bottleneck_is_what_has_the_least_headroom_and_nothing_is_over_the_target(load, machine):
    found = plan(load, machine)
    for phase in found.phases:
        own = [one for kind in phase.kinds for one in kind.resources]
        assert (phase.bottleneck is None) == (not phase.records)
        assert all(one.headroom >= phase.bottleneck.headroom for one in own)
        assert all(one.use <= found.target_use + 1e-6 for one in own)


@given(loads, machines)
def test_no_machine_could_be_spared(load, machine):
    found = plan(load, machine)
    for kind in (kind for phase in found.phases for kind in phase.kinds if kind.machines > 1):
        fewer = kind.machines - 1
        assert any(one.demand > fewer * one.capacity * found.target_use for one in kind.resources)


@given(loads, machines, st.floats(1, 10))
def test_quicker_machines_are_never_more(load, machine, times):
    quick = replace(machine, speed=machine.speed * times, disk_mb_s=machine.disk_mb_s * times)
    for slow, fast in zip(plan(load, machine).phases, plan(load, quick).phases, strict=True):
        assert fast.machines <= slow.machines


@given(loads.filter(lambda load: load.backlog), machines, st.integers(1, 3))
def test_each_store_costs_as_much_as_the_first(load, machine, stores):
    none, one, all_of_them = (plan(replace(load, stores=n), machine).phases[0] for n in (0, 1, stores))
    assert {kind.name for kind in none.kinds} == {"bulk"}
    assert none.database_bytes == 0
    assert all_of_them.database_bytes == pytest.approx(one.database_bytes * stores)
    assert all_of_them.cpu_s - none.cpu_s == pytest.approx((one.cpu_s - none.cpu_s) * stores)
    loaded = {(k.name, r.name): r.demand for k in one.kinds for r in k.resources if k.name != "bulk"}
    twice = {(k.name, r.name): r.demand for k in all_of_them.kinds for r in k.resources if k.name != "bulk"}
    assert twice == pytest.approx({place: demand * stores for place, demand in loaded.items()})


@given(st.integers(1, 64), st.floats(0.1, 10))
def test_a_bulk_machine_of_a_plan_is_as_quick_as_a_run(cores, speed):
    records, hours = 10**9, 10
    used = resources(plan(Load(backlog=records, hours=hours), Machine(cores, speed, 500.0)))["backlog", "bulk", "time"]
    run = bulk_seconds(FIGURES, records, cores=cores, speed=speed) - bulk_seconds(FIGURES, 0, speed=speed)
    assert used.demand / used.capacity == pytest.approx(run / (hours * 3_600))


def test_a_slow_disk_takes_over_from_the_cores_as_what_a_database_lacks():
    load = Load(backlog=10**9)
    slow, quick = (resources(plan(load, Machine(FIGURES.cores, 1.0, disk))) for disk in (5.0, 5_000.0))
    time, disk = ("backlog", "database", "time"), ("backlog", "database", "disk")
    assert slow[disk].headroom < slow[time].headroom
    assert quick[disk].headroom > quick[time].headroom
    assert slow[disk].machines > quick[disk].machines


# --- figures and their sources ---


def sections():
    """Title -> text of a section of the results, sub-sections for themselves."""
    found = re.split(r"^#{2,3} ", RESULTS, flags=re.MULTILINE)[1:]
    return {one.partition("\n")[0]: one for one in found}


@pytest.mark.parametrize("figure", [one for one in FIGURES if one.section], ids=lambda one: one.name)
def test_a_figure_stands_in_the_section_that_it_names(figure):
    (text,) = [text for title, text in sections().items() if title.startswith(figure.section)]
    if figure.basis == "measured":
        assert re.search(rf"(?<![\d.,]){figure.value:,.10g}(?:\.0+)?(?!\d|[.,]\d)", text)
    for number in re.findall(r"\d[\d,]*\.\d+ s|[\d,]+ MB less|[\d,.]+ us a record", figure.how):
        assert re.search(rf"(?<![\d.,]){re.escape(number.split()[0])}(?![\d])", text), number
    assert figure.commit.removeprefix("after ") in text or figure.commit in RESULTS


@pytest.mark.parametrize(
    "told",
    [
        {"basis": "measured", "section": "Two workers", "commit": "b20cc51"},
        {"basis": "modelled"},
        {"basis": "derived", "section": "Two workers", "commit": "b20cc51", "command": "make bench"},
        {"basis": "guessed", "how": "so"},
    ],
)
def test_a_figure_without_a_source_is_refused(told):
    with pytest.raises(FigureWrong, match="bulk_us"):
        Figures({"machine": {"cores": 2}, "bulk_us": {"value": 1, **told}})


def test_derived_figures_follow_from_what_they_name():
    kept = 96_000 - (10_542 - 1_389)
    grown = {"province": 171, "ministry": 162, "home": 147}
    assert {name: FIGURES[f"{name}_bytes"] for name in grown} == pytest.approx(
        {name: mb * 1e6 / kept for name, mb in grown.items()}, rel=0.01
    )
    assert FIGURES["load_gateway_us"] == 293 + 10
    assert FIGURES["bulk_fixed_s"] == pytest.approx((4.66 + 3.87 + 3.75) / 3, rel=0.02)
    assert FIGURES["loop_fixed_s"] == pytest.approx(14.87 - 0.2 * FIGURES["loop_us"], rel=0.02)
    serial = FIGURES["bulk_serial_share"]
    assert 1 / (serial + (1 - serial) / 2) == pytest.approx(1.76, abs=0.005)


def test_every_figure_is_used():
    """A figure that changes nothing of a plan or a prediction is no figure of this model."""
    document = tomllib.loads((ROOT / "pipelines" / "sizing" / "measured.toml").read_text("utf-8"))

    def told(doc):
        figures = Figures(doc)
        found = plan(Load(3_000_000, 10, 10**9, 24), None, figures)
        return found, parts(figures), bulk_seconds(figures, 10**6), loop_seconds(figures, 10**6)

    before = told(document)
    for name in (one.name for one in FIGURES):
        assert told({**document, name: {**document[name], "value": document[name]["value"] * 1.5}}) != before, name


# --- the model beside what was measured ---


@pytest.mark.parametrize("run", KEPT["runs"], ids=lambda run: f"{run['records']}")
def test_the_bulk_job_took_what_the_model_says(run):
    speed = loop_seconds(FIGURES, run["records"]) / run["loop_s"]
    said = bulk_seconds(FIGURES, run["records"], cores=run["workers"], speed=speed)
    assert run["records"] / run["wall_s"] == pytest.approx(run["records"] / said, rel=WITHIN)


def test_three_loads_were_measured():
    assert len({run["records"] for run in KEPT["runs"]}) >= 3


def test_the_queue_made_what_the_model_says():
    text = sections()["The same queue, counted without the start of the processes"]
    rows = re.findall(r"^\| (?:100|1) \| \*\*([\d,]+)\*\* \| [\d,]+ \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 2
    (province,) = [part for part in parts(FIGURES) if part.name == "province"]
    for rate, gateway, database in rows:
        part = replace(province, cpu_us=float(gateway), database_us=float(database))
        assert float(rate.replace(",", "")) == pytest.approx(records_per_second(part), rel=WITHIN)


def test_the_door_made_what_the_model_says():
    (door,) = [part for part in parts(FIGURES) if part.name == "door"]
    text = sections()["Door alone, in real time"]
    assert "**2,122/s**" in text
    assert records_per_second(door) == pytest.approx(2_122, rel=WITHIN)


# --- the command ---


def test_the_nation_is_told_in_two_languages(capsys):
    assert main(["plan", "--records-per-day", "3000000", "--peak", "10", "--backlog", "5_900_000_000"]) == 0
    shown = capsys.readouterr().out
    assert "首个瓶颈 / first bottleneck" in shown
    assert "存量 / backlog" in shown
    assert "5,900,000,000" in shown
    assert "derived" in shown
    assert "modelled" in shown


def test_json_says_what_the_model_says(capsys):
    assert main(["plan", "--records-per-day", "3000000", "--peak", "10", "--cores", "16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    _, day = plan(Load(3_000_000, 10), Machine(16, 1.0, FIGURES["disk_mb_s"])).phases
    (phase,) = told["phases"]
    assert (phase["flow"], phase["machines"], phase["rate"]) == ("day", day.machines, day.rate)
    assert phase["bottleneck"]["of"] == day.bottleneck.kind
    assert phase["bottleneck"]["headroom"] == min(r["headroom"] for k in phase["kinds"] for r in k["resources"])
    assert phase["advice"]["en"]
    assert {one["basis"] for kind in phase["kinds"] for one in kind["resources"]} == {"modelled"}
    assert {part["flow"] for part in told["parts"]} == {"day"}


def test_a_small_load_needs_one_machine(capsys):
    assert main(["plan", "--records-per-day", "100000"]) == 0
    assert "one machine carries all of it" in capsys.readouterr().out


def test_a_plan_of_nothing_is_wrong_use(capsys):
    assert main(["plan"]) == 2
    assert "--records-per-day" in capsys.readouterr().err


@pytest.mark.parametrize("disk", [8, 400])
def test_every_bottleneck_has_advice(disk, capsys):
    from pipelines.cli.plan import _ADVICE

    found = plan(Load(3_000_000, 10, 10**9, 24), Machine(2, 1.0, disk))
    assert {(one.kind, one.name) for one in resources(found).values()} <= set(_ADVICE)
