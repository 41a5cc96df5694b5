"""The SQL store keeps the contracts; its history rules, and what its source gives."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import orjson
import pytest
from pydantic import ValidationError
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from connectors.contracts import ACCEPTED, REFUSED, UNAVAILABLE, Delivery, Misconfigured, WorkItem
from connectors.sqlstore import SqlSink, SqlSource, TableSpec, tables
from connectors.testing import TEXT, SinkContract, SourceContract

COLUMNS = "n:int text:text filler:text day:date price:decimal parts:json origin:int"
SPEC = TableSpec(name="things", columns=dict(one.split(":") for one in COLUMNS.split()), indexes=("text", "day"))


def url(place):
    """The address: on SQLite in a folder; PostgreSQL's tests give a place that has one."""
    return getattr(place, "url", f"sqlite:///{place}/store.db")


def make_sink(place, **given):
    sink = SqlSink(SqlSink.Settings(url=url(place), table=SPEC, **given))
    sink.create()
    return sink


def make_source(place, **given):
    return SqlSource(SqlSource.Settings(url=url(place), table=SPEC, **given))


def change(place, statement, *values):
    if hasattr(place, "url"):
        return place.execute(statement.replace("?", "%s"), *values)
    with closing(sqlite3.connect(place / "store.db")) as connection, connection:
        return connection.execute(statement, values).fetchall()


def delivery(n, version=1, batch="b1", merged="", **members):
    body = SPEC.body({"n": n, "text": TEXT, "filler": "", **members})
    return Delivery(f"{n}-{version}", "d", f"k{n:06}", version, f"c{body!r}", body, batch, merged)


