"""A small network on this machine: RabbitMQ, PostgreSQL, a province that collects, the ministry, and a home province.

    network = Network(Path("var/demo"))
    network.make()                        # folders, databases, queues; takes some seconds
    network.start()                       # the roles, until they can be used
    network.services["province-44"].told()["door"]
    network.stop()

The roles are those of deploy/roles, each with a state and a store in a database of its own. Passwords are made anew for
each network and lie in files of its folder that only its owner can read. It all ends with the process that made it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import orjson

from pipelines.local.postgres import FAST, Cluster
from pipelines.local.processes import NotStarted, free_ports
from pipelines.local.rabbitmq import Node, settle
from pipelines.local.services import Service
from pipelines.nation import DEPLOY

COLLECTING, MINISTRY, HOME = "province-44", "ministry", "province-51"
"""The roles: 广东 collects, 四川 is the home of vehicles that are repaired there."""
DATABASE, BROKER = "postgresql", "rabbitmq"
_ACCOUNT = "vingate"

Between = Callable[[str, str, int], int]
"""Of a role, a server and the server's port: the port by which the role reaches it."""


def direct(_role: str, _server: str, port: int) -> int:
    """Nothing stands between."""
    return port


class Network:
    """The servers and the roles.

    Args:
        folder: where everything lies; made if missing.
        between: for who puts something between roles and servers.
        states: folder of the state of a role, where it is not to be below `folder`.
        more: further overrides of each role.
        options: settings of PostgreSQL.
        cluster: folder of PostgreSQL, where it is not to be below `folder`.
        deploy: folder of the roles' settings.
    """

    def __init__(
        self,
        folder: Path,
        between: Between = direct,
        states: Mapping[str, Path] | None = None,
        more: Mapping[str, tuple[str, ...]] | None = None,
        options: Mapping[str, str] = FAST,
        cluster: Path | None = None,
        deploy: Path = DEPLOY,
    ) -> None:
        self.folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # the server of PostgreSQL may be another user's
        self._elsewhere = None if passable(self.folder) else Path(tempfile.mkdtemp(prefix="vingate-network-"))
        if self._elsewhere is not None:
            self._elsewhere.chmod(0o711)
        self._password = secrets.token_hex(16)
        place = cluster or (self._elsewhere or self.folder) / "postgres"
        self.cluster = Cluster(place, self._password, options=options)
        self.node = Node(self.folder / "rabbitmq", {_ACCOUNT: self._password})
        self._between, self._more, self._deploy = between, more or {}, deploy
        names = (COLLECTING, MINISTRY, HOME)
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        """Port of each role's door."""
        given = states or {}
        self.states = {name: given.get(name, self.folder / name / "state") for name in names}
        self.services = {name: self._service(name) for name in names}

    # -- addresses -----------------------------------------------------------------------------------------------------

    def store(self, role: str) -> str:
        """The database of a role's store."""
        return f"{role.replace('-', '_')}_store"

    def state(self, role: str) -> str:
        """The database of a role's state."""
        return f"{role.replace('-', '_')}_state"

    def _secret(self, role: str, name: str, address: str) -> str:
        """An address in a file of the role's folder; how settings name it."""
        path = self.folder / role / f"{name}.url"
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_text(address + "\n")
        return f"file:{path}"

    def _service(self, name: str) -> Service:
        port = self._between(name, DATABASE, self.cluster.port)
        state, store = (
            self._secret(name, kind, self.cluster.url(database).replace(f":{self.cluster.port}/", f":{port}/"))
            for kind, database in (("state", self.state(name)), ("store", self.store(name)))
        )
        port = self._between(name, BROKER, self.node.port)
        broker = self._secret(name, "broker", self.node.url(_ACCOUNT).replace(f":{self.node.port}/", f":{port}/"))
        part = MINISTRY if name == MINISTRY else "province"
        addresses = _ministry(store, broker) if name == MINISTRY else _province(name, self.ports[name], store, broker)
        overrides = (f"state.url={state}", "health.port=0", *addresses, *self._more.get(name, ()))
        return Service(self._deploy / "roles" / f"{part}.toml", self.states[name], overrides, self.folder / name)

    # -- life ----------------------------------------------------------------------------------------------------------

    def make(self) -> None:
        """Start the servers on fresh folders, and make databases, queues and registers.

        Raises:
            NotStarted: a server is not installed or did not start, or a role's queues could not be made.
        """
        self.node.make()
        self.node.start()
        self.cluster.make()
        self.cluster.start()
        self.cluster.wait()
        for name in self.services:
            for database in (self.state(name), self.store(name)):
                self.cluster.execute(f"CREATE DATABASE {database}")
        self.node.wait()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._declare, self.services))
        settle(self.node.folder)

    def _declare(self, name: str) -> None:
        service = self.services[name]
        settings = [part for one in service.overrides for part in ("--set", one)]
        command = [sys.executable, "-m", "pipelines", "check", str(service.role), "--declare", "--json", *settings]
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [*command, "--state", str(service.state)], cwd=DEPLOY.parent, capture_output=True, text=True, check=False
        )
        parts = orjson.loads(done.stdout)["parts"] if done.stdout else []
        problems = [one["problem"] for one in parts if one["problem"]]
        if done.returncode:
            raise NotStarted("\n".join([f"{name}:", *problems, done.stderr]))

    def start(self) -> None:
        """Start all roles, and wait until they can be used.

        Raises:
            NotStarted: one of them ended instead.
        """
        for service in self.services.values():
            service.start()
        for service in self.services.values():
            service.wait()

    def stop(self) -> bool:
        """Stop the roles, then the servers; whether all roles finished what they did."""
        for service in self.services.values():
            service.ask_to_stop()
        codes = [service.stop() for service in self.services.values()]
        self.node.stop()
        self.cluster.stop()
        if self._elsewhere is not None:
            shutil.rmtree(self._elsewhere, ignore_errors=True)
        return not any(codes)


def passable(folder: Path) -> bool:
    """Whether every user can pass through a folder and all above it; always so where the server is our own user's."""
    above = (folder, *folder.parents)
    return os.getuid() != 0 or all(one.stat().st_mode & stat.S_IXOTH for one in above if one.exists())


def _province(name: str, port: int, store: str, broker: str) -> tuple[str, ...]:
    system = name.removeprefix("province-")
    return (
        "door.host=127.0.0.1",
        f"door.port={port}",
        "door.registration=at-once",
        f"exchanges.collect.versions.system={system}",
        f"exchanges.collect.feeds.uploads.url={broker}",
        f"exchanges.collect.feeds.uploads.queue=vingate.uploads-{system}",
        f"exchanges.collect.sinks.store.url={store}",
        f"exchanges.report.source.url={store}",
        f"exchanges.report.sinks.ministry.url={broker}",
        f"exchanges.pushed.feeds.ministry.url={broker}",
        f"exchanges.pushed.feeds.ministry.queue=vingate.{name}",
        f"exchanges.pushed.sinks.store.url={store}",
    )


def _ministry(store: str, broker: str) -> tuple[str, ...]:
    return (
        f"exchanges.report.feeds.provinces.url={broker}",
        f"exchanges.report.sinks.ministry.url={store}",
        f"exchanges.headquarters.feeds.makers.url={broker}",
        f"exchanges.headquarters.sinks.ministry.url={store}",
        f"exchanges.headquarters.sinks.provinces.url={broker}",
        f"exchanges.push.source.url={store}",
        f"exchanges.push.sinks.provinces.url={broker}",
    )
