"""The whole network on one machine, with shops that call: `vingate demo`.

Everything lies in one folder and ends with this process, however that ends; a folder of an earlier demo is used again,
emptied.
"""

from __future__ import annotations

import fcntl
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import PipelineError
from pipelines.local.network import COLLECTING, HOME, MINISTRY, Network
from pipelines.local.shops import Shops
from pipelines.nation import need_checkout

MARK = "demo"
"""File in a folder that is a demo's."""
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal says that it is enough."""


class NotOurs(PipelineError):
    """The folder holds something else, or another demo runs in it."""

    exit_code = 2


class Counts(NamedTuple):
    """Where records are, at one moment."""

    sent: int
    accepted: int
    refused: int
    province: int
    """Versions in the store of the province that collects."""
    ministry: int
    home: int
    letters: int
    """Dead letters of all roles."""
    waiting: int
    """Envelopes and deliveries that wait."""


class Demo:
    """The running demo: `network`, `shops`."""

    def __init__(self, network: Network, shops: Shops) -> None:
        self.network, self.shops = network, shops

    def counts(self) -> Counts:
        """Where records are now."""
        told, ask = self.shops.told, self._ask
        province, ministry, home = (ask(self.network.store(role), "repairs") for role in (COLLECTING, MINISTRY, HOME))
        states = [self.network.state(role) for role in self.network.services]
        letters = sum(ask(state, "letters") for state in states)
        waiting = sum(ask(state, table) for state in states for table in ("inbox", "waiting"))
        return Counts(told["sent"], told["accepted"], told["refused"], province, ministry, home, letters, waiting)

    def _ask(self, database: str, table: str) -> int:
        ((found,),) = self.network.cluster.execute(f"SELECT count(*) FROM {table}", database=database)  # noqa: S608 - our names
        return int(found)

    def run(self, rate: float, seconds: float, every: float, tell: Callable[[Counts], None]) -> None:
        """Call at a rate (records/s) for so many seconds (0: until a signal comes), and tell counts meanwhile."""
        began = time.monotonic()
        due, telling = began, began + every
        while not seconds or time.monotonic() - began < seconds:
            now = time.monotonic()
            if now >= telling:
                tell(self.counts())
                telling += every
            if now < due:
                time.sleep(min(due - now, 0.2))
                continue
            self.shops.call()
            due = max(due + 1 / rate, now - 1)  # what was missed is made up for, but not for ever


@contextmanager
def demo(folder: Path, tell: Callable[[str], None] = lambda _text: None) -> Iterator[Demo]:
    """A demo, while it lasts; `tell` hears what is being done.

    Raises:
        NoCheckout: the shipped settings are not there.
        NotOurs: the folder holds something else, or another demo runs in it.
        Ended: a signal came.
        NotStarted: a server is not installed, or did not start.
    """
    need_checkout()
    with ExitStack() as stack:
        stack.enter_context(_owned(folder))
        stack.enter_context(_ending())
        tell("启动 RabbitMQ、PostgreSQL，建立库与队列 / starting RabbitMQ and PostgreSQL, making databases and queues")
        network = Network(folder / "network")
        stack.callback(_quietly, network.stop)
        network.make()
        tell("启动省平台、部级系统、车籍省平台 / starting province, ministry and home province")
        network.start()
        shops = stack.enter_context(Shops(str(network.services[COLLECTING].told()["door"]), folder / "shops"))
        yield Demo(network, shops)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The folder, emptied of an earlier demo and kept from another one."""
    mark = folder / MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        message = f"{folder} 不是空目录，也不是演示目录；请另选 / is not empty and no demo's folder; choose another one"
        raise NotOurs(message)
    folder.mkdir(parents=True, exist_ok=True)
    with mark.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            message = f"{folder}: 另一个演示正在运行；请另选目录 / another demo runs there; choose another folder"
            raise NotOurs(message) from None
        for name in ("network", "shops"):
            shutil.rmtree(folder / name, ignore_errors=True)
        yield


@contextmanager
def _ending() -> Iterator[None]:
    """Signals that say stop raise `Ended`, once."""

    def end(_number: int, _frame: object) -> None:
        for number in _ENDS:
            signal.signal(number, signal.SIG_IGN)
        raise Ended

    before: Mapping[int, Any] = {number: signal.signal(number, end) for number in _ENDS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _quietly(stop: Callable[[], object]) -> None:
    """Stop, whatever is being signalled meanwhile."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)
    stop()
