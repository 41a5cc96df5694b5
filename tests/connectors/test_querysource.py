"""A query on a shop's database as a source: the contract on SQLite and PostgreSQL, and what shops do with rows."""

from __future__ import annotations

import csv
import io
import sqlite3
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal

import orjson
import psycopg
import pytest

from connectors.contracts import Misconfigured, Unavailable
from connectors.queryrows import UnfitError, earlier, place_text, place_value
from connectors.querysource import QuerySource
from connectors.testing import SourceContract

QUERY = "SELECT id, n, text, filler FROM things WHERE text <> ':none' AND '%' = '%'"


def url_of(place):
    return f"sqlite:///{place}/shop.db"


def run(place, *statements):
    with closing(sqlite3.connect(place / "shop.db")) as shop:
        for one in statements:
            shop.execute(*one) if isinstance(one, tuple) else shop.execute(one)
        shop.commit()


def make_table(place):
    run(place, "CREATE TABLE IF NOT EXISTS things (id INTEGER PRIMARY KEY, n INTEGER, text TEXT, filler TEXT)")


def things(place, **given):
    settings = {"url": url_of(place), "query": QUERY, "key": "id", "cursor": "id", "form": "json", **given}
    return QuerySource(QuerySource.Settings(**settings))


class TestQuerySource(SourceContract):
    name = "query"

    def put(self, place, numbers, size=0):
        make_table(place)
        rows = [self.payload(n, size) for n in numbers]
        run(place, *(("INSERT INTO things (n, text, filler) VALUES (:n, :text, :filler)", row) for row in rows))

    def source(self, place, *, small=False):
        return things(place, item_records=3 if small else 1_000)

    def spoil(self, place):
        run(place, "DROP TABLE things")

    def working_settings(self, place):
        make_table(place)
        return things(place).settings.model_dump() | {"url": url_of(place)}

    def broken_settings(self, place):
        make_table(place)
        return {"url": url_of(place), "query": "SELECT * FROM nothing", "key": "id", "cursor": "id"}


class TestQuerySourceOnPostgres(SourceContract):
    name = "query"

    @pytest.fixture
    def place(self, tmp_path, postgres_url):
        self.url = postgres_url
        self.run("CREATE TABLE things (id bigserial PRIMARY KEY, n bigint, text text, filler text)")
        return tmp_path

    def run(self, statement, rows=None):
        with psycopg.connect(self.url.replace("+psycopg", "")) as connection, connection.cursor() as cursor:
            if rows is not None:
                cursor.executemany(statement, rows)
            else:
                cursor.execute(statement)

    def put(self, place, numbers, size=0):
        rows = [self.payload(n, size) for n in numbers]
        self.run("INSERT INTO things (n, text, filler) VALUES (%(n)s, %(text)s, %(filler)s)", rows)

    def source(self, place, *, small=False):
        return QuerySource(QuerySource.Settings(**self.working_settings(place), item_records=3 if small else 1_000))

    def spoil(self, place):
        self.run("DROP TABLE things")

    def working_settings(self, place):
        return {"url": self.url, "query": QUERY, "key": "id", "cursor": "id", "form": "json"}

    def broken_settings(self, place):
        return self.working_settings(place) | {"query": "SELECT * FROM nothing"}

    def test_nothing_can_be_written_whatever_the_query_says(self, place):
        self.put(place, [1])
        self.run("CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM things; SELECT 1'")
        for query in (
            "SELECT *, wipe() AS w FROM things",
            "WITH gone AS (DELETE FROM things RETURNING *) SELECT * FROM gone",
        ):
            settings = self.working_settings(place) | {"query": query}
            with pytest.raises(Misconfigured):
                list(QuerySource(QuerySource.Settings(**settings)).plan({}))
        source = self.source(place)
        assert self.numbers(source, list(source.plan({}))) == [1]

    def test_two_columns_of_one_name_are_refused(self, place):
        self.put(place, [1])
        settings = self.working_settings(place) | {"query": "SELECT id, n, text, filler AS text FROM things"}
        source = QuerySource(QuerySource.Settings(**settings))
        with pytest.raises(Misconfigured, match="AS"):
            self.numbers(source, list(source.plan({})))

    def test_moments_with_a_zone_are_places_too(self, place):
        self.run("ALTER TABLE things ADD at timestamptz")
        for second in (1, 2, 3):
            self.run(f"INSERT INTO things (n, text, at) VALUES ({second}, '', '2025-06-05T10:00:0{second}.5+08')")
        settings = self.working_settings(place) | {"query": "SELECT * FROM things", "cursor": "at", "item_records": 1}
        source = QuerySource(QuerySource.Settings(**settings))
        items = list(source.plan({}))
        assert self.numbers(source, items) == [1, 2, 3]
        self.run("UPDATE things SET at = '2025-06-05T10:00:09+08' WHERE n = 1")
        later = list(source.plan({"query": items[-1].extra["mark"]}))
        assert self.numbers(source, later) == [1]


