"""Exchanges of documents, and documents that are derived: windows, corrections, withdrawals, days, kills."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from types import ModuleType
from typing import ClassVar

import orjson
import pytest
from engine_samples import Killed
from pydantic import BaseModel, ConfigDict
from row_gate import SHOP, Gate, record, registration, vin
from sqlalchemy import select

from connectors.contracts import Misconfigured
from mappings.documents import Document, Identity
from mappings.documents import kinds as document_kinds
from pipelines import batchwork, tables
from pipelines.coordinator import Coordinator
from pipelines.counting import count
from pipelines.errors import SettingsError
from pipelines.ledger import prove
from pipelines.settings import Exchange
from pipelines.toldnames import names_told
from pipelines.trace import trace
from pipelines.usable import usable
from pipelines.workbench import make_source
from routing.cases import shipped


class Milestone(Document):
    """A vehicle's visits so far."""

    KIND: ClassVar[str] = "milestone"

    car: str
    visits: int
    last: date
    until: date | None = None

    @property
    def identity(self) -> Identity:
        return Identity(SHOP, self.car, self.last, self.car)


class Milestones:
    """One milestone a vehicle that came at least so often; with `daily` it also says what day it is."""

    name, by, needs, words = "milestones", "vin", frozenset(), ()
    takes, gives, skims = frozenset({"repair"}), frozenset({"milestone"}), False

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid")
        least: int = 1
        daily: bool = False
        words: tuple[str, ...] = ()

    def __init__(self, options: Mapping[str, object]) -> None:
        self._options = self.Options.model_validate(options)
        self.daily = self._options.daily
        if self._options.words:
            self.needs, self.words = frozenset({"complaint"}), self._options.words

    def derive(self, subject, facts, today):
        facts = [fact for fact in facts if not self.words or any(word in str(fact.record) for word in self.words)]
        if len(facts) >= self._options.least:
            last = max(fact.record.settledate for fact in facts)
            yield Milestone(car=subject, visits=len(facts), last=last, until=today if self.daily else None)


TABLE = """
name = "milestones"
zh = "里程碑"
en = "milestones"
mapping = "record"
[[rule]]
name = "all"
zh = "全部"
en = "all"
when = { kind = "milestone" }
to = "environment"
"""


AGREEMENT = """
id = "milestones"
version = 1
zh = "里程碑"
en = "milestones"
destinations = ["environment", "environment-*"]
approval = "A-1"
basis = ["-"]
purpose = "test"
from = 2020-01-01
lane = "own"
[kinds."*"]
"*" = "pass"
"""


@pytest.fixture(autouse=True)
def _shipped(monkeypatch):
    module = ModuleType("mappings.documents.milestones")
    module.Milestone, module.Milestones = Milestone, Milestones
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(document_kinds.KINDS, "milestone", "milestones:Milestone")
    monkeypatch.setitem(shipped.DERIVATIONS, "milestones", "mappings.documents.milestones:Milestones")


class Derived(Gate):
    """A gate with an exchange of derived documents."""

    def derived(self, options=None, *, today="2026-09-21", rows=1000, **changes):
        (self.folder / "milestones.toml").write_text(TABLE, "utf-8")
        (self.folder / "agreement.toml").write_text(AGREEMENT, "utf-8")
        settings = {
            "name": "milestones",
            "agreements": [str(self.folder / "agreement.toml")],
            "source": {
                "connector": "derived",
                "derivation": "milestones",
                "with": options or {},
                "window_rows": rows,
                "today": today,
                "of": {"repairs": {"url": f"sqlite:///{self.folder}/stores/province-11.db"}},
            },
            "mapping": {"dialect": "document", "kinds": ["milestone"], "profile": "strict"},
            "versions": {"system": "11"},
            "routing": {"table": str(self.folder / "milestones.toml")},
            "sinks": {"all": {"connector": "sql", "url": f"sqlite:///{self.folder}/stores/{{destination}}.db"}},
            "received_at": self.moment,
            **changes,
        }
        return Exchange.model_validate(settings).placed(self.folder)

    def derive(self, options=None, *, again=False, **changes):
        exchange = self.derived(options, **changes)
        usable(exchange)
        run = Coordinator(self.state, exchange).run(again=again)
        assert prove(self.state).problems == []
        with self.state.reading() as connection:
            found = [one for one in count(connection, [run]) if one.exchange == "milestones"]
        return found[0].totals if found else {}

    def documents(self):
        """Number, version, visits (or why it was withdrawn) of every version at the destination, as they came."""
        with closing(sqlite3.connect(self.folder / "stores/environment.db")) as connection:
            rows = connection.execute("SELECT costlistcode, version, members, withdrawn FROM documents ORDER BY seq")
            return [
                (code.removeprefix("milestone:"), version, (gone and "gone") or orjson.loads(members)["visits"])
                for code, version, members, gone in rows
            ]


