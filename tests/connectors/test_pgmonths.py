"""The store on PostgreSQL divided by months: the whole suite of the undivided one, and where rows lie."""

from __future__ import annotations

import pytest
import test_sqlstore as lite
import test_sqlstore_postgres as plain
from test_sqlstore import SPEC, delivery

from connectors import pgmonths, pgwriting
from connectors.contracts import ACCEPTED, DUPLICATE, REFUSED, Delivery, Misconfigured
from connectors.pgmonths import digest_of, month_of
from connectors.sqlstore import SqlSink, SqlSource

DIVIDED = SPEC.model_copy(update={"month": "day"})


@pytest.fixture
def place(postgres, postgres_url):
    return plain.Place(postgres, postgres_url)


def make_sink(place, **given):
    sink = SqlSink(SqlSink.Settings(url=place.url, table=DIVIDED, **given))
    sink.create()
    return sink


class TestDividedSink(plain.TestPostgresSink):
    @pytest.fixture(autouse=True)
    def _divided(self, monkeypatch):
        monkeypatch.setattr(lite, "SPEC", DIVIDED)
        monkeypatch.setattr(plain, "SPEC", DIVIDED)


class TestDividedSource(plain.TestPostgresSource):
    @pytest.fixture(autouse=True)
    def _divided(self, monkeypatch):
        monkeypatch.setattr(lite, "SPEC", DIVIDED)
        monkeypatch.setattr(plain, "SPEC", DIVIDED)


def where(place):
    """Partition -> keys and versions in it, in order."""
    found = {}
    for month, key, version in place.execute("SELECT month, record_key, version FROM things ORDER BY 1, 2, 3"):
        found.setdefault(month, []).append((key, version))
    return found


def statuses(sink, *given):
    return [one.status for one in sink.write(given)]


@pytest.mark.parametrize("step", ["copy", "months"])
def test_a_writer_that_stops_holds_up_nobody_for_long(place, monkeypatch, step):
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.2)
    stopped, other = make_sink(place), make_sink(place)
    said, makes = [], pgmonths.make_partitions

    def meanwhile():
        monkeypatch.setattr(pgmonths, "make_partitions", makes)
        said.extend(statuses(other, delivery(1, day="2024-05-06")))

    def stops(*given):
        makes(*given)
        meanwhile()

    if step == "copy":
        plain.stops_in_its_first_copy(monkeypatch, pgmonths, meanwhile)
    else:
        monkeypatch.setattr(pgmonths, "make_partitions", stops)
    assert statuses(stopped, delivery(1, day="2024-05-06")) == [ACCEPTED], "it stands, as the other one wrote it"
    assert said == [ACCEPTED]
    assert where(place) == {202405: [("k000001", 1)]}


@pytest.mark.parametrize(
    ("day", "month"),
    [
        ("2026-09-30", 202609),
        ("2026-09", 202609),
        (None, 0),
        ("", 0),
        ("20260930", 0),
        ("2015-12-31", 0),
        ("2100-01-01", 0),
        ("2026-13-01", 0),
        ("２０２６-09-01", 0),
    ],
)
def test_a_day_has_a_month(day, month):
    assert month_of(day) == month


def test_rows_lie_in_the_month_of_their_day_and_versions_together(place):
    sink = make_sink(place)
    given = [delivery(1, day="2026-08-31"), delivery(2, day="2026-09-01"), delivery(3), delivery(4, day="1999-01-01")]
    assert statuses(sink, *given) == [ACCEPTED] * 4
    moved = [delivery(1, 2, day="2025-01-01"), delivery(2, 2), delivery(5, 2), delivery(5, 1, day="2026-09-02")]
    assert statuses(make_sink(place), *moved) == [ACCEPTED] * 4
    assert where(place) == {
        0: [("k000003", 1), ("k000004", 1), ("k000005", 1), ("k000005", 2)],
        202608: [("k000001", 1), ("k000001", 2)],
        202609: [("k000002", 1), ("k000002", 2)],
    }
    assert place.execute("SELECT record_key, version FROM things WHERE current ORDER BY 1") == [
        ("k000001", 2),
        ("k000002", 2),
        ("k000003", 1),
        ("k000004", 1),
        ("k000005", 2),
    ]
    assert sink.verify("b1") == lite.TestSqlSink.tally([*given, *moved])


