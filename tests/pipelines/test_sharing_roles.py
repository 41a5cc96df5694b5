"""Roles that gateways share: what is refused and why, what goes by partitions, and what one gateway does alone."""

from __future__ import annotations

import copy
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_serving_loops import Runs

from dlq.errors import KeyUnsafe
from dlq.sealing import Sealer
from pipelines.cli import main
from pipelines.errors import SettingsError
from pipelines.serving.gateway import Gateway
from pipelines.serving.roles import Role, load
from pipelines.serving.shared import by_partitions, place_key

PROVINCE = Path(__file__).parents[2] / "deploy/roles/province.toml"
SHARED = [
    "state.share=true",
    "exchanges.operators.source.path=/srv/operators",
    "exchanges.registrations.source.path=/srv/registrations",
]


def test_the_province_can_be_shared_once_its_folders_are_one_place_for_all():
    with pytest.raises(SettingsError, match=r"exchanges\.operators\.source.*one place for all gateways"):
        load(PROVINCE, SHARED[:1], {})
    role = load(PROVINCE, SHARED, {}).role
    assert [name for name, work in role.exchanges.items() if by_partitions(work)] == ["collect", "pushed"]


def fed(**settings):
    base = {"name": "x", "source": {"connector": "memory"}, "sinks": {"s": {"connector": "memory", "for": "*"}}}
    return {"settings": base | settings}


ROW = {"connector": "sql", "for": "*"}


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (fed(sinks={"s": {"connector": "avro", "for": "*", "path": "/srv/out"}}), r"sinks\.s: .*write no files"),
        (fed(sinks={"s": ROW | {"url": "sqlite:////srv/x.db"}}), r"sinks\.s: .*one place"),
        (fed(sinks={"s": ROW | {"url": "postgresql://h/{state}"}}), r"sinks\.s: .*one place"),
        (fed(rules={"merge": "shop"}), r"rules\.merge"),
        (fed(routing={"registrations": True}), r"routing\.registrations: .*scanned"),
        ({**fed(source={"connector": "files", "path": "{state}/in"}), "every": "1s"}, r"source: .*one place"),
    ],
)  # fmt: skip
def test_what_one_host_alone_could_finish_is_refused(work, said):
    given = {"name": "r", "exchanges": {"x": work}}
    Role.model_validate(copy.deepcopy(given))
    with pytest.raises(ValueError, match=rf"state\.share: exchanges\.x\.{said}"):
        Role.model_validate({**given, "state": {"share": True}})


