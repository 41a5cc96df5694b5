"""The real-time crash kit: shops, door, province (PostgreSQL), broker, ministry, home province, broken under load.

    python tests/realtime/crash_rounds.py --rounds 100
    python tests/realtime/crash_rounds.py --seed 20261121 --from 17 --rounds 1       # one round again
    python tests/realtime/crash_rounds.py --seed 20261121 --record var/crash.jsonl   # go on where this was stopped

In each round shops and a system upload while processes are killed, servers restarted, networks cut and disks filled, at
moments that follow from the seed. Then everything is healed and drains, and must be whole: nothing lost, nothing
doubled, every ledger balanced, every "accepted" in the stores, everything refused a letter. A round that fails is named
with its seed, and its folders are kept. A table of all rounds ends it, those of the record included.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from links import FAULTS, PASS
from load import TIMEOUT
from proof import Expected, drained, problems
from rounds import Line, left, record, recorded, table
from world import PATIENCE, ROLES, World

from pipelines.local.network import COLLECTING, DATABASE, HOME, MINISTRY

CHILDREN = ("gateway", "gateway", "door", "door-2")
"""What of a role with a door is killed or frozen."""


class Event(NamedTuple):
    """Something that is done at a moment of the round."""

    at: float
    label: str
    act: Callable[[], None]
    fault: str = ""
    """Its kind; empty: the end of one."""


def plan(world: World, dice: random.Random, seconds: float) -> list[Event]:
    """What befalls the network in one round, in order."""
    events: list[Event] = []
    makers = [_kill, _kill, _kill_role, _restart, _freeze, _broker, _database, _sessions, _link, _link, _link, _disk]
    for _ in range(dice.randint(3, 6)):
        at, lasts = dice.uniform(0.2, seconds), dice.uniform(0.2, seconds / 2)
        events += dice.choice(makers)(world, dice, at, at + lasts)
    return sorted(events, key=lambda event: event.at)


def _kill(world: World, dice: random.Random, at: float, _until: float) -> list[Event]:
    role = dice.choice(ROLES)
    kind = dice.choice(CHILDREN) if role == COLLECTING else "gateway"
    return [Event(at, f"kill {role} {kind}", lambda: world.kill_child(role, kind), f"kill {kind}")]


def _kill_role(world: World, dice: random.Random, at: float, _until: float) -> list[Event]:
    role = dice.choice(ROLES)
    return [Event(at, f"kill {role}", lambda: world.kill_role(role), "kill supervisor")]


def _restart(world: World, dice: random.Random, at: float, _until: float) -> list[Event]:
    role = dice.choice(ROLES)
    return [Event(at, f"restart {role}", lambda: world.restart_role(role), "restart role")]


def _freeze(world: World, dice: random.Random, at: float, until: float) -> list[Event]:
    role = dice.choice(ROLES)
    kind = dice.choice(CHILDREN) if role == COLLECTING else "gateway"
    freeze = Event(at, f"freeze {role} {kind}", lambda: world.freeze(role, kind), f"freeze {kind}")
    return [freeze, Event(until if kind == "gateway" else until + TIMEOUT, "thaw", world.thaw)]


def _broker(world: World, _dice: random.Random, at: float, until: float) -> list[Event]:
    return [Event(at, "kill rabbitmq", world.kill_broker, "kill broker"), Event(until, "start", world.servers_up)]


def _database(world: World, _dice: random.Random, at: float, until: float) -> list[Event]:
    return [Event(at, "kill postgresql", world.kill_database, "kill database"), Event(until, "start", world.servers_up)]


def _sessions(world: World, dice: random.Random, at: float, _until: float) -> list[Event]:
    role = dice.choice(ROLES)
    return [Event(at, f"end sessions of {role}", lambda: world.end_sessions(role), "end sessions")]


def _link(world: World, dice: random.Random, at: float, until: float) -> list[Event]:
    name, mode = dice.choice(sorted(world.links.by_name)), dice.choice(FAULTS)
    fail = Event(at, f"{mode} {name}", lambda: world.links.set(name, mode), f"network {mode}")
    return [fail, Event(until, f"pass {name}", lambda: world.links.set(name, PASS))]


def _disk(world: World, dice: random.Random, at: float, until: float) -> list[Event]:
    name = dice.choice((COLLECTING, MINISTRY, HOME, DATABASE))
    if not world.disks.permitted:
        role = COLLECTING if name == DATABASE else name
        return [Event(at, f"no bytes for {role}", lambda: world.limit(role), "file limit")]
    fill = Event(at, f"fill disk of {name}", lambda: world.disks.fill(name), "disk full")
    return [fill, Event(until, "free disks", world.disks.free)]


class Played(NamedTuple):
    """One round."""

    events: list[Event]
    wrong: list[str]
    healed: float
    """Seconds until everything ran again, then until everything had arrived, then for the proof."""
    drained: float
    proved: float


def play(world: World, seed: str, seconds: float) -> Played:
    """One round; what befell, and what is wrong after it."""
    events = plan(world, random.Random(seed), seconds)  # noqa: S311 - must follow from the seed
    for client in world.clients:
        client.begin(f"{seed}-{client.name[-1]}")
    began = time.monotonic()
    for event in events:
        time.sleep(max(0.0, began + event.at - time.monotonic()))
        event.act()
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    attacked = time.monotonic()
    world.heal()
    healed = time.monotonic()
    for client in world.clients:
        client.enough()
    end = time.monotonic() + PATIENCE
    late = [client.name for client in world.clients if not client.idle.wait(max(0.0, end - time.monotonic()))]
    wrong = [f"no answer to {name}" for name in late] or drained(world, Expected(world))
    arrived = time.monotonic()
    wrong += problems(world)
    return Played(events, wrong, healed - attacked, arrived - healed, time.monotonic() - arrived)


def main() -> int:
    """Play rounds; 0 where every one of them ended well."""
    given = _arguments()
    seed = given.seed or str(secrets.randbelow(10**8))
    folder = given.folder or Path(tempfile.mkdtemp(prefix="vingate-crash-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # the server of PostgreSQL is another user's
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    _say(f"seed {seed}, {given.rounds} rounds of {given.seconds:g} s, in {folder}")
    lines = recorded(given.record, seed)
    numbers = [n for n in range(given.first, given.first + given.rounds) if n not in {line.number for line in lines}]
    took: list[float] = []
    began, world = time.monotonic(), None
    try:
        for place, number in enumerate(numbers, 1):
            began_round = time.monotonic()
            if world is None:
                world = World(folder / f"from-{number}")
                world.start()
                disks = "disks of their own" if world.disks.permitted else "file limits: no mounts permitted here"
                _say(f"network started after {time.monotonic() - began_round:.0f} s; full disks by {disks}")
            line, said = _round(world, seed, number, given.seconds)
            lines.append(line)
            record(given.record, line)
            if line.wrong or place % given.fresh == 0:
                world.stop(keep=bool(line.wrong))
                world = None
            took.append(time.monotonic() - began_round)
            _say(f"round {number} ({place} of {len(numbers)}, {left(took, len(numbers) - place)} left): {said}")
            if line.wrong:
                _say(*(f"    {one}" for one in line.wrong[:20]))
                _say(f"    again: --seed {seed} --from {number} --rounds 1; folders: {folder}")
    finally:
        if world is not None:
            world.stop(keep=given.folder is not None)
    failed = [line.number for line in lines if line.wrong]
    if not failed and given.folder is None:
        shutil.rmtree(folder)
    totals: Counter[str] = sum((Counter(line.answers) for line in lines), Counter())
    accepted = sum(totals[kind] for kind in ("new", "corrected", "repeated"))
    faults = dict(Counter(fault for line in lines for fault in line.faults))
    report = {"seed": seed, "rounds": len(lines), "failed": failed, "faults": faults, "answers": dict(totals)}
    if lines:
        _say("", table(lines), "")
    _say(json.dumps({**report, "accepted": accepted, "seconds": round(time.monotonic() - began)}))
    return int(bool(failed))


def _round(world: World, seed: str, number: int, seconds: float) -> tuple[Line, str]:
    """One round: its line, and how it is told."""
    before = Expected(world)
    played = play(world, f"{seed}-{number}", seconds)
    told = Expected(world).told - before.told
    events = [event for event in played.events if event.fault]
    line = Line(
        seed,
        number,
        [one.fault for one in events],
        dict(told),
        played.healed,
        played.drained,
        played.proved,
        played.wrong,
    )
    faults = ", ".join(f"{event.at:.1f} {event.label}" for event in events)
    times = f"healed {played.healed:.1f} s, drained {played.drained:.1f} s, proved {played.proved:.1f} s"
    return line, f"{'FAILED' if played.wrong else 'ok'}: {dict(told)}; {times}; {faults}"


def _arguments() -> argparse.Namespace:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--rounds", type=int, default=100)
    found.add_argument("--from", dest="first", type=int, default=1, help="number of the first round")
    found.add_argument("--record", type=Path, help="file of a line a round: what stands in it is not played again")
    found.add_argument("--seed", default="", help="of all chance; default: a new one, which is printed")
    found.add_argument("--seconds", type=float, default=5.0, help="how long a round is under load and attack")
    found.add_argument("--fresh", type=int, default=10, help="begin with a new network after so many rounds")
    found.add_argument("--folder", type=Path, help="where everything lies; default: a new one, removed if all is well")
    return found.parse_args()


def _say(*lines: str) -> None:
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
