"""A TCP proxy whose connections can be cut: the network between the gateway and a server, when it breaks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes every connection on to a port of 127.0.0.1; `port` is its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._up = True
        self.accepted = 0
        """Connections that were made so far."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            with self._lock:
                self._open += [client, server]
                up = self._up
            if not up:
                self.cut()
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut all connections of this moment."""
        with self._lock:
            ends, self._open = self._open, []
        for one in ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """While it lasts, connections are cut as soon as they are made."""
        self._up = False
        self.cut()
        try:
            yield
        finally:
            self._up = True

    def close(self) -> None:
        """Cut everything and listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
