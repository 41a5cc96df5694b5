"""Two `vingate serve` on one state, under load, killed and stopped at seeded moments: nothing lost, nothing doubled.

`python tests/pipelines/test_sharing_processes.py ROUNDS SEED` is the long run.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from sharing_kit import KEY, NAME, balanced, in_order, put, record, settings
from sqlalchemy import func, select

from pipelines import tables
from pipelines.state import State

ROOT = Path(__file__).parents[2]
PATIENCE = 120
ROLE = """
name = "sharing"
[state]
url = "{url}"
share = true
[exchanges.collect]
file = "{folder}/collect.json.toml"
milliseconds = 5
[exchanges.dropped]
file = "{folder}/dropped.toml"
every = "1s"
"""


def wait_for(condition, what="it"):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(what() if callable(what) else what)


def toml(value) -> str:
    """An exchange's settings as a file of TOML: the same that tests use in process."""
    lines = [f"{key} = {json.dumps(one)}" for key, one in value.items() if not isinstance(one, dict)]
    for key, one in value.items():
        if isinstance(one, dict):
            plain = {k: v for k, v in one.items() if not isinstance(v, dict)}
            lines += [f"[{key}]"] + [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in plain.items()]
            for k, v in one.items():
                if isinstance(v, dict):
                    lines += [f"[{key}.{k}]"] + [f"{n} = {json.dumps(x)}" for n, x in v.items()]
    return "\n".join(lines) + "\n"


def children_of(pid):
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Service:
    """One `vingate serve`."""

    def __init__(self, folder, role, key=None, within=()):
        self.folder, self.log, self.within = folder, folder.with_suffix(".log"), within
        extra = ["--set", f"state.key=file:{key}"] if key else []
        command = [*within, sys.executable, "-m", "pipelines", "serve", str(role), "--state", str(folder), *extra]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)

    def ready(self):
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.health = json.loads(line)["health"]
        return self

    def share(self):
        return httpx.get(f"{self.health}/readyz", timeout=PATIENCE).json().get("share") or {}

    def kill(self):
        for pid in (self.process.pid, *children_of(self.process.pid)):
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self.process.stdout.close()
        return code


