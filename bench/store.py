"""Writes the reference job's records into a SQLite store: through the SQL sink, then the same rows by the bare driver.

Prints records per second of each. The driver gets mapped rows for the same table, indexes and commits: what no sink can
be quicker than.
"""

from __future__ import annotations

import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import orjson

from connectors.contracts import Delivery
from connectors.sqlstore import SqlSink
from connectors.tables import RowMap
from mappings.encoding import content_bytes, content_digest
from mappings.encoding_interchange import encode_interchange
from mappings.findings import profile
from mappings.quick import NATIONAL, compile_reader
from mappings.quickjudge import compile_judge
from pipelines.storeform import REPAIRS, deliver


def deliveries_of(source: str, most: int | None = None) -> list[Delivery]:
    """Deliveries of the first so many records of the reference job, as a store gets them."""
    read, judge = compile_reader(NATIONAL), compile_judge(profile("strict"))
    raws = [raw for line in Path(source).read_bytes().splitlines()[:most] if (raw := read(line)) is not None]
    rows = [row for row in judge(raws, "", date(2026, 12, 31)) if row is not None]
    about = {"system": "44", "version": 1, "repaircomefrom": 1, "dialect": "national", "received_at": datetime.now(UTC)}
    return [
        deliver(
            orjson.loads(encode_interchange(row, {**about, "findings": ()}, "report")),
            "province-44",
            version=1,
            content=int.from_bytes(content_digest(content_bytes(row[1:])), "big"),
            findings=(),
            repaircomefrom=0,
            batch="bench-000001",
            merged_into="",
            as_row=True,
        )
        for row in rows
    ]


def main(source: str, target: str) -> None:
    deliveries = deliveries_of(source)
    sink = SqlSink(SqlSink.Settings(url=f"sqlite:///{target}", table=REPAIRS))
    sink.create()
    started = time.perf_counter()
    for at in range(0, len(deliveries), 2_000):
        outcomes = sink.write(deliveries[at : at + 2_000])
        assert all(outcome.status == "accepted" for outcome in outcomes)
    ours = len(deliveries) / (time.perf_counter() - started)
    sink.close()
    print(ours, bare(deliveries, f"{target}.bare"))


def bare(deliveries: list[Delivery], target: str) -> float:
    """Records per second of the driver alone."""
    mapping = RowMap(REPAIRS)
    rows = [
        (one.key, one.version, one.id, one.content, one.batch, one.merged_into, True, False, *mapping.row(one.body))
        for one in deliveries
    ]
    SqlSink(SqlSink.Settings(url=f"sqlite:///{target}", table=REPAIRS)).create()
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        for pragma in ("synchronous=FULL", "cache_size=-16000", "temp_store=MEMORY", "wal_autocheckpoint=8000"):
            connection.execute(f"PRAGMA {pragma}")
        names = [name for _, name, *_ in connection.execute("PRAGMA table_info(repairs)") if name != "seq"]
        statement = f"INSERT INTO repairs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        started = time.perf_counter()
        for at in range(0, len(rows), 2_000):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(statement, rows[at : at + 2_000])
            connection.execute("COMMIT")
        return len(rows) / (time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:3])
