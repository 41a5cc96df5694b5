"""Agreements on the real engine: what is sent, refused, noted and told, and what a changed agreement does meanwhile."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from engine_samples import BULK, payload, write
from row_gate import Gate, record
from sqlalchemy import select, update

from connectors.contracts import Outcome
from connectors.memory import MemorySink
from pipelines import agreeing, tables
from pipelines.agreecheck import agree, examples, over
from pipelines.agreeing import Agreed
from pipelines.cli import main
from pipelines.coordinator import Coordinator
from pipelines.errors import SettingsError
from pipelines.ledger import prove
from pipelines.live import Live
from pipelines.looks import demand, note_look
from pipelines.reconciling import resending
from pipelines.reconciling.report import Place
from pipelines.settings import Exchange, load
from pipelines.state import State
from pipelines.trace import trace
from pipelines.usable import usable
from routing.agreements import STATUTORY, Terms

TABLE = """
name = "extracts"
zh = "摘要"
en = "extracts"
mapping = "{mapping}"
[[rule]]
name = "all"
zh = "全部"
en = "all"
to = "used-cars"
"""
AGREEMENT = """
id = "used-cars"
version = {version}
zh = "二手车"
en = "used cars"
destinations = ["used-cars"]
approval = "A-{version}"
basis = ["82号 (十)"]
purpose = "trade"
from = 2026-01-01
until = {until}
{more}
[kinds.repair]
vin = "pass"
settledate = "month"
mileage = "band:10000"
faultdescription = "mask"
"parts.name" = "pass"
{rules}
"""
SETTINGS = """
name = "extracts"
agreements = ["{agreement}"]
[source]
connector = "files"
path = "{folder}/in"
format = "ndjson"
finished = "keep"
[mapping]
dialect = "national"
profile = "strict"
[versions]
system = "44"
[routing]
table = "{folder}/table.toml"
[retry]
first_seconds = 0
[sinks.hub]
for = "used-cars"
{sink}
"""
STORE = 'connector = "sql"\nurl = "sqlite:///{folder}/hub.db"\nbusy_seconds = 0'


class Flow:
    """An exchange to one destination under one agreement."""

    def __init__(self, folder: Path, sink: str = STORE, mapping: str = "extract") -> None:
        self.folder, self.agreement = folder, folder / "used-cars.toml"
        self.agree()
        (folder / "table.toml").write_text(TABLE.format(mapping=mapping), "utf-8")
        (folder / "in").mkdir()
        self.settings = folder / "extracts.toml"
        text = SETTINGS.format(agreement=self.agreement, folder=folder, sink=sink.format(folder=folder))
        self.settings.write_text(text, "utf-8")
        self.state = State(folder / "state", own=True)

    def agree(self, version: int = 1, until: str = "2035-12-31", more: str = "", rules: str = "") -> None:
        text = AGREEMENT.format(version=version, until=until, more=more, rules=rules)
        self.agreement.write_text(text, "utf-8")

    def revoke(self) -> None:
        self.agree(more="revoked = 2026-02-01T00:00:00+08:00")

    @property
    def exchange(self) -> Exchange:
        return load(self.settings, [], {})

    def run(self, *seeds: int, **changes: str) -> None:
        if seeds:
            write(self.folder / "in" / f"{seeds[0]:04d}.ndjson", [payload(n, **changes) for n in seeds])
        Coordinator(self.state, self.exchange).run()
        assert self.problems() == []

    def problems(self) -> list[Any]:
        return list(prove(self.state).problems)

    def rows(self) -> list[dict[str, Any]]:
        if not (self.folder / "hub.db").exists():
            return []
        with closing(sqlite3.connect(self.folder / "hub.db")) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM repairs ORDER BY seq")]

    def all(self, table: Any) -> list[Any]:
        with self.state.reading() as connection:
            return list(connection.execute(select(table)).all())

    def disclosed(self) -> list[tuple[Any, ...]]:
        d, t = tables.disclosures, tables.terms
        with self.state.reading() as connection:
            found = connection.execute(
                select(d.c.batch, d.c.delivery, t.c.agreement, t.c.version, d.c.count)
                .join(t, t.c.digest == d.c.terms)
                .order_by(d.c.batch, d.c.delivery, d.c.moment)
            )
            return [tuple(row) for row in found]

    def letters(self) -> list[Any]:
        return self.all(tables.letters.letters)


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever an agreement is asked for."""
    monkeypatch.setattr(agreeing, "LOOK_SECONDS", 0.0)


