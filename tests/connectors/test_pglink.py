"""PostgreSQL that is silent: links that stall or forget, a server process that hangs, slow statements."""

from __future__ import annotations

import os
import signal
import threading

import pytest
import test_sqlstore as lite
from realtime.links import FORGET, HALF, PASS, STALL, Links
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from test_sqlstore import SPEC, delivery

from connectors import pglink
from connectors.contracts import ACCEPTED, UNAVAILABLE, Misconfigured, Unavailable
from connectors.engines import Limits, open_engine
from connectors.sqlstore import SqlSink

MOST = 60
"""Seconds after which a call hangs; none here takes a tenth of it."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """What is late is lost soon."""
    for name, seconds in (("GRACE", 0.5), ("ASKING", 2.0)):
        monkeypatch.setattr(pglink, name, seconds)


@pytest.fixture(scope="module")
def links():
    return Links()


@pytest.fixture
def link(links, postgres, postgres_url):
    """The address of a database by a link of its own, and what has that link fail."""
    name = make_url(postgres_url).database
    port = links.add(name, postgres.port)
    yield make_url(postgres_url).set(port=port).render_as_string(hide_password=False), lambda how: links.set(name, how)
    links.set(name, PASS)


def soon(call):
    """The result of a call that does not hang, or what it raised."""
    found = []

    def run():
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001 - handed on
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(MOST)
    assert found, "it hangs"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def make_sink(url, **given):
    given = {"connect_seconds": 2, "silent_seconds": 0.3, "busy_seconds": 2, **given}
    sink = SqlSink(SqlSink.Settings(url=url, table=SPEC, **given))
    sink.create()
    return sink


@pytest.mark.parametrize("fault", [STALL, HALF])
def test_a_store_that_is_silent_is_unavailable_and_whole_when_it_speaks_again(link, fault):
    url, fail = link
    sink, before, given = make_sink(url), [delivery(n) for n in range(3)], [delivery(n) for n in range(3, 9)]
    sink.write(before)
    fail(fault)
    assert {one.status for one in soon(lambda: sink.write(given))} == {UNAVAILABLE}
    with pytest.raises(Unavailable):
        soon(lambda: sink.verify("b1"))
    fail(PASS)
    assert [one.status for one in sink.write(given)] == [ACCEPTED] * 6
    assert sink.verify("b1") == lite.TestSqlSink.tally(before + given)
    sink.close()


def test_many_rows_stall_in_the_middle_of_their_copy(link):
    url, fail = link
    sink, given = make_sink(url), [delivery(n, filler="x" * 10_000) for n in range(3_000)]
    sink.write([delivery(9_999)])  # its connection stands
    fail(STALL)
    assert {one.status for one in soon(lambda: sink.write(given))} == {UNAVAILABLE}
    fail(PASS)
    assert {one.status for one in sink.write(given)} == {ACCEPTED}
    sink.close()


def test_a_new_connection_is_not_waited_for_either(link):
    url, fail = link
    fail(STALL)
    sink = SqlSink(SqlSink.Settings(url=url, table=SPEC, connect_seconds=2))
    with pytest.raises(Unavailable):
        soon(sink.check)
    sink.close()


def engine_of(url, silent=0.3, statement=60.0):
    return open_engine(url, Limits(connect_seconds=2, silent_seconds=silent, statement_seconds=statement))


def test_a_connection_that_was_forgotten_on_the_way_is_given_up_though_others_pass(link):
    url, fail = link
    engine = engine_of(url)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        fail(FORGET)
        with pytest.raises(OperationalError) as caught:
            soon(lambda: connection.execute(text("SELECT 2")))
        assert caught.value.connection_invalidated
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 3")) == 3
    engine.dispose()


@pytest.mark.parametrize("statement", ["SELECT pg_sleep(2)", "SELECT sum(n) FROM generate_series(1, 6000000) AS n"])
def test_a_statement_that_takes_long_is_waited_for(link, statement):
    engine = engine_of(link[0], silent=0.1)
    with engine.connect() as connection:
        before = connection.scalar(text("SELECT pg_backend_pid()"))
        connection.execute(text(statement))
        assert connection.scalar(text("SELECT pg_backend_pid()")) == before
    engine.dispose()


def test_a_statement_behind_a_lock_is_waited_for(link):
    engine = engine_of(link[0], silent=0.1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE held (n int)"))
    with engine.begin() as holder, engine.begin() as other:
        holder.execute(text("LOCK TABLE held"))
        release = threading.Timer(1.5, holder.commit)
        release.start()
        assert soon(lambda: other.scalar(text("SELECT count(*) FROM held"))) == 0
        release.join()
    engine.dispose()


def test_a_server_process_that_hangs_is_given_up_after_its_time(link):
    """It is at work, as far as the server knows, and its own time-out never comes."""
    engine = engine_of(link[0], statement=0.5)
    with engine.connect() as connection:
        pid = connection.scalar(text("SELECT pg_backend_pid()"))
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(OperationalError):
                soon(lambda: connection.execute(text("SELECT 1")))
        finally:
            os.kill(pid, signal.SIGCONT)
    engine.dispose()


def test_an_address_may_name_the_limits(postgres_url):
    engine = open_engine(f"{postgres_url}?statement_seconds=7.5&silent_seconds=3&connect_timeout=4", Limits())
    with engine.connect() as connection:
        assert connection.scalar(text("SHOW statement_timeout")) == "7500ms"
        patience = connection.connection.dbapi_connection.patience
        assert (patience.silent_seconds, patience.most_seconds) == (3, 7.5 + pglink.GRACE)
    engine.dispose()


@pytest.mark.parametrize("wrong", ["0", "-1", "soon", "nan", "inf"])
def test_an_address_with_a_wrong_limit_needs_a_person(postgres_url, wrong):
    with pytest.raises(Misconfigured, match="silent_seconds in the address") as caught:
        open_engine(f"{postgres_url}?silent_seconds={wrong}", Limits())
    assert "s3cret" not in str(caught.value)
