"""A RabbitMQ node of the tests' own: ports, folders, cookie, name registry, nothing shared with an installed service.

One node serves a whole test run. Tests tell their queues apart by names; who restarts it, or lets it run out of memory,
has it alone meanwhile.

    broker = start(tmp_path_factory.getbasetemp())
    with broker.shared():
        connect(broker.url())
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pika
from pika.exceptions import AMQPError

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import certificates, keeping

USER, PASSWORD = "vingate", "s3cret-of-the-tests"
STRANGER = "stranger"
"""A user with the same password that may enter, and may neither read, write nor declare."""


class Broker:
    """The node, as tests see it."""

    def __init__(self, about: dict[str, Any]) -> None:
        self.port, self.tls_port = int(about["port"]), int(about["tls_port"])
        self.folder = Path(about["folder"])
        self._lock = Path(about["lock"])

    def url(self, user: str = USER, password: str = PASSWORD, port: int = 0) -> str:
        """The address with user and password, plain."""
        return f"amqp://{user}:{password}@127.0.0.1:{port or self.port}/"

    @property
    def certificates(self) -> Path:
        """The folder of ca.pem, client.pem and the like."""
        return self.folder / "tls"

    def connect(self) -> pika.BlockingConnection:
        """A connection for the test itself."""
        return pika.BlockingConnection(pika.URLParameters(self.url()))

    @contextmanager
    def shared(self) -> Iterator[Broker]:
        """Use the node beside others."""
        with keeping.locked(self._lock, shared=True):
            yield self

    @contextmanager
    def alone(self) -> Iterator[Broker]:
        """Use the node while nobody else does."""
        with keeping.locked(self._lock):
            yield self

    @contextmanager
    def down(self) -> Iterator[None]:
        """Kill the node; it is back, and ready, at the end. Only for who has it alone."""
        gate = self.folder / "down"
        # A quorum queue is entered in a register that reaches the disk half a second later; without it the queue comes
        # back empty and without a leader. Tests are about queues that are older than that.
        self.call("dets", "sync", "[ra_directory_reverse]")
        gate.touch()
        try:
            pid = int((self.folder / "pid").read_text())
            os.kill(pid, signal.SIGKILL)
            _wait(lambda: not Path(f"/proc/{pid}").exists())
            yield
        finally:
            gate.unlink()
            _wait(lambda: ready(self.url()))

    def call(self, module: str, function: str, arguments: str) -> str:
        """Call a function inside the node, with arguments written in Erlang; what it answers, as Erlang writes it."""
        about = json.loads((self.folder / "node.json").read_text())
        code = (
            f"io:format(\"~p\", [rpc:call('{about['node']}', {module}, {function}, {arguments}, 10000)]), "
            "erlang:halt(0, [{flush, true}])."
        )
        command = [
            "erl",
            "-noinput",
            "-hidden",
            "-start_epmd",
            "false",
            "-sname",
            f"t{os.getpid()}@localhost",
            "-eval",
            code,
        ]
        return subprocess.run(
            command, env=_environment(self.folder, about), capture_output=True, text=True, check=True, timeout=60
        ).stdout

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """The node blocks its publishers. Only for who has it alone."""
        self.call("vm_memory_monitor", "set_vm_memory_high_watermark", "[{absolute, 1000}]")
        try:
            yield
        finally:
            self.call("vm_memory_monitor", "set_vm_memory_high_watermark", "[{absolute, 2000000000}]")


def ready(url: str) -> bool:
    """Whether the node answers."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.blocked_connection_timeout = 5
    try:
        pika.BlockingConnection(parameters).close()
    except (AMQPError, OSError):
        return False
    return True


def _wait(condition: Any) -> None:
    end = time.monotonic() + keeping.PATIENCE
    while not condition():
        if time.monotonic() > end:
            message = "RabbitMQ is not in the state that was waited for"
            raise TimeoutError(message)
        time.sleep(0.05)