# -- settlements and their lines ---------------------------------------------------------------------------------------

LINES = "SELECT code AS 结算清单编号, part AS 配件名称, amount AS 配件数量, changed FROM lines"


@pytest.fixture
def shop(tmp_path):
    run(tmp_path, "CREATE TABLE lines (code TEXT, part TEXT, amount REAL, changed TEXT, settled TEXT)")
    return tmp_path


def add(place, code, changed, *parts, settled=""):
    day = settled or changed[:10] if changed else settled
    run(place, *(("INSERT INTO lines VALUES (?, ?, 1, ?, ?)", (code, part, changed, day)) for part in parts))


def settlements(place, **given):
    settings = {"url": url_of(place), "query": LINES, "key": "结算清单编号", "cursor": "changed", **given}
    return QuerySource(QuerySource.Settings(**settings))


def told(source, items):
    """Code and parts of each envelope."""
    found = []
    for item in items:
        for block in source.read(item):
            assert block.problems == []
            for body in block.bodies:
                rows = list(csv.DictReader(io.StringIO(body.decode())))
                (code,) = {row["结算清单编号"] for row in rows}
                found.append((code, [row["配件名称"] for row in rows]))
    return found


def taken(source, done):
    """One round of a gateway: what is read, and the mark that it keeps."""
    items = list(source.plan(done))
    found = told(source, items)
    return found, {"query": source.mark("query")} if items else done


def test_rows_of_a_record_are_one_payload_in_the_form_of_an_export(shop):
    add(shop, "B", "2025-06-05 10:00:00", "y", "x")
    add(shop, "A", "2025-06-05 11:00:00", "z")
    add(shop, "B", "2025-06-05 09:00:00", "w")
    source = settlements(shop)
    found, done = taken(source, {})
    assert found == [("B", ["w", "x", "y"]), ("A", ["z"])], "in the order in which records changed last"
    assert taken(settlements(shop), done) == ([], done)
    by_line = settlements(shop, query=LINES.replace("changed FROM", "changed, rowid AS place FROM"), line="place")
    assert taken(by_line, {})[0][0] == ("B", ["y", "x", "w"])


def test_a_record_whose_line_changes_is_read_again_whole(shop):
    for code in "ABC":
        add(shop, code, "2025-06-05 10:00:00", "1", "2")
    source = settlements(shop, item_records=2)
    found, done = taken(source, {})
    assert [code for code, _ in found] == ["A", "B", "C"]
    run(shop, "UPDATE lines SET part = '3', changed = '2025-06-05 12:00:00' WHERE code = 'B' AND part = '2'")
    found, done = taken(source, done)
    assert found == [("B", ["1", "3"])]
    assert taken(source, done)[0] == []