@pytest.fixture
def flow(tmp_path: Path) -> Iterator[Flow]:
    made = Flow(tmp_path)
    yield made
    made.state.close()


# -- what is sent ------------------------------------------------------------------------------------------------------


def test_a_store_gets_what_the_agreement_lets_through_and_the_ledger_proves_it(flow: Flow) -> None:
    flow.run(1, 2)
    first, _ = flow.rows()
    sent = payload(1)["basicInfo"]
    assert (first["vin"], first["settledate"], first["mileage"]) == (sent["vin"], "2025-06", "10000-20000")
    assert json.loads(first["parts"]) == [{"name": "机油"}]
    assert [first[name] for name in ("plate", "companycode", "companyname", "costlistcode", "projects")] == [None] * 5
    assert first["record_key"].startswith("~")
    assert not any(value in str(first) for value in (sent["companycode"], sent["costlistcode"]))
    assert flow.disclosed() == [("extracts-000001", "", "used-cars", 1, 2)]
    assert orjson.loads(flow.all(tables.terms)[0].fields) == {
        "vin": "pass", "settledate": "month", "mileage": "band:10000", "faultdescription": "mask", "parts.name": "pass",
    }  # fmt: skip


def test_a_change_by_hand_in_such_a_store_is_found(flow: Flow) -> None:
    flow.run(1, 2)
    with closing(sqlite3.connect(flow.folder / "hub.db")) as connection:
        connection.execute("UPDATE repairs SET vin = 'X' WHERE seq = 1")
        connection.commit()
    (problem,) = flow.problems()
    assert (problem.kind, problem.destination) == ("changed-store", "used-cars")


def test_a_correction_is_the_next_version_of_the_same_stand_in(flow: Flow) -> None:
    flow.run(1)
    write(flow.folder / "in" / "0002.ndjson", [payload(1, faultdescription="更换前刹车片")])
    flow.run()
    first, second = flow.rows()
    assert (first["record_key"], first["version"], second["version"]) == (second["record_key"], 1, 2)
    assert (first["current"], second["current"]) == (0, 1)


def test_another_version_of_the_agreement_makes_no_new_version_of_a_record(flow: Flow) -> None:
    flow.run(1)
    flow.agree(version=2, rules='plate = "province"')
    write(flow.folder / "in" / "0002.ndjson", [payload(1), payload(2)])
    flow.run()
    first, second = flow.rows()
    assert (first["version"], first["plate"], second["version"]) == (1, None, 1)
    assert len(second["plate"]) == 2
    assert [row[2:] for row in flow.disclosed()] == [("used-cars", 1, 1), ("used-cars", 2, 1)]


def test_statutory_agreements_cost_nothing_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(tmp_path)
    asked: list[str] = []
    terms = Agreed.terms

    def counted(self: Agreed, destination: str, kind: str) -> Terms | Outcome:
        asked.append(destination)
        return terms(self, destination, kind)

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Agreed, "terms", counted)
    monkeypatch.setattr(Terms, "apply", never)
    gate.shop(*(record(f"S{n}", serial=n) for n in range(60)))
    gate.run("collect")
    assert asked == ["province-11"], "one call, one question"
    d = tables.disclosures
    with gate.state.reading() as connection:
        (row,) = connection.execute(select(d).where(d.c.batch.like("collect-%"))).all()
    assert (row.destination, row.kind, row.count) == ("province-11", "repair", 60)
    gate.state.close()


