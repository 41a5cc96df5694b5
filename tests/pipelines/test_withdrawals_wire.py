"""Withdrawn versions between systems: over a broker and back by the canonical dialect, in any order; old stores."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import orjson
import pytest
from row_gate import SHOP, Gate, record
from servers import rabbitmq
from sqlalchemy import create_engine, text
from test_withdrawals import WHY, again, died, seen, withdrawn

import pipelines.migrations as history
from connectors.amqpfeed import AmqpFeed
from connectors.contracts import REFUSED, Unavailable
from connectors.restpresets import with_preset
from connectors.restsink import HttpSink
from connectors.sendsettings import HttpSettings
from connectors.sqlsource import SqlSource
from connectors.sqlstore import SqlSink
from mappings.encoding import WITHDRAWN
from mappings.encoding_interchange import encode_withdrawal
from mappings.records import Withdrawal
from pipelines.settings import Exchange
from pipelines.storeform import REPAIRS, deliver


@pytest.fixture
def broker(tmp_path_factory):
    with rabbitmq.start(tmp_path_factory.getbasetemp()).shared() as made:
        yield made


@pytest.fixture
def gates(tmp_path):
    """A province and a ministry, each with a state of its own."""
    made = [Gate(tmp_path / name) for name in ("province", "ministry")]
    yield made
    for gate in made:
        gate.state.close()


def _set(exchange, **changed):
    settings = exchange.model_dump(mode="json", by_alias=True)
    for path, value in changed.items():
        section, _, name = path.partition("__")
        if name:
            settings[section][name] = value
        else:
            settings[section] = value
    return Exchange.model_validate(settings)


def reported(province, broker, queue, *payloads):
    """What a province's reports are on the wire: collected, then sent to a queue, and taken from there."""
    base = province.exchange
    settings = {"url": broker.url(), "queue": queue}
    feed = AmqpFeed(AmqpFeed.Settings(**settings))
    feed.declare()
    sink = {"connector": "amqp", "for": "ministry", "url": broker.url(), "routing_key": queue}
    province.exchange = lambda name, *more: (
        _set(base(name, *more), sinks__ministry=sink) if name == "report" else base(name, *more)
    )
    bodies = []
    for one in payloads:
        province.shop(one)
        province.run("collect")
        province.run("report")
    while len(bodies) < len(payloads):
        try:
            bodies += [arrival.body for arrival in feed.take(10, 1)]
        except Unavailable:
            continue
    feed.ack()
    feed.close()
    return bodies


def into_ministry(ministry, *bodies):
    """Reports taken in as they came, then pushed."""
    base = ministry.exchange
    place = ministry.put("reports", *bodies)
    source = {"connector": "files", "path": str(place), "format": "ndjson"}
    ministry.exchange = lambda name, *more: (
        _set(base(name, *more), source=source) if name == "report" else base(name, *more)
    )
    ministry.run("report")
    ministry.exchange = base
    if (ministry.folder / "stores" / "ministry.db").exists():  # nothing is delivered of a withdrawal that nobody holds
        ministry.run("push")


FIRST = record("J1", plate="沪A12345")


def test_the_chain_over_a_broker(gates, broker, tmp_path):
    province, ministry = gates
    queue = f"{tmp_path.parent.name}.{tmp_path.name}"
    bodies = reported(province, broker, queue, FIRST, withdrawn("J1"), again(FIRST), withdrawn("J1", "再"))
    told = [orjson.loads(body) for body in bodies]
    assert [(one["version"], one.get("withdrawn"), one.get("plate")) for one in told] == [
        (1, None, "沪A12345"), (2, WHY, None), (3, None, "沪A12345"), (4, "再", None),
    ]  # fmt: skip
    for body in bodies:
        into_ministry(ministry, body)
    for store in ("ministry", "province-31"):
        assert [row[:3] for row in seen(ministry, store)] == [
            (1, "沪A12345", None), (2, None, WHY), (3, "沪A12345", None), (4, None, "再"),
        ]  # fmt: skip
    assert died(ministry) == []


@pytest.mark.parametrize("order", [(1, 0), (1, 0, 1, 0), (3, 2, 1, 0), (2, 3, 0, 1), (0, 3, 1, 2)])
def test_reports_out_of_order_leave_nobody_with_what_is_withdrawn(gates, broker, tmp_path, order):
    province, ministry = gates
    queue = f"{tmp_path.parent.name}.{tmp_path.name}"
    bodies = reported(province, broker, queue, FIRST, withdrawn("J1"), again(FIRST), withdrawn("J1", "再"))
    for number in order:
        into_ministry(ministry, bodies[number])
    for store in ("ministry", "province-31"):
        current = [row for row in seen(ministry, store) if row[3]]
        assert all(why is not None for _, _, why, _ in current), store
    assert died(ministry) == []


def test_the_national_interface_has_no_withdrawal_so_its_sink_refuses_one():
    preset = with_preset({"preset": "lcippro", "request": {"body": {"access_token": "x"}}})
    ours = {name: preset[name] for name in ("per_request", "request", "answers")}  # without its login
    sink = HttpSink(HttpSettings(url="http://127.0.0.1:9", **ours))
    told = {"system": "44", "dialect": "record", "received_at": "2026-09-01T00:00:00+08:00"}
    members = orjson.loads(encode_withdrawal(Withdrawal(SHOP, "J1", WHY), told, "report"))
    given = {"version": 2, "content": WITHDRAWN, "findings": (), "repaircomefrom": 0, "batch": "b", "merged_into": ""}
    (outcome,) = sink.write([deliver(members, "province", as_row=False, **given)])
    assert (outcome.status, "record.plate" in outcome.reason) == (REFUSED, True), "before anything is sent"
    sink.close()


# -- stores of before --------------------------------------------------------------------------------------------------


def _aged(gate):
    """The province's store as the version before made it: without the column."""
    place = gate.folder / "stores" / "province-11.db"
    with closing(sqlite3.connect(place)) as connection:
        connection.execute("ALTER TABLE repairs DROP COLUMN withdrawn")
    return place


def test_a_store_of_before_is_read_and_proved_as_it_is_and_gets_the_column_when_it_is_written(gates):
    province, _ = gates
    province.shop(FIRST)
    province.run("collect")
    place = _aged(province)
    url = f"sqlite:///{place}"
    source = SqlSource(SqlSource.Settings(url=url, table=REPAIRS))
    ((block,),) = [list(source.read(item)) for item in source.plan({})]
    assert orjson.loads(block.bodies[0])["plate"] == "沪A12345"
    sink = SqlSink(SqlSink.Settings(url=url, table=REPAIRS))
    assert sink.verify("collect-000001").count == 1
    sink.close()
    province.shop(withdrawn("J1"))
    province.run("collect")  # the ledger is proved with every run
    assert [row[:3] for row in seen(province, "province-11")] == [(1, "沪A12345", None), (2, None, WHY)]


def test_a_store_of_before_is_migrated(gates):
    province, _ = gates
    province.shop(FIRST)
    province.run("collect")
    engine = create_engine(f"sqlite:///{_aged(province)}")
    history.upgrade(engine, REPAIRS)
    history.upgrade(engine, REPAIRS)
    with engine.connect() as connection:
        assert history.differences(connection, REPAIRS) == []
        assert connection.execute(text("SELECT plate, withdrawn FROM repairs")).all() == [("沪A12345", None)]
    engine.dispose()