@pytest.fixture
def gate(tmp_path):
    made = Derived(tmp_path / "state")
    yield made
    made.state.close()


def put(gate, *records):
    gate.shop(*records)
    gate.run("collect")


def test_what_follows_is_delivered_once_and_again_only_where_it_changed(gate):
    put(gate, record("J1"), record("J2", serial=2))
    totals = gate.derive()
    assert (totals["received"], totals["delivered"]) == (2, 2)
    assert gate.derive() == {}
    put(gate, record("J3", day="20260912"))
    assert gate.derive()["delivered"] == 1
    assert gate.documents() == [(vin(1), 1, 1), (vin(2), 1, 1), (vin(1), 2, 2)]


def test_a_record_that_changes_nothing_gives_no_envelope(gate):
    put(gate, record("J1"))
    gate.derive()
    put(gate, record("J1", fault="另一种说法"))
    assert gate.derive().get("received", 0) == 0


def test_what_follows_no_longer_is_withdrawn(gate):
    put(gate, record("J1"))
    gate.derive()
    put(gate, record("J1", serial=2))  # the shop corrects the VIN
    assert gate.derive()["delivered"] == 2
    assert sorted(gate.documents()) == sorted([(vin(1), 1, 1), (vin(1), 2, "gone"), (vin(2), 1, 1)])


def test_a_withdrawn_record_is_no_fact(gate):
    put(gate, record("J1"), record("J2"))
    gate.derive()
    put(gate, {"companycode": SHOP, "costlistcode": "J2", "withdrawn": "录错"})
    gate.derive()
    assert gate.documents() == [(vin(1), 1, 2), (vin(1), 2, 1)]


def test_a_backlog_in_small_windows_ends_as_in_one(gate):
    put(gate, *(record(f"J{i}", serial=i % 3) for i in range(9)))
    gate.derive(rows=2)
    newest = {}
    for car, version, visits in gate.documents():
        newest[car] = (version, visits)
    assert {car: visits for car, (_, visits) in newest.items()} == {vin(i): 3 for i in range(3)}


def test_a_new_day_and_new_settings_are_looked_at_with_every_subject(gate):
    put(gate, record("J1"), record("J2"), record("J3", serial=2))
    gate.derive({"daily": True})
    assert gate.derive({"daily": True}) == {}
    assert gate.derive({"daily": True}, today="2026-09-22")["delivered"] == 2
    gate.derive({"least": 2, "daily": True}, today="2026-09-22")
    assert gate.documents()[-1] == (vin(2), 3, "gone")


def test_only_vehicles_are_looked_at_of_which_what_they_need_is_told(gate, monkeypatch):
    asked = []
    whole = Milestones.derive
    monkeypatch.setattr(Milestones, "derive", lambda *given: asked.append(given[1]) or whole(*given))
    worded, options = record("J2", serial=2), {"words": ["尾气", '"三元"', "0%"]}
    worded["repairprojectlist"][0]["repairproject"] = '更换"三元"催化器'
    put(gate, record("J1", fault="尾气超标"), worded, record("J3", serial=3, fault="异响 100"))
    gate.derive(options)
    assert gate.documents() == [(vin(1), 1, 1), (vin(2), 1, 1)]
    put(gate, record("J1", fault="异响"))  # it told of it once, and something had followed
    gate.derive(options)
    assert gate.documents()[2:] == [(vin(1), 2, "gone")]
    assert vin(3) not in asked
    gate.derive({"words": ["异响 1"]})  # what followed by the words of before is found as well
    assert gate.documents()[3:] == [(vin(3), 1, 1), (vin(2), 2, "gone")]


