"""Two gateways side by side, each on a host of its own, that are killed, stopped and cut off in seeded rounds.

    PYTHONPATH=.:tests:tests/pipelines python tests/pipelines/side_by_side.py --rounds 50 --seed 20261129

In each round one of them, under load, is killed, stopped, or cut off from database, broker or both; in some there are
two such faults. What it had must be taken over while the fault lasts; when it is over, nothing may be lost, doubled or
out of order, and the ledger must balance. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from hosts import Host, hosts
from realtime.links import CUT, FAULTS, HALF, PASS, STALL
from servers import postgres, rabbitmq
from test_sharing_cuts import BROKER, DATABASE, LinkedPair
from test_sharing_processes import Service, wait_for

KILL, KILL_ALL, STOP, UNPLUG = "kill gateway", "kill service", "stop", "unplug"


class Fault(NamedTuple):
    """What befalls a gateway."""

    kind: str
    server: str = ""
    """From which it is cut off."""

    @property
    def name(self) -> str:
        return f"{self.server} {self.kind}".strip()


CUTS = tuple(Fault(how, server) for server in (DATABASE, BROKER) for how in FAULTS)
_ANY = (Fault(KILL), Fault(KILL_ALL), Fault(STOP), Fault(STOP), *CUTS)


class Hosts(LinkedPair):
    """A pair on hosts of their own, or beside each other where there can be none."""

    def __init__(self, folder, server, url, broker, seed, own: dict[str, Host]) -> None:
        self.hosts = own
        self.takeovers: dict[str, list[float]] = {}
        self.faults = _ANY + ((Fault(UNPLUG), Fault(UNPLUG)) if own else ())
        super().__init__(folder, server, url, broker, seed)

    def gate_of(self, name: str) -> str:
        return self.hosts[name].gate if self.hosts else super().gate_of(name)

    def within(self, name: str) -> tuple[str, ...]:
        return self.hosts[name].within if self.hosts else ()

    def feeds_of(self, name: str) -> str:
        health = f'\n[health]\nhost = "{self.hosts[name].address}"\n' if self.hosts else ""
        return super().feeds_of(name) + health

    # -- what the database says, whatever a member believes ------------------------------------------------------------

    def owners(self) -> dict[str, int]:
        told = "SELECT owner, count(*) FROM leases WHERE name LIKE 'partition:%' GROUP BY owner"
        return dict(self.rows(told))

    def leads(self, member: str) -> bool:
        return self.rows(f"SELECT 1 FROM leases WHERE name = 'once' AND owner = '{member}'") != []

    def came(self, message: str) -> bool:
        return self.rows(f"SELECT 1 FROM inbox_keys WHERE key = '{message}'") != []

    # -- a round -------------------------------------------------------------------------------------------------------

    def round(self) -> dict[str, object]:
        """One or two faults under load, then rest and proof; what was seen."""
        self.settled()
        began, told = time.monotonic(), []
        for _ in range(self.rnd.choice((1, 1, 2))):
            service = self.rnd.choice((self.one, self.two))
            told.append(self.befalls(service, self.rnd.choice(self.faults)))
        self.load(3)
        self.rest()
        self.proved()
        return {"faults": told, "seconds": round(time.monotonic() - began, 1)}

    def settled(self) -> None:
        """Both are there, and share the work."""
        wait_for(lambda: sorted(self.owners().values()) == [16, 16] and "" not in self.owners(), self.logs)
        for service in (self.one, self.two):
            self.member(service)

    def befalls(self, service: Service, fault: Fault) -> dict[str, object]:
        """A fault, under load, until what the gateway had is another's; seconds that this took."""
        self.settled()
        name, pid = self.member(service)
        led = self.leads(name)
        self.load(2)
        with self.while_it_lasts(service, pid, fault):
            began, probe = time.monotonic(), f"m{self.published + 1}"
            self.burst()
            self.load(2)
            told: dict[str, object] = {"fault": fault.name, "leader": led}
            if fault.server != BROKER:
                wait_for(lambda: self.rows(f"SELECT 1 FROM leases WHERE name = '{name}'") == [], self.logs)
                wait_for(lambda: name not in self.owners(), self.logs)
            if fault.server != BROKER or led:
                wait_for(lambda: not self.leads(name) and self.came(probe), self.logs)
                taken = round(time.monotonic() - began, 2)
                self.takeovers.setdefault(fault.name, []).append(taken)
                told["takeover_s"] = taken
            self.load(2)
        self.load(2)
        return told

    @contextmanager
    def while_it_lasts(self, service: Service, pid: int, fault: Fault) -> Iterator[None]:
        begin, end = self._ways(service, pid, fault)
        begin()
        try:
            yield
        finally:
            end()

    def _ways(self, service: Service, pid: int, fault: Fault) -> tuple[Callable[[], None], Callable[[], None]]:
        """What begins a fault, and what ends it."""
        name = service.folder.name
        if fault.kind == KILL:
            return lambda: os.kill(pid, signal.SIGKILL), lambda: None
        if fault.kind == KILL_ALL:
            return service.kill, lambda: self.again(service)
        if fault.kind == STOP:
            return lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT)
        if fault.kind == UNPLUG:
            return self.hosts[name].unplug, self.hosts[name].plug
        link = f"{name} {fault.server}"
        return lambda: self.links.set(link, fault.kind), lambda: self.links.set(link, PASS)

    def again(self, service: Service) -> None:
        made = Service(service.folder, self.role(service.folder.name), within=service.within).ready()
        service.process, service.health = made.process, made.health


@contextmanager
def made(base: Path, folder: Path, seed: int, *, namespaces: bool = True) -> Iterator[Hosts]:
    """A pair in a folder, on the servers of a test run."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres.start(base).shared())
        broker = stack.enter_context(rabbitmq.start(base).shared())
        url = stack.enter_context(server.database())
        own = stack.enter_context(hosts("one", "two")) if namespaces else {}
        pair = Hosts(folder, server, url, broker, seed, own)
        stack.callback(pair.end)
        yield pair


def main() -> None:
    """The long run."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--rounds", type=int, default=50)
    asked.add_argument("--seed", type=int, default=20261129)
    asked.add_argument("--processes", action="store_true", help="no network namespaces")
    options = asked.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (base / "pair").mkdir()
        pair = stack.enter_context(made(base, base / "pair", options.seed, namespaces=not options.processes))
        for number in range(options.rounds):
            _say({"round": number + 1, "of": options.rounds, **pair.round()})
        every = [one for found in pair.takeovers.values() for one in found]
        _say(
            {
                "rounds": options.rounds,
                "seed": options.seed,
                "hosts": "namespaces" if pair.hosts else "processes",
                "records": sum(len(said) for said in pair.sent.values()) + pair.files,
                "by_queue": pair.published,
                "lost": 0,  # `proved` compares all versions of all records with what was sent, after every round
                "doubled": 0,
                "in_order": True,
                "balanced": True,
                "takeovers": len(every),
                "takeover_s": {"median": statistics.median(every), "max": max(every)} if every else {},
                "takeover_s_by": {name: {"n": len(one), "max": max(one)} for name, one in pair.takeovers.items()},
                "seconds": round(time.monotonic() - began),
            }
        )


def _say(what: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


__all__ = ["CUT", "HALF", "STALL", "Fault", "Hosts", "made"]

if __name__ == "__main__":
    main()
