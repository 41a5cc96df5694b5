"""The network under attack: roles and servers joined by links that fail, and disks that can be filled."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from links import Links
from load import Client, Shop, System

from pipelines.local.network import COLLECTING, DATABASE, HOME, MINISTRY, Network
from pipelines.local.postgres import FAST, answers
from pipelines.local.rabbitmq import answers as broker_answers
from pipelines.local.rabbitmq import settle
from pipelines.nation import DEPLOY

ROLES = (COLLECTING, MINISTRY, HOME)
PATIENCE = 240.0
_QUICK = ("health.free_megabytes=0", "logging.level=info")
_FEEDS = {
    COLLECTING: ("collect.feeds.uploads", "pushed.feeds.ministry", "report.sinks.ministry"),
    HOME: ("collect.feeds.uploads", "pushed.feeds.ministry", "report.sinks.ministry"),
    MINISTRY: ("report.feeds.provinces", "headquarters.feeds.makers", "push.sinks.provinces"),
}
_EXCHANGES = {
    COLLECTING: ("collect", "report", "pushed"),
    HOME: ("collect", "report", "pushed"),
    MINISTRY: ("report", "headquarters", "push"),
}
_DISK = {"max_wal_size": "64MB", "min_wal_size": "32MB", "wal_recycle": "off", "wal_init_zero": "on"}
_MEGABYTE = 1 << 20


def settings_of(role: str) -> tuple[str, ...]:
    """Shorter pauses than a province would want, so that a round is soon over."""
    amqp = (
        f"exchanges.{one}.{what}" for one in _FEEDS[role] for what in ("heartbeat_seconds=4", "backoff_limit_seconds=1")
    )
    retry = (
        f"exchanges.{one}.retry.{what}" for one in _EXCHANGES[role] for what in ("first_seconds=0.3", "most_seconds=1")
    )
    return (*_QUICK, *amqp, *retry)


class Disks:
    """Small disks of memory in a mount namespace of this process; none where the system does not permit them."""

    def __init__(self) -> None:
        self.permitted = self._own_namespace()
        self._folders: dict[str, Path] = {}
        self._mounted: list[Path] = []

    @staticmethod
    def _own_namespace() -> bool:
        newns = 0x20000
        if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(newns):
            return False
        done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
        return done.returncode == 0

    def mount(self, name: str, folder: Path, megabytes: int) -> None:
        """Put a disk of its own at a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.permitted:
            options = f"size={megabytes}m,mode=711"
            done = subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False
            )
            self.permitted = done.returncode == 0
            if self.permitted:
                self._mounted.append(folder)
        self._folders[name] = folder

    def fill(self, name: str) -> None:
        """Leave no room at all."""
        with suppress(OSError), (self._folders[name] / "ballast").open("ab") as file:
            for size in (_MEGABYTE, 4096):
                with suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
                        file.flush()

    def free(self) -> None:
        """Make room again on all."""
        for folder in self._folders.values():
            (folder / "ballast").unlink(missing_ok=True)

    def unmount(self, *, keep: bool) -> None:
        """Take the disks away; what lies on them stays where it was with `keep`."""
        for folder in self._mounted:
            kept = folder.with_name(f"{folder.name}.kept")
            if keep:
                subprocess.run(["cp", "-a", folder, kept], check=True)
            subprocess.run(["umount", "--lazy", folder], check=True)
            if keep:
                folder.rmdir()
                kept.rename(folder)
        self._mounted.clear()


