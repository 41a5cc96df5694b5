"""The SQL store on PostgreSQL: the whole suite of the SQLite one, writers side by side, servers that break."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

import psycopg
import pytest
import test_sqlstore as lite
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from test_sqlstore import SPEC, delivery, make_sink, make_source

from connectors import pgwriting
from connectors.contracts import ACCEPTED, REFUSED, UNAVAILABLE, Delivery, Misconfigured, Unavailable
from connectors.pgwriting import FEW
from connectors.sqlstore import SqlSink, SqlSource


class Place(NamedTuple):
    """A database in the place of a folder."""

    server: Any
    url: str

    @property
    def name(self):
        return make_url(self.url).database

    def execute(self, statement, *values):
        return self.server.execute(statement, *values, database=self.name)


@pytest.fixture
def place(postgres, postgres_url):
    return Place(postgres, postgres_url)


class OnPostgres:
    @pytest.fixture
    def place(self, postgres, postgres_url):
        return Place(postgres, postgres_url)

    def broken_settings(self, place):
        return {"url": place.url.replace(place.name, "nowhere"), "table": SPEC.model_dump()}


class TestPostgresSink(OnPostgres, lite.TestSqlSink):
    def no_room(self, place):
        make_sink(place)
        place.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF current_setting('application_name') = 'full' AND (SELECT count(*) FROM things) > 300 THEN"
            " RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END IF; RETURN NEW; END $$"
        )
        place.execute("CREATE TRIGGER full_disk AFTER INSERT ON things FOR EACH ROW EXECUTE FUNCTION full_disk()")
        return SqlSink(SqlSink.Settings(url=f"{place.url}?application_name=full", table=SPEC))

    @pytest.mark.parametrize(
        "changed",
        [
            "current = NOT current",
            "late = NOT late",
            "version = 9",
            "content = 'x'",
            "merged_into = 'x'",
            "record_key = 'x'",
            "delivery_id = 'x'",
            "parts = '[1, 2]'",
            "text = ''",
            "n = NULL",
        ],
    )
    def test_any_column_changed_by_hand_is_found(self, place, changed):
        super().test_any_column_changed_by_hand_is_found(place, changed)

    def test_a_locked_store_makes_all_unavailable_and_none_half(self, place):
        sink = make_sink(place, busy_seconds=0.05)
        sink.write([delivery(0)])
        with psycopg.connect(place.url.replace("+psycopg", "")) as other:
            other.execute("LOCK TABLE things IN EXCLUSIVE MODE")
            outcomes = sink.write([delivery(n, batch="b2") for n in range(1, 4)])
            assert {one.status for one in outcomes} == {UNAVAILABLE}
            assert all("lock timeout" in one.reason for one in outcomes)
            assert sink.verify("b1").count == 1  # readers go on
        assert sink.verify("b2").count == 0
        assert self.statuses(sink, [delivery(1, batch="b2")]) == [ACCEPTED]

    def test_a_store_without_its_table_needs_a_person(self, place):
        sink = SqlSink(SqlSink.Settings(url=place.url, table=SPEC))
        with pytest.raises(Misconfigured, match="does not exist"):
            sink.write([delivery(1)])

    def test_what_is_no_database_needs_a_person(self, place):
        with pytest.raises(Misconfigured, match="does not exist"):
            SqlSink(SqlSink.Settings(**self.broken_settings(place))).check()

    def test_commits_are_durable(self, place):
        sink = make_sink(place)
        with sink._store.engine.connect() as connection:
            told = [connection.scalar(text(f"SHOW {one}")) for one in ("synchronous_commit", "transaction_isolation")]
        assert told == ["on", "read committed"]

    def test_what_is_too_long_for_an_index_is_refused_alone(self, place):
        sink = make_sink(place)
        noise = "".join(chr(0x4E00 + n * 7919 % 20000) for n in range(1500))
        long = [delivery(1, text=noise), with_key(delivery(2), noise)]
        outcomes = sink.write([delivery(0), *long, delivery(3)])
        assert [one.status for one in outcomes] == [ACCEPTED, REFUSED, REFUSED, ACCEPTED]
        assert "column text" in outcomes[1].reason
        assert "record_key" in outcomes[2].reason
        assert noise[:10] not in outcomes[1].reason

    def test_names_that_a_copy_must_not_take_apart(self, place):
        sink = make_sink(place)
        given = [delivery(n, filler=word) for n, word in enumerate(["\\N", "\\.", "a\tb\nc\rd\\", "", "NULL", '"'])]
        assert self.statuses(sink, given) == [ACCEPTED] * 6
        assert sink.verify("b1") == self.tally(given)


class TestPostgresSource(OnPostgres, lite.TestSqlSource):
    def test_a_plan_waits_for_writers_under_way(self, place):
        """A number that is taken and not committed yet must not be passed over."""
        sink, other = make_sink(place), make_sink(place)
        holding, go_on = threading.Event(), threading.Event()

        @event.listens_for(sink._store.engine, "commit")
        def _wait(_connection):
            holding.set()
            assert go_on.wait(30)

        slow = threading.Thread(target=sink.write, args=([delivery(1)],))
        slow.start()
        assert holding.wait(30)
        assert [one.status for one in other.write([delivery(2)])] == [ACCEPTED]  # a greater number, committed first
        planned = []
        source = make_source(place)
        planning = threading.Thread(target=lambda: planned.extend(source.plan({})))
        planning.start()
        until_waiting(place, 1)
        go_on.set()
        planning.join()
        slow.join()
        assert [one["n"] for one in self.bodies(source, planned)] == [1, 2]


def with_key(one, key):
    return Delivery(one.id, one.destination, key, one.version, one.content, one.body, one.batch)


def until_waiting(place, count):
    """Until so many connections wait for a lock."""
    for _ in range(3000):
        ((found,),) = place.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        if found >= count:
            return
        threading.Event().wait(0.01)
    pytest.fail("nobody waits")


def side_by_side(*calls):
    """Run calls at the same time; their results in order."""
    results = [None] * len(calls)
    start = threading.Barrier(len(calls))

    def run(at, call):
        start.wait(30)
        results[at] = call()

    threads = [threading.Thread(target=run, args=one) for one in enumerate(calls)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return results


@pytest.mark.parametrize("extra", [0, FEW])
def test_versions_of_one_key_by_many_writers_have_one_current(place, extra):
    """Each writer brings other versions of the same keys, in its own order; one of them is current in the end."""
    make_sink(place).close()

    def writer(first):
        sink = make_sink(place)
        given = [delivery(n, version, batch=f"b{first}") for version in range(first, 13, 4) for n in range(20)]
        given += [delivery(1000 * first + n, batch=f"b{first}") for n in range(extra)]
        statuses = []
        for at in range(0, len(given), len(given) // 3 + 1):
            part = given[at : at + len(given) // 3 + 1]
            statuses += [one.status for one in sink.write(part[:: -1 if first % 2 else 1])]
        sink.close()
        return statuses

    results = side_by_side(*[lambda first=first: writer(first) for first in range(1, 5)])
    assert {status for one in results for status in one} == {ACCEPTED}
    rows = place.execute(
        "SELECT record_key, max(version), max(version) FILTER (WHERE current), count(*) FILTER (WHERE current)"
        " FROM things GROUP BY 1"
    )
    assert len(rows) == 20 + 4 * extra
    assert all(newest == current and count == 1 for _, newest, current, count in rows)
    sink = make_sink(place)
    assert sum(sink.verify(f"b{n}").count for n in range(1, 5)) == 20 * 12 + 4 * extra


def test_processes_that_start_together_make_one_table(place):
    side_by_side(*[lambda: make_sink(place).close()] * 6)
    assert make_sink(place).check()


def test_the_same_batch_by_two_writers_stands_once(place):
    make_sink(place).close()
    given = [delivery(n) for n in range(100)]
    results = side_by_side(*[lambda: [one.status for one in make_sink(place).write(given)]] * 3)
    assert results == [[ACCEPTED] * 100] * 3
    assert make_sink(place).verify("b1") == lite.TestSqlSink.tally(given)


def test_writers_of_other_keys_do_not_wait(place):
    sink, other = make_sink(place), make_sink(place, busy_seconds=0.05)
    inside = []

    @event.listens_for(sink._store.engine, "commit")
    def _other_writes(_connection):
        inside.extend(one.status for one in other.write([delivery(n) for n in range(100, 120)]))
        inside.extend(one.status for one in other.write([delivery(5, 2)]))

    sink.write([delivery(n) for n in range(20)])
    assert inside == [ACCEPTED] * 20 + [UNAVAILABLE]


def test_a_server_that_goes_in_mid_write_makes_it_unavailable_and_the_next_attempt_whole(postgres_alone):
    with postgres_alone.database() as url:
        place = Place(postgres_alone, url)
        sink, given = make_sink(place, busy_seconds=2), [delivery(n) for n in range(50)]
        before = [delivery(n) for n in range(7)]
        sink.write(before)
        went = []

        @event.listens_for(sink._store.engine, "commit")
        def _kill(_connection):
            if not went:
                went.append(postgres_alone.down())
                went[0].__enter__()

        outcomes = sink.write(given)
        assert {one.status for one in outcomes} == {UNAVAILABLE}
        assert {one.status for one in sink.write(given)} == {UNAVAILABLE}  # it is still away
        with pytest.raises(Unavailable):
            sink.verify("b1")
        went[0].__exit__(None, None, None)
        assert sink.verify("b1") == lite.TestSqlSink.tally(before)
        assert [one.status for one in sink.write(given)] == [ACCEPTED] * 50
        assert sink.verify("b1") == lite.TestSqlSink.tally(given)
        sink.close()


def test_connections_cut_between_writes_are_replaced_without_a_word(place):
    sink = make_sink(place)
    sink.write([delivery(1)])
    place.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'vingate' AND datname = current_database()"
    )
    assert [one.status for one in sink.write([delivery(2)])] == [ACCEPTED]


def test_a_table_that_grows_is_never_read_whole(place):
    """Statements that were planned while it was empty, and without statistics, still go by its indexes."""
    sink = make_sink(place)
    place.execute("ALTER TABLE things SET (autovacuum_enabled = false)")
    for version in (1, 2):
        for at in range(0, 3000, 60):
            sink.write([delivery(n, version) for n in range(at, at + 60)])
    sink.close()
    for _ in range(3000):  # the server counts what a session did when it ends
        ((by_index, read),) = place.execute(
            "SELECT idx_scan, seq_tup_read FROM pg_stat_user_tables WHERE relname = 'things'"
        )
        if by_index >= 6000:
            break
        threading.Event().wait(0.01)
    assert by_index >= 6000
    assert read < 3000


@pytest.mark.parametrize("keys", [1, pgwriting.FEW + 1])
def test_a_writer_that_stops_in_a_transaction_holds_up_nobody_for_long(place, monkeypatch, keys):
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.2)
    stopped, other = make_sink(place), make_sink(place)
    given = [delivery(n) for n in range(keys)]
    begun = stopped._store.writing.begin(stopped._store.engine, [one.key for one in given])
    connection = begun.__enter__()
    assert list(stopped._store.writing.standing(connection, [given[0].key])) == []
    assert {one.status for one in other.write(given)} == {ACCEPTED}  # it waited, and not for its own limit
    with pytest.raises(DBAPIError):
        begun.__exit__(None, None, None)
    with stopped._store.engine.connect() as connection:  # outside of a write nothing is changed
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "6min"


def test_who_stops_while_it_makes_a_store_holds_up_nobody_for_long(place, monkeypatch):
    """As who reads how far a store is settled: both hold off all writers."""
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.2)
    stopped, other = make_sink(place), make_sink(place)
    begun = stopped._store.engine.begin()
    stopped._store.writing.settle(begun.__enter__())
    other.create()
    assert [one.status for one in other.write([delivery(1)])] == [ACCEPTED]
    with pytest.raises(DBAPIError):
        begun.__exit__(None, None, None)


def stops_in_its_first_copy(monkeypatch, module, meanwhile):
    """The first copy of rows comes to a halt behind its last row, until `meanwhile` is over."""
    copy, begun = module.copy_rows, []

    def copies(connection, table, columns, rows, into=""):
        def halting():
            yield from rows
            meanwhile()

        first, _ = not begun, begun.append(1)
        copy(connection, table, columns, halting() if first else rows, into)

    monkeypatch.setattr(module, "copy_rows", copies)


def test_a_writer_that_stops_in_a_copy_holds_up_nobody_for_long(place, monkeypatch):
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.2)
    stopped, other = make_sink(place), make_sink(place)
    said = []
    stops_in_its_first_copy(monkeypatch, pgwriting, lambda: said.extend(other.write([delivery(1)])))
    assert [one.status for one in stopped.write([delivery(1)])] == [ACCEPTED], "it stands, as the other one wrote it"
    assert [one.status for one in said] == [ACCEPTED]
    assert place.execute("SELECT count(*) FROM things") == [(1,)]


def test_who_asks_how_far_a_store_is_settled_waits_for_no_writer_that_stopped_in_a_copy(place, monkeypatch):
    monkeypatch.setattr(pgwriting, "IDLE_SECONDS", 0.2)
    stopped, other = make_sink(place), make_sink(place)

    def meanwhile():
        time.sleep(0.3)  # the server's clock says how old the COPY is: older than IDLE_SECONDS
        with other._store.engine.begin() as connection:
            other._store.writing.settle(connection)

    stops_in_its_first_copy(monkeypatch, pgwriting, meanwhile)
    assert [one.status for one in stopped.write([delivery(1)])] == [ACCEPTED]


def test_statements_and_locks_have_limits(place):
    sink = make_sink(place, busy_seconds=3, statement_seconds=7.5)
    with sink._store.engine.connect() as connection:
        assert [connection.scalar(text(f"SHOW {one}_timeout")) for one in ("lock", "statement")] == ["3s", "7500ms"]
        keepalives = [connection.scalar(text(f"SHOW tcp_keepalives_{one}")) for one in ("idle", "interval", "count")]
        assert keepalives == ["5", "2", "3"], "a host that is gone is found out by the server, too"


def test_a_wrong_password_needs_a_person_and_is_not_shown(place):
    settings = SqlSink.Settings(url=place.url.replace("s3cret-of-the-tests", "wr0ng-one"), table=SPEC)
    with pytest.raises(Misconfigured, match="authentication") as caught:
        SqlSink(settings).check()
    assert "wr0ng" not in f"{caught.value}{caught.value.__cause__}{settings!r}"


def test_a_user_without_rights_needs_a_person(place):
    make_sink(place).close()
    role = f"reader_{place.name}"
    place.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        place.execute(f"GRANT SELECT ON things TO {role}")
        url = f"postgresql+psycopg://{role}:x@{place.url.partition('@')[2]}"
        sink = SqlSink(SqlSink.Settings(url=url, table=SPEC))
        with pytest.raises(Misconfigured, match="permission denied"):
            sink.write([delivery(1)])
        assert SqlSource(SqlSource.Settings(url=url, table=SPEC)).check()
        sink.close()
    finally:
        place.execute(f"DROP OWNED BY {role}")
        place.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("form", ["env", "file"])
def test_the_password_may_lie_elsewhere(place, form, monkeypatch, tmp_path):
    bare = make_url(place.url)
    monkeypatch.setenv("STORE_PASSWORD", bare.password)
    (tmp_path / "password").write_text(f"{bare.password}\n")
    where = "env:STORE_PASSWORD" if form == "env" else f"file:{tmp_path}/password"
    url = bare._replace(password=None).render_as_string()
    sink = SqlSink(SqlSink.Settings(url=url, password=where, table=SPEC))
    sink.create()
    assert sink.check()
    assert bare.password not in repr(sink.settings)
    monkeypatch.setenv("STORE_URL", place.url)
    assert SqlSource(SqlSource.Settings(url="env:STORE_URL", table=SPEC)).check()


def test_what_a_server_quotes_is_not_repeated(place):
    sink = make_sink(place)
    place.execute("ALTER TABLE things ALTER COLUMN filler TYPE integer USING 0")
    outcomes = sink.write([delivery(1, filler="粤A12345")])
    assert outcomes[0].status != ACCEPTED
    assert "粤A12345" not in outcomes[0].reason


def test_a_foreign_address_is_no_store():
    with pytest.raises(Misconfigured):
        SqlSink(SqlSink.Settings(url="mysql://u:s3cret@h/d", table=SPEC))


def test_statements_are_parsed_once_and_planned_each_time(place):
    sink = make_sink(place)
    sink.create()
    asked = text("SELECT seq FROM things WHERE record_key = :key")
    with sink._store.engine.connect() as connection:
        for turn in range(12):
            connection.execute(asked, {"key": f"k{turn}"}).all()
            connection.commit()
        prepared = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE 'SELECT seq%'"
        assert connection.execute(text(prepared)).all() == [(0, 7)], "a plan made for an empty table is not kept"
