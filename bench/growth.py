"""Fills a province's store and state on PostgreSQL with millions of versions, and measures what a record costs there.

    python bench/growth.py FOLDER [--sizes 1000000,10000000] [--plain]

A cluster of its own (synced, full pages, buffers that hold all of it) has two databases: the store and the state of one
exchange, `collect` in little. It is filled by COPY with the rows that the exchange itself would leave: the first 2,000
records go through `Coordinator.run`, and every table is compared with what the filler makes of the same records before
it goes on. Indexes are taken off for the fill and made again behind it. At each size but the last the cluster is
copied; then all of them are started, read into their buffers, as they are in a server that has run for a day, and
measured in turns, call by call, so that a moment in which the host is slow does not fall on one of them:

- insert: 2,000 new records a call through the SQL sink: over a checkpoint's cycle of 100,000 records, of these the
  first 16,000 by themselves (behind a checkpoint each page is logged whole the first time that it changes), and later;
  and 20 a call
- duplicate: what is known of 2,000 keys (the state's index), and the sink given 2,000 and 20 that stand, by another
  batch
- history: the history rules over 2,000 and 20 records of known vehicles
- ledger: batches proved as `vingate ledger` does, letters and store
- trace: one VIN, as `vingate trace` does
- run: 10,000 new records through the whole exchange, a call after the other over a checkpoint's cycle of 100,000; and
  10,000 that it knows

Each is told as milliseconds and as microseconds of CPU a record, of this process and of the server: medians of the
calls; means, over a cycle. The last lines are the ratios to the first size. `--plain` leaves the store undivided and
measures only the sink. A machine with huge pages reserved (`sysctl vm.nr_hugepages`: 9,900 for 1 and 10 million) says
more: without them each connection pays for every page that it touches first.
"""

# ruff: noqa: E402, S311, S608 - the path comes before what is found by it; test data; names are our own
from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import create_engine

# Our packages first: the tests have folders of the same names.
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
from growthfill import (
    BATCH,
    COLUMNS,
    MONTHS,
    PROVED_EVERY,
    STATE_TABLES,
    STORE_TABLES,
    Filler,
    days_of,
    delivery_of,
    fill,
    is_proved,
    made,
    payload_of,
    row_of,
    without_indexes,
)
from pgstore import client_cpu

from connectors.contracts import Delivery
from connectors.pgmonths import make_partitions, month_of
from connectors.sqlstore import SqlSink
from mappings.encoding import key_digest
from mappings.findings import profile
from mappings.history import batch_findings
from mappings.records import RepairRow
from pipelines.coordinator import Coordinator
from pipelines.journal import LINE, Journal
from pipelines.keptsettings import keep
from pipelines.local.postgres import Cluster
from pipelines.memory import StateHistory
from pipelines.settings import load
from pipelines.state import State
from pipelines.storeform import REPAIRS
from pipelines.tables import runs
from pipelines.trace import trace
from pipelines.verifying import Verifier
from pipelines.versiontable import VersionTable

AT_ONCE, CYCLE, LATER = 8, 50, 12
"""Writes of 2,000 new records: right behind a checkpoint, in a cycle of checkpoints with those, and then later."""
RULES = ("MILEAGE_REGRESSION", "VIN_MANY_PLATES", "PLATE_MANY_VINS", "PRICE_AS_HOURS")
OPTIONS = {
    "max_wal_size": "16GB", "checkpoint_timeout": "1h", "maintenance_work_mem": "512MB", "autovacuum": "off",
    "max_connections": "50",
}  # fmt: skip
EXCHANGE = """
name = "growth"
[source]
connector = "files"
path = "{source}"
format = "ndjson"
finished = "keep"
[mapping]
dialect = "national"
profile = "strict"
[versions]
system = "44"
[rules]
history = {rules}
[routing]
table = "home"
[sinks.provinces]
connector = "sql"
for = "province-*"
url = "{store}"
"""


class Spent(NamedTuple):
    """What one call took: seconds, and those of the processors."""

    wall: float
    client: float
    server: float