class Pair:
    """Two services on one state, the load that is put on them, and what must come of it."""

    def __init__(self, folder, server, url, seed):
        self.folder, self.server, self.url = folder, server, url
        self.name = url.rpartition("/")[2]
        self.rnd = random.Random(seed)  # noqa: S311 - what happens in a test
        self.sent = defaultdict(list)  # list code -> what was said of it, in order
        self.files = 0
        (folder / "incoming").mkdir()
        self.one = Service(folder / "one", self.role("one"), within=self.within("one")).ready()
        self.two = Service(folder / "two", self.role("two"), folder / "one" / KEY, self.within("two")).ready()
        self.state = State(folder / "one", own=False, url=url)

    def role(self, name):
        """The settings file of a member, written anew."""
        place, url = self.folder / f"settings-{name}", self.database_of(name)
        place.mkdir(exist_ok=True)
        (place / "collect.json.toml").write_text(toml(settings(url)), "utf-8")
        source = {"connector": "files", "path": str(self.folder / "incoming"), "format": "ndjson", "finished": "keep"}
        dropped = {**settings(url), "name": "dropped", "source": source, "versions": {"mode": "assign", "system": "12"}}
        (place / "dropped.toml").write_text(toml({**dropped, "mapping": {"dialect": "auto"}}), "utf-8")
        (place / "role.toml").write_text(ROLE.format(url=url, folder=place) + self.feeds_of(name), "utf-8")
        return place / "role.toml"

    def database_of(self, _name):
        """By which address a member reaches the database."""
        return self.url

    def within(self, _name):
        """What a member's command line begins with."""
        return ()

    def feeds_of(self, _name):
        """Feeds of a member's exchange, in TOML."""
        return ""

    def load(self, bursts, happening=lambda burst: None):
        """Bursts of envelopes over few vehicles, corrections among them; now and then a file is dropped."""
        for burst in range(bursts):
            self.burst()
            if burst % 5 == 0:
                self.files += 1
                line = json.dumps(record(f"F{self.files}", serial=self.files % 24), ensure_ascii=False)
                staged = self.folder / f"{self.files}.tmp"
                staged.write_text(line + "\n", "utf-8")
                staged.rename(self.folder / "incoming" / f"{self.files}.ndjson")
            happening(burst)
            time.sleep(self.rnd.random() / 10)

    def burst(self):
        """Some envelopes, as a door takes them in."""
        put(self.state, *self.some("K", 5, 40))

    def some(self, letter, least, most):
        """Records whose list codes begin with a letter; what is said of each is kept."""
        bodies = []
        for _ in range(self.rnd.randrange(least, most)):
            serial = self.rnd.randrange(24)
            code, said = f"{letter}{serial}-{self.rnd.randrange(6)}", f"f{self.rnd.randrange(40)}"
            self.sent[code].append(said)
            bodies.append(record(code, serial=serial, fault=said))
        return bodies

    def rest(self):
        """Wait until all is done."""
        wait_for(lambda: not any(self.left().values()), lambda: f"{self.left()} {self.logs()}")

    def left(self):
        i, b, w = tables.inbox, tables.batches, tables.waiting
        with self.state.reading() as connection:
            return {
                "inbox": connection.execute(select(func.count()).select_from(i)).scalar_one(),
                "batches": connection.execute(
                    select(func.count()).select_from(b).where(b.c.state != "closed")
                ).scalar_one(),
                "waiting": connection.execute(select(func.count()).select_from(w)).scalar_one(),
                "files": self.files - len(self.rows("SELECT 1 FROM repairs WHERE costlistcode LIKE 'F%'")),
            }

    def rows(self, statement):
        return self.server.execute(statement, database=self.name)

    def logs(self):
        return self.one.log.read_text()[-3000:] + self.two.log.read_text()[-3000:]

    def proved(self):
        """Every version of every record stands once, in the order in which it came; the ledger agrees."""
        stands = defaultdict(list)
        told = (
            "SELECT costlistcode, version, faultdescription FROM repairs WHERE costlistcode NOT LIKE 'F%' ORDER BY seq"
        )
        for code, version, said in self.rows(told):
            stands[code].append((version, said))
        wanted = {code: list(enumerate(changes(said), 1)) for code, said in self.sent.items()}
        wrong = {c: (stands.get(c), wanted.get(c)) for c in stands | wanted if stands.get(c) != wanted.get(c)}
        assert wrong == {}, wrong
        assert in_order(self.state)
        assert balanced(self.state)

    # -- what happens to them ------------------------------------------------------------------------------------------

    def member(self, service):
        """The name of a service's gateway, once it has come; its process's number stands in it."""

        def come():
            name = service.share().get("member", "")
            alive = name and int(name.split(":")[2]) in children_of(service.process.pid)
            return name if alive and self.rows(f"SELECT 1 FROM leases WHERE name = '{name}'") else ""

        name = wait_for(come, self.logs)
        return name, int(name.split(":")[2])

    def kill_gateway(self, service):
        os.kill(self.member(service)[1], signal.SIGKILL)

    def kill_service(self, service):
        service.kill()
        again = Service(service.folder, self.role(service.folder.name), within=service.within).ready()
        service.process, service.health = again.process, again.health

    def stop_gateway(self, service):
        """Stopped so long that its lease ran out, taken over, then awake again."""
        name, pid = self.member(service)
        os.kill(pid, signal.SIGSTOP)
        try:
            self.rows(f"UPDATE leases SET expires = 0 WHERE name = '{name}'")
            wait_for(lambda: not self.rows(f"SELECT 1 FROM leases WHERE name = '{name}'"), self.logs)
        finally:
            os.kill(pid, signal.SIGCONT)

    def disturb(self, bursts=30):
        """A round: load, and one or two disturbances at moments of the seed's choice."""
        moments = sorted(self.rnd.sample(range(2, bursts), 2))

        def happening(burst):
            if burst in moments:
                what = self.rnd.choice((self.kill_gateway, self.kill_service, self.stop_gateway))
                service = self.rnd.choice((self.one, self.two))
                what(service)

        self.load(bursts, happening)
        self.rest()
        self.proved()

    def end(self):
        self.state.close()
        for service in (self.one, self.two):
            if service.process.poll() is None:
                service.kill()


def changes(said):
    return [one for i, one in enumerate(said) if not i or said[i - 1] != one]


@pytest.fixture
def pair(tmp_path, postgres, postgres_url):
    with ExitStack() as stack:
        made = Pair(tmp_path, postgres, postgres_url, 20261128)
        stack.callback(made.end)
        yield made


def test_two_services_share_the_work_and_are_replaced_when_they_die(pair):
    held = wait_for(lambda: sorted(len(s.share().get("partitions", ())) for s in (pair.one, pair.two)) == [16, 16])
    assert held
    assert sorted(service.share()["leads"] for service in (pair.one, pair.two)) == [False, True]
    pair.load(10)
    pair.rest()
    b = tables.batches
    with pair.state.reading() as connection:
        by = select(b.c.exchange, func.count(b.c.member.distinct())).where(b.c.kind != "known").group_by(b.c.exchange)
        assert dict(connection.execute(by).all()) == {NAME: 2, "dropped": 1}
    for _ in range(2):
        pair.disturb(15)
    page = httpx.get(f"{pair.one.health}/metrics", timeout=PATIENCE).text
    assert "vingate_partitions_held{" in page
    assert pair.two.stop() == 0
    wait_for(lambda: len(pair.one.share().get("partitions", ())) == 32, pair.logs)
    pair.load(5)
    pair.rest()
    pair.proved()
    assert pair.one.stop() == 0


def main(rounds, seed):
    """The long run."""
    import tempfile

    from servers import postgres as own

    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        server = own.start(Path(folder))
        with server.shared(), server.database() as url:
            pair = Pair(Path(folder), server, url, seed)
            try:
                for number in range(rounds):
                    began = time.monotonic()
                    pair.disturb()
                    told = {"round": number, "keys": len(pair.sent), "seconds": round(time.monotonic() - began, 1)}
                    sys.stdout.write(json.dumps(told) + "\n")
                    sys.stdout.flush()
            finally:
                pair.end()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