def start(basetemp: Path) -> Broker:
    """The test run's node, started if need be. Needs what `scripts/servers` installs."""
    about = keeping.shared("rabbitmq", basetemp, lambda folder: [sys.executable, __file__, folder])
    return Broker({**about, "lock": str(keeping.run_folder(basetemp)[0] / "rabbitmq-use.lock")})


# -- the keeper --------------------------------------------------------------------------------------------------------

_CONFIG = """
listeners.tcp.1 = 127.0.0.1:{port}
listeners.ssl.1 = 127.0.0.1:{tls_port}
ssl_options.cacertfile = {folder}/tls/ca.pem
ssl_options.certfile = {folder}/tls/server.pem
ssl_options.keyfile = {folder}/tls/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = false
load_definitions = {folder}/definitions.json
vm_memory_high_watermark.absolute = 2000000000
disk_free_limit.absolute = 1000000
log.file.level = warning
consumer_timeout = 600000
"""


def _environment(folder: Path, about: dict[str, Any]) -> dict[str, str]:
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
        # No spinning schedulers: tests share the processor.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
        "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "1",  # the start script gives way to the node: one process, no proxy
    }


def _prepare(folder: Path) -> dict[str, Any]:
    port, tls_port, dist_port, epmd_port = keeping.free_ports(4)
    about = {"port": port, "tls_port": tls_port, "dist_port": dist_port, "epmd_port": epmd_port}
    about["node"] = f"vingate{port}@localhost"
    (folder / "tls").mkdir(exist_ok=True)
    certificates.make(folder / "tls")
    users = [{"name": name, "password": PASSWORD, "tags": "administrator"} for name in (USER, STRANGER)]
    allowed = [
        {"user": user, "vhost": "/", "configure": what, "write": what, "read": what}
        for user, what in ((USER, ".*"), (STRANGER, ""))
    ]
    definitions = {"users": users, "vhosts": [{"name": "/"}], "permissions": allowed}
    (folder / "definitions.json").write_text(json.dumps(definitions))
    (folder / "rabbitmq.conf").write_text(_CONFIG.format(folder=folder, **about))
    (folder / "enabled_plugins").write_text("[].")
    (folder / "node.json").write_text(json.dumps(about))
    return about


class Keeper:
    """Keeps the node alive, except while the file `down` lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._about = _prepare(folder)
        self._environment = _environment(folder, self._about)
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the name registry and the node."""
        server = max(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")) / "sbin" / "rabbitmq-server"
        epmd = str(self._about["epmd_port"])
        registry = shutil.which("epmd") or "epmd"
        log = self._folder / "server.log"
        self._spawn([registry, "-address", "127.0.0.1", "-port", epmd], log)
        self._spawn([server], log)
        (self._folder / "pid").write_text(str(self._processes[-1].pid))

    def _spawn(self, command: list[str | Path], log: Path) -> None:
        self._processes.append(keeping.spawn(command, self._environment, log, start_new_session=True))

    def step(self) -> None:
        """Say when the node is ready; start it again when it went."""
        if any(one.poll() is not None for one in self._processes):
            self.stop()
        if not self._processes:
            if not (self._folder / "down").exists():
                self.start()
        elif not (self._folder / "ready.json").exists() and ready(
            f"amqp://{USER}:{PASSWORD}@127.0.0.1:{self._about['port']}/"
        ):
            keeping.say_ready(self._folder, self._about)

    def stop(self) -> None:
        """Kill all, at once: nothing here is worth keeping."""
        for one in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()
        self._processes.clear()


def main() -> None:
    """The keeper: `python rabbitmq.py FOLDER`, with the run's main process in KEEPER_MAIN."""
    folder = Path(sys.argv[1])
    keeper = Keeper(folder)
    keeper.start()
    keeping.keep(folder, keeper.step, keeper.stop)


if __name__ == "__main__":
    main()