class TestSqlSink(SinkContract):
    name = "sql"

    def sink(self, place):
        return make_sink(place)

    def tamper(self, place, delivery):
        change(place, "UPDATE things SET text = 'x' WHERE delivery_id = ?", delivery.id)

    def remove(self, place, delivery):
        change(place, "DELETE FROM things WHERE delivery_id = ?", delivery.id)

    def no_room(self, place):
        sink = make_sink(place)
        engine = sink._store.engine
        engine.dispose()

        @event.listens_for(engine, "connect")
        def _few_pages(connection, _record):
            connection.execute("PRAGMA max_page_count = 60")

        return sink

    def unmappable(self):
        return b'{"n":1,"unknown":2}'

    def working_settings(self, place):
        make_sink(place)
        return {"url": url(place), "table": SPEC.model_dump()}

    def broken_settings(self, place):
        return {"url": url(place / "nowhere"), "table": SPEC.model_dump()}

    @pytest.mark.parametrize(
        ("body", "sign"),
        [
            (b"", "JSON"),
            (b"[]", "JSON"),
            (b'{"n":1,"x":1}', "unknown members: x"),
            (b'{"n":"1"}', "column n must be int"),
            (b'{"n":true}', "column n must be int"),
            (b'{"n":1.0}', "column n must be int"),
            (b'{"n":18446744073709551615}', "column n must be int"),
            (b'{"day":"2025-02-30"}', "column day must be date"),
            (b'{"day":"20250230"}', "column day must be date"),
            (b'{"price":"1e3"}', "column price must be decimal"),
            (b'{"price":1.5}', "column price must be decimal"),
            (b'{"text":5}', "column text must be text"),
            (b'{"text":"a","n":1}', "canonical"),
            (b'{"n": 1}', "canonical"),
            (b'{"n":null}', "canonical"),
            (b'{"text":"\\u0000"}', "NUL"),
            (b'{"n":1,"n":1}', "canonical"),
            (b'{"parts":' + b"[" * 2000 + b"]" * 2000 + b"}", "JSON"),
        ],
    )
    def test_a_body_that_is_no_row_is_refused_with_its_reason(self, place, body, sign):
        (outcome,) = make_sink(place).write([Delivery("i", "d", "k", 1, "c", body, "b1")])
        assert outcome.status == REFUSED
        assert sign in outcome.reason

    def test_every_kind_of_column_comes_back_byte_for_byte(self, place):
        sink = make_sink(place)
        given = [
            delivery(1, day="2025-06-05", price="-12.50", parts=[{"名": "油", "b": [1.0, None, {}]}], origin=2),
            delivery(-(2**63), filler='"\\\n', parts={}),
            delivery(2, parts="just text"),
            Delivery("e", "d", "empty", 1, "c", b"{}", "b1"),
        ]
        assert self.statuses(sink, given) == [ACCEPTED] * 4
        assert sink.verify("b1") == self.tally(given)

    def test_current_is_the_newest_and_late_ones_are_history(self, place):
        sink = make_sink(place)
        sink.write([delivery(1, 2), delivery(2, 1), delivery(2, 2)])
        sink.write([delivery(1, 1), delivery(1, 4), delivery(1, 3), delivery(2, 3)])
        rows = change(place, "SELECT record_key, version, current, late FROM things ORDER BY record_key, version")
        assert rows == [
            ("k000001", 1, 0, 1),
            ("k000001", 2, 0, 0),
            ("k000001", 3, 0, 1),
            ("k000001", 4, 1, 0),
            ("k000002", 1, 0, 0),
            ("k000002", 2, 0, 0),
            ("k000002", 3, 1, 0),
        ]
        assert sink.verify("b1").count == 7

    @pytest.mark.parametrize(
        "changed",
        [
            "current = 1 - current",
            "late = 1 - late",
            "version = 9",
            "content = 'x'",
            "merged_into = 'x'",
            "record_key = 'x'",
            "delivery_id = 'x'",
            "parts = '[1, 2]'",
            "text = x'00'",
            "n = NULL",
        ],
    )
    def test_any_column_changed_by_hand_is_found(self, place, changed):
        sink, given = make_sink(place), [delivery(1, 1, parts=[1]), delivery(1, 2, parts=[1]), delivery(2, parts=[1])]
        sink.write(given)
        assert sink.verify("b1") == self.tally(given)
        change(place, f"UPDATE things SET {changed} WHERE delivery_id = '1-2'")
        assert sink.verify("b1") != self.tally(given)

    def test_an_id_of_another_record_is_refused_alone(self, place):
        sink = make_sink(place)
        sink.write([delivery(1)])
        stolen = Delivery("1-1", "d", "other", 1, "c", b"{}", "b2")
        outcomes = sink.write([delivery(2, batch="b2"), stolen, delivery(1, batch="b2")])
        assert [one.status for one in outcomes] == ["accepted", "refused", "duplicate"]
        assert "ID_CONFLICT" in outcomes[1].reason

    def test_a_locked_store_makes_all_unavailable_and_none_half(self, place):
        sink = make_sink(place, busy_seconds=0.05)
        sink.write([delivery(0)])
        with closing(sqlite3.connect(place / "store.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            outcomes = sink.write([delivery(n, batch="b2") for n in range(1, 4)])
            assert {one.status for one in outcomes} == {UNAVAILABLE}
            assert all("locked" in one.reason for one in outcomes)
            assert sink.verify("b1").count == 1  # readers go on
            other.execute("ROLLBACK")
        assert sink.verify("b2").count == 0
        assert self.statuses(sink, [delivery(1, batch="b2")]) == [ACCEPTED]

    def test_a_break_in_mid_write_leaves_nothing(self, place):
        sink = make_sink(place)
        engine = sink._store.engine

        @event.listens_for(engine, "commit")
        def _die(_connection):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            sink.write([delivery(n) for n in range(5)])
        sink.close()
        assert make_sink(place).verify("b1").count == 0

    def test_a_store_without_its_table_needs_a_person(self, place):
        sink = SqlSink(SqlSink.Settings(url=url(place), table=SPEC))
        with pytest.raises(Misconfigured, match="no such table"):
            sink.write([delivery(1)])

    def test_what_is_no_database_needs_a_person(self, place):
        (place / "store.db").write_bytes(b"no database" * 1000)
        with pytest.raises(Misconfigured, match="not a database"):
            SqlSink(SqlSink.Settings(url=url(place), table=SPEC)).check()

    def test_the_address_is_never_shown(self, place):
        settings = SqlSink.Settings(url="postgresql+nodriver://u:s3cret@h/d", table=SPEC)
        with pytest.raises(Misconfigured) as caught:
            SqlSink(settings)
        assert "s3cret" not in f"{caught.value}{settings!r}{settings}"

    def test_a_fault_in_the_settings_does_not_show_them(self):
        with pytest.raises(ValidationError) as caught:
            SqlSink.Settings(url="sqlite://", table=SPEC, busy_seconds="s3cret")
        assert "s3cret" not in str(caught.value)

    def test_commits_are_durable(self, place):
        sink = make_sink(place)
        with sink._store.engine.connect() as connection:
            pragmas = [connection.exec_driver_sql(f"PRAGMA {one}").scalar() for one in ("journal_mode", "synchronous")]
        assert pragmas == ["wal", 2]


class TestSpec:
    @pytest.mark.parametrize(
        ("name", "columns", "indexes"),
        [
            ("T", {"a": "text"}, ()),
            ("t; drop", {"a": "text"}, ()),
            ("t", {}, ()),
            ("t", {"version": "int"}, ()),
            ("t", {"a b": "text"}, ()),
            ("t", {"a": "blob"}, ()),
            ("t", {"a": "text"}, ("b",)),
        ],
    )
    def test_what_cannot_be_a_table_is_refused(self, name, columns, indexes):
        with pytest.raises(ValidationError):
            TableSpec(name=name, columns=columns, indexes=indexes)

    def test_a_body_is_in_the_order_of_the_spec_without_empty_ones(self):
        assert SPEC.body({"origin": 0, "text": "", "n": None, "else": 1}) == b'{"text":"","origin":0}'

    def test_the_table_is_portable(self):
        from sqlalchemy import MetaData

        statement = str(CreateTable(tables(SPEC, MetaData())).compile(dialect=postgresql.dialect()))
        assert "seq BIGSERIAL" in statement
        assert "UNIQUE (record_key, version)" in statement


class TestSqlSource(SourceContract):
    name = "sql"

    def put(self, place, numbers, size=0):
        sink = make_sink(place)
        at = sink._store.check()[0].partition(": ")[2].partition(" ")[0]
        given = []
        for number, n in enumerate(numbers, int(at)):
            body = SPEC.body(self.payload(n, size))
            given.append(Delivery(f"i{number}", "d", f"k{number}", 1, "c", body, "b"))
        assert {one.status for one in sink.write(given)} <= {ACCEPTED}
        sink.close()

    def source(self, place, *, small=False):
        return make_source(place, item_rows=3 if small else 10_000)

    def spoil(self, place):
        change(place, "DROP TABLE things")

    def working_settings(self, place):
        make_sink(place)
        return {"url": url(place), "table": SPEC.model_dump()}

    def broken_settings(self, place):
        return {"url": url(place), "table": SPEC.model_dump()}

    def bodies(self, source, items):
        return [orjson.loads(body) for item in items for one in source.read(item) for body in one.bodies]

    def test_bodies_are_those_of_the_sink_and_more(self, place):
        make_sink(place).write([delivery(1, parts=[{"a": 1.0}], merged="k2")])
        source = make_source(place)
        ((body,),) = [one.bodies for item in source.plan({}) for one in source.read(item)]
        given = delivery(1, parts=[{"a": 1.0}], merged="k2")
        assert body.startswith(given.body[:-1] + b',"record_key":"k000001","version":1,')
        assert orjson.loads(body)["merged_into"] == "k2"

    def test_late_versions_are_history_and_not_read(self, place):
        make_sink(place).write([delivery(1, 2), delivery(1, 1), delivery(1, 3)])
        source = make_source(place)
        assert [one["version"] for one in self.bodies(source, source.plan({}))] == [2, 3]

    def test_only_what_is_asked_for_is_read(self, place):
        make_sink(place).write([delivery(1, origin=1), delivery(2, origin=2), delivery(3, origin=1, merged="k1")])
        for given, numbers in (({}, [1, 2, 3]), ({"where": {"origin": 1}}, [1, 3]), ({"merged": False}, [1, 2])):
            source = make_source(place, **given)
            assert [one["n"] for one in self.bodies(source, source.plan({}))] == numbers

    def test_places_where_no_row_is_for_us_make_no_work_items(self, place):
        sink, source = make_sink(place), make_source(place, where={"origin": 1})
        sink.write([delivery(n, origin=2) for n in range(1, 4)])
        assert list(source.plan({})) == list(source.plan({})) == []
        sink.write([delivery(4, origin=2), delivery(5, origin=1), delivery(6, origin=2)])
        (item,) = source.plan({})
        assert (item.offset, item.length, item.extra["mark"]) == (5, 2, "6")
        assert [one["n"] for one in self.bodies(source, [item])] == [5]
        assert list(source.plan({"things": "6"})) == []
        sink.write([delivery(7, origin=1)])
        assert [one["n"] for one in self.bodies(source, source.plan({"things": "6"}))] == [7]
        assert [one["n"] for one in self.bodies(source, source.plan({}))] == [5, 7], "a mark that was lost is obeyed"

    def test_rows_are_read_again_by_a_column(self, place):
        sink = make_sink(place)
        sink.write([delivery(n, day=f"2025-06-0{n}") for n in range(1, 6)])
        sink.write([delivery(2, 2, day="2025-06-02", origin=7)])
        source = make_source(place)
        item = WorkItem(
            **orjson.loads(orjson.dumps(source.again("day", ["2025-06-02", "2025-06-04", "x", "2025-06-04"])))
        )
        assert [(one["n"], one["version"]) for one in self.bodies(source, [item])] == [(4, 1), (2, 2)]
        assert self.bodies(source, [source.again("record_key", ["k000003"])])[0]["n"] == 3
        assert self.bodies(source, [source.again("day", [])]) == []

    def test_an_unknown_column_is_refused(self, place):
        make_sink(place)
        with pytest.raises(Misconfigured, match="nope"):
            make_source(place, where={"nope": 1})
        source = make_source(place)
        with pytest.raises(Misconfigured, match="seq"):
            list(source.read(source.again("seq", ["1"])))

    def test_reading_does_not_hold_up_the_writer(self, place):
        sink = make_sink(place, busy_seconds=0.0)
        sink.write([delivery(n) for n in range(2000)])
        source = make_source(place)
        reading = source.read(next(iter(source.plan({}))), 10)
        next(reading)
        assert [one.status for one in sink.write([delivery(5000)])] == [ACCEPTED]
        assert 10 + sum(len(one.bodies) for one in reading) == 2000
