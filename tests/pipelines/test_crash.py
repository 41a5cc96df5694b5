"""Killed at any moment and run again, all exchanges end with what an undisturbed run leaves: byte for byte."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from crashkit import (
    AGAIN,
    BULK,
    COLLECT,
    HEADQUARTERS,
    MOVED,
    PUSH,
    REPORT,
    Kill,
    Server,
    copied,
    picture,
    prepare,
)
from engine_samples import lines, payload

EXCHANGES = (COLLECT, HEADQUARTERS, REPORT, PUSH, BULK)
EVENTS = (("opened", 1), ("staged", 1), ("decided", 1), ("effect", 1), ("effect", 2), ("closed", 1), ("finished", 1))
ORDER = (
    *("run", "commit", "opened", "staged", "decided", "renamed", "effect", "inserted", "written"),
    *("closed", "finished", "ended"),
)
"""As they come in a batch: what was killed late does not come by an earlier point again."""
CHAINS = 4


def _events(step: int) -> tuple[tuple[str, int], ...]:
    """What every exchange goes through; the marks of stores go with the decision, so nothing is finished after that."""
    return EVENTS[:-1] if step in (REPORT, PUSH) else EVENTS


def _kills(chain: int) -> list[Kill]:
    """A chain's kill points, in the order of the steps: events that every chain shares out, and seeded ones."""
    rnd = random.Random(chain)  # noqa: S311 - test data
    kills: list[Kill] = [Kill(0, "decided")] if chain == 0 else [Kill(1, "effect", 2)] if chain == 1 else []
    for place, step in enumerate(EXCHANGES):
        events = _events(step)
        kills += [Kill(step, *events[at]) for at in range((chain + place) % CHAINS, len(events), CHAINS)]
        kills.append(Kill(step, "opened", 1, rnd.uniform(0.005, 0.08)))
        kills.append(Kill(step, "commit", rnd.randrange(2, 5)))  # recovered, opened, decided
        if step == PUSH:
            kills.append(Kill(MOVED, rnd.choice(("opened", "decided", "closed"))))
    in_parts = (Kill(COLLECT, "renamed"), Kill(BULK, "renamed"), Kill(BULK, "renamed", 2), Kill(COLLECT, "ended"))
    kills += [
        in_parts[chain],
        Kill(rnd.choice((COLLECT, HEADQUARTERS)), rnd.choice(("written", "inserted"))),
        Kill(rnd.choice((REPORT, PUSH)), "run"),
    ]
    kills.append(Kill(AGAIN, *(("finished",), ("commit", 3), ("commit", 4), ("run",))[chain]))
    return sorted(kills, key=lambda kill: (kill.step, ORDER.index(kill.what), kill.count))


def _bulk() -> dict[str, list]:
    """Files of which later ones correct, repeat and break what earlier ones hold: items are staged a second time."""
    first = lines(40, broken=2)
    corrected = [payload(seed, faultdescription="更正") for seed in range(8)]
    return {
        "a.ndjson": first,
        "b.ndjson": [*lines(10, first=100), *first[10:15]],
        "c.ndjson": [*corrected, *lines(6, first=200, broken=1)],
        "d.ndjson": [payload(300, vehicleplatenumber="WJ12345"), payload(301, vehicleplatenumber="无")],
        "e.ndjson": first,
    }


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """Pictures of the undisturbed run and of each chain, and the points that were hit."""
    folder = tmp_path_factory.mktemp("crash")
    template = prepare(folder / "template", _bulk())

    def one(chain: int | None):
        state = copied(template, folder / ("undisturbed" if chain is None else f"chain-{chain}"))
        with closing(Server()) as server:
            hit = server.play(state, _kills(chain) if chain is not None else [])
        return hit, picture(state)

    with ThreadPoolExecutor(2) as pool:
        undisturbed, *chains = list(pool.map(one, [None, *range(CHAINS)]))
    return undisturbed[1], chains


