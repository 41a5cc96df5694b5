"""A RabbitMQ node of the tests' own: ports, folders, cookie, name registry, nothing shared with an installed service.

One node serves a whole test run. Tests tell their queues apart by names; who restarts it, or lets it run out of memory,
has it alone meanwhile.

    broker = start(tmp_path_factory.getbasetemp())
    with broker.shared():
        connect(broker.url())
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pika

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import certificates, keeping

from pipelines.local.processes import wait_for
from pipelines.local.rabbitmq import Node, answers, call, settle

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
        settle(self.folder)  # tests are about queues that are older than that takes
        gate.touch()
        try:
            pid = int((self.folder / "pid").read_text())
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not Path(f"/proc/{pid}").exists(), "RabbitMQ gone")
            yield
        finally:
            gate.unlink()
            wait_for(lambda: answers(self.url()), "RabbitMQ back")

    def call(self, module: str, function: str, arguments: str) -> str:
        """Call a function inside the node, with arguments written in Erlang; what it answers, as Erlang writes it."""
        return call(self.folder, module, function, arguments)

    @contextmanager
    def out_of_memory(self) -> Iterator[None]:
        """The node blocks its publishers. Only for who has it alone."""
        self.call("vm_memory_monitor", "set_vm_memory_high_watermark", "[{absolute, 1000}]")
        try:
            yield
        finally:
            self.call("vm_memory_monitor", "set_vm_memory_high_watermark", "[{absolute, 2000000000}]")


def start(basetemp: Path) -> Broker:
    """The test run's node, started if need be. Needs what `scripts/servers` installs."""
    about = keeping.shared("rabbitmq", basetemp, lambda folder: [sys.executable, __file__, folder])
    return Broker({**about, "lock": str(keeping.run_folder(basetemp)[0] / "rabbitmq-use.lock")})


# -- the keeper --------------------------------------------------------------------------------------------------------


class Keeper:
    """Keeps the node alive, except while the file `down` lies in its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "tls").mkdir(exist_ok=True)
        certificates.make(folder / "tls")
        self._node = Node(folder, {USER: PASSWORD, STRANGER: PASSWORD}, barred=[STRANGER], tls=folder / "tls")
        self._node.make()

    def start(self) -> None:
        """Start the name registry and the node."""
        self._node.start()
        (self._folder / "pid").write_text(str(self._node.pid))

    def step(self) -> None:
        """Say when the node is ready; start it again when it went."""
        if not self._node.running:
            self._node.kill()
            if not (self._folder / "down").exists():
                self.start()
        elif not (self._folder / "ready.json").exists() and answers(self._node.url(USER)):
            keeping.say_ready(self._folder, self._node.about)

    def stop(self) -> None:
        """Kill all, at once: nothing here is worth keeping."""
        self._node.kill()


def main() -> None:
    """The keeper: `python rabbitmq.py FOLDER`, with the run's main process in KEEPER_MAIN."""
    folder = Path(sys.argv[1])
    keeper = Keeper(folder)
    keeper.start()
    keeping.keep(folder, keeper.step, keeper.stop)


if __name__ == "__main__":
    main()