def test_a_version_that_names_another_month_is_still_compared(place):
    sink = make_sink(place)
    first = delivery(1, day="2026-08-31")
    sink.write([first])
    other = delivery(1, day="2020-01-01", batch="b2")
    other = Delivery("other", "d", first.key, 1, other.content, other.body, "b2")
    again = Delivery(first.id, "d", first.key, 1, first.content, first.body, "b3")
    assert statuses(make_sink(place), other, again) == [REFUSED, DUPLICATE]


def test_keys_of_one_digest_share_a_month(place, monkeypatch):
    monkeypatch.setattr("connectors.pgmonths.digest_of", lambda key: 7)
    sink = make_sink(place)
    assert statuses(sink, delivery(1, day="2026-08-31"), delivery(2, day="2026-09-01")) == [ACCEPTED] * 2
    assert statuses(sink, delivery(3, day="2026-09-01"), delivery(1, 2)) == [ACCEPTED] * 2
    assert set(where(place)) == {202608}


@pytest.mark.parametrize(
    "moving",
    [
        "UPDATE things SET month = 0 WHERE delivery_id = '1-1'",
        "DELETE FROM things_keys",
        "UPDATE things_keys SET month = 0",
    ],
)
def test_a_row_that_lies_where_nobody_looks_is_found(place, moving):
    sink, given = make_sink(place), [delivery(1, day="2026-08-31")]
    sink.write(given)
    assert sink.verify("b1") == lite.TestSqlSink.tally(given)
    place.execute(moving)
    assert sink.verify("b1").count == 0


def test_a_month_that_went_is_made_again(place):
    sink = make_sink(place)
    sink.write([delivery(1, day="2026-08-31")])
    place.execute("DROP TABLE things_202608")
    assert statuses(sink, delivery(1, 2), delivery(2, day="2026-08-01")) == [ACCEPTED] * 2
    assert where(place) == {202608: [("k000001", 2), ("k000002", 1)]}


def test_a_new_month_needs_no_more_connections_than_there_are(place):
    sink = make_sink(place, connections=1, busy_seconds=1)
    assert statuses(sink, delivery(1, day="2026-08-31")) == [ACCEPTED]


def test_new_records_look_at_no_partition_but_their_own(place):
    sink = make_sink(place)
    sink.write([delivery(n, day=f"20{20 + n % 6}-0{1 + n % 9}-01") for n in range(100)])
    sink.write([delivery(n, day="2026-09-01") for n in range(1000, 1020)])
    sink.close()
    scans = (
        "SELECT sum(idx_scan) FROM pg_stat_user_indexes WHERE relname LIKE 'things_20%' AND indexrelname LIKE '%key%'"
    )
    place.execute("SELECT pg_stat_clear_snapshot()")
    assert place.execute(scans)[0][0] == 0
    assert (
        digest_of("k000001")
        == place.execute(
            "SELECT ('x' || encode(substr(sha256(convert_to('k000001', 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint"
        )[0][0]
    )


