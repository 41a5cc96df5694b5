"""A RabbitMQ node of one's own: ports, folders, cookie, name registry, nothing shared with an installed service.

node = Node(folder, {"vingate": "PASSWORD"})
node.make()
node.start()
node.wait()
pika.BlockingConnection(pika.URLParameters(node.url("vingate")))
node.stop()

It ends with the process that started it, however that ends.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError

from pipelines.local.processes import NotStarted, free_ports, spawn, wait_for

_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
load_definitions = {folder}/definitions.json
vm_memory_high_watermark.absolute = 2000000000
disk_free_limit.absolute = 1000000
log.file.level = warning
consumer_timeout = 600000
"""
_TLS = """
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {tls}/ca.pem
ssl_options.certfile = {tls}/server.pem
ssl_options.keyfile = {tls}/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
"""


class Node:
    """A node in a folder. Needs what `scripts/servers` installs.

    Args:
        folder: where everything of it lies.
        users: password of each user.
        barred: those of them who may enter, and may neither read, write nor declare.
        tls: folder of ca.pem, server.pem and server.key; None: no TLS.
    """

    def __init__(
        self, folder: Path, users: Mapping[str, str], barred: Collection[str] = (), tls: Path | None = None
    ) -> None:
        self.folder = folder
        self._users, self._barred, self._tls = users, barred, tls
        self.port, self.tls_port, dist_port, epmd_port = free_ports(4)
        self.about: dict[str, Any] = {
            "port": self.port,
            "tls_port": self.tls_port,
            "dist_port": dist_port,
            "epmd_port": epmd_port,
            "node": f"vingate{self.port}@localhost",
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pid(self) -> int:
        """The node's process; 0 where none was started."""
        return self._processes[-1].pid if self._processes else 0

    @property
    def running(self) -> bool:
        """Whether all processes that were started are there."""
        return bool(self._processes) and all(one.poll() is None for one in self._processes)

    @property
    def log(self) -> Path:
        """The file that the node's words go to."""
        return self.folder / "server.log"

    def make(self) -> None:
        """Write the node's settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        users = [{"name": name, "password": word, "tags": "administrator"} for name, word in self._users.items()]
        allowed = [
            {"user": name, "vhost": "/", "configure": what, "write": what, "read": what}
            for name in self._users
            for what in (["" if name in self._barred else ".*"])
        ]
        definitions = {"users": users, "vhosts": [{"name": "/"}], "permissions": allowed}
        secret = self.folder / "definitions.json"
        secret.touch(0o600)
        secret.write_text(json.dumps(definitions))
        config = _CONFIG + (_TLS if self._tls else "")
        (self.folder / "rabbitmq.conf").write_text(config.format(folder=self.folder, tls=self._tls, **self.about))
        (self.folder / "enabled_plugins").write_text("[].")
        (self.folder / "node.json").write_text(json.dumps(self.about))

    def start(self) -> None:
        """Start the name registry and the node; `wait` says when it answers.

        Raises:
            NotStarted: RabbitMQ is not installed.
        """
        server = program()
        given, port = environment(self.folder, self.about), self.about["epmd_port"]
        registry = [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(port)]
        self._processes.append(spawn(registry, given, self.log, start_new_session=True))
        # A node that finds no registry starts one as a daemon, which nobody would end.
        wait_for(lambda: listens("127.0.0.1", port) or not self.running, "epmd")
        self._processes.append(spawn([server], given, self.log, start_new_session=True))

    def wait(self) -> None:
        """Wait until the node answers.

        Raises:
            NotStarted: it ended instead, or takes too long.
        """
        wait_for(self._answers, "RabbitMQ")

    def _answers(self) -> bool:
        if not self.running:
            message = f"RabbitMQ 未能启动，见 / did not start, see {self.log}"
            raise NotStarted(message)
        return answers(self.url(next(iter(self._users))))

    def kill(self) -> None:
        """Kill all, at once: what was confirmed is on disk."""
        for one in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
        self._processes.clear()

    stop = kill

    def url(self, user: str) -> str:
        """The address of a user, with password."""
        return f"amqp://{user}:{self._users[user]}@127.0.0.1:{self.port}/"


def program() -> Path:
    """Where the newest RabbitMQ is.

    Raises:
        NotStarted: there is none.
    """
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    if not found:
        message = "没有 RabbitMQ，请执行 scripts/servers / no RabbitMQ in /usr/lib/rabbitmq: run scripts/servers"
        raise NotStarted(message)
    return found[-1] / "sbin" / "rabbitmq-server"


def answers(url: str) -> bool:
    """Whether a node answers at an address."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = 5
    if not listens(parameters.host, parameters.port):
        return False  # pika would write a page about it to the log
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError):
        return False
    return True


def listens(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def call(folder: Path, module: str, function: str, arguments: str) -> str:
    """Call a function inside the node of a folder, with arguments in Erlang; what it answers, as Erlang writes it."""
    about = json.loads((folder / "node.json").read_text())
    code = (
        f"io:format(\"~p\", [rpc:call('{about['node']}', {module}, {function}, {arguments}, 10000)]), "
        "erlang:halt(0, [{flush, true}])."
    )
    erlang = shutil.which("erl") or "erl"
    name = f"t{os.getpid()}@localhost"
    command = [erlang, "-noinput", "-hidden", "-start_epmd", "false", "-sname", name, "-eval", code]
    given = environment(folder, about)
    return subprocess.run(  # noqa: S603 - a program that we name ourselves
        command, env=given, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def settle(folder: Path) -> None:
    """Have what the node of a folder knows of its queues on disk.

    A quorum queue is entered in a register that reaches the disk half a second later; without it the queue comes back
    empty and without a leader.
    """
    call(folder, "dets", "sync", "[ra_directory_reverse]")


def environment(folder: Path, about: Mapping[str, Any]) -> dict[str, str]:
    """Environment of programs of a node, with nothing of an installed one's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    return {
        **kept,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(about["epmd_port"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_CRASH_DUMP_SECONDS": "0",
        "RABBITMQ_NODENAME": about["node"],
        "RABBITMQ_DIST_PORT": str(about["dist_port"]),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "no-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        # No spinning schedulers: others share the processor.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
        "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "1",  # the start script gives way to the node: one process, no proxy
    }