# -- what is not -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", ["revoked", "expired", "not yet", "gone"])
def test_what_no_agreement_in_force_covers_is_a_letter_and_is_replayed(flow: Flow, ended: str) -> None:
    flow.run(1)
    changes = {
        "revoked": lambda: flow.revoke(),
        "expired": lambda: flow.agree(until="2026-01-31"),
        "not yet": lambda: flow.agreement.write_text(
            flow.agreement.read_text("utf-8").replace("2026-01-01", "2034-01-01"), "utf-8"
        ),
        "gone": lambda: flow.agreement.write_text(
            flow.agreement.read_text("utf-8").replace('["used-cars"]', '["others"]'), "utf-8"
        ),
    }
    changes[ended]()
    flow.run(2)
    assert len(flow.rows()) == 1
    (letter,) = flow.letters()
    ((code, kind, field, value, _),) = orjson.loads(letter.reasons)
    assert (code, kind, field) == ("AGREEMENT_NOT_IN_FORCE", "bug", "used-cars")
    assert "used-cars" in value
    flow.agree(version=2)
    Coordinator(flow.state, flow.exchange).replay([letter.id])
    assert flow.problems() == []
    assert len(flow.rows()) == 2
    assert flow.letters()[0].state == "resolved"
    assert flow.disclosed()[-1] == ("extracts-000002", "0/0", "used-cars", 2, 1)