class Told(NamedTuple):
    """What a record costs, in microseconds of the processors, and a call in milliseconds."""

    milliseconds: float
    client: float
    server: float

    @property
    def cpu(self) -> float:
        return self.client + self.server

    @classmethod
    def of(cls, records: int, calls: list[Spent], *, cycle: bool = False) -> Told:
        """`records` are those of a call. What falls over a cycle is told as a mean, since the first calls are dear."""
        middle = statistics.mean if cycle else statistics.median
        wall, client, server = map(middle, zip(*calls, strict=True))
        return cls(wall * 1e3, client / records * 1e6, server / records * 1e6)


class Place:
    """One size: cluster, store, state, exchange."""

    def __init__(self, folder: Path, *, divided: bool, size: int) -> None:
        self.folder, self.divided, self.size = folder, divided, size
        buffers = f"{1_024 + size * 3 // 2_000}MB"
        self.cluster = Cluster(folder / "cluster", "bench", options={**OPTIONS, "shared_buffers": buffers})
        spec = REPAIRS if divided else REPAIRS.model_copy(update={"month": ""})
        self.sink = SqlSink(SqlSink.Settings(url=self.cluster.url("store"), table=spec))
        self.taken = 0
        """Records that were numbered so far."""

    def make(self) -> None:
        self.cluster.make()
        self.start()
        for name in ("store", "state"):
            self.cluster.execute(f"CREATE DATABASE {name}")
        self.sink.create()

    def start(self) -> None:
        """Start the server, and have the run that is kept there ask this place's store and not another copy's."""
        self.cluster.start()
        self.cluster.wait()
        if not self.taken or not self.divided:
            return
        exchange = self.exchange("first.ndjson", [row_of(number) for number in range(BATCH)])
        with self.state(own=True) as state, state.unit_of_work() as connection:
            connection.execute(runs.update().values(settings=keep(exchange, state.sealer())["settings"]))

    def stop(self) -> None:
        self.sink.close()
        if self.cluster.running:
            self.cluster.execute("CHECKPOINT")
        self.cluster.stop()

    def copy(self, folder: Path, size: int) -> Place:
        """What it holds, for another size: neither may run."""
        subprocess.run(["cp", "-a", "--reflink=auto", self.folder, folder], check=True)
        found = Place(folder, divided=self.divided, size=size)
        found.taken = self.taken
        return found

    def exchange(self, name: str, rows: list[RepairRow]) -> Any:
        source = self.folder / name
        source.write_text("".join(json.dumps(payload_of(row), ensure_ascii=False) + "\n" for row in rows), "utf-8")
        settings = self.folder / f"{name}.toml"
        text = EXCHANGE.replace("{source}", str(source)).replace("{store}", self.cluster.url("store"))
        settings.write_text(text.replace("{rules}", json.dumps(RULES)), "utf-8")
        return load(settings, [], {})

    def state(self, *, own: bool = False) -> State:
        return State(self.folder / "state", own=own, url=self.cluster.url("state"))

    def begin(self) -> Filler:
        """The first batch goes through the exchange, and the filler must make what stands then."""
        rows = [row_of(number) for number in range(BATCH)]
        exchange = self.exchange("first.ndjson", rows)
        with self.state(own=True) as state:
            Coordinator(state, exchange).run()
        self.taken = BATCH
        received, held = self.cluster.execute(
            "SELECT received_at, (SELECT max(id) FROM destination_sets) FROM batches", database="state"
        )[0]
        filler = Filler(exchange.scope, received, held, divided=True)
        wanted = filler.tables(1, filler.records(1), proved=True)
        for name, columns in COLUMNS.items():
            database = "store" if name in STORE_TABLES else "state"
            listed = ", ".join(f'"{one}"' for one in (*columns, *(("month",) if name == "repairs" else ())))
            found = self.cluster.execute(f'SELECT {listed} FROM "{name}"', database=database)
            plain = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found]
            if name == "journals":
                books = [[Journal.unpack(row[-1]) for row in rows] for rows in (plain, wanted[name])]
                skipped = ["offset"]
                names = [one for one in LINE.names or () if one not in skipped]
                assert np.array_equal(books[0][0].lines[names], books[1][0].lines[names]), name
                assert books[0][0].routes == books[1][0].routes
            elif name == "batches":
                assert [(*row[:4], row[5], *row[8:]) for row in plain] == [
                    (*r[:4], r[5], *r[8:]) for r in wanted[name]
                ], name
            else:
                assert sorted(plain) == sorted(wanted[name]), name
        with create_engine(self.cluster.url("store")).begin() as connection:
            make_partitions(connection, "repairs", [month_of(f"{days_of(n, 0, 0)[1]}") for n in range(MONTHS)])
        print(f"filler: the {BATCH} records of the exchange, table by table, as it left them", flush=True)
        return filler

    def grow(self, filler: Filler) -> None:
        """Fill to as many versions as it is meant to hold."""
        started = time.perf_counter()
        batches = list(range(self.taken // BATCH + 1, self.size // BATCH + 1))
        store, state = (self.cluster.address(name) for name in ("store", "state"))
        mine = STORE_TABLES if self.divided else STORE_TABLES[:1]
        with without_indexes(store, mine), without_indexes(state, STATE_TABLES if self.divided else ()):
            given = [(store, state, filler, batches[half::2], not self.divided, self.divided) for half in (0, 1)]
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.starmap(fill, given)
        self.taken = self.size
        print(f"filled to {self.size:,} in {time.perf_counter() - started:.0f} s", flush=True)

    def warm(self) -> None:
        """Read every table and index into the server's buffers, indexes last."""
        for name in ("store", "state"):
            self.cluster.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm", database=name)
            for kind in "ri":
                asked = f"relnamespace = 'public'::regnamespace AND relkind = '{kind}'"
                self.cluster.execute(f"SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE {asked}", database=name)

    def server_cpu(self) -> float:
        """CPU seconds of the server: to the nanosecond for processes that run, some hundredths for those that ended."""
        total = 0.0
        for entry in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = entry.read_text().rpartition(") ")[2].split()
                if int(entry.parent.name) == self.cluster.pid:
                    total += sum(map(int, fields[13:15])) / 100
                elif int(fields[1]) == self.cluster.pid:
                    total += int((entry.parent / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue
        return total

    def pick(self, rnd: random.Random, count: int) -> list[int]:
        """Numbers of records that the filler made."""
        return rnd.sample(range(self.size), count)

    def pick_true(self, rnd: random.Random, count: int) -> list[int]:
        """The same, of those whose content digest is the true one: they are duplicates when they come again."""
        batches = [batch for batch in range(1, self.size // BATCH + 1) if is_proved(batch)]
        return rnd.sample([n for batch in batches for n in range((batch - 1) * BATCH, batch * BATCH)], count)

    def fresh(self, count: int) -> list[int]:
        """Numbers that nobody knows yet."""
        first, self.taken = self.taken, self.taken + count
        return list(range(first, self.taken))


def in_turns(places: Sequence[Place], calls: Sequence[list[Callable[[], Any]]]) -> list[list[Spent]]:
    """The n-th call of each place, then the next: what they took, by place."""
    spent: list[list[Spent]] = [[] for _ in places]
    for turn in zip(*calls, strict=True):
        for place, call, into in zip(places, turn, spent, strict=True):
            server, client, began = place.server_cpu(), client_cpu(), time.perf_counter()
            call()
            wall, client = time.perf_counter() - began, client_cpu() - client
            into.append(Spent(wall, client, place.server_cpu() - server))
    return spent


class Measures:
    """What is measured of some places, in turns. What is written meanwhile is some hundredth of the largest."""

    def __init__(self, places: list[Place], filler: Filler, held: ExitStack) -> None:
        self._places, self._filler, self._held = places, filler, held
        self.found: list[dict[str, Told]] = [{} for _ in places]

    def told(self, name: str, records: int, calls: list[list[Callable[[], Any]]], unmeasured: int = 1) -> None:
        """The first calls of each place only warm it up."""
        spent = in_turns(self._places, calls)
        self._put(name, records, [some[unmeasured:] for some in spent])

    def _put(self, name: str, records: int, spent: list[list[Spent]], *, cycle: bool = False) -> None:
        for found, some in zip(self.found, spent, strict=True):
            found[name] = Told.of(records, some, cycle=cycle)

    def _checkpoint(self) -> None:
        gc.collect()
        gc.freeze()  # or the client would walk all that was made for the calls again and again
        for place in self._places:
            place.cluster.execute("CHECKPOINT")

    def _writes(self, place: Place, given: list[Delivery], status: str) -> Callable[[], None]:
        def write() -> None:
            assert {one.status for one in place.sink.write(given)} == {status}

        return write

    def inserts(self) -> None:
        def new(place: Place, count: int, name: str) -> Callable[[], None]:
            given = [delivery_of(made(n, self._filler.received, now=True), name) for n in place.fresh(count)]
            return self._writes(place, given, "accepted")

        names = [f"new-{n}" for n in range(3 + CYCLE + LATER)]
        calls = [[new(place, BATCH, name) for name in names] for place in self._places]
        in_turns(self._places, [some[:3] for some in calls])
        self._checkpoint()
        spent = in_turns(self._places, [some[3:] for some in calls])
        self._put("insert of 2,000, over a checkpoint's cycle", BATCH, [some[:CYCLE] for some in spent], cycle=True)
        self._put("of these right behind the checkpoint", BATCH, [some[:AT_ONCE] for some in spent])
        self._put("insert of 2,000, later", BATCH, [some[CYCLE:] for some in spent])
        few = [[new(place, 20, f"few-{n}") for n in range(205)] for place in self._places]
        self.told("insert of 20", 20, few, 5)
        for place in self._places:
            told = place.sink.verify_many(names)
            assert sum(one.count for one in told.values()) == len(names) * BATCH

    def duplicates(self) -> None:
        def again(place: Place, rnd: random.Random, count: int) -> Callable[[], None]:
            given = [delivery_of(made(n, self._filler.received), "again") for n in place.pick(rnd, count)]
            return self._writes(place, given, "duplicate")

        for count, times in ((BATCH, 16), (20, 105)):
            calls = [
                [again(place, rnd, count) for rnd in [random.Random(count)] for _ in range(times)]
                for place in self._places
            ]
            self.told(f"duplicate at the sink, {count:,}", count, calls, 1 if count == BATCH else 5)

    def known(self) -> None:
        def find(place: Place, state: State, rnd: random.Random) -> Callable[[], None]:
            rows = [row_of(n) for n in place.pick(rnd, BATCH)]
            keys = [key_digest(self._filler.scope, "44", row.companycode, row.costlistcode) for row in rows]
            hi = np.array([int.from_bytes(key[:8], "big") for key in keys], np.uint64)
            lo = np.array([int.from_bytes(key[8:], "big") for key in keys], np.uint64)

            def call() -> None:
                with state.reading() as connection:
                    assert len(VersionTable().find(connection, hi, lo)[0]) == BATCH

            return call

        calls = [[find(p, s, rnd) for rnd in [random.Random(3)] for _ in range(41)] for p, s in self._read()]
        self.told("duplicate at the state, 2,000", BATCH, calls)

    def history(self) -> None:
        strict, now = profile("strict"), datetime(2026, 9, 29, tzinfo=UTC)

        def judge(state: State, rows: list[RepairRow]) -> Callable[[], None]:
            def call() -> None:
                with state.reading() as connection:
                    batch_findings(rows, StateHistory(connection, self._filler.scope), now, strict, RULES)

            return call

        for count, times in ((BATCH, 16), (20, 205)):
            calls = [
                [
                    judge(state, [row_of(n) for n in place.pick(rnd, count)])
                    for rnd in [random.Random(4 + count)]
                    for _ in range(times)
                ]
                for place, state in self._read()
            ]
            self.told(f"history of {count:,}", count, calls, 1 if count == BATCH else 5)

    def ledger(self) -> None:
        def prove(verifier: Verifier, batch: str) -> Callable[[], None]:
            def call() -> None:
                assert verifier.batches([batch]) == {batch: []}, batch

            return call

        proved = [
            f"growth-{n:06d}" for n in range(PROVED_EVERY, min(p.size for p in self._places) // BATCH, PROVED_EVERY)
        ]
        verifiers = [Verifier(state, state.sealer()) for _, state in self._read()]
        self.told("ledger of 2,000", BATCH, [[prove(one, batch) for batch in proved] for one in verifiers])

    def traces(self) -> None:
        def follow(state: State, vin: str) -> Callable[[], None]:
            sealer = state.sealer()

            def call() -> None:
                entries = trace(state, sealer, vin)["versions"]
                assert entries, vin
                assert all(one["proved"] for one in entries), vin

            return call

        calls = [
            [follow(state, row_of(n).vin) for n in place.pick(random.Random(5), 61)] for place, state in self._read()
        ]
        self.told("trace of a VIN", 1, calls)

    def runs(self) -> None:
        """States are opened to write now: those that read are not used any more."""
        self._held.close()
        count, times = 5 * BATCH, CYCLE // 5
        states = [self._held.enter_context(place.state(own=True)) for place in self._places]
        calls = []
        for place, own in zip(self._places, states, strict=True):
            some = [
                place.exchange(f"run-{n}.ndjson", [row_of(x, now=True) for x in place.fresh(count)])
                for n in range(times + 1)
            ]
            calls.append([partial(self._run, own, one) for one in some])
        in_turns(self._places, [some[:1] for some in calls])
        self._checkpoint()
        spent = in_turns(self._places, [some[1:] for some in calls])
        self._put("run of 10,000, over a checkpoint's cycle", count, spent, cycle=True)
        again = []
        for place, own in zip(self._places, states, strict=True):
            rnd = random.Random(6)
            some = [
                place.exchange(f"known-{n}.ndjson", [row_of(x) for x in place.pick_true(rnd, count)]) for n in range(6)
            ]
            again.append([partial(self._run, own, one) for one in some])
        self.told("run of 10,000 that are known", count, again)
        for place in self._places:
            told = place.cluster.execute("SELECT sum(duplicate_records) FROM batches", database="state")
            assert told[0][0] == 6 * count, told

    def _run(self, state: State, exchange: Any) -> None:
        Coordinator(state, exchange).run()

    def _read(self) -> list[tuple[Place, State]]:
        return [(place, self._held.enter_context(place.state())) for place in self._places]


def huge_pages() -> str:
    """Whether the servers' buffers lie in huge pages, which the machine must have reserved."""
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text("utf-8").splitlines())
    free, total = (int(told[name]) for name in ("HugePages_Free", "HugePages_Total"))
    return "in huge pages" if total and free < total else "not in huge pages"


def main() -> None:
    parser = argparse.ArgumentParser(description="a store and a state that grow")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="1000000,10000000")
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    sizes = sorted(int(one) for one in given.sizes.split(","))
    if min(sizes) < (least := 4 * PROVED_EVERY * BATCH):
        parser.error(f"--sizes: {least:,} at least, for batches to prove")
    given.folder.mkdir(parents=True)
    growing = Place(given.folder / "growing", divided=not given.plain, size=sizes[0])
    places: list[Place] = []
    try:
        growing.folder.mkdir()
        growing.make()
        filler = Filler("growth", "2026-09-29T00:00:00+00:00", 1, divided=False) if given.plain else growing.begin()
        for following in [*sizes[1:], 0]:
            growing.grow(filler)
            if following:
                growing.stop()
                places.append(growing)
                growing = growing.copy(given.folder / f"{following}", following)
                growing.start()
        places.append(growing)
        for place in places[:-1]:
            place.start()
        for place in places:
            place.warm()
        print(f"buffers: {huge_pages()}", flush=True)
        with ExitStack() as held:
            measures = Measures(places, filler, held)
            parts = [measures.inserts, measures.duplicates]
            if not given.plain:
                parts += [measures.known, measures.history, measures.ledger, measures.traces, measures.runs]
            for part in parts:
                part()
        for place, results in zip(places, measures.found, strict=True):
            for name, one in results.items():
                cpu = f"CPU us: client {one.client:8.1f}, server {one.server:8.1f}"
                print(f"{place.size:>11,} {name:42} {one.milliseconds:9.2f} ms  {cpu}")
        disk = [
            f"{growing.cluster.execute(f'SELECT pg_database_size({name!r})')[0][0] / 1e9:.1f} GB {name}"
            for name in ("store", "state")
        ]
        print(", ".join(disk))
        least_of, most_of = measures.found[0], measures.found[-1]
        for name, one in most_of.items():
            first = least_of[name]
            time_, cpu = one.milliseconds / first.milliseconds, one.cpu / first.cpu
            print(f"{sizes[-1] / sizes[0]:g} times: {name:42} {time_:5.2f} of the time, {cpu:5.2f} of the CPU")
    finally:
        for place in {*places, growing}:
            place.stop()


if __name__ == "__main__":
    main()
