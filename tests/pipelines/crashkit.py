"""Exchanges that kill themselves at points given beforehand, and all that a state holds in a form that can be compared.

A child is forked off a server that has imported everything, so that a kill point costs no start of Python. What was
killed is called again, as a person or a service manager would, until all exchanges have ended.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import traceback
from collections import Counter
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from connectors import litewriting, parts, sqlstore
from dlq.sealing import Sealer
from pipelines import ledger, nation, outbox, retrying, runcounts, tables, versions
from pipelines.coordinator import Coordinator
from pipelines.journal import Journal
from pipelines.sample import generate
from pipelines.sealedrows import open_piece, open_waiting
from pipelines.settings import load
from pipelines.state import DATABASE, State

PROVINCES = ("11", "31", "44", "bt")
STEPS = (
    ("registrations", ()),
    ("operators", ()),
    ("collect", ()),
    ("headquarters", ()),
    ("report", ()),
    ("push", ()),
    ("registrations", ("source.path={state}/partners/later/registrations-2.ndjson",)),
    ("push", ()),
    ("bulk-files", ("source.path={state}/partners/bulk", "sinks.provinces.path={state}/out", "batch.items=2")),
    ("bulk-files", ("source.path={state}/partners/bulk/a.ndjson", "sinks.provinces.path={state}/out")),
)
COLLECT, HEADQUARTERS, REPORT, PUSH, MOVED, BULK, AGAIN = 2, 3, 4, 5, 7, 8, 9


class Kill(NamedTuple):
    """A point at which the process kills itself: during a step, at the n-th time that something happens."""

    step: int
    what: str
    """Name of an event, or `commit` (the state's, before it), `inserted` (in a store's transaction), `written` (after
    it), `renamed` (a part, before its folder is synced), `marked` (what waits is about to be tried), `flushed` (a
    batch's or an attempt's deliveries are written, and nothing is accounted yet)."""
    count: int = 1
    delay: float = 0.0
    """Seconds from there to the kill; the process goes on meanwhile."""


# -- in the child ------------------------------------------------------------------------------------------------------


class _Victim:
    """Counts what happens in the present step, and kills the process when the point is reached."""

    def __init__(self, kill: Kill | None, done: Path) -> None:
        self._kill, self._done, self.step = kill, done, 0
        self._seen: Counter[str] = Counter()

    def begin(self, step: int) -> None:
        self.step = step
        self._seen.clear()

    def happened(self, what: str) -> None:
        kill = self._kill
        self._seen[what] += 1
        if kill is None or (kill.step, kill.what, kill.count) != (self.step, what, self._seen[what]):
            return
        if kill.delay:
            threading.Timer(kill.delay, _die).start()
        else:
            _die()

    def __call__(self, told) -> None:
        if told.name == "ended":
            self._done.write_text(str(self.step + 1))
        if told.name != "item":
            self.happened(told.name)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _play(folder: Path, kill: Kill | None, first: int, bulk: list[str], last: int) -> None:
    done = folder.with_suffix(".done")
    victim = _Victim(kill, done)
    _watch(victim)
    versions.SMALL = 50  # so that the index has run files too
    with State(folder, own=True) as state:
        received_at = orjson.loads((folder / "partners/expected.json").read_bytes())["received_at"]
        first = int(done.read_text()) if done.exists() else first
        for step in range(first, 1 + (last if kill is None else kill.step)):
            victim.begin(step)
            name, more = STEPS[step]
            overrides = [f"received_at={received_at}", *(one.replace("{state}", str(folder)) for one in more)]
            overrides += [one.replace("{state}", str(folder)) for one in bulk] if step in (BULK, AGAIN) else []
            exchange = load(nation.DEPLOY / "exchanges" / f"{name}.toml", overrides, {})
            Coordinator(state, exchange, victim).run()


def _watch(victim: _Victim) -> None:
    """Make the victim see what no event tells."""
    event.listen(Engine, "commit", lambda connection: _commit(victim, connection))
    sync, write, insert = parts.sync_folder, sqlstore.SqlSink.write, litewriting.LiteWriting.insert

    def synced(path: str) -> None:
        if not path.endswith(".staging"):
            victim.happened("renamed")
        sync(path)

    def written(sink, deliveries):
        outcomes = write(sink, deliveries)
        victim.happened("written")
        return outcomes

    def inserted(statements, connection, rows) -> None:
        insert(statements, connection, rows)
        victim.happened("inserted")

    attempt, flush = retrying._attempt, outbox.Outbox.flush

    def marked(*told, **more):
        victim.happened("marked")
        return attempt(*told, **more)

    def flushed(box):
        outcomes = flush(box)
        victim.happened("flushed")
        return outcomes

    retrying._attempt, outbox.Outbox.flush = marked, flushed
    parts.sync_folder, sqlstore.SqlSink.write, litewriting.LiteWriting.insert = synced, written, inserted


def _commit(victim: _Victim, connection) -> None:
    if connection.get_execution_options().get("reading"):
        return
    if DATABASE in str(connection.engine.url) or connection.dialect.name == "postgresql":
        victim.happened("commit")


# -- in the test -------------------------------------------------------------------------------------------------------


class Server:
    """A process that has imported everything, runs no thread of its own, and forks a child for each call."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        environment = {**os.environ, "PYTHONPATH": str(nation.DEPLOY.parent)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def play(
        self,
        folder: Path,
        kills: list[Kill],
        first: int = 0,
        bulk: tuple[str, ...] = (),
        again: tuple[str, ...] = (),
        last: int = len(STEPS) - 1,
    ) -> list[Kill]:
        """Run all steps, or those from `first` to `last`, killed at each point in turn; the points that were hit.

        `bulk` are more settings of the bulk exchange, `again` those that are added once it was killed.
        """
        hit = []
        for kill in [*kills, None]:
            more = (*bulk, *again) if hit else bulk
            self._process.stdin.write(json.dumps([str(folder), kill, first, more, last]) + "\n")
            self._process.stdin.flush()
            code = int(self._process.stdout.readline())
            if code == -signal.SIGKILL:
                hit.append(kill)
            elif code:
                message = f"{kill}: exit code {code}"
                raise AssertionError(message)
        return hit

    def close(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _serve() -> None:
    for line in sys.stdin:
        folder, kill, first, bulk, last = json.loads(line)
        child = os.fork()
        if not child:
            code = 1
            try:
                _play(Path(folder), Kill(*kill) if kill else None, first, bulk, last)
                code = 0
            except Exception:  # noqa: BLE001 - told by exit code and on stderr
                traceback.print_exc()
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def prepare(folder: Path, bulk: dict[str, list]) -> Path:
    """What partners sent and the sealing key: the same for every state that is made of it."""
    generate(folder / "partners", 7, 0.01, judged_by=str(nation.DEPLOY / "profiles" / "nation.toml"))
    for shops in (folder / "partners/shops").iterdir():
        if shops.name not in PROVINCES:
            shutil.rmtree(shops)
    _withdraw(folder / "partners/shops")
    (folder / "partners/bulk").mkdir()
    for name, payloads in bulk.items():
        (folder / "partners/bulk" / name).write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in payloads))
    Sealer.open(folder / "keys/sealing.key", create=True)
    return folder