@pytest.mark.parametrize("place", ["before", "after"])
def test_killed_around_the_decision_and_changed_meanwhile(gate, place, monkeypatch):
    put(gate, record("J1"))
    decide = batchwork.remember

    def killing(connection, exchange, marks):
        decide(connection, exchange, marks)
        if exchange == "milestones" and place == "before":
            raise Killed

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(batchwork, "remember", killing)
        if place == "after":
            patched.setattr("pipelines.closing.Closer.finish", killed)
        with pytest.raises(Killed):
            Coordinator(gate.state, gate.derived()).run()
    put(gate, record("J1", serial=2))
    gate.derive()
    gate.derive()
    newest = {car: visits for car, _, visits in gate.documents()}
    assert newest.get(vin(1), "gone") == "gone"
    assert newest[vin(2)] == 1


def test_a_document_is_found_by_its_vehicle(gate):
    put(gate, record("J1"))
    gate.derive()
    found = [
        one
        for one in trace(gate.state, gate.state.sealer(), vin(1))["versions"]
        if one["costlistcode"].startswith("milestone")
    ]
    assert [(one["companycode"], one["destinations"][0]["name"]) for one in found] == [(SHOP, "environment")]


def test_a_value_changed_by_hand_is_named(gate):
    put(gate, record("J1"))
    gate.derive()
    with closing(sqlite3.connect(gate.folder / "stores/environment.db")) as connection:
        connection.execute("UPDATE documents SET members = replace(members, '\"visits\":1', '\"visits\":2')")
        connection.commit()
    assert "altered-record" in {problem.kind for problem in prove(gate.state).problems}


def test_what_follows_can_be_worked_out_again(gate):
    put(gate, record("J1"), record("J2"), record("J3", serial=2))
    source = make_source(gate.derived())
    (one,) = source.following(vin(1))
    assert (one.KIND, one.identity.number, one.visits) == ("milestone", vin(1), 2)
    assert source.following(vin(9)) == []


def test_rows_that_settings_leave_out_are_no_facts(gate):
    put(gate, record("J1"))
    of = {"repairs": {"url": f"sqlite:///{gate.folder}/stores/province-11.db", "where": {"repaircomefrom": 2}}}
    source = {"connector": "derived", "derivation": "milestones", "of": of}
    assert gate.derive(source=source).get("received", 0) == 0
    of["repairs"]["where"] = {"colour": "red"}
    with pytest.raises(Misconfigured, match="colour"):
        usable(gate.derived(source=source))


def test_what_documents_do_not_have_is_refused(gate):
    with pytest.raises(SettingsError, match="two"):
        usable(gate.derived(mapping={"dialect": "document", "kinds": ["milestone", "repair"]}))
    with pytest.raises(SettingsError, match=r"rules\.history"):
        usable(gate.derived(rules={"history": ["MILEAGE_REGRESSION"]}))
    with pytest.raises(Misconfigured, match="least"):
        usable(gate.derived({"least": "many"}))
    with pytest.raises(Misconfigured, match=r"there are: .*milestones"):
        usable(gate.derived(source={"connector": "derived", "derivation": "nothing", "of": {"a": {"url": "x"}}}))


def test_a_registration_says_where_a_document_goes(gate):
    put(gate, record("J1"))
    table = TABLE.replace('to = "environment"', 'to = "environment-{home}"')
    exchange = gate.derived(routing={"table": str(gate.folder / "homes.toml"), "registrations": True})
    (gate.folder / "homes.toml").write_text(table, "utf-8")
    gate.register(registration(1, "44"))
    Coordinator(gate.state, exchange).run()
    assert (gate.folder / "stores/environment-44.db").exists()