def test_what_commits_late_behind_the_mark_is_found_within_the_overlap(shop):
    add(shop, "A", "2025-06-05 10:00:00", "1")
    add(shop, "C", "2025-06-05 10:09:00", "1")
    plain, wide = settlements(shop), settlements(shop, overlap=600)
    _, done = taken(plain, {})
    _, wide_done = taken(wide, {})
    assert taken(wide, wide_done) == ([], wide_done), "nothing changed: nothing is read"
    add(shop, "B", "2025-06-05 10:05:00", "1")
    assert taken(plain, done)[0] == []
    found, wide_done = taken(wide, wide_done)
    assert [code for code, _ in found] == ["A", "B", "C"], "the content tells what is new"
    assert taken(wide, wide_done)[0] == []


def test_what_changes_between_plan_and_read_comes_with_the_next_window(shop):
    add(shop, "A", "2025-06-05 10:00:00", "1")
    add(shop, "B", "2025-06-05 10:01:00", "1")
    source = settlements(shop)
    items = list(source.plan({}))
    run(shop, "UPDATE lines SET part = '9', changed = '2025-06-05 11:00:00' WHERE code = 'A'")
    assert told(source, items) == [("B", ["1"])]
    assert taken(settlements(shop), {"query": items[-1].extra["mark"]})[0] == [("A", ["9"])]


def test_days_are_read_again_and_the_mark_stays(shop):
    for day in range(1, 6):
        add(shop, f"L{day}", "2025-07-01 08:00:00", "1", settled=f"2025-06-0{day} 18:00")
    query = LINES.replace("changed FROM", "changed, settled FROM")
    source = settlements(shop, query=query, day="settled", item_records=2)
    _, done = taken(source, {})
    items = list(source.between(date(2025, 6, 2), date(2025, 6, 4)))
    assert [code for code, _ in told(source, items)] == ["L2", "L3", "L4"]
    assert {item.extra["mark"] for item in items} == {""}
    assert list(source.between(date(2025, 6, 2), date(2025, 6, 4))) == items
    assert taken(source, done)[0] == []
    with pytest.raises(Misconfigured, match=r"source\.day"):
        list(settlements(shop).between(date(2025, 6, 2), date(2025, 6, 4)))


def test_rows_that_are_not_ready_wait_and_are_told(shop):
    add(shop, "A", None, "1")
    add(shop, None, "2025-06-05 10:00:00", "1")
    source = settlements(shop)
    found, done = taken(source, {})
    assert found == []
    assert [line.split(" ")[0] for line in source.check()] == ["2", "1", "1"]
    run(shop, "UPDATE lines SET changed = '2025-06-05 12:00:00' WHERE code = 'A'")
    assert taken(source, done)[0] == [("A", ["1"])]


def test_a_record_that_is_too_large_or_of_an_unknown_kind_is_a_problem_of_its_own(shop):
    add(shop, "A", "2025-06-05 10:00:00", *map(str, range(9)))
    add(shop, "B", "2025-06-05 11:00:00", "x" * 3_000)
    run(shop, ("INSERT INTO lines VALUES ('C', ?, 1, '2025-06-05 12:00:00', '')", (b"\x00\x01",)))
    add(shop, "D", "2025-06-05 13:00:00", "1")
    source = settlements(shop, max_rows=8, max_payload_bytes=2_000)
    (item,) = source.plan({})
    (block,) = source.read(item)
    assert [reason.split(":")[0] for _, _, reason in block.problems] == [
        "TOO_MANY_ROWS", "PAYLOAD_TOO_LARGE", "STRUCTURE_WRONG",
    ]  # fmt: skip
    assert block.offsets == [3]


@pytest.mark.parametrize(
    "query",
    ["DELETE FROM lines", "SELECT 1; DELETE FROM lines", "PRAGMA writable_schema=1", "  update lines set code = 1", ""],
)
def test_only_one_select_is_a_query(shop, query):
    with pytest.raises(ValueError, match="SELECT"):
        settlements(shop, query=query)


