"""A register that a derivation reads is replaced: what no longer follows is withdrawn, whatever happens meanwhile."""

from __future__ import annotations

import orjson
import pytest
from emission_gate import Loop, inspection
from engine_samples import Killed
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from row_gate import record, vin

from connectors.contracts import Misconfigured, Unavailable
from connectors.sqlbase import StoreSettings
from mappings.encoding import record_key
from pipelines import batchwork
from pipelines.derivedrows import Holding
from pipelines.deriving import DerivedSettings, DerivedSource, Telling
from pipelines.planning import marks_of
from pipelines.storeform import DOCUMENTS, REPAIRS

SHOPS = ("110105000000009", "110105000000010", "110105000000011")
VEHICLES = 9


def register(path, shops):
    lines = ["companyuniquecode,companycode,name,address,area,from"]
    lines += [f"M{code},{code},某某维护站,某某路1号,110105,20200101" for code in shops]
    path.write_text("\n".join([*lines, ""]), "utf-8")


def report(serial):
    return f"1101051126090113155010{serial:02d}"


def filled(loop):
    """Every vehicle failed, and was repaired at one of the shops."""
    loop.outside(*(inspection(report(n), serial=n) for n in range(VEHICLES)))
    for at, shop in enumerate(SHOPS):
        repairs = (
            record(f"J{n}", serial=n, fault="尾气超标", company=shop) for n in range(VEHICLES) if n % len(SHOPS) == at
        )
        loop.shop(*repairs, company=shop)
    loop.run("collect")


# -- the source alone, with an engine of a few lines -------------------------------------------------------------------


class Then(DerivedSource):
    """The source at a moment when its stores held so many rows."""

    rows = 0

    def _last(self, name):
        return min(self.rows, super()._last(name))


class Engine:
    """Keeps marks and what stands at the destination: both in one commit, as a batch does."""

    def __init__(self, folder, place):
        self.folder, self.place = folder, place
        self.options = {"stations": str(place)}
        self.rows, self.done, self.standing = 0, {}, {}
        self.known = set()

    def source(self):
        of = {
            "repairs": {"url": f"sqlite:///{self.folder}/stores/province-11.db"},
            "documents": {"url": f"sqlite:///{self.folder}/stores/documents-44.db", "holds": "documents"},
        }
        told = DerivedSettings.model_validate(
            {"derivation": "emissions", "with": self.options, "of": of, "window_rows": 4, "today": "2026-09-21"}
        )
        stores = {
            name: (
                StoreSettings(url=SecretStr(one["url"]), table=REPAIRS if name == "repairs" else DOCUMENTS),
                Holding.model_validate(one),
            )
            for name, one in of.items()
        }
        made = Then(told, stores)
        made.rows = self.rows
        return made

    def run(self, most):
        """Take in what came; killed behind so many items."""
        source = self.source()
        for number, item in enumerate(source.plan(dict(self.done))):
            assert item.digest not in self.known, "what was worked on before is known, and not read again"
            bodies = [body for block in source.read(item) for body in block.bodies]
            if number == most:
                break
            self.take(bodies)
            self.known.add(item.digest)
            self.done.update(marks_of(item))
        source.close()

    def take(self, bodies):
        for told in map(orjson.loads, bodies):
            key = record_key("44", told["companycode"], told["costlistcode"])
            if "withdrawn" in told:
                del self.standing[key]  # what nobody has is never withdrawn
            else:
                self.standing[key] = told["members"]

    def due(self):
        source = self.source()
        found = {record_key("44", one.identity.issuer, one.listed): one.members() for one in source.everything()}
        source.close()
        return found


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    made = Loop(tmp_path_factory.mktemp("registers") / "state")
    filled(made)
    made.state.close()
    return made.folder


