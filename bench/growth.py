"""Fills a province's store and state on PostgreSQL with millions of versions, and measures what a record costs there.

    python bench/growth.py FOLDER [--sizes 1000000,3000000,10000000] [--lock FILE] [--plain]

A cluster of its own (synced, full pages, 8 GB of buffers) holds two databases: the store and the state of one exchange,
`collect` in little. It is filled by COPY with the rows that the exchange itself would leave: the first 2,000 records go
through `Coordinator.run`, and every table is compared with what the filler makes of the same records before it goes on.
Indexes are taken off for the fill and made again behind it. Then all is read into the buffers, as it is in a server
that has run for a day, and each size is measured:

- insert: 2,000 new records a call through the SQL sink, right after a checkpoint (pages are logged whole the first time
  that they change then) and later; and 20 a call
- duplicate: what is known of 2,000 keys (the state's index), and the sink given 2,000 that stand, by another batch
- history: the history rules over 2,000 records of known vehicles
- ledger: batches proved as `vingate ledger` does, letters and store
- trace: one VIN, as `vingate trace` does
- run: 10,000 new records through the whole exchange

Each is told as milliseconds (median of the calls) and as microseconds of CPU a record, of this process and of the
server; the last lines are the ratios to the first size. With `--lock` the file is held alone while it is measured, not
while it is filled. `--plain` leaves the store undivided and measures only the sink.
"""

# ruff: noqa: E402, S311, S608 - the path comes before what is found by it; test data; names are our own
from __future__ import annotations

import argparse
import fcntl
import json
import multiprocessing
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import psycopg
from sqlalchemy import create_engine

# Our packages first: the tests have folders of the same names.
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
from pgstore import client_cpu, server_cpu

from connectors.contracts import Delivery, fingerprint
from connectors.pgmonths import digest_of, make_partitions, month_of
from connectors.sqlstore import SqlSink
from mappings.encoding import content_bytes, content_digest, delivery_id, key_digest, key_digests, record_key
from mappings.findings import profile
from mappings.history import batch_findings
from mappings.records import RepairRow
from mappings.vin import check_digit
from pipelines.coordinator import Coordinator
from pipelines.journal import ADDRESSED, LINE, Journal
from pipelines.local.postgres import Cluster
from pipelines.memory import StateHistory
from pipelines.settings import load
from pipelines.state import State
from pipelines.storeform import REPAIRS
from pipelines.trace import trace
from pipelines.verifying import Verifier
from pipelines.versions import pack_intake, signed
from pipelines.versiontable import VersionTable
from pipelines.vinhash import vin_hashes