class World:
    """Everything that runs, and what can be done to it. One thread's, and that must live as long as it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
        self.folder, self.links, self.disks = folder, Links(), Disks()
        states = {name: folder / "disks" / name for name in ROLES}
        for name, state in states.items():
            self.disks.mount(name, state, 48)
        self.disks.mount(DATABASE, folder / "network" / "postgres-disk", 600)
        self.network = Network(
            folder / "network",
            between=lambda role, server, port: self.links.add(f"{role} - {server}", port),
            states=states,
            more={name: settings_of(name) for name in ROLES},
            options={**FAST, **_DISK},
            cluster=folder / "network" / "postgres-disk" / "postgres",
            deploy=Path(shutil.copytree(DEPLOY, folder / "deploy")),  # whoever edits the checkout reloads no role here
        )
        self._frozen: set[int] = set()
        self._limited: set[int] = set()
        self.clients: list[Client] = []
        self.unclean: list[str] = []

    def start(self) -> None:
        """Start everything, and register the shops."""
        self.network.make()
        self.network.start()
        door = self.links.add("shops - door", self.network.ports[COLLECTING])
        shops = [Shop(number, f"http://127.0.0.1:{door}", 25) for number in range(2)]
        broker = self.links.add("system - rabbitmq", self.network.node.port)
        url = self.network.node.url("vingate").replace(f":{self.network.node.port}/", f":{broker}/")
        self.clients = [*shops, System(shops[0].company, url, 25)]

    def stop(self, *, keep: bool) -> None:
        """End everything; with `keep` all folders stay as they are."""
        for client in self.clients:
            client.close()
        self.network.stop()
        self.disks.free()
        self.disks.unmount(keep=keep)

    # -- faults --------------------------------------------------------------------------------------------------------

    def kill_child(self, role: str, kind: str) -> None:
        """SIGKILL a child of a role; its supervisor starts it again."""
        self._signal(role, kind, signal.SIGKILL)

    def freeze(self, role: str, kind: str) -> None:
        """Stop a process without ending it."""
        pid = self._signal(role, kind, signal.SIGSTOP)
        if pid:
            self._frozen.add(pid)

    def thaw(self) -> None:
        """Let what was frozen go on."""
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen.clear()

    def limit(self, role: str) -> None:
        """Let a role's gateway write no byte to a file: what a full disk is where no disk of our own is permitted."""
        pid = self.network.services[role].children().get("gateway", 0)
        if pid:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
                self._limited.add(pid)

    def _signal(self, role: str, kind: str, number: int) -> int:
        pid = self.network.services[role].children().get(kind, 0)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pid

    def kill_role(self, role: str) -> None:
        """SIGKILL a supervisor; its children must end with it. Started again at once, as a service manager would."""
        service = self.network.services[role]
        service.kill()
        service.start()

    def restart_role(self, role: str) -> None:
        """SIGTERM, and a new start."""
        service = self.network.services[role]
        self.thaw()
        ready = bool(service.told())
        code = service.stop()
        if code and ready:  # one that has just begun dies of the signal, and has nothing to finish
            self.unclean.append(f"{role}: exit code {code} after SIGTERM")
        service.start()

    def kill_broker(self) -> None:
        """SIGKILL the broker."""
        if self.network.node.running and broker_answers(self.network.node.url("vingate")):
            with suppress(subprocess.SubprocessError):
                settle(self.network.node.folder)
        self.network.node.kill()

    def kill_database(self) -> None:
        """End the database server at once."""
        self.network.cluster.kill()

    def end_sessions(self, role: str) -> None:
        """Have the database server end all sessions of a role."""
        for database in (self.network.state(role), self.network.store(role)):
            with suppress(Exception):
                self.network.cluster.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", database
                )

    # -- and their end -------------------------------------------------------------------------------------------------

    def servers_up(self) -> None:
        """Start the servers that are down."""
        if not self.network.node.running:
            self.network.node.kill()
            self.network.node.start()
        if not self.network.cluster.running:
            self.network.cluster.start()

    def heal(self) -> None:
        """Everything runs again and can be reached; nothing is full."""
        self.links.heal()
        self.disks.free()
        self.thaw()
        for pid in self._limited:
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self._limited.clear()
        end = time.monotonic() + PATIENCE
        while not self._well():
            if time.monotonic() > end:
                message = "the network does not come back"
                raise AssertionError(message)
            time.sleep(0.1)

    def _well(self) -> bool:
        self.servers_up()
        if not answers(self.network.cluster.address()) or not broker_answers(self.network.node.url("vingate")):
            return False
        for service in self.network.services.values():
            if not service.running:
                service.start()
        return all(service.told() for service in self.network.services.values())