def test_check_says_who_does_what(tmp_path, capsys):
    path = tmp_path / "role.toml"
    path.write_text(
        'name = "r"\n[state]\nshare = true\n[exchanges.ours.sinks.s]\nconnector = "memory"\n'
        '[exchanges.scanned]\nevery = "1s"\nsinks.s = { connector = "memory" }\n',
        "utf-8",
    )
    assert main(["check", str(path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["parts"][0]
    assert said["part"] == "state.share"
    assert "ours" in said["said"][0]
    assert "scanned, feeds" in said["said"][1]


def test_a_key_is_placed_once_and_another_one_is_refused(tmp_path, monkeypatch):
    from pydantic import SecretStr

    from connectors.contracts import Misconfigured

    first = Sealer.open(tmp_path / "first.key", create=True)
    monkeypatch.setenv("KEY", f"file:{tmp_path / 'first.key'}")
    place_key(tmp_path / "state", SecretStr("env:KEY"))
    place_key(tmp_path / "state", SecretStr(f"file:{tmp_path / 'first.key'}"))
    placed = tmp_path / "state/keys/sealing.key"
    assert Sealer.open(placed, create=False).fingerprint == first.fingerprint
    assert placed.stat().st_mode & 0o777 == 0o600
    Sealer.open(tmp_path / "second.key", create=True)
    with pytest.raises(Misconfigured, match="another key"):
        place_key(tmp_path / "state", SecretStr(f"file:{tmp_path / 'second.key'}"))
    with pytest.raises(KeyUnsafe) as refused:
        place_key(tmp_path / "other", SecretStr("s3cret-that-is-no-key"))
    assert "s3cret" not in str(refused.value)
    assert not (tmp_path / "other/keys").exists()


class Shares:
    """What a gateway has, without a database."""

    def __init__(self, **more):
        self.once, self.held, self.members, self.name, self.partitioned = False, frozenset(), 1, "m", {"ours"}
        self.ticks, self.aside, self.unfinished, self.sure = 0, [], False, True
        vars(self).update(more)

    def tick(self):
        self.ticks += 1

    def stand_aside(self, seconds):
        self.aside.append(seconds)
        self.once = self.unfinished
        return not self.unfinished


def test_what_one_does_alone_runs_once_it_leads_and_feeds_are_built_then():
    memory = {"connector": "memory"}
    role = Role.model_validate({"name": "r", "exchanges": {
        "ours": fed() | {"feeds": {"queue": memory}}, "scanned": {**fed(), "every": "1s"},
    }})  # fmt: skip
    share, built = Shares(), []

    def build(name, _):
        built.append((name, share.once))
        return Runs()

    gateway = Gateway(role, build, share)
    gateway.open(threading.Event())
    gateway.round(threading.Event(), 0)
    assert built == [("ours", False)]
    assert gateway.sharing == {"member": "m", "members": 1, "partitions": [], "leads": False}
    assert gateway.loops["scanned"].idle < 60
    share.once, share.held = True, frozenset({3, 1})
    gateway.round(threading.Event(), 0)
    gateway.round(threading.Event(), 0)
    assert built == [("ours", False), ("ours", True), ("scanned", True)]
    assert gateway.sharing["partitions"] == [1, 3]
    assert share.ticks == 4


class Reached:
    """A watched feed that is away, or not."""

    def __init__(self, away=0.0):
        self.away, self.seen, self.let_go_of = away, True, 0

    @property
    def connected(self):
        return not self.away

    @property
    def cut_off(self):
        return self.away > 2

    def let_go(self):
        self.let_go_of += 1


def leading(share, feed):
    role = Role.model_validate({"name": "r", "exchanges": {
        "ours": fed() | {"feeds": {"queue": {"connector": "memory"}}}, "scanned": {**fed(), "every": "1s"},
    }})  # fmt: skip
    built, feeds = [], {}

    def build(name, _):
        built.append((name, share.once))
        feeds[name] = {"queue": feed} if name == "ours" and share.once else {}
        return Runs()

    gateway = Gateway(role, build, share, feeds=feeds)
    gateway.open(threading.Event())
    return gateway, built


def test_who_cannot_reach_its_feeds_leaves_them_to_others_each_time_for_longer():
    share, feed = Shares(once=True, members=2), Reached()
    gateway, built = leading(share, feed)
    gateway.round(threading.Event(), 0)
    feed.away = 1.0
    gateway.round(threading.Event(), 0)
    assert share.aside == []
    feed.away, share.unfinished = 5.0, True
    gateway.round(threading.Event(), 0)
    assert built == [("ours", True), ("scanned", True)]  # something is unfinished: all stays as it is
    share.unfinished = False
    gateway.round(threading.Event(), 0)
    assert not share.once
    assert built[2:] == [("ours", False)]
    share.once = True
    gateway.round(threading.Event(), 0)
    gateway.round(threading.Event(), 0)  # another could not reach them either
    assert share.aside == [3.0, 3.0, 6.0]
    share.once, feed.away = True, 0.0
    gateway.round(threading.Event(), 0)
    gateway.round(threading.Event(), 0)
    feed.away = 5.0
    gateway.round(threading.Event(), 0)
    assert share.aside[3:] == [3.0]


def test_a_scanned_exchange_is_built_anew_with_its_feed_when_its_turn_comes_again():
    """Its feed of before, which could not be reached, says nothing of the one to be built."""
    role = Role.model_validate({"name": "r", "exchanges": {
        "both": fed() | {"feeds": {"queue": {"connector": "memory"}}, "every": "1s"},
    }})  # fmt: skip
    share, built, feeds = Shares(once=True, members=2), [], {}

    def build(name, _):
        built.append(Reached())
        feeds[name] = {"queue": built[-1]}
        return Runs()

    gateway = Gateway(role, build, share, feeds=feeds)
    gateway.open(threading.Event())
    built[0].away = 5.0
    gateway.round(threading.Event(), 0)
    assert (share.aside, len(built)) == ([3.0], 1)
    share.once = True
    gateway.round(threading.Event(), 0)
    assert (share.aside, len(built)) == ([3.0], 2)


def test_who_is_alone_keeps_feeds_that_it_cannot_reach():
    share = Shares(once=True, members=1)
    gateway, _ = leading(share, Reached(5.0))
    gateway.round(threading.Event(), 0)
    assert share.aside == []


def test_feeds_are_let_go_of_once_when_the_lease_may_run_out():
    share, feed = Shares(once=True, members=2), Reached()
    gateway, _ = leading(share, feed)
    for sure in (True, False, False, True, False):
        share.sure = sure
        gateway.guard()
    assert feed.let_go_of == 2


def test_readiness_tells_what_is_held():
    from pipelines.serving.pulse import Pulse

    child = SimpleNamespace(name="gateway", ready={}, said={"loops": {}, "share": {"partitions": [1]}})
    assert Pulse([child], 10, lambda: "").readiness().share == {"partitions": [1]}
    child.said = {"loops": {}, "share": None}
    assert Pulse([child], 10, lambda: "").readiness().share is None
