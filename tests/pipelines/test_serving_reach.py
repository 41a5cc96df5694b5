"""/readyz on PostgreSQL: not ready, with the reason, while a database is away or silent, and ready again by itself."""

import json
import shutil
from contextlib import closing

import pytest
from realtime.links import HALF, PASS, STALL, Links
from sqlalchemy.engine import make_url
from test_serving_service import ROOT, Running, wait_for

from connectors import pglink
from pipelines.serving import reach
from pipelines.serving.reach import Reach, databases
from pipelines.serving.roles import Role

NOWHERE = "postgresql+psycopg://u:s3cret-one@127.0.0.1:1/d"


@pytest.fixture
def impatient(monkeypatch):
    """What is late is late soon."""
    for module, name, seconds in ((reach, "SECONDS", 0.05), (reach, "LATE", 0.3), (pglink, "ASKING", 2.0)):
        monkeypatch.setattr(module, name, seconds)


@pytest.fixture
def linked(postgres, postgres_url):
    """The address of a database by a link, and the link."""
    links = Links()
    port = links.add("database", postgres.port)
    yield make_url(postgres_url).set(port=port).render_as_string(hide_password=False), links
    links.heal()


def role(state="", **stores):
    def exchange(name, url):
        sinks = {"store": {"connector": "sql", "url": url}}
        return {"settings": {"name": name, "source": {"connector": "memory"}, "sinks": sinks}}

    exchanges = {name: exchange(name, url) for name, url in stores.items()} or {"one": exchange("one", "sqlite://")}
    return Role.model_validate({"name": "r", "state": {"url": state}, "exchanges": exchanges})


@pytest.fixture
def watched(tmp_path, impatient):
    with closing(Reach(tmp_path)) as made:
        yield made


@pytest.mark.parametrize("fault", [STALL, HALF])
def test_a_silent_database_is_told_soon_and_comes_back(watched, linked, fault):
    url, links = linked
    watched.watch(role(state=url, collect=url))
    wait_for(lambda: watched._asked[url]._waits_since is None, "no answer")
    assert watched() == []
    links.set("database", fault)
    (problem,) = wait_for(watched, "it is not seen")
    assert problem.startswith("state, collect.sinks.store: 数据库")
    links.set("database", PASS)
    wait_for(lambda: not watched(), watched)


def test_a_database_that_is_away_comes_back(watched, postgres_alone):
    url = postgres_alone.url()
    watched.watch(role(collect=url))
    with postgres_alone.down():
        (problem,) = wait_for(watched, "it is not seen")
        assert "unavailable" in problem or "has not answered" in problem
    wait_for(lambda: not watched(), watched)


def test_a_store_that_can_only_be_read_is_told(watched, postgres, postgres_url):
    name = make_url(postgres_url).database
    postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    watched.watch(role(collect=postgres_url))
    (problem,) = wait_for(watched, "it is not seen")
    assert "read-only" in problem


def test_no_password_is_shown_and_another_role_has_its_own_databases(watched, postgres_url):
    watched.watch(role(collect=NOWHERE))
    (problem,) = wait_for(watched, "it is not seen")
    assert "s3cret" not in problem
    watched.watch(role(collect=postgres_url))
    wait_for(lambda: not watched(), watched)


def test_the_databases_of_a_role(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "postgresql://u@h/a")
    asked = role(
        state="env:HERE",
        one="env:HERE",
        two="postgresql://u@h/b",
        three="env:GONE",
        four="postgresql://h/{destination}",
    )
    assert databases(asked, tmp_path) == {
        "postgresql://u@h/a": "state, one.sinks.store",
        "postgresql://u@h/b": "two.sinks.store",
    }
    assert databases(role(), tmp_path) == {}


def test_a_service_is_ready_again_when_its_database_speaks_again(tmp_path, linked):
    url, links = linked
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    with closing(Running(tmp_path, "--set", f"state.url={url}?silent_seconds=1&connect_seconds=2")) as running:

        def told(status):
            code, text = running.get("/readyz")
            return json.loads(text) if code == status else None

        wait_for(lambda: told(200), lambda: running.get("/readyz")[1])
        links.set("database", STALL)
        assert any("state: 数据库" in one for one in wait_for(lambda: told(503), "it stays ready")["problems"])
        links.set("database", PASS)
        wait_for(lambda: told(200), lambda: running.get("/readyz")[1] + running.log.read_text())
