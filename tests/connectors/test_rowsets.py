"""The sink of somebody else's tables keeps the contract on SQLite; it replaces, removes, and finds changes by hand."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import orjson
import pytest
from sqlalchemy import event

from connectors.contracts import ACCEPTED, DUPLICATE, REFUSED, Delivery, Misconfigured
from connectors.rowsets import body
from connectors.rowsetsink import RowsetSink
from connectors.testing import TEXT, SinkContract

TABLES = {
    "RepairInfo_M": {
        "key": "RepairVeID",
        "columns": {
            "RepairVeID": "text", "n": "int", "text": "text", "filler": "text", "mileage": "decimal", "day": "date",
            "uploadTime": "moment",
        },
    },
    "VehiclePartslist_M": {"key": "RepairVeID", "columns": {"RepairVeID": "text", "rowno": "int", "partsname": "text"}},
}  # fmt: skip


def url(place):
    return getattr(place, "url", f"sqlite:///{place}/store.db")


def settings(place, **given):
    return {"url": url(place), "tables": TABLES, "make": True, **given}


def make_sink(place, **given):
    sink = RowsetSink(RowsetSink.Settings(**settings(place, **given)))
    sink.create()
    return sink


def change(place, statement, *values):
    if hasattr(place, "url"):
        return place.execute(statement.replace("?", "%s"), *values)
    with closing(sqlite3.connect(place / "store.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def rows(number, key=None, parts=1, **members):
    key = key or f"r{number % 1_000_000}"
    info = {"RepairVeID": key, "n": number, "text": TEXT, "mileage": "4.0", "day": "2026-09-01", **members}
    info["uploadTime"] = "2026-09-01T12:00:00"
    listed = [{"RepairVeID": key, "rowno": at, "partsname": f"滤清器{at}"} for at in range(parts)]
    return body(key, {"RepairInfo_M": [info], "VehiclePartslist_M": listed})


def delivery(number, version=1, batch="b1", given=None):
    given = rows(number) if given is None else given
    return Delivery(f"{number}-{version}", "d", f"k{number}", version, f"c{given!r}", given, batch)


def key_of(delivery):
    return orjson.loads(delivery.body)["rowkey"]


class TestRowsetSink(SinkContract):
    name = "rowsets"

    def sink(self, place):
        return make_sink(place)

    def body(self, number, size=0):
        return rows(number, filler="x" * size)

    def tamper(self, place, delivery):
        change(place, """UPDATE "RepairInfo_M" SET text = 'x' WHERE "RepairVeID" = ?""", key_of(delivery))

    def remove(self, place, delivery):
        change(place, """DELETE FROM "VehiclePartslist_M" WHERE "RepairVeID" = ?""", key_of(delivery))

    def no_room(self, place):
        sink = make_sink(place)
        engine = sink._store.engine
        engine.dispose()

        @event.listens_for(engine, "connect")
        def _few_pages(connection, _record):
            connection.execute("PRAGMA max_page_count = 60")

        return sink

    def unmappable(self):
        return body("k", {"RepairInfo_M": [{"RepairVeID": "k", "unknown": 2}]})

    def working_settings(self, place):
        make_sink(place)
        return settings(place)

    def broken_settings(self, place):
        return settings(place, url=f"sqlite:///{place}/none.db", make=False)

    # -- theirs -------------------------------------------------------------------------------------------------------

    def theirs(self, place):
        found = [change(place, f'SELECT * FROM "{name}" ORDER BY 1, 2') for name in TABLES]
        return [[tuple(map(str, row)) for row in one] for one in found]

    def test_a_newer_version_replaces_all_rows_of_its_key_and_no_others(self, place):
        sink = self.sink(place)
        sink.write([delivery(1, given=rows(1, parts=3)), delivery(2, given=rows(2, parts=2))])
        sink.write([delivery(1, 2, "b2", rows(1, parts=1, text="new"))])
        info, parts = self.theirs(place)
        assert [(row[0], row[2]) for row in info] == [("r1", "new"), ("r2", TEXT)]
        assert [row[0] for row in parts] == ["r1", "r2", "r2"]
        assert [sink.verify(batch).count for batch in ("b1", "b2")] == [2, 1]

    def test_one_without_rows_removes_them_and_the_record_again_brings_them_back(self, place):
        sink = self.sink(place)
        sink.write([delivery(1)])
        before = self.theirs(place)
        sink.write([delivery(1, 2, "b2", body("r1", {}))])
        assert self.theirs(place) == [[], []]
        assert sink.verify("b2").count == 1
        sink.write([delivery(1, 3, "b3")])
        assert self.theirs(place) == before

    def test_an_older_version_that_comes_late_changes_no_row(self, place):
        sink = self.sink(place)
        sink.write([delivery(1, 2, given=rows(1, text="new"))])
        before = self.theirs(place)
        assert self.statuses(sink, [delivery(1, 1, "b2", rows(1, parts=4))]) == [ACCEPTED]
        assert self.theirs(place) == before

    def test_a_redelivery_changes_no_row(self, place):
        sink = self.sink(place)
        sink.write([delivery(1), delivery(1, 2, given=rows(1, text="new"))])
        before = self.theirs(place)
        assert self.statuses(sink, [delivery(1), delivery(1, batch="b9")]) == [ACCEPTED, DUPLICATE]
        assert self.theirs(place) == before

    def test_what_their_table_refuses_is_refused_alone_and_leaves_nothing(self, place):
        sink = self.sink(place)
        change(place, """CREATE UNIQUE INDEX own ON "RepairInfo_M" (n)""")
        taken = rows(3, key="r3")
        given = [delivery(n) for n in range(5)]
        given[3] = delivery(3, given=taken.replace(b'"n":3', b'"n":1'))
        outcomes = sink.write(given)
        assert [one.status for one in outcomes] == [ACCEPTED, ACCEPTED, ACCEPTED, REFUSED, ACCEPTED]
        assert outcomes[3].reason.startswith("ROW:")
        assert TEXT not in outcomes[3].reason
        assert [[row[0] for row in one] for one in self.theirs(place)] == [["r0", "r1", "r2", "r4"]] * 2
        assert sink.verify("b1") == self.tally([one for n, one in enumerate(given) if n != 3])

    def test_a_row_too_many_is_found(self, place):
        sink = self.sink(place)
        sink.write([delivery(1)])
        change(place, """INSERT INTO "VehiclePartslist_M" VALUES ('r1', 9, 'x')""")
        assert sink.verify("b1").count == 0

    def test_numbers_and_days_are_compared_by_value(self, place):
        sink = self.sink(place)
        sink.write([delivery(1)])
        change(place, """UPDATE "RepairInfo_M" SET mileage = 4""")
        assert sink.verify("b1").count == 1
        change(place, """UPDATE "RepairInfo_M" SET mileage = 5""")
        assert sink.verify("b1").count == 0

    def test_rows_removed_by_hand_come_again_only_with_a_new_version(self, place):
        sink = self.sink(place)
        sink.write([delivery(1)])
        change(place, """DELETE FROM "RepairInfo_M" """)
        sink.write([delivery(1)])
        assert sink.verify("b1").count == 0
        sink.write([delivery(1, 2, "b2", rows(1, text="new"))])
        assert sink.verify("b2").count == 1

    @pytest.mark.parametrize("wrong", [
        b'{"rowkey":"k","tables":{"Nothing":[]}}', b'{"rowkey":"k","tables":{"RepairInfo_M":{}}}', b'{"tables":{}}',
        b'{"rowkey":"k","tables":{"RepairInfo_M":[{"RepairVeID":"other"}]}}',
        b'{"rowkey":"k","tables":{"RepairInfo_M":[{"RepairVeID":"k","n":"1"}]}}',
        b'{"rowkey":"k","tables":{"RepairInfo_M":[{"RepairVeID":"k","mileage":"NaN"}]}}',
        b'{"rowkey":"k","tables":{"RepairInfo_M":[{"RepairVeID":"k","day":"2026-13-01"}]}}',
    ])  # fmt: skip
    def test_bodies_that_fit_no_table_are_refused(self, place, wrong):
        assert self.statuses(self.sink(place), [delivery(1, given=wrong)]) == [REFUSED]

    def test_tables_that_are_not_there_are_named(self, place):
        sink = make_sink(place, make=False)
        with pytest.raises(Misconfigured, match="RepairInfo_M"):
            sink.check()
        with pytest.raises(Misconfigured):
            sink.write([delivery(1)])