class TestTakenOver:
    """A store of before is one table; its first sink divides it."""

    GIVEN = (
        delivery(1, day="2026-08-31", parts=[1]),
        delivery(1, 2, day="2025-01-01"),
        delivery(2, 3),
        delivery(2, 1, day="2026-09-01"),
        delivery(3, day="1990-01-01"),
        delivery(4, day="2026-08-02", batch="b2"),
    )

    def before(self, place):
        sink = plain.make_sink(place)
        for one in self.GIVEN:
            sink.write([one])
        return place.execute("SELECT * FROM things ORDER BY seq")

    def test_rows_stay_as_they_are(self, place):
        rows = self.before(place)
        sink = make_sink(place)
        assert [row[:-1] for row in place.execute("SELECT * FROM things ORDER BY seq")] == rows
        assert where(place) == {
            0: [("k000002", 1), ("k000002", 3), ("k000003", 1)],
            202608: [("k000001", 1), ("k000001", 2), ("k000004", 1)],
        }
        assert sink.verify("b1") == lite.TestSqlSink.tally(self.GIVEN[:5])
        assert statuses(sink, self.GIVEN[0], delivery(9)) == [ACCEPTED, ACCEPTED]
        assert place.execute("SELECT max(seq) FROM things")[0][0] > rows[-1][0]
        assert make_sink(place).verify("b2") == lite.TestSqlSink.tally(self.GIVEN[5:])

    def test_rights_go_over(self, place):
        self.before(place)
        place.execute("CREATE ROLE reports")
        place.execute("GRANT SELECT ON things TO reports, PUBLIC")
        try:
            make_sink(place)
            asked = "SELECT has_table_privilege('reports', 'things', 'SELECT'), relacl::text FROM pg_class"
            ((may, rights),) = place.execute(f"{asked} WHERE relname = 'things'")
            assert (may, ",=r/" in rights) == (True, True)
        finally:
            place.execute("DROP OWNED BY reports")
            place.execute("DROP ROLE reports")

    @pytest.mark.parametrize(
        "made",
        [
            "CREATE VIEW extra AS SELECT record_key FROM things",
            "ALTER TABLE things ADD COLUMN extra text",
            "CREATE TABLE notes (seq bigint CONSTRAINT extra REFERENCES things (seq))",
            "CREATE TRIGGER extra BEFORE UPDATE ON things EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ],
    )
    def test_what_others_made_is_asked_for_before_anything_is_copied(self, place, monkeypatch, made):
        rows = self.before(place)
        place.execute(made.replace("EXECUTE", "FOR EACH ROW EXECUTE"))
        monkeypatch.setattr("connectors.dividing.make_partitions", lambda *_: 1 / 0)
        with pytest.raises(Misconfigured, match="extra"):
            make_sink(place)
        assert len(place.execute("SELECT seq FROM things")) == len(rows)

    def test_numbers_may_have_any_name(self, place):
        self.before(place)
        place.execute("ALTER SEQUENCE things_seq_seq RENAME TO numbers")
        assert statuses(make_sink(place), delivery(9)) == [ACCEPTED]

    def test_marks_of_sources_stand(self, place):
        self.before(place)
        source = plain.make_source(place)
        list(source.plan({}))
        mark = source.mark("things")
        sink = make_sink(place)
        assert list(SqlSource(SqlSource.Settings(url=place.url, table=DIVIDED)).plan({"things": mark})) == []
        sink.write([delivery(9, day="2026-08-02")])
        (item,) = SqlSource(SqlSource.Settings(url=place.url, table=DIVIDED)).plan({"things": mark})
        assert item.offset == int(mark) + 1

    def test_a_kill_leaves_the_old_table(self, place, monkeypatch):
        rows = self.before(place)
        monkeypatch.setattr("connectors.dividing.make_partitions", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make_sink(place)
        assert place.execute("SELECT * FROM things ORDER BY seq") == rows
        assert plain.make_sink(place).verify("b1").count == 5

    def test_several_that_start_together_take_it_over_once(self, place):
        self.before(place)
        plain.side_by_side(*[lambda: make_sink(place).close()] * 4)
        assert make_sink(place).verify("b1").count == 5


def test_columns_and_indexes_that_came_since_need_one_connection(place):
    plain.make_sink(place).close()
    wider = SPEC.model_copy(
        update={"columns": {**SPEC.columns, "later": "text"}, "added": ("later",), "indexes": (*SPEC.indexes, "later")}
    )
    sink = SqlSink(SqlSink.Settings(url=place.url, table=wider, connections=1, busy_seconds=1))
    sink.create()
    assert statuses(sink, delivery(1)) == [ACCEPTED]
