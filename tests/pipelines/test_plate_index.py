"""Claims without a VIN look repairs up by plate: stores have an index for it, and the look-up goes by it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from row_gate import vin
from sqlalchemy import Connection, event, inspect, text

import pipelines.migrations as history
from connectors.contracts import Delivery
from connectors.sqlstore import SqlSink
from pipelines.derivedrows import Holding, Reader
from pipelines.storeform import REPAIRS
from routing.cases.shipped import derivation

INDEX = "ix_repairs_plate"
USED = re.compile(rf"{INDEX}|repairs_\d+_plate_idx")
"""In a plan: the index, or that of a month's partition."""
MANY = 3_000


@pytest.fixture(params=["sqlite", "postgresql"])
def sink(request: pytest.FixtureRequest, tmp_path) -> Iterator[SqlSink]:
    on_server = request.param == "postgresql"
    url = request.getfixturevalue("postgres_url") if on_server else f"sqlite:///{tmp_path}/store.db"
    made = SqlSink(SqlSink.Settings(url=url, table=REPAIRS))
    made.create()
    yield made
    made.close()


def fill(sink: SqlSink) -> None:
    def repair(n: int) -> Delivery:
        members = {
            "companycode": "S1", "companyname": "某店", "plate": plate(n), "vin": vin(n), "repairdate": "2026-09-08",
            "settledate": "2026-09-09", "mileage": "1", "faultdescription": "异响", "costlistcode": f"J{n}",
            "parts": [], "projects": [], "system": "44", "received_at": "2026-09-21T10:00:00+08:00", "kind": "report",
        }  # fmt: skip
        return Delivery(f"i{n}", "store", f"44|S1|J{n}", 1, f"{n:016x}", REPAIRS.body(members), "b1")

    sink.write([repair(n) for n in range(MANY)])


def plate(n: int) -> str:
    return f"粤A{n:05d}"


def indexes(connection: Connection) -> set[str]:
    return {str(one["name"]) for one in inspect(connection).get_indexes("repairs")}


def plan(connection: Connection, statement: str, given: object) -> str:
    """What the database says of how it goes about a statement."""
    word = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    return "\n".join(str(row) for row in connection.exec_driver_sql(f"{word} {statement}", given))


def test_a_claim_s_repairs_are_looked_up_by_the_index(sink):
    fill(sink)
    engine = sink._store.engine
    claims = derivation("claims", {"shops": []})
    asked: list[tuple[str, object]] = []
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE repairs"))
        reader = Reader(sink._store, Holding(url=sink.settings.url), claims, connection)
        event.listen(engine, "before_cursor_execute", lambda _c, _k, told, given, *_: asked.append((told, given)))
        found = dict(reader.linked({f"plate:{plate(7)}", f"plate:{plate(11)}"}, claims, MANY))
        ((statement, given),) = [one for one in asked if "plate IN" in one[0]]
        how = plan(connection, statement, given)
    assert found == {f"plate:{plate(7)}": vin(7), f"plate:{plate(11)}": vin(11)}
    assert USED.search(how), how
    with engine.begin() as connection:
        connection.execute(text(f"DROP INDEX {INDEX}"))
    engine.dispose()  # SQLite remembers a plan by its text
    with engine.connect() as connection:
        assert not USED.search(plan(connection, statement, given)), "without it the table is read"


def test_a_store_of_before_gets_the_index_from_its_sink(sink):
    fill(sink)
    with sink._store.engine.begin() as connection:
        connection.execute(text(f"DROP INDEX {INDEX}"))
        assert INDEX not in indexes(connection)
    sink.create()
    sink.create()
    with sink._store.engine.connect() as connection:
        assert indexes(connection) >= {"ix_repairs_batch", "ix_repairs_plate", "ix_repairs_vin"}
        if connection.dialect.name == "sqlite":  # a divided store differs from the one that the history makes
            assert history.differences(connection, REPAIRS) == []
    assert sink.verify("b1").count == MANY


def test_a_store_of_before_is_migrated(sink):
    with sink._store.engine.begin() as connection:
        connection.execute(text(f"DROP INDEX {INDEX}"))
    history.upgrade(sink._store.engine, REPAIRS)
    history.upgrade(sink._store.engine, REPAIRS)
    with sink._store.engine.connect() as connection:
        assert INDEX in indexes(connection)
