"""Reconciliation with a real peer that lost, changed or invented records, and what a backfill mends."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from engine_samples import payload, run_bulk, run_stores, write
from row_gate import DEALER, MOMENT, Gate, record, visit
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import httppeer

from mappings.dates import SHANGHAI
from pipelines import accounts, tables
from pipelines.cli import main
from pipelines.coordinator import Coordinator
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.reconciling import commanding, orders, resending, scratch
from pipelines.reconciling.resending import CHANGED, GONE, Resending
from pipelines.settings import load
from pipelines.state import State

SETTINGS = """
name = "send"

[source]
connector = "files"
path = "{place}/outbox"
format = "ndjson"
finished = "archive"

[mapping]
dialect = "national"
profile = "strict"

[versions]
system = "oem-SVW"

[routing]
table = "{root}/deploy/tables/to-province.toml"

[retry]
first_seconds = 0

[sinks.province]
connector = "http"
for = "province"
url = "{url}"
per_request = 2
request = {{ path = "/records", body = {{ records = "{{records}}" }} }}
record = {{ id = "{{id}}", key = "{{key}}", version = "{{version}}", content = "{{content}}", batch = "{{batch}}", destination = "{{destination}}", merged_into = "{{merged_into}}", data = "{{record}}" }}
answers = {{ records = "results", record_id = "id", codes = {{ ok = "accepted", known = "duplicate", "*" = "refused" }} }}
receipts = "{{state}}/accepted"
retry = {{ tries = 1 }}
breaker = {{ failures = 100 }}
held = {{ call = {{ method = "GET", path = "/held", query = {{ since = "{{since}}", cursor = "{{cursor}}" }} }} }}
"""  # noqa: E501 - inline tables of TOML stand on one line
TODAY = ("--from", f"{datetime.now(SHANGHAI):%Y-%m-%d}")


@pytest.fixture(scope="module")
def server():
    with httppeer.serving() as running:
        yield running


@pytest.fixture
def hub(server, tmp_path, root):
    hub = server.hub(tmp_path.name)
    (tmp_path / "send.toml").write_text(SETTINGS.format(place=tmp_path, root=root, url=hub.url), "utf-8")
    return hub


@pytest.fixture
def send(tmp_path):
    """Run the exchange on some records; every run has its own file."""

    def run(*seeds, **changes):
        if seeds:
            write(tmp_path / "outbox" / f"{seeds[0]}-{len(changes)}.ndjson", [payload(n, **changes) for n in seeds])
        return main(["run", str(tmp_path / "send.toml"), "--state", str(tmp_path / "state"), "--json"])

    return run


@pytest.fixture
def reconcile(tmp_path, capsys):
    def call(*more, days=TODAY):
        capsys.readouterr()
        code = main(["reconcile", "--state", str(tmp_path / "state"), *days, "--json", *more])
        (told,) = json.loads(capsys.readouterr().out)["exchanges"]
        return code, told

    return call


def kinds(told):
    return sorted(one["kind"] for one in told["differences"])


def ledger(place):
    with State(place / "state", own=False) as state:
        return prove(state)


def named(hub, code):
    """The delivery that the peer holds of a list code."""
    (found,) = [one for one in hub.taken.values() if one.key.endswith(code)]
    return found


def lose(hub, code):
    gone = named(hub, code)
    del hub.taken[gone.id]
    del hub.contents[gone.key, gone.version]
    return gone


def code_of(seed):
    return f"JS20250612{seed:06d}"


def test_both_sides_agree(tmp_path, hub, send, reconcile):
    send(1, 2, 3, 4, 5)
    code, told = reconcile()
    assert (code, told["agreed"], told["differences"]) == (0, True, [])
    side = told["destinations"]["province"]
    assert (side["how"], side["sent"], side["accepted"], side["held"]) == ("listed", 5, 5, 5)
    assert [one.path for one in hub.calls if one.path == "/held"] == ["/held"] * 2, "three a page"
    _, told = reconcile(days=("--from", "2020-01-01", "--to", "2020-01-31"))
    assert told["destinations"] == {}


def test_lost_changed_and_invented_records_are_named(tmp_path, hub, send, reconcile):
    send(1, 2, 3, 4, 5)
    lose(hub, code_of(2))
    changed = named(hub, code_of(4))
    hub.taken[changed.id] = replace(changed, content="0" * 16)
    hub.taken["invented"] = replace(named(hub, code_of(1)), key="oem-SVW|44010001|NEVER", content="ab" * 8)
    code, told = reconcile()
    assert (code, told["agreed"]) == (1, False)
    assert kinds(told) == ["differs", "missing", "unknown"]
    found = {one["kind"]: one for one in told["differences"]}
    assert found["missing"]["record"] == f"oem-SVW|44010002|{code_of(2)}", "read again from the archive"
    assert found["missing"]["source"].startswith("1-0.ndjson@")
    assert found["differs"]["record"].endswith(code_of(4))
    assert (found["differs"]["expected"], found["differs"]["found"]) == (changed.content, "0" * 16)
    assert found["unknown"]["record"].endswith("NEVER")
    side = told["destinations"]["province"]
    assert (side["held"], side["missing"], side["differs"], side["unknown"]) == (3, 1, 1, 1)


RECEIPTS = """
[rules]
receipts = "receipts"