BATCH, MONTHS, SHOPS, FIRST = 2_000, 36, 20_000, date(2023, 10, 1)
AT_ONCE, BETWEEN, LATER = 8, 16, 12
"""Writes of 2,000 new records: right after a checkpoint, then not measured, then later."""
PATIENCE = 45.0
"""Seconds to wait for a machine of one's own."""
PROVED_EVERY = 50
"""One batch of so many has the sums by which its rows are proved: those are made of bodies."""
RULES = ("MILEAGE_REGRESSION", "VIN_MANY_PLATES", "PLATE_MANY_VINS", "PRICE_AS_HOURS")
OPTIONS = {
    "shared_buffers": "8GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min", "wal_compression": "lz4",
    "maintenance_work_mem": "512MB", "autovacuum": "off", "max_connections": "50",
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
STORE_TABLES, STATE_TABLES = ("repairs", "repairs_keys"), ("versions", "history", "vin_journals")
"""Tables with a row for each record."""
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_NAMES = (
    ("机油", "4", "P000001"),
    ("机油滤清器", "1", "P000002"),
    ("制动片", "2", "P000003"),
    ("火花塞", "4", "P000004"),
)
_WORK = (("更换机油机滤", "1.5"), ("更换前制动片", "2"), ("四轮定位", "0.8"))
_PARTS = [tuple((name, Decimal(count), code) for name, count, code in _NAMES[:n]) for n in (1, 2, 3, 4)]
_PROJECTS = [tuple((name, Decimal(hours)) for name, hours in _WORK[:n]) for n in (1, 2, 3)]


_TEXTS = {
    (len(parts), len(work)): (
        orjson.dumps([{"name": n, "quantity": str(q), "code": c} for n, q, c in parts]).decode(),
        orjson.dumps([{"name": n, "hours": str(h)} for n, h in work]).decode(),
    )
    for parts in _PARTS
    for work in _PROJECTS
}


class Made(NamedTuple):
    """A record of the fill, in the forms in which tables hold it."""

    row: RepairRow
    key: str
    content: int
    values: tuple[Any, ...]
    """Columns of the store's spec."""


def row_of(number: int, now: bool = False) -> RepairRow:
    """Record `number`: its batch's month, one of the shops, one of the vehicles; each vehicle comes three times or so.

    `now`: of the last month, as what comes in daily.
    """
    rnd = (number * 2654435761 + 97) & 0xFFFFFFFF
    vehicle = number // 300_000 * 100_000 + rnd % 100_000
    month = MONTHS - 1 if now else number // BATCH % MONTHS
    repaired, settled, compact = _days(month, rnd % 28, rnd % 3)
    shop = (rnd >> 8) % SHOPS
    return RepairRow(
        f"4401{shop:08d}", f"某某汽车维修有限公司{shop}", _plate(vehicle), _vin(vehicle), repaired, settled,
        _mileage(700 * month + vehicle % 700), "保养及异响检查，更换磨损件",
        f"{compact}{number:08d}", _PARTS[rnd % 4], _PROJECTS[rnd % 3],
    )  # fmt: skip


@lru_cache(10_000)
def _days(month: int, day: int, before: int) -> tuple[date, date, str]:
    settled = date(FIRST.year + (FIRST.month - 1 + month) // 12, (FIRST.month - 1 + month) % 12 + 1, 1 + day)
    return settled - timedelta(days=before), settled, f"JS{settled:%Y%m%d}"


@lru_cache(30_000)
def _mileage(more: int) -> Decimal:
    return Decimal(10_000 + more)


@lru_cache(10_000)
def _iso(day: date) -> str:
    return day.isoformat()


@lru_cache(30_000)
def _text(mileage: Decimal) -> str:
    return str(mileage)


def _plate(vehicle: int) -> str:
    return f"粤{_LETTERS[vehicle // 240_000]}{_LETTERS[vehicle // 10_000 % 24]}{vehicle % 10_000:04d}"


@lru_cache(100_000)
def _vin(vehicle: int) -> str:
    raw = f"LSVAA2180{'HJKLMN'[vehicle % 6]}{vehicle:07d}"
    return raw[:8] + check_digit(raw) + raw[9:]


def payload_of(row: RepairRow) -> dict[str, Any]:
    """The record as a shop uploads it."""
    return {
        "basicInfo": {
            "companycode": row.companycode, "companyname": row.companyname, "vehicleplatenumber": row.plate,
            "vin": row.vin, "repairdate": f"{row.repairdate:%Y%m%d}", "repairmileage": str(row.mileage),
            "settledate": f"{row.settledate:%Y%m%d}", "faultdescription": row.faultdescription,
            "costlistcode": row.costlistcode,
        },
        "vehiclepartslist": [{"partsname": n, "partsquantity": str(q), "partscode": c} for n, q, c in row.parts],
        "repairprojectlist": [{"repairproject": n, "workinghours": str(h)} for n, h in row.projects],
    }  # fmt: skip


def is_proved(batch: int) -> bool:
    """Whether a batch of the fill has what proving needs: its records' true digests, and the sums of their bodies."""
    return batch == 1 or batch % PROVED_EVERY == 0


def made(number: int, received: str, *, now: bool = False) -> Made:
    """A record in all its forms; its content digest is the true one where its batch is proved, or it comes now."""
    row = row_of(number, now)
    parts, projects = _TEXTS[len(row.parts), len(row.projects)]
    values = (
        "vingate.repair/1", "report", "44", row.companycode, row.companyname, row.plate, row.vin,
        _iso(row.repairdate), _iso(row.settledate), _text(row.mileage), row.faultdescription,
        row.costlistcode, parts, projects, 1, "national", received, "[]", None,
    )  # fmt: skip
    if now or is_proved(number // BATCH + 1):
        content = int.from_bytes(content_digest(content_bytes(row[1:])), "big")
    else:
        content = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return Made(row, record_key("44", row.companycode, row.costlistcode), content, values)


def delivery_of(one: Made, batch: str) -> Delivery:
    members = dict(zip(REPAIRS.columns, one.values, strict=True))
    for name in ("parts", "projects", "findings"):
        members[name] = orjson.Fragment(members[name])
    content = f"{one.content:016x}"
    identity = delivery_id(one.key, 1, content, "province-44")
    return Delivery(identity, "province-44", one.key, 1, content, REPAIRS.body(members), batch)


class Filler:
    """Rows of whole batches for every table of the store and the state."""

    def __init__(self, scope: str, received: str, held: int, divided: bool) -> None:
        self.scope, self.received, self._held, self._divided = scope, received, held, divided

    def records(self, batch: int) -> list[Made]:
        """The records of a batch; the first one is 1."""
        first = (batch - 1) * BATCH
        return [made(number, self.received) for number in range(first, first + BATCH)]

    def tables(self, batch: int, found: list[Made], *, proved: bool) -> dict[str, list[tuple[Any, ...]]]:
        name = f"growth-{batch:06d}"
        repairs = []
        for one in found:
            content = f"{one.content:016x}"
            identity = delivery_id(one.key, 1, content, "province-44")
            month = (month_of(one.values[8]),) if self._divided else ()
            repairs.append((one.key, 1, identity, content, name, "", True, False, *one.values, *month))
        book = Journal(np.zeros(len(found), LINE), routes=[(), ("province-44",)])
        codes = [one.row.companycode for one in found], [one.row.costlistcode for one in found]
        keys = key_digests(self.scope, "44", *codes)
        lines = book.lines
        lines["ordinal"], lines["fate"], lines["version"], lines["routes"] = range(len(found)), ADDRESSED, 1, 1
        lines["key_hi"] = [int.from_bytes(key[:8], "big") for key in keys]
        lines["key_lo"] = [int.from_bytes(key[8:], "big") for key in keys]
        lines["content"] = [one.content for one in found]
        lines["vin"] = vin_hashes([one.row.vin for one in found])
        stands = sum(fingerprint(delivery_of(one, name)) for one in found) % 2**64 if proved else 0
        count = len(found)
        vins = np.unique(lines["vin"]).view(np.int64).tolist()
        return {
            "repairs": repairs,
            "repairs_keys": sorted((digest_of(one.key), month_of(one.values[8])) for one in found),
            "versions": [
                (key, signed(one.content), pack_intake(batch, place), 1, self._held)
                for place, (key, one) in enumerate(zip(keys, found, strict=True))
            ],
            "history": [
                (self.scope, r.companycode, r.costlistcode, r.vin, r.plate, _iso(r.repairdate),
                 _iso(r.settledate), _text(r.mileage)) for r in (one.row for one in found)
            ],
            "vin_journals": [(vin, batch, 0) for vin in vins],
            "journals": [(name, 0, f"{batch}.ndjson", book.pack())],
            "batches": [(name, "growth", batch, 1, "source", "closed", self.received, b"[]", count, count, count)],
            "batch_destinations": [(name, "province-44", "provinces", count, count, count, str(stands))],
        }  # fmt: skip


COLUMNS = {
    "repairs": (
        "record_key", "version", "delivery_id", "content", "batch", "merged_into", "current", "late",
        *REPAIRS.columns,
    ),
    "repairs_keys": ("key", "month"),
    "versions": ("key", "content", "intake", "version", "held"),
    "history": ("scope", "companycode", "costlistcode", "vin", "plate", "repairdate", "settledate", "mileage"),
    "vin_journals": ("vin", "number", "item"),
    "journals": ("batch", "item", "source", "lines"),
    "batches": (
        "id", "exchange", "number", "run", "kind", "state", "received_at", "items", "received", "decoded", "addressed",
    ),
    "batch_destinations": ("batch", "destination", "sink", "addressed", "delivered", "stands", "stands_digest"),
}  # fmt: skip
_ZEROS = {
    "batches": (
        "dead_intake", "dead_records", "duplicate_intake", "duplicate_records", "fragments", "filtered", "unplaced",
        "flagged", "letters",
    ),
    "batch_destinations": ("duplicate", "merged", "filtered", "dead", "waiting", "in_flight"),
}  # fmt: skip


def copy_all(connection: psycopg.Connection[Any], name: str, rows: list[tuple[Any, ...]], divided: bool) -> None:
    columns = [*COLUMNS[name], *(("month",) if name == "repairs" and divided else ())]
    columns += _ZEROS.get(name, ())
    tail = (0,) * len(_ZEROS.get(name, ()))
    if name == "batches":
        columns, tail = [*columns, "letters_digest"], (*tail, "0")
    types = {
        row[0]: row[1]
        for row in connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass", [name]
        )
    }
    listed = ", ".join(f'"{one}"' for one in columns)
    with connection.cursor() as cursor, cursor.copy(f'COPY "{name}" ({listed}) FROM STDIN (FORMAT BINARY)') as copy:
        copy.set_types([types[one] for one in columns])
        for row in rows:
            copy.write_row((*row, *tail))


def fill(store: str, state: str, filler: Filler, batches: list[int], only_store: bool, divided: bool) -> None:
    with psycopg.connect(store) as rows, psycopg.connect(state) as books:
        for connection in (rows, books):
            connection.execute("SET synchronous_commit = off")
        for at in range(0, len(batches), 10):
            gathered: dict[str, list[tuple[Any, ...]]] = {}
            for batch in batches[at : at + 10]:
                found = filler.tables(batch, filler.records(batch), proved=is_proved(batch))
                for name, given in found.items():
                    gathered.setdefault(name, []).extend(given)
            gathered["repairs"].sort(key=lambda row: row[-1] if divided else 0)
            for name in STORE_TABLES if divided else STORE_TABLES[:1]:
                copy_all(rows, name, gathered[name], divided)
            for name in (
                ()
                if only_store
                else ("batches", "batch_destinations", "journals", "versions", "history", "vin_journals")
            ):
                copy_all(books, name, gathered[name], divided)
            rows.commit()
            books.commit()


@contextmanager
def without_indexes(address: str, names: tuple[str, ...]) -> Iterator[None]:
    """Keys and indexes of some tables are gone meanwhile, and made again."""
    again: list[str] = []
    with psycopg.connect(address, autocommit=True) as connection:
        for table, name, text in connection.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('p', 'u')", [list(names)],
        ).fetchall():  # fmt: skip
            again.append(f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {text}')
            connection.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        for name, text in connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [list(names)]
        ).fetchall():
            again.append(text.replace(" ON ONLY ", " ON "))
            connection.execute(f'DROP INDEX "{name}"')
    yield
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in again:
            connection.execute(statement)
        for name in names:
            connection.execute(f'VACUUM (ANALYZE) "{name}"' if name != "repairs" else f'ANALYZE "{name}"')
        connection.execute("CHECKPOINT")


# -- what is measured --------------------------------------------------------------------------------------------------


class Told(NamedTuple):
    """What a record costs: median of the calls, and CPU of all of them."""

    milliseconds: float
    client: float
    server: float

    @property
    def cpu(self) -> float:
        return self.client + self.server


class Bench:
    """One place: cluster, store, state, exchange."""

    def __init__(self, folder: Path, *, divided: bool) -> None:
        self.folder, self.divided = folder, divided
        self.cluster = Cluster(folder / "cluster", "bench", options=OPTIONS)
        self.cluster.make()
        self.cluster.start()
        self.cluster.wait()
        for name in ("store", "state"):
            self.cluster.execute(f"CREATE DATABASE {name}")
        self.spec = REPAIRS if divided else REPAIRS.model_copy(update={"month": ""})
        self.sink = SqlSink(SqlSink.Settings(url=self.cluster.url("store"), table=self.spec))
        self.sink.create()
        self.taken = 0
        """Records that were numbered so far."""
        self.apart: list[range] = []
        """Those that were measured with, which are not as the filler makes records of their numbers."""

    def exchange(self, name: str, rows: list[RepairRow]) -> Any:
        source = self.folder / name
        source.write_text("".join(json.dumps(payload_of(row), ensure_ascii=False) + "\n" for row in rows), "utf-8")
        settings = self.folder / "growth.toml"
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
            make_partitions(connection, "repairs", [month_of(f"{_days(n, 0, 0)[1]}") for n in range(MONTHS)])
        print(f"filler: the {BATCH} records of the exchange, table by table, as it left them", flush=True)
        return filler

    def grow(self, filler: Filler, size: int) -> None:
        """Fill to so many versions."""
        started = time.perf_counter()
        first, last = self.taken // BATCH + 1, size // BATCH
        batches = list(range(first, last + 1))
        store, state = (self.cluster.address(name) for name in ("store", "state"))
        mine = STORE_TABLES if self.divided else STORE_TABLES[:1]
        with without_indexes(store, mine), without_indexes(state, STATE_TABLES if self.divided else ()):
            given = [(store, state, filler, batches[half::2], not self.divided, self.divided) for half in (0, 1)]
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.starmap(fill, given)
        self.taken = size
        print(f"filled to {size:,} in {time.perf_counter() - started:.0f} s", flush=True)

    def warm(self) -> None:
        """Read every table and index into the server's buffers, indexes last."""
        for name in ("store", "state"):
            self.cluster.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm", database=name)
            for kind in "ri":
                asked = f"relnamespace = 'public'::regnamespace AND relkind = '{kind}'"
                self.cluster.execute(f"SELECT sum(pg_prewarm(oid)) FROM pg_class WHERE {asked}", database=name)

    def number(self, count: int) -> int:
        """The first of so many new numbers, which are measured with."""
        first, self.taken = self.taken, self.taken + count
        self.apart.append(range(first, self.taken))
        return first

    def pick(self, rnd: random.Random, size: int, count: int) -> list[int]:
        """Numbers of records that the filler made."""
        found = rnd.sample(range(size), count)
        return [n if not any(n in some for some in self.apart) else n % BATCH for n in found]

    def fresh(self, filler: Filler, count: int, name: str) -> list[Delivery]:
        """Deliveries of records that nobody knows yet, of this month."""
        first = self.number(count)
        return [delivery_of(made(n, filler.received, now=True), name) for n in range(first, first + count)]

    def told(self, records: int, calls: list[Callable[[], Any]]) -> Told:
        before = client_cpu(), server_cpu(self.cluster)
        walls = []
        for call in calls:
            began = time.perf_counter()
            call()
            walls.append((time.perf_counter() - began) * 1e3)
        after = client_cpu(), server_cpu(self.cluster)
        client, server = (round((b - a) / records / len(calls) * 1e6, 1) for a, b in zip(before, after, strict=True))
        return Told(round(statistics.median(walls), 2), client, server)

    def measure(self, filler: Filler, size: int) -> dict[str, Told]:
        """All of it at one size. What is written meanwhile is some hundredth of it."""
        rnd = random.Random(size)
        found: dict[str, Told] = {}

        def write(given: list[Delivery], status: str) -> None:
            assert {one.status for one in self.sink.write(given)} == {status}

        some = [self.fresh(filler, BATCH, f"new-{size}-{n}") for n in range(AT_ONCE + BETWEEN + LATER)]
        few = [self.fresh(filler, 20, f"few-{size}-{n}") for n in range(200)]
        at_once, between, later = some[:AT_ONCE], some[AT_ONCE : AT_ONCE + BETWEEN], some[AT_ONCE + BETWEEN :]
        for given in between[:3]:
            write(given, "accepted")
        self.cluster.execute("CHECKPOINT")
        calls = [lambda g=g: write(g, "accepted") for g in at_once]
        found["insert of 2,000 after a checkpoint"] = self.told(BATCH, calls)
        for given in between[3:]:
            write(given, "accepted")
        found["insert of 2,000"] = self.told(BATCH, [lambda g=g: write(g, "accepted") for g in later])
        found["insert of 20"] = self.told(20, [lambda g=g: write(g, "accepted") for g in few])
        again = [
            [delivery_of(made(n, filler.received), f"again-{size}") for n in self.pick(rnd, size, BATCH)]
            for _ in range(6)
        ]
        write(again[0], "duplicate")
        found["duplicate at the sink, 2,000"] = self.told(BATCH, [lambda g=g: write(g, "duplicate") for g in again[1:]])
        for given in (again[0][:20], again[1][:20]):
            write(given, "duplicate")
        found["duplicate at the sink, 20"] = self.told(
            20,
            [lambda g=g: write(g, "duplicate") for g in (again[1 + n % 5][20 * n : 20 * n + 20] for n in range(100))],
        )
        told = self.sink.verify_many([one[0].batch for one in some])
        assert sum(one.count for one in told.values()) == len(some) * BATCH
        if not self.divided:
            return found
        with self.state() as state:
            self._measure_state(state, filler, size, rnd, found)
        first = self.number(5 * BATCH)
        rows = [row_of(n, now=True) for n in range(first, first + 5 * BATCH)]
        exchange = self.exchange(f"run-{size}.ndjson", rows)
        with self.state(own=True) as state:
            self.cluster.execute("CHECKPOINT")
            found["run of 10,000"] = self.told(5 * BATCH, [lambda: Coordinator(state, exchange).run()])
        return found

    def _measure_state(
        self, state: State, filler: Filler, size: int, rnd: random.Random, found: dict[str, Told]
    ) -> None:
        halves = []
        for _ in range(10):
            some = [row_of(n) for n in self.pick(rnd, size, BATCH)]
            keys = [key_digest(filler.scope, "44", row.companycode, row.costlistcode) for row in some]
            hi = np.array([int.from_bytes(key[:8], "big") for key in keys], np.uint64)
            halves.append((hi, np.array([int.from_bytes(key[8:], "big") for key in keys], np.uint64)))

        def find(hi: Any, lo: Any) -> None:
            with state.reading() as connection:
                assert len(VersionTable().find(connection, hi, lo)[0]) == BATCH

        find(*halves[0])
        found["duplicate at the state, 2,000"] = self.told(BATCH, [lambda h=h: find(*h) for h in halves])
        strict, now = profile("strict"), datetime(2026, 9, 29, tzinfo=UTC)

        def judge(rows: list[RepairRow]) -> None:
            with state.reading() as connection:
                batch_findings(rows, StateHistory(connection, filler.scope), now, strict, RULES)

        samples = [[row_of(n) for n in self.pick(rnd, size, BATCH)] for _ in range(6)]
        judge(samples[0])
        found["history of 2,000"] = self.told(BATCH, [lambda r=r: judge(r) for r in samples[1:]])
        small = [[row_of(n) for n in self.pick(rnd, size, 20)] for _ in range(100)]
        found["history of 20"] = self.told(20, [lambda r=r: judge(r) for r in small])
        proved = [f"growth-{n:06d}" for n in range(PROVED_EVERY, size // BATCH, PROVED_EVERY)]
        chosen = rnd.sample(proved, min(8, len(proved)))
        verifier = Verifier(state, state.sealer())

        def prove(batch: str) -> None:
            assert verifier.batches([batch]) == {batch: []}, batch

        prove(chosen[0])
        found["ledger of 2,000"] = self.told(BATCH, [lambda b=b: prove(b) for b in chosen[1:]])
        vins = [row_of(n).vin for n in self.pick(rnd, size, 41)]
        sealer = state.sealer()

        def follow(vin: str) -> None:
            entries = trace(state, sealer, vin)["versions"]
            assert entries, vin
            assert all(one["proved"] for one in entries), vin

        follow(vins[0])
        found["trace of a VIN"] = self.told(1, [lambda v=v: follow(v) for v in vins[1:]])


@contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """Hold a file alone, so that others who share the machine wait; where they do not let go, go on and say so."""
    if lock is None:
        yield
        return
    handle = os.open(lock, os.O_RDWR)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.1)
    else:
        print("beside other work", flush=True)
    try:
        yield
    finally:
        os.close(handle)


def huge_pages() -> str:
    """Whether the server's buffers lie in huge pages, which the machine must have reserved."""
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text("utf-8").splitlines())
    free, total = (int(told[name]) for name in ("HugePages_Free", "HugePages_Total"))
    return "in huge pages" if total and free < total else "not in huge pages (sysctl vm.nr_hugepages=4400)"


def main() -> None:
    parser = argparse.ArgumentParser(description="a store and a state that grow")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", default="1000000,3000000,10000000")
    parser.add_argument("--lock", type=Path)
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    sizes = [int(one) for one in given.sizes.split(",")]
    if min(sizes) < (least := 4 * PROVED_EVERY * BATCH):
        parser.error(f"--sizes: {least:,} at least, for batches to prove")
    given.folder.mkdir(parents=True)
    bench = Bench(given.folder, divided=not given.plain)
    results: dict[int, dict[str, Told]] = {}
    try:
        print(f"buffers: {OPTIONS['shared_buffers']}, {huge_pages()}", flush=True)
        filler = Filler("growth", "2026-09-29T00:00:00+00:00", 1, divided=False) if given.plain else bench.begin()
        for size in sizes:
            bench.grow(filler, size)
            bench.warm()
            with alone(given.lock):
                results[size] = bench.measure(filler, size)
            for name, one in results[size].items():
                cpu = f"CPU us: client {one.client:7.1f}, server {one.server:7.1f}"
                print(f"{size:>11,} {name:30} {one.milliseconds:9.2f} ms  {cpu}", flush=True)
        disk = [
            f"{bench.cluster.execute(f'SELECT pg_database_size({name!r})')[0][0] / 1e9:.1f} GB {name}"
            for name in ("store", "state")
        ]
        print(", ".join(disk))
        least, most = min(results), max(results)
        for name, one in results[most].items():
            first = results[least][name]
            time_, cpu = one.milliseconds / first.milliseconds, one.cpu / first.cpu
            print(f"{most / least:g} times: {name:30} {time_:5.2f} of the time, {cpu:5.2f} of the CPU")
    finally:
        bench.cluster.stop()


if __name__ == "__main__":
    main()