# -- code and shipped rules that change --------------------------------------------------------------------------------


def _other_rules(monkeypatch, least, also=0):
    """From now on a milestone takes so many visits, and counts so many more than there were from the third visit on."""

    def derive(self, subject, facts, today):
        if len(facts) >= least:
            last = max(fact.record.settledate for fact in facts)
            visits = len(facts) + (also if len(facts) > 2 else 0)
            yield Milestone(car=subject, visits=visits, last=last)

    monkeypatch.setattr(Milestones, "derive", derive)


def test_after_a_change_of_rules_one_command_tells_what_differs_and_nothing_twice(gate, monkeypatch):
    put(gate, record("J1"), record("J2", serial=2), record("J3", serial=2))
    put(gate, *(record(f"K{n}", serial=3) for n in range(3)))
    gate.derive()
    told = [(vin(1), 1, 1), (vin(2), 1, 2), (vin(3), 1, 3)]
    assert sorted(gate.documents()) == sorted(told)
    _other_rules(monkeypatch, least=2, also=7)
    assert gate.derive() == {}, "what only the code says is not seen by itself"
    totals = gate.derive(again=True)
    assert (totals["received"], totals["delivered"], totals["duplicate"]) == (3, 2, 1)
    told += [(vin(3), 2, 10), (vin(1), 2, "gone")]
    assert sorted(gate.documents(), key=str) == sorted(told, key=str)
    for _ in range(2):
        totals = gate.derive(again=True)
        assert (totals["received"], totals["delivered"], totals["duplicate"]) == (2, 0, 2)
    assert gate.derive() == {}
    _other_rules(monkeypatch, least=1)
    assert gate.derive(again=True)["delivered"] == 2, "it lives again, and the other counts as before"
    told += [(vin(3), 3, 3), (vin(1), 3, 1)]
    assert sorted(gate.documents(), key=str) == sorted(told, key=str)


def test_what_came_meanwhile_is_told_by_the_same_command(gate, monkeypatch):
    put(gate, record("J1"))
    gate.derive()
    put(gate, record("J2", serial=2), record("J3", day="20260912"))
    _other_rules(monkeypatch, least=1)
    gate.derive(again=True, rows=1)
    assert sorted(gate.documents()) == sorted([(vin(1), 1, 1), (vin(1), 2, 2), (vin(2), 1, 1)])
    assert gate.derive() == {}


def test_killed_while_all_is_derived_anew(gate, monkeypatch):
    put(gate, record("J1"), record("J2", serial=2), record("J3", serial=2))
    gate.derive()
    _other_rules(monkeypatch, least=2)
    keep = batchwork.BatchWork._commit

    def killed(*given):
        keep(*given)
        raise Killed

    for moment in (killed, lambda *_: (_ for _ in ()).throw(Killed)):
        monkeypatch.setattr(batchwork.BatchWork, "_commit", moment)
        with pytest.raises(Killed):
            gate.derive(again=True)
        monkeypatch.setattr(batchwork.BatchWork, "_commit", keep)
    gate.derive(again=True)
    assert sorted(gate.documents(), key=str) == sorted([(vin(1), 1, 1), (vin(2), 1, 2), (vin(1), 2, "gone")], key=str)


def test_names_of_what_was_told_stand_nowhere_in_the_clear(gate):
    put(gate, record("J1"), record("J2", serial=2))
    gate.derive()
    assert names_told(gate.folder, "milestones") == {(SHOP, f"milestone:{vin(n)}") for n in (1, 2)}
    with gate.state.reading() as connection:
        packed = connection.execute(select(tables.journals.c.lines)).scalars().all()
    assert [vin(1).encode() in one for one in packed] == [False] * len(packed)


def test_a_source_that_derives_nothing_is_not_asked_to(gate):
    with pytest.raises(SettingsError, match="--again"):
        Coordinator(gate.state, gate.exchange("collect")).run(again=True)