STEPS = st.lists(
    st.one_of(
        st.sets(st.sampled_from(SHOPS)),
        st.integers(1, VEHICLES),
        st.tuples(st.just("window"), st.sampled_from((0, 30, 90))),
        st.just("moved"),
        st.tuples(st.just("run"), st.integers(0, 3)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_whatever_is_replaced_and_whenever_it_is_killed_what_stands_is_what_follows(steps, stores, tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    engine = Engine(stores, folder / "m-stations.csv")
    register(engine.place, SHOPS)
    for step in [*steps, ("run", None)]:
        match step:
            case set():
                register(engine.place, sorted(step))
            case int():
                engine.rows += step
            case ("window", days):
                engine.options = {**engine.options, "window_days": days}
            case "moved":
                engine.place = engine.place.with_name(f"x{engine.place.name}")
                register(engine.place, SHOPS[:1])
                engine.options = {**engine.options, "stations": str(engine.place)}
            case (_, most):
                engine.run(most)
    assert engine.standing == engine.due()
    kept = [text for place, text in engine.done.items() if place.startswith("register:") and text]
    assert len(kept) == (engine.rows > 0), "only the register that was looked at last is kept"


def test_a_register_that_is_replaced_between_plan_and_read_is_not_mixed_with_the_old(stores, tmp_path):
    engine = Engine(stores, tmp_path / "m-stations.csv")
    engine.rows = VEHICLES
    register(engine.place, SHOPS)
    source = engine.source()
    item = next(iter(source.plan({})))
    register(engine.place, SHOPS[:1])
    with pytest.raises(Unavailable, match="replaced"):
        list(source.read(item))


LONG = [f"{code:015d}" for code in range(110105000000009, 110105000000039)]


def test_a_register_that_is_named_no_more_withdraws_nothing_until_that_is_meant(stores, tmp_path):
    engine = Engine(stores, tmp_path / "m-stations.csv")
    engine.rows = VEHICLES
    register(engine.place, SHOPS)
    engine.run(None)
    engine.options = {}
    source = engine.source()
    with pytest.raises(Misconfigured, match="name no register stations") as told:
        list(source.plan(dict(engine.done)))
    assert "--again" in told.value.remedy
    assert next(iter(source.anew(dict(engine.done), Telling("state", "environment")))).extra["told"]


@pytest.mark.parametrize(("left", "refused"), [(30, False), (15, False), (14, True), (0, True)])
def test_a_register_that_lost_most_of_its_lines_withdraws_nothing_until_that_is_meant(stores, tmp_path, left, refused):
    engine = Engine(stores, tmp_path / "m-stations.csv")
    engine.rows = VEHICLES
    register(engine.place, LONG)
    engine.run(None)
    register(engine.place, LONG[:left])
    source = engine.source()
    if refused:
        with pytest.raises(Misconfigured, match=f"had 31 lines, now {left + 1}"):
            list(source.plan(dict(engine.done)))
    else:
        list(source.plan(dict(engine.done)))


# -- the whole way -----------------------------------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path):
    made = Loop(tmp_path / "state")
    filled(made)
    yield made
    made.state.close()


def sent(loop):
    """Settlement lists of which a closure stands at the department."""
    found = {}
    for file in sorted((loop.folder / "outgoing/environment").glob("*.ndjson")):
        for row in map(orjson.loads, file.read_bytes().splitlines()):
            found[row["RepairVeID"]] = row
    return sorted(row["Costlistcode"] for row in found.values() if "withdrawn" not in row)


def test_a_register_that_comes_and_goes_is_looked_at_each_time(loop):
    for shops, left in ((SHOPS, 9), (SHOPS[1:], 6), (SHOPS, 9), (SHOPS[1:], 6), (SHOPS, 9)):
        register(loop.folder / "m-stations.csv", shops)
        close(loop)
        assert len(sent(loop)) == left


def close(loop):
    loop.close("environment-files", f"source.with.stations={loop.folder}/m-stations.csv")


@pytest.mark.parametrize("killed", ["", "before", "after"])
def test_closures_of_a_shop_that_left_the_list_are_withdrawn(loop, killed, monkeypatch):
    register(loop.folder / "m-stations.csv", SHOPS)
    close(loop)
    assert sent(loop) == [f"J{n}" for n in range(VEHICLES)]
    register(loop.folder / "m-stations.csv", SHOPS[1:])
    if killed:
        remember = batchwork.remember

        def around(connection, exchange, marks):
            remember(connection, exchange, marks)
            if killed == "before":
                raise Killed

        def finished(*_, **__):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(batchwork, "remember", around)
            if killed == "after":
                patched.setattr("pipelines.closing.Closer.finish", finished)
            with pytest.raises(Killed):
                close(loop)
        loop.shop(record("J9", serial=9, fault="尾气超标", company=SHOPS[0]), company=SHOPS[0])
        loop.run("collect")
    close(loop)
    assert sent(loop) == [f"J{n}" for n in range(VEHICLES) if n % len(SHOPS)]
    close(loop)
    assert vin(0) not in str(loop.letters())
    assert loop.letters() == []
