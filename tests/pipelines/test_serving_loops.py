"""Exchanges in turn inside one process: failures stay apart, scans come when they are due, feeds may be away."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.contracts import Arrival, Unavailable
from pipelines.errors import StateLost
from pipelines.serving import link
from pipelines.serving.gateway import Gateway, readers, watch_folders
from pipelines.serving.loops import Loop, WatchedFeed, state_of
from pipelines.serving.metrics import DESTINATIONS
from pipelines.serving.roles import Role, Work


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def moment(self):
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.now)


class Runs:
    """A live run that notes what is asked of it; `fails` are raised, one a step."""

    def __init__(self, work=0, fails=()):
        self.work, self.fails, self.done = work, list(fails), []
        self.breakers = {}

    def recover(self):
        self.done.append("recover")

    def step(self, seconds=0.05):
        self.done.append(("step", seconds))
        if self.fails:
            raise self.fails.pop(0)
        self.work -= 1
        return self.work >= 0

    def scan(self):
        self.done.append("scan")
        return True

    def reload(self, exchange):
        self.done.append(("reload", exchange.description))
        if exchange.description == "bad":
            raise Unavailable("nein")

    def reconcile(self, moment):
        self.done.append(("reconcile", f"{moment:%d %H:%M}"))

    def close(self):
        self.done.append("close")


def works(**more):
    return Work.model_validate({"settings": {"name": "x", "source": {"connector": "memory"}}, **more})


def loop(runs, clock, work=None, **more):
    made = []

    def build(name, _):
        made.append(name)
        return runs[len(made) - 1]

    return Loop("x", work or works(), build, clock=clock, now=clock.moment, **more)


def test_a_loop_recovers_once_and_then_steps():
    clock, runs = Clock(), Runs(work=1)
    one = loop([runs], clock)
    one.open()
    assert (one.turn(0.1), one.turn(0.2)) == (True, False)
    one.close()
    assert runs.done == ["recover", ("step", 0.1), ("step", 0.2), "close"]


def test_a_source_is_scanned_at_start_and_then_every_so_often():
    clock, runs = Clock(), Runs()
    one = loop([runs], clock, works(every="5s"))
    assert one.turn(0)
    assert not one.turn(0)
    clock.now += 5
    assert one.turn(0)
    assert runs.done.count("scan") == 2


def test_a_source_with_a_cron_is_scanned_at_its_moments_only():
    clock, runs = Clock(), Runs()
    one = loop([runs], clock, works(cron="0 2 * * *"))
    one.turn(0)
    assert "scan" not in runs.done
    clock.now += 24 * 3600
    assert one.turn(0)
    assert runs.done.count("scan") == 1


def test_an_exchange_that_fails_is_built_anew_after_a_pause_that_grows():
    clock = Clock()
    first, second, third = Runs(fails=[Unavailable("away")]), Runs(fails=[OSError(28, "full")]), Runs(work=1)
    one = loop([first, second, third], clock)
    assert not one.turn(0)
    assert one.failing.startswith("away")
    assert first.done == ["recover", ("step", 0), "close"]
    assert not one.turn(0)
    assert second.done == []
    clock.now += 0.5
    one.turn(0)
    assert second.done == ["recover", ("step", 0), "close"]
    clock.now += 0.9
    one.turn(0)
    assert third.done == []
    clock.now += 0.1
    assert one.turn(0)
    assert one.failing == ""


def test_a_bug_or_the_loss_of_the_state_ends_the_process():
    for error in (ZeroDivisionError(), StateLost(Path("state"))):
        with pytest.raises(type(error)):
            loop([Runs(fails=[error])], Clock()).turn(0)


def test_a_loop_that_does_not_move_grows_idle_and_one_that_waits_does_not():
    clock = Clock()
    one = loop([Runs()], clock)
    one.turn(0)
    clock.now += 40
    assert state_of({"x": one}, {}) == {"x": {"idle": 40.0, "failing": "", "feeds": {}}}
    one.moved()
    assert one.idle == 0
    other = loop([Runs(fails=[Unavailable("away")])], clock)
    other.turn(0)
    clock.now += 40
    assert other.idle == 0


def test_new_settings_are_taken_and_after_a_failure_it_is_built_anew_with_them():
    clock, runs, anew = Clock(), Runs(), Runs(work=1)
    one = loop([runs, anew], clock)
    one.turn(0)
    source = {"connector": "memory"}
    good = works(settings={"name": "x", "source": source, "description": "good"})
    one.reload(good)
    assert one.work == good
    bad = works(settings={"name": "x", "source": source, "description": "bad"}, every="1m")
    one.reload(bad)
    assert one.work == bad
    assert one.failing.startswith("nein")
    assert [step for step in runs.done if step[0] == "reload"] == [("reload", "good"), ("reload", "bad")]
    assert runs.done[-1] == "close"
    assert anew.done == [], "not before its pause"
    clock.now += 0.5
    assert one.turn(0)
    assert anew.done == ["recover", ("step", 0), "scan"]
    assert one.failing == ""


class Away:
    """A feed that is away as often as it is told."""

    def __init__(self, away):
        self.away, self.asked = away, 0

    def take(self, most, seconds):
        self.asked += 1
        if self.asked <= self.away:
            raise Unavailable("gone")
        return [Arrival(b"{}", "queue")]

    def ack(self):
        raise Unavailable("gone")

    def check(self):
        return ["well"]

    def close(self):
        self.away = -1


def test_a_feed_that_is_away_brings_nothing_and_is_asked_again_after_a_pause():
    clock, inner = Clock(), Away(1)
    feed = WatchedFeed("x", "queue", inner, clock)
    assert feed.take(10, 0) == []
    assert not feed.connected
    assert feed.take(10, 0) == []
    assert inner.asked == 1
    clock.now += 0.5
    assert feed.take(10, 0) == [Arrival(b"{}", "queue")]
    assert feed.connected
    feed.ack()
    assert not feed.connected
    assert feed.check() == ["well"]
    feed.close()
    assert inner.away == -1


class Held:
    """A feed that has something in hand until it is closed, which takes as long as it is told."""

    def __init__(self):
        self.closing, self.closed, self.asked = threading.Event(), 0, 0

    def take(self, most, seconds):
        self.asked += 1
        if self.asked == 2:
            raise Unavailable("gone")
        return [Arrival(b"{}", "queue")]

    def close(self):
        self.closing.wait(60)
        self.closed += 1


def test_a_feed_that_may_be_anothers_brings_nothing():
    sure, inner = [True], Held()
    feed = WatchedFeed("x", "queue", inner, Clock(), sure=lambda: sure[0])
    assert feed.take(10, 0)
    sure[0] = False
    assert feed.take(10, 0) == []
    assert inner.asked == 1


def test_a_feed_is_let_go_of_without_waiting_and_brings_nothing_until_it_is_closed():
    inner = Held()
    feed = WatchedFeed("x", "queue", inner, Clock())
    for _ in range(2):
        feed.let_go()
    assert feed.take(10, 0) == []
    inner.closing.set()
    feed._letting_go.join(60)
    assert (inner.closed, inner.asked) == (1, 0)
    assert feed.take(10, 0)


def test_a_feed_that_was_never_there_gets_time_to_connect_and_is_asked_often():
    clock, inner = Clock(), Away(1000)
    feed = WatchedFeed("x", "queue", inner, clock)
    for _ in range(20):
        assert feed.take(10, 0) == []
        assert not feed.cut_off
        clock.now += 0.5
    assert inner.asked == 20
    clock.now += 0.5
    assert feed.cut_off
    assert not feed.seen


def test_a_feed_that_was_there_is_cut_off_soon():
    clock, inner = Clock(), Held()
    feed = WatchedFeed("x", "queue", inner, clock)
    assert feed.take(10, 0)
    assert feed.take(10, 0) == []
    assert not feed.cut_off
    clock.now += 2.5
    assert feed.cut_off


def test_how_long_a_feed_has_been_away_is_known_and_closing_it_waits_for_nobody():
    clock, inner = Clock(), Held()
    feed = WatchedFeed("x", "queue", inner, clock)
    assert feed.take(10, 0)
    assert feed.away == 0
    assert feed.take(10, 0) == []
    clock.now += 4
    assert feed.away == 4
    feed.close()
    assert inner.closed == 0
    inner.closing.set()
    feed._letting_go.join(60)
    assert inner.closed == 1


def role(**exchanges):
    source = {"connector": "memory"}
    given = {
        name: {"settings": {"name": name, "source": source, "description": text}} for name, text in exchanges.items()
    }
    return Role.model_validate({"name": "r", "exchanges": given})


def test_one_exchange_that_fails_does_not_hinder_another():
    runs = {"a": Runs(fails=[Unavailable("away")]), "b": Runs(work=2)}
    gateway = Gateway(role(a="", b=""), lambda name, _: runs[name])
    stopping = threading.Event()
    gateway.open(stopping)
    assert gateway.round(stopping, 0.0)
    assert gateway.round(stopping, 0.0)
    assert gateway.loops["a"].failing
    assert not gateway.loops["b"].failing
    gateway.close()
    assert runs["b"].done[-1] == "close"


def test_a_gateway_takes_orders_between_rounds_and_stops_when_told():
    stopping, runs = threading.Event(), {"a": Runs(), "b": Runs()}
    gateway = Gateway(role(a="old", b=""), lambda name, _: runs[name])
    data = role(a="new", b="").model_dump(mode="json", by_alias=True, exclude={"state"})
    orders = iter([None, {"order": link.RELOAD, "role": data}, None])

    def order():
        try:
            return next(orders)
        except StopIteration:
            stopping.set()

    gateway.run(stopping, order)
    assert ("reload", "new") in runs["a"].done
    assert ("reload", "") not in runs["b"].done
    waited = [step[1] for step in runs["a"].done if step[0] == "step"]
    assert waited[:2] == [0.0, 0.02]
    assert {step[1] for step in runs["b"].done if step[0] == "step"} == {0.0}
    gateway.moved("a")
    gateway.moved("unknown")


def test_breakers_of_destinations_are_shown():
    runs = Runs()
    one = loop([runs], Clock())
    one.told_breakers()
    one.turn(0)
    runs.breakers = {"province-44": "open", "ministry": "closed"}
    one.told_breakers()
    assert DESTINATIONS.labels("x", "province-44")._value.get() == 2
    assert DESTINATIONS.labels("x", "ministry")._value.get() == 0


def test_the_exchange_that_had_something_last_is_waited_in():
    runs = {"a": Runs(), "b": Runs(work=1)}
    gateway, stopping = Gateway(role(a="", b=""), lambda name, _: runs[name]), threading.Event()
    assert gateway.round(stopping, 0.01)
    assert not gateway.round(stopping, 0.01)
    assert [step[1] for step in runs["a"].done if step[0] == "step"] == [0.01, 0.0]
    assert [step[1] for step in runs["b"].done if step[0] == "step"] == [0.0, 0.01]


def test_folders_below_the_state_that_are_scanned_are_made(tmp_path):
    paths = {"one": "{state}/in/one", "file": "{state}/in/two.ndjson", "other": str(tmp_path / "elsewhere")}
    for path in paths.values():
        source = {"connector": "files", "path": path}
        watch_folders(works(settings={"name": "x", "source": source}), tmp_path / "state")
    parts = {name: {"connector": "files", "path": f"{{state}}/{name}"} for name in ("p", "q")}
    watch_folders(works(settings={"name": "x", "source": {"connector": "several", "of": parts}}), tmp_path / "state")
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert made == ["state", "state/in", "state/in/one", "state/p", "state/q"]


def test_what_was_stirred_is_scanned_at_its_next_turn():
    clock, runs = Clock(), Runs()
    one = loop([runs], clock, works(every="5s"))
    one.turn(0)
    one.stir()
    assert one.turn(0)
    assert runs.done.count("scan") == 2
    at_night = loop([runs], clock, works(cron="0 2 * * *"))
    at_night.stir()
    at_night.turn(0)
    assert runs.done.count("scan") == 2


def sql(url, **more):
    return {"connector": "sql", "url": url, **more}


def role_of(**exchanges):
    return Role.model_validate({"name": "r", "exchanges": exchanges})


def test_who_reads_what_an_exchange_writes_is_known():
    def exchange(name, source, **sink):
        return {"settings": {"name": name, "source": source, "sinks": {"s": sink}}}

    memory = {"connector": "memory"}
    role = role_of(
        collect=exchange("collect", memory, **sql("postgresql://a/b")),
        pushed=exchange("pushed", memory, repaircomefrom=2, **sql("postgresql://a/b")),
        other=exchange("other", memory, **sql("postgresql://a/c")),
        report=exchange("report", sql("postgresql://a/b", where={"repaircomefrom": 1}), connector="memory"),
    )
    assert readers(role) == {"collect": ["report"], "pushed": [], "other": [], "report": []}


def test_who_reads_what_was_written_is_stirred():
    writer, reader = Runs(work=1), Runs()
    scanned = {"settings": {"name": "b", "source": sql("sqlite:///x.db")}, "every": "1h"}
    written = {"settings": {"name": "a", "source": {"connector": "memory"}, "sinks": {"s": sql("sqlite:///x.db")}}}
    gateway = Gateway(role_of(b=scanned, a=written), lambda name, _: {"a": writer, "b": reader}[name])
    assert gateway.loops["b"].turn(0), "the scan at the start"
    gateway.round(threading.Event(), 0)
    gateway.round(threading.Event(), 0)
    gateway.round(threading.Event(), 0)
    assert reader.done.count("scan") == 2


def test_what_was_sent_is_compared_when_its_time_comes_and_once_after_a_start():
    clock, runs = Clock(), Runs()
    settings = {"name": "x", "source": {"connector": "memory"}, "reconcile": {"cron": "30 2 * * *"}}
    work = Work.model_validate({"settings": settings})
    loop = Loop("x", work, lambda *_: runs, clock=clock, now=clock.moment)  # 00:01:40 UTC is 08:01:40 in China

    def compared():
        loop.turn(0)
        return [one[1] for one in runs.done if one[0] == "reconcile"]

    assert compared() == ["01 02:30"], "the last time before the start: whoever did it already does nothing"
    assert compared() == ["01 02:30"]
    clock.now += 18 * 3_600
    assert compared() == ["01 02:30"]
    clock.now += 3_600
    assert compared() == ["01 02:30", "02 02:30"]
    loop.reload(Work.model_validate({"settings": {**settings, "reconcile": {}}}))
    clock.now += 48 * 3_600
    assert len(compared()) == 2


def test_a_moment_that_is_none_is_refused():
    with pytest.raises(ValueError, match="cron"):
        works(settings={"name": "x", "source": {"connector": "memory"}, "reconcile": {"cron": "daily"}})