def test_what_waited_is_not_sent_once_the_agreement_is_revoked(flow: Flow) -> None:
    flow.run(1)
    with closing(sqlite3.connect(flow.folder / "hub.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        flow.run(2)
        other.execute("ROLLBACK")
    assert len(flow.all(tables.waiting)) == 1
    flow.revoke()
    flow.run()
    assert flow.all(tables.waiting) == []
    assert len(flow.rows()) == 1
    assert orjson.loads(flow.letters()[0].reasons)[0][0] == "AGREEMENT_NOT_IN_FORCE"


def test_what_waited_is_noted_by_itself_under_the_terms_that_it_went_by(flow: Flow) -> None:
    flow.run(1)
    with closing(sqlite3.connect(flow.folder / "hub.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        flow.run(2)
        other.execute("ROLLBACK")
    flow.agree(version=2)
    flow.run()
    assert flow.disclosed() == [
        ("extracts-000001", "", "used-cars", 1, 1),
        ("extracts-000002", "0/0", "used-cars", 2, 1),
    ]


def test_an_agreement_that_changes_between_two_calls_of_a_batch(flow: Flow, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    terms = Agreed.terms

    def changing(self: Agreed, destination: str, kind: str) -> Terms | Outcome:
        asked.append(1)
        if len(asked) == 2:
            flow.agree(version=2, rules='plate = "province"')
        if len(asked) == 3:
            flow.revoke()
        return terms(self, destination, kind)

    monkeypatch.setattr(Agreed, "terms", changing)
    flow.settings.write_text(flow.settings.read_text("utf-8") + "[batch]\nwrite = 1\n", "utf-8")
    flow.run(1, 2, 3)
    assert [row["plate"] is None for row in flow.rows()] == [True, False]
    assert [row[1:] for row in flow.disclosed()] == [("", "used-cars", 1, 1), ("0/1", "used-cars", 2, 1)]
    assert len(flow.letters()) == 1


def test_a_file_that_cannot_be_read_stops_what_it_covered_until_it_can(flow: Flow) -> None:
    flow.run(1)
    flow.agreement.write_text("version = ", "utf-8")
    Agreed(["used-cars"])  # others are none of its business
    agreed = Agreed([str(flow.agreement)])
    told = agreed.terms("used-cars", "repair")
    assert isinstance(told, Outcome)
    assert (told.status, told.reason.partition(":")[0]) == ("unavailable", "AGREEMENT_UNREADABLE")
    flow.run(2)
    assert (len(flow.rows()), len(flow.letters()), len(flow.all(tables.waiting))) == (1, 0, 1)
    flow.agree()
    assert isinstance(agreed.terms("used-cars", "repair"), Terms)
    flow.run()
    assert (len(flow.rows()), flow.all(tables.waiting)) == (2, [])


def test_a_running_gateway_sees_a_revocation_at_its_next_call(flow: Flow) -> None:
    live = Live(flow.state, flow.exchange)
    live.recover()
    for number in (1, 2):
        write(flow.folder / "in" / f"{number}.ndjson", [payload(number)])
        live.scan()
        flow.revoke()
    live.close()
    assert (len(flow.rows()), len(flow.letters())) == (1, 1)
    assert flow.problems() == []


def test_files_are_looked_at_once_a_second_and_what_is_read_is_kept(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreeing, "LOOK_SECONDS", 1.0)
    clock = [0.0]
    agreed = Agreed([str(flow.agreement)], clock=lambda: clock[0])
    assert isinstance(agreed.terms("used-cars", "repair"), Terms)
    flow.revoke()
    clock[0] = 0.9
    assert isinstance(agreed.terms("used-cars", "repair"), Terms)
    clock[0] = 1.0
    assert isinstance(agreed.terms("used-cars", "repair"), Outcome)


# -- files -------------------------------------------------------------------------------------------------------------


def bulk(folder: Path, *more: str) -> Exchange:
    return load(BULK, [f"source.path={folder / 'in'}", f"sinks.provinces.path={folder / 'out'}", *more], {})


def test_files_whose_agreement_ended_after_they_were_staged_are_kept_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in" / "a.ndjson", [payload(n, vehicleplatenumber="粤B12345") for n in range(3)])
    with State(tmp_path / "state", own=True) as state:
        coordinator = Coordinator(state, bulk(tmp_path))
        stands = [False]
        whole = Agreed.whole
        monkeypatch.setattr(Agreed, "whole", lambda *a: whole(*a) if stands[0] else "AGREEMENT_NOT_IN_FORCE: ended")
        coordinator.run()
        assert list((tmp_path / "out").glob("*.avro")) == []
        with state.reading() as connection:
            (row,) = connection.execute(select(tables.batch_destinations)).all()
            assert connection.execute(select(tables.disclosures)).all() == []
        assert (row.waiting, row.delivered) == (3, 0)
        assert prove(state).problems == []
        stands[0] = True
        coordinator = Coordinator(state, bulk(tmp_path))
        coordinator.run()
        assert len(list((tmp_path / "out").glob("*.avro"))) == 1
        assert prove(state).problems == []
        with state.reading() as connection:
            (told,) = connection.execute(select(tables.disclosures)).all()
        assert (told.destination, told.count, Path(told.delivery).suffix) == ("province-44", 3, ".avro")
        found = trace(state, state.sealer(), payload(1)["basicInfo"]["vin"])
        (shown,) = found["versions"][0]["disclosed"]
        assert shown["agreement"] == "push"
        assert {"path": "plate", "treatment": "pass"} in shown["fields"]


# -- before a flow may start -------------------------------------------------------------------------------------------


def refused(flow: Flow, *settings: str) -> str:
    with pytest.raises(SettingsError) as raised:
        usable(load(flow.settings, settings, {}))
    return str(raised.value)


def test_a_destination_without_an_agreement_is_refused(flow: Flow) -> None:
    said = refused(flow, 'agreements=["collect", "report"]')
    assert "used-cars" in said
    assert "repair" in said


def test_an_outbound_mapping_that_needs_a_withheld_field_is_refused_with_its_name(flow: Flow) -> None:
    (flow.folder / "table.toml").write_text(TABLE.format(mapping="report"), "utf-8")
    assert "companycode=withhold" in refused(flow)
    assert "report" in refused(flow)


def test_a_template_that_needs_a_withheld_field_is_refused_with_its_name(flow: Flow) -> None:
    text = flow.settings.read_text("utf-8").partition("[sinks.hub]")[0]
    for template, named in (
        ("{record.vin}", ""),
        ("{record.plate}", "plate"),
        ("{record.parts[0].code}", "parts.code"),
    ):
        sink = '[sinks.hub]\nconnector = "http"\nfor = "used-cars"\nurl = "http://127.0.0.1:9"\n'
        sink += f'record = {{ a = "{template}" }}\n'
        flow.settings.write_text(text + sink, "utf-8")
        if named:
            assert f"{named}=withhold" in refused(flow)
        else:
            usable(flow.exchange)


def test_files_need_all_of_a_record(flow: Flow) -> None:
    text = flow.settings.read_text("utf-8").partition("[sinks.hub]")[0]
    flow.settings.write_text(
        text + f'[sinks.hub]\nconnector = "avro"\nfor = "used-cars"\npath = "{flow.folder}/out"\n', "utf-8"
    )
    assert "system=withhold" in refused(flow)


def test_check_and_run_say_that_an_agreement_is_over_and_a_service_begins_all_the_same(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    write(flow.folder / "in" / "a.ndjson", [payload(1)])
    flow.revoke()
    flow.state.close()
    assert main(["check", str(flow.settings), "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "revoked" in problem
    assert main(["run", str(flow.settings), "--state", str(flow.folder / "other")]) == 2
    assert "revoked" in capsys.readouterr().err
    assert not (flow.folder / "other").exists()
    usable(flow.exchange)
    assert list(over(flow.exchange, datetime(2026, 1, 15, tzinfo=UTC))) == []


@pytest.mark.parametrize("path", sorted((BULK.parent).glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_exchanges_have_their_agreements(path: Path, tmp_path: Path) -> None:
    exchange = load(path, [], {}).placed(tmp_path)
    files = frozenset(name for name, sink in exchange.sinks.items() if sink.connector in ("avro", "files"))
    agree(exchange, {}, files)
    assert list(over(exchange, datetime.now(UTC))) == []


@pytest.mark.parametrize("path", sorted(BULK.parent.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_patterns_are_known_as_examples_and_statutory_agreements_are_none(path: Path, tmp_path: Path) -> None:
    exchange = load(path, [], {}).placed(tmp_path)
    patterns = set(exchange.agreements) - set(STATUTORY)
    assert len(list(examples(exchange))) == len(patterns)


def test_check_warns_of_an_example_approval_and_a_real_one_is_silent(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    write(flow.folder / "in" / "a.ndjson", [payload(1)])
    flow.state.close()
    assert main(["check", str(flow.settings), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []
    flow.agreement.write_text(flow.agreement.read_text("utf-8").replace("A-1", "used-cars-示例-1"), "utf-8")
    assert main(["check", str(flow.settings), "--json"]) == 0
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "used-cars-示例-1" in warning
    assert main(["check", str(flow.settings)]) == 0
    assert "used-cars-示例-1" in capsys.readouterr().out


# -- sent again --------------------------------------------------------------------------------------------------------


def test_a_backfill_takes_back_what_was_sent_and_sends_what_may_leave_now(flow: Flow) -> None:
    flow.run(1, 2)
    with closing(sqlite3.connect(flow.folder / "hub.db")) as connection:
        connection.execute("DELETE FROM repairs WHERE seq = 1")
        connection.commit()
    flow.agree(version=2, rules='plate = "province"')
    place = Place("extracts-000001", 0, 0, "used-cars")
    assert Coordinator(flow.state, flow.exchange).resend([place]) == {place: resending.QUEUED}
    assert flow.problems() == []
    assert sorted(row["plate"] is None for row in flow.rows()) == [False, True]
    assert [row[1:] for row in flow.disclosed()] == [
        ("", "used-cars", 1, 2),
        ("0/0", "used-cars", 1, 0),
        ("0/0", "used-cars", 2, 1),
    ]
    found = trace(flow.state, flow.state.sealer(), payload(1)["basicInfo"]["vin"])
    told = found["versions"][0]
    assert [one["version"] for one in told["disclosed"]] == [1, 2]


# -- who received what, and who looked ---------------------------------------------------------------------------------


def test_a_trace_tells_who_received_which_fields_under_which_approval(flow: Flow) -> None:
    flow.run(1)
    found = trace(flow.state, flow.state.sealer(), payload(1)["basicInfo"]["vin"])
    told = found["versions"][0]
    (one,) = told["disclosed"]
    assert (one["agreement"], one["version"], one["approval"], one["purpose"]) == ("used-cars", 1, "A-1", "trade")
    assert {"path": "settledate", "treatment": "month"} in one["fields"]
    assert "plate" not in {field["path"] for field in one["fields"]}
    assert datetime.fromisoformat(one["moment"]).tzinfo is not None


def test_looks_are_logged_and_may_be_demanded(flow: Flow) -> None:
    sealer = flow.state.sealer()
    note_look(flow.state, sealer, "VIN1", "", "")
    demand(flow.state, demanded=True)
    for who, purpose in (("", "投诉 12"), ("李四", " ")):
        with pytest.raises(SettingsError, match="--by"):
            note_look(flow.state, sealer, "VIN1", who, purpose)
    note_look(flow.state, sealer, "VIN1", "李四", "投诉 12")
    demand(flow.state, demanded=False)
    note_look(flow.state, sealer, "VIN2", "", "")
    looks = flow.all(tables.looks)
    assert [(one.who, one.purpose) for one in looks] == [("", ""), ("李四", "投诉 12"), ("", "")]
    assert [one.vin for one in looks] == [sealer.pseudonym(vin) for vin in ("VIN1", "VIN1", "VIN2")]


# -- nothing that is withheld shows anywhere ---------------------------------------------------------------------------


def test_no_withheld_value_is_sent_logged_or_shown(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bodies: list[bytes] = []
    write_ = MemorySink.write

    def taken(self: MemorySink, deliveries: Any) -> list[Outcome]:
        bodies.extend(repr((d.body.decode(), d.key, d.merged_into)).encode() for d in deliveries)
        return write_(self, deliveries)

    monkeypatch.setattr(MemorySink, "write", taken)
    flow = Flow(tmp_path, sink='connector = "memory"\nhub = "canaries"\nmode = "refuse"')
    phones = [f"138{n:08d}" for n in range(40)]
    made = [
        payload(
            n,
            companyname=f"禁店{n:06d}",
            vehicleplatenumber=f"粤Q{n:05d}",
            repairdate="20250609",
            faultdescription=f"异响 禁店{n:06d} 电话{phones[n]} 身份证110105194912310021 粤Q{n:05d}",
        )
        for n in range(40)
    ]
    for n, one in enumerate(made):
        one["vehiclepartslist"][0]["partscode"] = f"BANNEDPART{n:05d}"
        one["repairprojectlist"][0]["repairproject"] = f"禁项目{n:05d}"
    write(tmp_path / "in" / "a.ndjson", made)
    with caplog.at_level(logging.DEBUG):
        flow.run()
    assert len(bodies) == 40
    letters = [one.id for one in flow.letters()]
    assert len(letters) == 40
    vin = made[0]["basicInfo"]["vin"]
    told = json.dumps(trace(flow.state, flow.state.sealer(), vin), ensure_ascii=False)
    flow.state.close()
    state = str(tmp_path / "state")
    for name in letters[:5]:
        assert main(["letters", "show", name, "--state", state]) == 0
        assert main(["letters", "show", name, "--state", state, "--json"]) == 0
    assert main(["letters", "stats", "--state", state]) == 0
    shown = capsys.readouterr()
    everything = b"".join(bodies).decode() + caplog.text + shown.out + shown.err + told
    secret = ["禁店", "粤Q", "BANNEDPART", "禁项目", "138000000", "110105194912310021", "2025-06-09"]
    assert [one for one in secret if one in everything] == []
    assert "异响" in everything


def test_a_letter_that_no_agreement_covers_shows_nothing_of_its_record(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.run(1)
    flow.agreement.write_text(flow.agreement.read_text("utf-8").replace('["used-cars"]', '["others"]'), "utf-8")
    flow.run(2)
    (letter,) = flow.letters()
    flow.state.close()
    assert main(["letters", "show", letter.id, "--state", str(flow.folder / "state"), "--json"]) == 0
    body = json.loads(json.loads(capsys.readouterr().out)["body"])
    assert set(body) == {"schema", "kind", "version"}


def test_terms_that_a_state_kept_outlive_their_file(flow: Flow) -> None:
    flow.run(1)
    flow.agreement.unlink()
    with flow.state.unit_of_work() as connection:
        connection.execute(update(tables.runs).values(receipts=""))
    found = trace(flow.state, flow.state.sealer(), payload(1)["basicInfo"]["vin"])
    assert found["versions"][0]["disclosed"][0]["approval"] == "A-1"
