"""Stand-ins that run: in a thread of this process, or until a signal."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from connectors.contracts import Misconfigured
from pipelines.partners.catalogue import PARTNERS
from pipelines.partners.keeping import Kept
from pipelines.partners.server import Mood, StandIn

_STARTS_WITHIN = 30.0
_HOST = "127.0.0.1"


class Hosted:
    """Stand-ins behind one address of this machine; `urls` says where each is."""

    def __init__(self, stand_ins: Mapping[str, StandIn], url: str) -> None:
        self.stand_ins = stand_ins
        self.urls = {name: f"{url}/{name}" for name in stand_ins}


@contextmanager
def hosted(names: Sequence[str], folder: Path, *, port: int = 0, mood: Mood | None = None) -> Iterator[Hosted]:
    """Stand-ins in a thread of this process, on 127.0.0.1; what they take lies in `FOLDER/NAME.db`.

    Raises:
        Misconfigured: the port is taken.
        KeyError: there is no stand-in of a name.
    """
    with ExitStack() as held:
        made: dict[str, StandIn] = {}
        for name in names:
            kept = Kept(folder / f"{name}.db")
            held.callback(kept.close)
            made[name] = StandIn(PARTNERS[name], kept, mood or Mood())
        app = Starlette(routes=[Mount(f"/{name}", one.app()) for name, one in made.items()])
        listener = held.enter_context(_listener(port))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],), name="partners", daemon=True)
        thread.start()
        held.callback(_stop, server, thread)
        _wait(server, thread)
        yield Hosted(made, f"http://{_HOST}:{listener.getsockname()[1]}")


def _listener(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as error:
        listener.close()
        message = f"端口 {port} 不能使用：{error.strerror} / port {port} cannot be used: {error.strerror}"
        raise Misconfigured(message, "换一个端口，或用 --port 0 / take another one, or --port 0") from None
    listener.listen()
    return listener


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    end = time.monotonic() + _STARTS_WITHIN
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            message = "对接替身未能启动 / the stand-ins did not start"
            raise Misconfigured(message, "请再试 / try again")
        time.sleep(0.01)


def _stop(server: uvicorn.Server, thread: threading.Thread) -> None:
    server.should_exit = True
    thread.join(timeout=30)