def _withdraw(shops: Path) -> None:
    """Files in which shops withdraw some of what they sent, and what nobody knows, then send some of that again.

    In another order, since a file of the same bytes holds known envelopes.
    """
    for company in (path for system in sorted(shops.iterdir()) for path in sorted(system.iterdir())):
        lines = [line for path in sorted(company.glob("2026*.ndjson")) for line in path.read_bytes().splitlines()]
        sent = [(record["basicInfo"]["costlistcode"], line) for line in lines if "basicInfo" in (record := _read(line))]
        back = [{"costlistcode": code, "withdrawn": "重复上传"} for code, _ in sent[:4]]
        back.append({"costlistcode": "NOBODY-KNOWS", "withdrawn": "重复上传"})
        (company / "z1.ndjson").write_bytes(b"".join(orjson.dumps(one) + b"\n" for one in back))
        (company / "z2.ndjson").write_bytes(b"".join(line + b"\n" for _, line in reversed(sent[:2])))


def _read(line: bytes) -> dict:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return {}


def copied(template: Path, folder: Path) -> Path:
    """A state's folder of its own."""
    shutil.copytree(template, folder)
    return folder


_NOT_COMPARED = {
    "runs": ("started_at", "ended_at", "settings"),
    "parts": ("temporary",),
    "disclosures": ("moment",),
    "waiting": ("next_attempt", "record"),
    "letter_bodies": ("sealed",),
    "letter_replays": ("at",),
    "letters": ("updated_at",),
    "fragments": ("body",),
    "version_runs": ("name",),
    "version_front": (),
    "leases": ("epoch", "owner", "session", "expires"),
}
"""Moments, random names and random nonces. What is sealed is compared opened."""


