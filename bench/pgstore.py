"""Writes the reference job's records into a store on PostgreSQL, by the SQL sink and by a bare COPY + merge beside it.

    python bench/pgstore.py records.ndjson [rows]

Bare is what a loader without history would do: COPY of ready rows into a temporary table, INSERT ... ON CONFLICT DO
NOTHING from there into the same table with the same months and indexes, a commit every 2,000 rows. For both:
microseconds of CPU a row, of the client and of the server's processes, and the ratio; target 1.5. Each runs three
times, in turn, on a fresh table.
"""

# ruff: noqa: E402 - the path comes before what is found by it
from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psycopg

# Our packages first: the tests have folders of the same names.
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from cputimes import cpu_below, processes
from servers import postgres
from sqlalchemy import create_engine
from store import deliveries_of

from connectors.contracts import Delivery
from connectors.pgmonths import make_partitions, month_of
from connectors.sqlstore import SqlSink
from connectors.tables import RowMap
from pipelines.storeform import REPAIRS

COMMIT = 2_000


def server_cpu(server: postgres.Server) -> float:
    """CPU seconds of the server and its children, those that ended included."""
    return cpu_below(server.pid, processes())


def client_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def whole(url: str, given: list[Delivery]) -> None:
    sink = SqlSink(SqlSink.Settings(url=url, table=REPAIRS))
    for at in range(0, len(given), COMMIT):
        assert all(one.status == "accepted" for one in sink.write(given[at : at + COMMIT]))
    sink.close()


def bare(url: str, rows: list[tuple[object, ...]]) -> None:
    names = ["record_key", "version", "delivery_id", "content", "batch", "merged_into", "current", "late"]
    listed = ", ".join([*names, *REPAIRS.columns, "month"])
    types = ["text", "int8", "text", "text", "text", "text", "bool", "bool"]
    types += ["int8" if kind == "int" else "text" for kind in REPAIRS.columns.values()] + ["int4"]
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(
            f"CREATE TEMP TABLE incoming ON COMMIT DELETE ROWS AS SELECT {listed} FROM repairs LIMIT 0"  # noqa: S608
        )
        connection.commit()
        for at in range(0, len(rows), COMMIT):
            with connection.cursor() as cursor:
                with cursor.copy(f"COPY incoming ({listed}) FROM STDIN (FORMAT BINARY)") as copy:
                    copy.set_types(types)
                    for row in rows[at : at + COMMIT]:
                        copy.write_row(row)
                merge = f"INSERT INTO repairs ({listed}) SELECT {listed} FROM incoming ON CONFLICT DO NOTHING"  # noqa: S608
                cursor.execute(merge)
            connection.commit()


def main(source: str, most: str = "60000") -> None:
    given = deliveries_of(source, int(most))
    mapped, day = RowMap(REPAIRS), list(REPAIRS.columns).index(REPAIRS.month)
    rows = [
        (one.key, one.version, one.id, one.content, one.batch, one.merged_into, True, False, *row, month_of(row[day]))
        for one in given
        for row in [mapped.row(one.body)]
    ]
    server = postgres.start(Path(tempfile.mkdtemp()))
    spent: dict[str, list[tuple[float, float, float]]] = {"bare": [], "sink": []}
    for _ in range(3):
        for name, work in (("bare", lambda url: bare(url, rows)), ("sink", lambda url: whole(url, given))):
            with server.database() as url:
                sink = SqlSink(SqlSink.Settings(url=url, table=REPAIRS))
                sink.create()
                sink.close()
                with create_engine(url).begin() as connection:
                    make_partitions(connection, "repairs", {row[-1] for row in rows})
                before = client_cpu(), server_cpu(server), time.perf_counter()
                work(url)
                after = client_cpu(), server_cpu(server), time.perf_counter()
                spent[name].append(tuple((b - a) / len(rows) * 1e6 for a, b in zip(before, after, strict=True)))
    totals = {}
    for name, runs in spent.items():
        client, own, wall = (statistics.median(column) for column in zip(*runs, strict=True))
        totals[name] = statistics.median(one[0] + one[1] for one in runs)
        print(
            f"{name}: client {client:.1f} us, server {own:.1f} us, sum {totals[name]:.1f} us; {1e6 / wall:,.0f} rows/s"
        )
    print(f"ratio {totals['sink'] / totals['bare']:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