def test_the_shops_file_stays_as_it_is(shop):
    add(shop, "A", "2025-06-05 10:00:00", "1")
    before = (shop / "shop.db").read_bytes()
    source = settlements(shop)
    taken(source, {})
    with pytest.raises(Misconfigured, match="readonly"), source._reading() as connection:
        connection.exec_driver_sql("DELETE FROM lines")
    source.close()
    assert (shop / "shop.db").read_bytes() == before
    assert sorted(one.name for one in shop.iterdir()) == ["shop.db"]


def test_a_database_that_is_not_there_is_made_by_nobody_and_its_password_is_told_to_nobody(tmp_path, monkeypatch):
    with pytest.raises(Misconfigured):
        settlements(tmp_path).check()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("SHOP_DATABASE", "postgresql+psycopg://reader:s3cret@127.0.0.1:1/shop?connect_timeout=2")
    source = settlements(tmp_path, url="env:SHOP_DATABASE")
    with pytest.raises(Unavailable) as caught:
        source.check()
    shown = f"{caught.value} {source.settings!r} {list(source.settings.model_dump(mode='json').values())}"
    assert "s3cret" not in shown
    with pytest.raises(Misconfigured) as caught:
        settlements(tmp_path, url="nodialect://reader:s3cret@h/shop").check()
    assert "s3cret" not in str(caught.value)


def test_a_mark_of_another_source_is_refused(shop):
    add(shop, "A", "2025-06-05 10:00:00", "1")
    with pytest.raises(Misconfigured, match="place"):
        list(settlements(shop).plan({"query": "x:1|"}))


@pytest.mark.parametrize(
    "value",
    [7, Decimal("1.50"), "2025-06-05 10:00:00", date(2025, 6, 5), datetime(2025, 6, 5, 10, 0, 0, 5), "键:|值"],  # noqa: DTZ001
)
def test_places_survive_as_text(value):
    again = place_value(place_text(value))
    assert (type(again), again) == (type(value), value)


def test_a_float_is_no_place():
    with pytest.raises(UnfitError, match="float"):
        place_text(1.5)


@pytest.mark.parametrize(
    ("value", "before"),
    [
        (100, 40),
        ("2025-06-05 10:00:00", "2025-06-05 09:59:00"),
        ("2025-06-05T10:00:00.250000", "2025-06-05T09:59:00.250000"),
        ("2025-06-05T10:00:00.250", "2025-06-05T09:59:00.250"),
        ("2025-06-05 10:00", "2025-06-05 09:59"),
        ("2025-06-05 10:00:00Z", "2025-06-05 09:59:00Z"),
        ("2025-06-05T00:00:00+08:00", "2025-06-04T23:59:00+08:00"),
        ("2025-06-05", "2025-06-04"),
        (date(2025, 6, 5), date(2025, 6, 4)),
    ],
)
def test_an_overlap_goes_back_by_the_kind_of_the_cursor(value, before):
    assert earlier(value, 60) == before


@pytest.mark.parametrize(
    "value", ["20250605", "20250605T101500", "2025-W23-4", "2025-06-05T10", "2025-06-05 10:00:00.25", "JS1", "", "Z"]
)
def test_a_text_that_would_lose_its_form_is_moved_nowhere(value):
    with pytest.raises(UnfitError, match="texts like"):
        earlier(value, 60)


def test_an_overlap_that_a_cursor_cannot_have_is_told_by_the_plan(shop):
    add(shop, "A", "20250605", "1")
    with pytest.raises(Misconfigured, match="overlap"):
        list(settlements(shop, overlap=600).plan({}))


def test_payloads_are_json_where_mappings_want_that(shop):
    add(shop, "A", "2025-06-05 10:00:00", "1", "2")
    source = settlements(shop, form="json")
    (item,) = source.plan({})
    (block,) = source.read(item)
    body = orjson.loads(block.bodies[0])
    assert (body["结算清单编号"], [line["配件名称"] for line in body["lines"]]) == ("A", ["1", "2"])