def picture(folder: Path) -> dict[str, object]:
    """All that a state and its destinations hold, by name of the part."""
    found: dict[str, object] = {}
    with State(folder, own=True) as state:
        proof = ledger.prove(state)
        found["problems"] = [str(problem) for problem in proof.problems]
        found["totals"] = proof.totals
        found["destinations"] = {name: dict(one.destinations) for name, one in proof.exchanges.items()}
        found["unfinished"] = list(proof.unfinished)
        with state.reading() as connection:
            for table in tables.metadata.sorted_tables:
                found[f"state: {table.name}"] = _rows(connection, table, folder)
            found["opened"] = _opened(connection, state.sealer(), folder)
            found["index"] = _index(connection, state)
            ids = connection.execute(select(tables.runs.c.id).order_by(tables.runs.c.id)).scalars().all()
            runs = set(connection.execute(select(tables.version_runs.c.name)).scalars())
        found["told of runs"] = [runcounts.counts_of(state, number).totals for number in ids]
        found["stray runs"] = {path.name for path in (folder / "versions").glob("*")} ^ runs
    for store in sorted((folder / "stores").glob("*.db")):
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
            found[f"store: {store.stem}"] = connection.execute("SELECT * FROM repairs ORDER BY seq").fetchall()
    found["files"] = {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for name in ("receipts", "out", "partners", "staging")
        for path in sorted((folder / name).rglob("*"))
        if path.is_file()
    }
    return found


def _rows(connection, table, folder: Path) -> list[tuple]:
    left_out = _NOT_COMPARED.get(table.name, ())
    columns = [column for column in table.columns if column.name not in left_out]
    return sorted(
        (tuple(_neutral(value, folder) for value in row) for row in connection.execute(select(*columns))), key=repr
    )


def _neutral(value, folder: Path):
    if isinstance(value, str):
        return value.replace(str(folder), "{state}")
    if isinstance(value, bytes) and str(folder).encode() in value:
        return value.replace(str(folder).encode(), b"{state}")
    return value


def _opened(connection, sealer: Sealer, folder: Path) -> dict[str, bytes]:
    from dlq.letters import LetterStore

    store = LetterStore(connection, sealer)
    opened = {f"letter {letter.id}": store.body(letter) for letter in store.search() if letter.ref is None}
    for table, open_row in ((tables.waiting, open_waiting), (tables.fragments, open_piece)):
        for row in connection.execute(select(table)):
            opened[f"{table.name} {row.id}"] = open_row(sealer, row)
    for row in connection.execute(select(tables.runs)):
        opened[f"run {row.id}"] = _neutral(sealer.unseal(row.settings, b"settings"), folder)
        assert row.ended_at is not None
    return opened


def _index(connection, state: State) -> list[tuple]:
    """What the version index says of every key that any journal names."""
    keys = set()
    for packed in connection.execute(select(tables.journals.c.lines)).scalars():
        lines = Journal.unpack(packed).lines
        keys.update(zip(lines["key_hi"].tolist(), lines["key_lo"].tolist(), strict=True))
    ordered = sorted(keys)
    hi, lo = (np.array([key[half] for key in ordered], np.uint64) for half in (0, 1))
    _, entries = state.versions.find(connection, hi, lo)
    return entries.tolist()


if __name__ == "__main__":
    _serve()