def test_the_undisturbed_run_is_worth_comparing_with(played):
    whole, _ = played
    assert (whole["problems"], whole["unfinished"]) == ([], [])
    assert whole["totals"]["dead"] > 5
    assert whole["totals"]["merged"] > 5
    assert whole["totals"]["waiting"] > 0
    assert len(whole["state: letters"]) > 5
    assert len(whole["state: version_runs"]) > 0
    for store in ("ministry", "province-11"):
        rows = whole[f"store: {store}"]
        withdrawn = [row for row in rows if row[-1]]
        assert len(withdrawn) >= 3, "withdrawals are among what is killed"
        assert any(row[1] == one[1] and row[2] == 3 for one in withdrawn for row in rows), "and what lives again"
    assert any("WITHDRAWAL_UNKNOWN" in str(row) for row in whole["state: letters"])
    assert (whole["told of runs"][-1]["received"], whole["told of runs"][-1]["duplicate"]) == (40, 40)
    assert len([name for name in whole["files"] if name.endswith(".avro")]) > 20
    assert len([name for name in whole["files"] if name.startswith("receipts/")]) > 20
    assert not [name for name in whole["files"] if name.startswith("staging/") or ".staging" in name]


def test_every_point_was_hit(played):
    hit = [kill for kills, _ in played[1] for kill in kills]
    planned = [kill for chain in range(CHAINS) for kill in _kills(chain)]
    assert [kill for kill in planned if kill not in hit and not kill.delay] == []
    assert len(hit) >= 55
    for step in EXCHANGES:
        assert set(_events(step)) <= {(kill.what, kill.count) for kill in hit if kill.step == step and not kill.delay}


@pytest.mark.parametrize("chain", range(CHAINS))
def test_what_was_killed_ends_as_if_nothing_had_happened(played, chain):
    whole, chains = played
    found = chains[chain][1]
    assert found["problems"] == []
    different = {name for name in {*whole, *found} if whole.get(name) != found.get(name)}
    assert sorted(different) == [], {name: _first(whole.get(name), found.get(name)) for name in different}


IN_PROCESSES = (
    # Those with a delay: while processes do the work stage of a batch, or of the one after it.
    (Kill(BULK, "opened"), Kill(BULK, "opened", 1, 0.1), Kill(BULK, "staged", 1, 0.05), Kill(BULK, "decided")),
    (Kill(BULK, "opened", 2), Kill(BULK, "staged"), Kill(BULK, "finished"), Kill(BULK, "opened", 1, 0.05)),
)


@pytest.mark.parametrize("kills", IN_PROCESSES, ids=("early", "late"))
def test_killed_beside_its_worker_processes_it_ends_the_same(tmp_path, kills):
    """Batches begin ahead of their turn then; one process and none killed is what all is compared with."""
    template = prepare(tmp_path / "template", _bulk())
    with closing(Server()) as server:
        assert server.play(copied(template, tmp_path / "whole"), [], BULK) == []
        hit = server.play(copied(template, tmp_path / "killed"), [*kills], BULK, ("batch.workers=2",))
    assert [kill for kill in kills if kill not in hit and not kill.delay] == []
    whole, found = picture(tmp_path / "whole"), picture(tmp_path / "killed")
    for one in (whole, found):  # settings tell how many workers there were
        one["opened"] = {name: body for name, body in one["opened"].items() if not name.startswith("run ")}
    assert found["problems"] == []
    different = {name for name in {*whole, *found} if whole.get(name) != found.get(name)}
    assert sorted(different) == [], {name: _first(whole.get(name), found.get(name)) for name in different}


@pytest.mark.parametrize("kill", [Kill(BULK, "renamed"), Kill(BULK, "effect", 2), Kill(BULK, "opened", 2)], ids=str)
def test_killed_and_called_again_for_another_folder_it_is_proved_in_both(tmp_path, kill):
    template = prepare(tmp_path / "template", _bulk())
    with closing(Server()) as server:
        server.play(copied(template, tmp_path / "whole"), [], BULK)
        again = ("sinks.provinces.path={state}/elsewhere",)
        assert server.play(copied(template, tmp_path / "killed"), [kill], BULK, (), again) == [kill]
    whole, found = picture(tmp_path / "whole"), picture(tmp_path / "killed")
    assert found["problems"] == []
    assert found["totals"] == whole["totals"]
    assert all(list((tmp_path / "killed" / name).glob("*.avro")) for name in ("out", "elsewhere"))


def _first(expected, found) -> object:
    """What tells two parts of a picture apart, in short."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return {k: (expected.get(k), found.get(k)) for k in {*expected, *found} if expected.get(k) != found.get(k)}
    if isinstance(expected, list) and isinstance(found, list):
        return [row for row in expected if row not in found][:3], [row for row in found if row not in expected][:3]
    return expected, found