[sinks.receipts]
connector = "files"
for = "receipts"
path = "{state}/receipts"
"""


@pytest.mark.parametrize("more", ["", RECEIPTS], ids=["records alone", "with receipts"])
def test_a_backfill_sends_exactly_what_is_missing_and_the_ledger_balances(tmp_path, hub, send, reconcile, more):
    with (tmp_path / "send.toml").open("a", encoding="utf-8") as settings:
        settings.write(more)
    send(1, 2, 3, 4, 5)
    gone = [lose(hub, code_of(n)) for n in (2, 5)]
    before = len([one for one in hub.calls if one.path == "/records"])
    code, told = reconcile("--backfill")
    assert (code, told["backfill"]) == (1, {"queued": 2})
    sent = [json.loads(one.body)["records"] for one in hub.calls if one.path == "/records"][before:]
    assert sorted(record["id"] for some in sent for record in some) == sorted(one.id for one in gone)
    assert {one.id: one.body for one in hub.taken.values() if one in gone} == {one.id: one.body for one in gone}
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.problems, proof.totals["delivered"]) == (True, [], 5)
    code, told = reconcile("--backfill")
    assert (code, told["agreed"], told["backfill"]) == (0, True, {})


def test_a_backfill_holds_the_batch_before_it_reads_what_it_changes(hub, send, reconcile, monkeypatch):
    send(1, 2)
    lose(hub, code_of(2))
    done = []
    for module, name in ((accounts, "hold"), (resending, "amend")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *told, name=name, real=real: (done.append(name), real(*told)))
    reconcile("--backfill")
    assert done[:2] == ["hold", "amend"]


def test_a_backfill_while_the_peer_is_down_waits_in_the_ledger(tmp_path, hub, send, reconcile):
    send(1, 2, 3)
    lose(hub, code_of(3))
    hub.faults.extend(["", "503"])
    _, told = reconcile("--backfill")
    assert told["backfill"] == {"queued": 1}
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.problems) == (True, []), "its receipt was taken back"
    assert (proof.totals["delivered"], proof.totals["waiting"]) == (2, 1)
    _, told = reconcile()
    assert kinds(told) == ["waiting"]
    send()
    assert ledger(tmp_path).balanced
    assert ledger(tmp_path).totals["delivered"] == 3
    assert reconcile()[0] == 0


def test_killed_at_any_moment_of_a_backfill_the_next_one_does_the_rest(tmp_path, hub, send, reconcile, monkeypatch):
    send(1, 2, 3)
    lose(hub, code_of(1))
    real = Resending._moved
    for moment in ("before", "after"):

        def killed(self, *args, moment=moment):
            if moment == "after":
                real(self, *args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(Resending, "_moved", killed)
            assert main(["reconcile", "--state", str(tmp_path / "state"), *TODAY, "--backfill"]) == 130
    assert reconcile("--backfill")[1]["backfill"] == {"queued": 1}
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.problems, proof.totals["delivered"]) == (True, [], 3)
    assert reconcile()[0] == 0


def test_what_cannot_be_read_again_is_told(tmp_path, hub, send, reconcile):
    send(1, 2)
    lose(hub, code_of(2))
    for file in (tmp_path / "outbox" / ".archive").iterdir():
        file.unlink()
    code, told = reconcile("--backfill")
    assert (code, told["backfill"]) == (1, {GONE: 1})
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.totals["delivered"]) == (True, 2)


def test_a_source_that_was_changed_is_not_taken_for_what_was_sent(tmp_path, hub, send, reconcile):
    send(1, 2)
    lose(hub, code_of(2))
    (file,) = (tmp_path / "outbox" / ".archive").iterdir()
    before = file.stat()
    file.write_text(file.read_text("utf-8").replace("10002", "10003"), "utf-8")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reconcile("--backfill")[1]["backfill"] == {GONE: 1}


def test_versions_are_compared_one_by_one(tmp_path, hub, send, reconcile):
    send(1)
    send(1, faultdescription="更正")
    assert sorted(one.version for one in hub.taken.values()) == [1, 2]
    assert reconcile()[0] == 0
    second = next(one for one in hub.taken.values() if one.version == 2)
    del hub.taken[second.id], hub.contents[second.key, 2]
    code, told = reconcile("--backfill")
    assert (code, kinds(told), told["backfill"]) == (1, ["missing"], {"queued": 1})
    assert reconcile()[0] == 0


def test_an_old_version_does_not_follow_a_newer_one(tmp_path, hub, send, reconcile):
    send(1)
    send(1, faultdescription="更正")
    first = next(one for one in hub.taken.values() if one.version == 1)
    del hub.taken[first.id], hub.contents[first.key, 1]
    assert reconcile("--backfill")[1]["backfill"] == {"queued": 1}
    assert [one.version for one in hub.taken.values()] == [2]
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.problems, proof.totals["filtered"]) == (True, [], 1)
    assert reconcile()[0] == 0


def test_what_was_sent_before_the_range_is_nothing_unknown(tmp_path, hub, send, reconcile):
    send(1)
    with State(tmp_path / "state", own=True) as state, state.unit_of_work() as connection:
        earlier = (datetime.now(UTC) - timedelta(days=3)).isoformat()
        connection.execute(tables.batches.update().values(received_at=earlier))
    send(2)
    code, told = reconcile()
    assert (code, told["differences"], told["destinations"]["province"]["sent"]) == (0, [], 1)


def test_refused_and_waiting_deliveries_are_named_as_such(tmp_path, hub, send, reconcile):
    hub.always = "503"
    send(1)
    code, told = reconcile()
    assert (code, kinds(told)) == (1, ["waiting"])
    assert told["destinations"]["province"]["how"] == "unasked", "a peer that is away is not taken for one that agrees"
    assert told["destinations"]["province"]["why"]
    hub.always = ""
    send()
    assert reconcile()[0] == 0


@pytest.mark.parametrize(
    "said",
    [
        {"records": [{"key": "no-key", "content": "00"}]},
        {"records": [{"key": "a|b|c", "content": "xyz"}]},
        {"records": 7},
        {"records": [], "next": "1"},
        {"other": []},
    ],
)
def test_a_peer_that_answers_nonsense_is_unasked_and_nothing_is_sent(tmp_path, hub, send, reconcile, said):
    send(1)
    text = (tmp_path / "send.toml").read_text("utf-8").replace('path = "/held"', 'path = "/say"')
    (tmp_path / "send.toml").write_text(text, "utf-8")
    send()
    hub.answers.append(said)
    code, told = reconcile("--backfill")
    assert (code, told["destinations"]["province"]["how"], told["backfill"]) == (1, "unasked", {})
    assert ledger(tmp_path).totals["delivered"] == 1


def test_a_running_service_does_the_backfill_that_a_command_orders(tmp_path, hub, send, reconcile):
    send(1, 2, 3)
    lose(hub, code_of(2))
    exchange = load(tmp_path / "send.toml", (), {})
    with State(tmp_path / "state", own=True) as state:  # a service owns it
        coordinator = Coordinator(state, exchange)
        coordinator.begin()
        told = []
        asking = threading.Thread(target=lambda: told.append(reconcile("--backfill", "--wait", "60")))
        asking.start()
        while asking.is_alive():
            coordinator.follow_up()
            asking.join(0.05)
        coordinator.follow_up()
        coordinator.end()
        ((_, report),) = told
        assert report["backfill"] == {"queued": 1}
        with state.reading() as connection:
            (row,) = connection.execute(select(tables.backfill_orders)).all()
        assert (row.outcome, bool(row.answered_at)) == ("queued", True)
        chosen = commanding.exchanges(state, ["send"])[0]
        again = commanding.missing_places(commanding.reconcile(state, chosen, *commanding.days_before(_tomorrow(), 1)))
        assert again == []
    assert ledger(tmp_path).balanced


def _tomorrow():
    return datetime.now(UTC) + timedelta(days=1)


def test_an_order_that_was_done_changes_nothing(tmp_path, hub, send):
    hub.always = "503"
    send(1)
    exchange = load(tmp_path / "send.toml", (), {})
    with State(tmp_path / "state", own=True) as state:
        coordinator = Coordinator(state, exchange)
        with state.reading() as connection:
            (row,) = connection.execute(select(tables.waiting)).all()
        place = orders._place(row.id)
        assert coordinator.resend([place]) == {place: CHANGED}, "it waits already"
    assert ledger(tmp_path).balanced


def test_a_store_is_asked_row_by_row(tmp_path, root, capsys):
    run_stores(tmp_path, [payload(n) for n in range(6)], store="all")
    with closing(sqlite3.connect(tmp_path / "stores" / "all.db")) as store:
        store.execute("delete from repairs where seq = 2")
        store.commit()
    capsys.readouterr()
    arguments = ["reconcile", "--state", str(tmp_path / "state"), *TODAY, "--json"]
    assert main([*arguments, "--backfill"]) == 1
    (told,) = json.loads(capsys.readouterr().out)["exchanges"]
    assert (kinds(told), told["backfill"]) == (["missing"], {"queued": 1})
    assert {side["how"] for side in told["destinations"].values()} == {"listed"}
    assert main(arguments) == 0
    proof = ledger(tmp_path)
    assert (proof.balanced, proof.problems) == (True, [])


@pytest.fixture
def merged(tmp_path):
    """A gateway whose ministry holds a visit by both ways, the shop's merged into the headquarters'; days of it."""
    gate = Gate(tmp_path / "state")
    gate.put("headquarters/SVW", visit("SVW1", day="2026-09-11"))
    gate.shop(record("J1", company=DEALER), company=DEALER)
    for name in ("headquarters", "collect", "report"):
        gate.run(name)
    yield gate, commanding.day_range(*[datetime.fromisoformat(MOMENT).date()] * 2)
    gate.state.close()


def lose_merged(gate):
    with closing(sqlite3.connect(gate.folder / "stores" / "ministry.db")) as store:
        assert store.execute("delete from repairs where merged_into != ''").rowcount == 1
        store.commit()


def backfilled(gate, days):
    (exchange,) = commanding.exchanges(gate.state, ["report"])
    report = commanding.reconcile(gate.state, exchange, *days)
    if report.missing():
        commanding.backfill(gate.state, exchange, report)
    return report


def test_a_merged_delivery_that_is_missing_is_sent_again_into_its_pair(merged):
    gate, days = merged
    before = gate.rows("ministry", "record_key, merged_into, delivery_id")
    lose_merged(gate)
    report = backfilled(gate, days)
    assert (len(report.missing()), report.backfill) == (1, {"queued": 1})
    assert gate.rows("ministry", "record_key, merged_into, delivery_id") == before
    assert gate.account("report", "ministry") == {"addressed": 1, "merged": 1}
    assert prove(gate.state).problems == []
    assert backfilled(gate, days).agreed


def test_a_merged_delivery_whose_pair_was_parted_is_not_sent_as_something_else(merged):
    gate, days = merged
    lose_merged(gate)
    with gate.state.unit_of_work() as connection:
        connection.execute(tables.visits.update().values(partner="", stands=True))
    assert backfilled(gate, days).backfill == {GONE: 1}
    assert gate.account("report", "ministry") == {"addressed": 1, "merged": 1}


def test_what_is_read_again_is_swept_once_its_process_is_gone(tmp_path):
    (tmp_path / "reread-killed").mkdir()
    (tmp_path / "reread-killed" / "registrations.ndjson").write_text("WP1AG2923CLA64129")
    with scratch.scratch(tmp_path) as mine:
        scratch.sweep(tmp_path)
        assert list(tmp_path.glob("reread-*")) == [mine], "that of a process that lives stays"
    assert list(tmp_path.glob("reread-*")) == []


def test_a_gateway_that_starts_sweeps_what_a_killed_command_read_again(tmp_path, hub, send):
    send(1)
    (tmp_path / "state" / "reread-killed").mkdir()
    send(2)
    assert list((tmp_path / "state").glob("reread-*")) == []


def test_files_are_asked_batch_by_batch(tmp_path, capsys):
    run_bulk(tmp_path, [payload(n) for n in range(6)])
    arguments = ["reconcile", "--state", str(tmp_path / "state"), *TODAY, "--json"]
    assert main(arguments) == 0
    sides = json.loads(capsys.readouterr().out)["exchanges"][0]["destinations"]
    assert {side["how"] for side in sides.values()} == {"verified"}
    next((tmp_path / "out").rglob("*.avro")).unlink()
    assert main(arguments) == 1
    (told,) = json.loads(capsys.readouterr().out)["exchanges"]
    assert "missing-part" in kinds(told)


def test_a_service_reconciles_by_itself_once_a_day_and_sends_what_is_missing(tmp_path, hub, send):
    send(1, 2, 3)
    lose(hub, code_of(2))
    exchange = load(tmp_path / "send.toml", ["reconcile.backfill=true"], {})
    events = []
    with State(tmp_path / "state", own=True) as state:
        live = Live(state, exchange, observer=events.append, milliseconds=0)
        live.recover()
        live.reconcile(_tomorrow())
        live._comparison._thread.join(60)
        for _ in range(3):
            live._followed_up = float("-inf")
            live.step(0)
        (told,) = [one for one in events if one.name == "reconciled"]
        assert (told.done, told.total, bool(told.note)) == (1, 3, True)
        (report,) = (tmp_path / "state" / "reports").iterdir()
        assert report.stat().st_mode & 0o077 == 0
        kept = json.loads(report.read_bytes())
        assert (kept["agreed"], kept["backfill"]) == (False, {"queued": 1})
        assert len(hub.taken) == 3
        before = len(hub.calls)
        live.reconcile(_tomorrow())
        assert live._comparison is None, "its report lies there"
        assert len(hub.calls) == before
        live.close()
    assert ledger(tmp_path).balanced


def test_a_service_that_is_stopped_gives_a_comparison_up(tmp_path, hub, send):
    send(1)
    exchange = load(tmp_path / "send.toml", (), {})
    with State(tmp_path / "state", own=True) as state:
        live = Live(state, exchange, milliseconds=0)
        live.recover()
        hub.always = "stall"
        live.reconcile(_tomorrow())
        hub.always = ""
        live.close()
        assert live._comparison.done
    assert not (tmp_path / "state" / "reports").exists()


def test_a_service_asks_again_later_where_a_destination_could_not_be_asked(tmp_path, hub, send):
    send(1, 2)
    lose(hub, code_of(2))
    exchange = load(tmp_path / "send.toml", ["reconcile.backfill=true"], {})
    events = []
    with State(tmp_path / "state", own=True) as state:
        live = Live(state, exchange, observer=events.append, milliseconds=0)
        live.recover()

        def followed():
            live._comparison._thread.join(60)
            for _ in range(3):
                live._followed_up = float("-inf")
                live.step(0)
            return [one for one in events if one.name == "reconciled"][-1]

        hub.always = "503"
        live.reconcile(_tomorrow())
        assert "again later" in followed().note
        assert not (tmp_path / "state" / "reports").exists()
        assert live._comparison is None
        hub.always = ""
        live._again = (0.0, live._again[1])
        live._followed_up = float("-inf")
        live.step(0)
        assert followed().done == 1
        assert live._again[0] == float("inf")
        assert len(hub.taken) == 2
        live.close()
    assert ledger(tmp_path).balanced
