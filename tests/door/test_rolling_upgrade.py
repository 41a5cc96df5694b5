"""Two builds side by side during a migration: hosts are upgraded one after the other, and no shop is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from itertools import count
from pathlib import Path

import httpx
import pytest
from door_kit import ADDED, PASSWORD, RECORD, REGISTER, TOKEN, payload, registration
from servers import postgres
from test_doors_side_by_side import COLLECT, KEY, PATIENCE, ROLE, ROOT, Member, wait_for

from pipelines.ledger import prove
from pipelines.nation import DEPLOY
from pipelines.state import SCHEMA_SINCE, SCHEMA_VERSION, State

PACKAGES = ("connectors", "dlq", "mappings", "pipelines", "routing")
NEXT = f"{int(SCHEMA_VERSION) + 1:04d}"
MIGRATION = f"""
import sqlalchemy as sa
from alembic import context, op

revision, down_revision, branch_labels, depends_on = "{NEXT}", "{SCHEMA_VERSION}", None, None
expands = EXPANDS


def upgrade():
    if context.config.attributes["role"] != "state":
        return
    op.create_table("remarks", sa.Column("batch", sa.Text(), primary_key=True))
    op.add_column("batches", sa.Column("remark", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_batches_remark", "batches", ["remark"])
"""


def next_build(folder: Path, *, expands: bool = True) -> Path:
    """A copy of the packages that is the next build: another mark, a table, a column and a migration more."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    code = folder / "pipelines"
    migration = MIGRATION.replace("EXPANDS", str(expands))
    (code / "migrations/versions" / f"r{NEXT}_remarks.py").write_text(migration, "utf-8")
    _change(code / "version.py", 'BUILD = version("vingate")', 'BUILD = "next"')
    _change(code / "state.py", f'SCHEMA_VERSION = "{SCHEMA_VERSION}"', f'SCHEMA_VERSION = "{NEXT}"')
    kind = '    Column("kind", Text, nullable=False),  # source'
    _change(code / "tables.py", kind, '    Column("remark", Text, nullable=False, server_default=""),\n' + kind)
    if not expands:
        _change(code / "state.py", f'SCHEMA_SINCE = "{SCHEMA_SINCE}"', f'SCHEMA_SINCE = "{NEXT}"')
    return folder


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


class Balancer:
    """Sends each call to the next door whose host says that it is ready, in turn; a call is never tried twice."""

    def __init__(self) -> None:
        self._ready: dict[Member, bool] = {}
        self._lock, self._ended, self._turn = threading.Lock(), threading.Event(), count()
        self._probe = threading.Thread(target=self._look, daemon=True)
        self._probe.start()

    def add(self, member: Member) -> None:
        with self._lock:
            self._ready[member] = _ready(member)

    def remove(self, member: Member) -> None:
        with self._lock:
            del self._ready[member]

    def send(self, path: str, body: bytes) -> tuple[Member, dict]:
        with self._lock:
            ready = [member for member, good in self._ready.items() if good]
        chosen = ready[next(self._turn) % len(ready)]
        return chosen, chosen.client.post(path, content=body).json()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            for member in list(self._ready):
                good = _ready(member)
                with self._lock:
                    if member in self._ready:
                        self._ready[member] = good

    def close(self) -> None:
        self._ended.set()
        self._probe.join()


def _ready(member: Member) -> bool:
    try:
        return httpx.get(f"{member.health}/readyz", timeout=PATIENCE).status_code == 200
    except httpx.TransportError:
        return False


class Shops:
    """Uploads without a pause, each of another record, until told to stop."""

    def __init__(self, balancer: Balancer, token: str) -> None:
        self._balancer, self._body = balancer, json.loads(payload("15", token))
        self._numbers, self._ended = count(), threading.Event()
        self.sent: list[tuple[Member, str]] = []
        self.refused: list[object] = []
        self._threads = [threading.Thread(target=self._upload, daemon=True) for _ in range(3)]
        for one in self._threads:
            one.start()

    def _upload(self) -> None:
        while not self._ended.wait(0.15):  # not so much that nothing else gets on
            code = f"R{next(self._numbers)}"
            body = json.loads(json.dumps(self._body))
            body["basicInfo"]["costlistcode"] = code
            try:
                member, told = self._balancer.send(RECORD, json.dumps(body, ensure_ascii=False).encode())
            except Exception as error:  # noqa: BLE001 - whatever it is, a shop would see it
                self.refused.append(error)
                continue
            if told == ADDED:
                self.sent.append((member, code))
            else:
                self.refused.append(told)

    def go_on(self, *members: Member) -> None:
        """Until each of these doors has taken some more."""
        before = len(self.sent)
        wait_for(lambda: self.refused or all(self._by(member, before) >= 5 for member in members))
        assert self.refused == []

    def _by(self, member: Member, since: int) -> int:
        return sum(one is member for one, _ in self.sent[since:])

    def close(self) -> None:
        self._ended.set()
        for one in self._threads:
            one.join()


def schema(state: State) -> dict[str, str]:
    with state.reading() as connection:
        rows = connection.exec_driver_sql("SELECT name, value FROM meta WHERE starts_with(name, 'schema')")
        return {name: value for name, value in rows}


@pytest.fixture
def place(tmp_path, tmp_path_factory):
    """A database, and a role in a folder."""
    server = postgres.start(tmp_path_factory.getbasetemp())
    with server.shared(), server.database() as url:
        (tmp_path / "collect.toml").write_text(COLLECT.format(table=DEPLOY / "tables/own-store.toml", url=url), "utf-8")
        limits = "token_hours = 24\nrequests_per_second = 100000\naddress_per_second = 100000"
        role = ROLE.replace("drain_seconds = 0", "drain_seconds = 3").replace("token_hours = 24", limits)
        (tmp_path / "role.toml").write_text(role.format(url=url, folder=tmp_path), "utf-8")
        yield tmp_path, url


def test_hosts_are_upgraded_one_after_the_other_and_no_shop_is_refused(place, tmp_path_factory):
    folder, url = place
    newer, role, key = next_build(tmp_path_factory.mktemp("next")), folder / "role.toml", folder / "one" / KEY
    balancer, members = Balancer(), {"one": Member(folder / "one", role)}
    shops = None
    try:
        members["two"] = Member(folder / "two", role, key)
        company = members["one"].post(REGISTER, registration())["companycode"]
        token = members["two"].post(TOKEN, {"companycode": company, "companypassword": PASSWORD})["access_token"]
        for member in members.values():
            balancer.add(member)
        shops = Shops(balancer, token)
        shops.go_on(*members.values())
        with State(folder / "one", own=False, url=url) as state:
            for name in ("two", "one"):
                leaving = members[name]
                leaving.process.send_signal(signal.SIGTERM)
                assert leaving.process.wait(PATIENCE) == 0
                balancer.remove(leaving)
                shops.go_on(*(one for one in members.values() if one is not leaving))
                leaving.stop()  # its client here is closed too
                members[name] = Member(folder / name, role, key, root=newer)
                balancer.add(members[name])
                assert schema(state) == {"schema": NEXT, "schema-since": SCHEMA_SINCE}
                shops.go_on(*members.values())
                if name == "two":
                    starts_again(members["one"])  # the older build, on the newer schema
                    shops.go_on(*members.values())
            shops.close()
            assert shops.refused == []
            assert "vingate next" in members["one"].log.read_text()
            wait_for(lambda: waiting(state) == 0)
            wait_for(lambda: prove(state).balanced)
            with state.reading() as connection:
                rows = connection.exec_driver_sql("SELECT costlistcode, version FROM repairs").all()
        assert sorted(map(tuple, rows)) == sorted((code, 1) for _, code in shops.sent)
    finally:
        if shops is not None:
            shops.close()
        balancer.close()
        for member in members.values():
            member.stop()


def test_a_migration_that_does_not_expand_waits_until_all_have_ended(place, tmp_path_factory):
    folder, url = place
    newer, role = next_build(tmp_path_factory.mktemp("next"), expands=False), folder / "role.toml"
    older = Member(folder / "one", role)
    try:
        with pytest.raises(AssertionError, match="another vingate"):
            Member(folder / "two", role, folder / "one" / KEY, root=newer)
        with State(folder / "one", own=False, url=url) as state:
            assert schema(state)["schema"] == SCHEMA_VERSION
    finally:
        assert older.stop() == 0
    assert Member(folder / "one", role, root=newer).stop() == 0
    with pytest.raises(AssertionError, match="newer vingate"):
        Member(folder / "one", role)


def starts_again(member: Member) -> None:
    """Its gateway is killed, and comes again."""
    started = member.log.read_text().count('"child-ready"')
    for pid in Path(f"/proc/{member.process.pid}/task/{member.process.pid}/children").read_text().split():
        if b"door" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(int(pid), signal.SIGKILL)
            break
    wait_for(lambda: member.log.read_text().count('"child-ready"') > started)


def waiting(state: State) -> int:
    with state.reading() as connection:
        told = "SELECT (SELECT count(*) FROM inbox) + (SELECT count(*) FROM batches WHERE state <> 'closed')"
        return connection.exec_driver_sql(told).scalar_one()
