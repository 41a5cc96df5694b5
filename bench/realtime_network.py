"""What `vingate bench realtime` measures on: PostgreSQL, RabbitMQ and roles of its own, started as operators do.

    with Network(folder) as network:
        role = network.add("province-44")
        role.declare()
        role.start()

PostgreSQL syncs every commit (what is accepted is durable) and keeps the moment of every commit, so that nobody has to
look at the stores while they are written. Roles are those of deploy/roles with ports of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cputimes import children, cpu_below, processes

from pipelines.local.postgres import Cluster
from pipelines.local.rabbitmq import Node

ROOT = Path(__file__).resolve().parents[1]
DURABLE: Mapping[str, str] = {
    "fsync": "on",
    "synchronous_commit": "on",
    "track_commit_timestamp": "on",
    "track_wal_io_timing": "on",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "shared_buffers": "512MB",
    "max_connections": "100",
    "max_wal_size": "4GB",
}
"""Settings of the database server."""
_ONES_OWN = ("door.host=127.0.0.1", "door.port=0", "door.registration=at-once")
_ROLES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "province-44": ("province", _ONES_OWN),
    "province-51": (
        "province",
        (
            *_ONES_OWN,
            "exchanges.collect.versions.system=51",
            "exchanges.collect.feeds.uploads.queue=vingate.uploads-51",
            "exchanges.pushed.feeds.ministry.queue=vingate.province-51",
        ),
    ),
    "ministry": ("ministry", ()),
}
"""Name -> (settings file, what differs from it)."""

_REGISTER = '[[dealer]]\ncompanycode = "440300000000001"\noem = "SVW"\nfrom = 2020-01-01\n'


class Beat(NamedTuple):
    """CPU seconds that were used so far, by whom."""

    at: float
    """Seconds, monotonic."""
    used: dict[str, float]


class Role:
    """One `vingate serve` on a database for its state and one for its store."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str], more: tuple[str, ...] = ()) -> None:
        self.name, self.folder = name, folder
        self.state, self.store = f"{folder.name}_state", f"{folder.name}_store"
        file, settings = _ROLES[name]
        self._path = ROOT / "deploy" / "roles" / f"{file}.toml"
        self._settings = [part for one in (*settings, "health.port=0", *more) for part in ("--set", one)]
        self._environment = {**os.environ, **environment}
        self.log = folder.parent / f"{folder.name}.log"
        self._process: subprocess.Popen[str] | None = None
        self.door = self.health = ""

    def declare(self) -> None:
        """Declare the queues of this role."""
        command = [
            sys.executable,
            "-m",
            "pipelines",
            "check",
            str(self._path),
            "--declare",
            "--state",
            str(self.folder),
        ]
        done = subprocess.run(
            [*command, *self._settings], env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode not in (0, 1):
            sys.exit(f"{self.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def start(self) -> None:
        """Start it, and wait until it can be used."""
        command = [sys.executable, "-m", "pipelines", "serve", str(self._path), "--state", str(self.folder)]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*command, *self._settings],
                env=self._environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} did not start:\n{self.log.read_text('utf-8')[-3000:]}")
        said = json.loads(line)
        self.door, self.health = said.get("door", ""), said["health"]

    def stop(self) -> None:
        """Stop it as its operator would, and wait for its end."""
        if self._process is None:
            return
        for pid in self.processes().values():
            os.kill(pid, signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(35)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def processes(self) -> dict[str, int]:
        """Its processes: supervisor, gateway, and those of its door, which are started last."""
        if self._process is None or self._process.poll() is not None:
            return {}
        below = children(self._process.pid, processes())
        doors = ["door", *(f"door-{number}" for number in range(2, len(below)))]
        return {"supervisor": self._process.pid, **dict(zip(("gateway", *doors), below, strict=False))}

    def stages(self) -> dict[tuple[str, str], tuple[float, float]]:
        """(exchange, stage) -> (how often, seconds of all), from the page of metrics."""
        found: dict[tuple[str, str], list[float]] = {}
        with urllib.request.urlopen(f"{self.health}/metrics", timeout=10) as page:  # noqa: S310 - our own
            for line in page.read().decode().splitlines():
                for part, suffix in enumerate(("_count", "_sum")):
                    if line.startswith(f"vingate_stage_seconds{suffix}{{"):
                        labels, _, value = line.rpartition(" ")
                        key = _label(labels, "exchange"), _label(labels, "stage")
                        found.setdefault(key, [0.0, 0.0])[part] = float(value)
        return {key: (one[0], one[1]) for key, one in found.items()}


def _label(text: str, name: str) -> str:
    return text.partition(f'{name}="')[2].partition('"')[0]


class Network:
    """Servers and roles in a folder; all gone at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.chmod(0o711)  # the database server runs as its own user
        self.database = Cluster(folder / "postgres", secrets.token_hex(8), options=DURABLE)
        self.broker = Node(folder / "rabbitmq", {"vingate": secrets.token_hex(8)})
        self.roles: dict[str, Role] = {}

    def __enter__(self) -> Network:
        try:
            for server in (self.database, self.broker):
                server.make()
                server.start()
            for server in (self.database, self.broker):
                server.wait()
            self.database.execute("CREATE EXTENSION pg_stat_statements")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.roles.values():
            role.stop()
        self.broker.stop()
        self.database.stop()

    def add(self, name: str, *more: str) -> Role:
        """A role with databases of its own, not started; `more`: settings that differ."""
        told = {}
        short = f"{name}_{len(self.roles)}".replace("-", "_")
        for what in ("state", "store"):
            self.database.execute(f"CREATE DATABASE {short}_{what}")
            told[what] = self.database.url(f"{short}_{what}")
        kind = "MINISTRY" if name == "ministry" else "PROVINCE"
        environment = {
            "VINGATE_STATE_URL": told["state"],
            f"{kind}_STORE_URL": told["store"],
            f"{kind}_AMQP_URL": self.broker.url("vingate"),
        }
        folder = self.folder / short
        (folder / "reference").mkdir(parents=True)
        (folder / "reference" / "dealers.toml").write_text(_REGISTER, "utf-8")
        role = self.roles[name] = Role(name, folder, environment, more)
        return role

    def store_moments(self, role: Role) -> dict[str, float]:
        """List code -> when its row was committed to the store (seconds since 1970), by the database's own clock."""
        rows = self.database.execute(
            "SELECT costlistcode, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 FROM repairs",
            database=role.store,
        )
        return dict(rows)

    def count(self, role: Role) -> int:
        """Rows of its store."""
        return int(self.database.execute("SELECT count(*) FROM repairs", database=role.store)[0][0])

    def wait_for(self, role: Role, rows: int, seconds: float = 120.0) -> bool:
        """Wait until a store holds so many rows, or until none came for ten seconds."""
        seen, since, until = -1, time.monotonic(), time.monotonic() + seconds
        while time.monotonic() < until:
            now = self.count(role)
            if now >= rows:
                return True
            if now != seen:
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > 10:
                return False
            time.sleep(0.25)
        return False

    def statements(self, most: int = 15) -> list[tuple[str, int, float, str]]:
        """What the database server worked on longest: database, calls, milliseconds, the statement's begin."""
        return self.database.execute(
            "SELECT datname, calls, total_exec_time + total_plan_time, "
            " left(regexp_replace(query, '\\s+', ' ', 'g'), 90)"
            " FROM pg_stat_statements JOIN pg_database ON oid = dbid WHERE datname <> 'postgres'"
            " AND query !~ 'pg_xact_commit_timestamp|count\\(\\*\\) FROM repairs'"
            " ORDER BY 3 DESC LIMIT %s",
            most,
        )

    def beat(self) -> Beat:
        """What everything used so far."""
        seen = processes()
        used = {"postgres": cpu_below(self.database.pid, seen), "rabbitmq": cpu_below(self.broker.pid, seen)}
        for name, role in self.roles.items():
            for kind, pid in role.processes().items():
                used[f"{name} {kind}"] = seen[pid].own if pid in seen else 0.0
        return Beat(time.monotonic(), used)
