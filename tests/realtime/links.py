"""The network between clients, roles and servers, which can fail: connections are cut, stall, or pass one way only.

A link may also forget those connections that stand, as a firewall does, while new ones pass.

All links run in one thread of their own, so that a test's main thread may start processes.
"""

from __future__ import annotations

import asyncio
import socket
import threading

PASS, CUT, STALL, HALF, FORGET = "pass", "cut", "stall", "half", "forget"
FAULTS = (CUT, STALL, HALF)


class Link:
    """Passes connections on to a port of 127.0.0.1; `port` is its own, at an address of this machine."""

    def __init__(self, loop: asyncio.AbstractEventLoop, target: int, host: str = "127.0.0.1") -> None:
        self._loop, self._target = loop, target
        self._mode = PASS
        self._healed = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._socket = socket.create_server((host, 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])

    async def serve(self) -> None:
        """Accept connections from now on."""
        self._server = await asyncio.start_server(self._accepted, sock=self._socket)

    async def set(self, mode: str) -> None:
        """Fail in one of the ways, or pass again. What was held back or half open is cut then: nothing comes late."""
        before, self._mode = self._mode, mode
        self._forgotten = set(self._open) if mode == FORGET else set()
        if mode == CUT or before != PASS:
            for writer in list(self._open):
                writer.transport.abort()
        if mode == PASS:
            self._healed.set()
        else:
            self._healed.clear()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._mode == CUT:
            writer.transport.abort()
            return
        try:
            their_reader, their_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        both = (writer, their_writer)
        self._open.update(both)
        try:
            await asyncio.gather(
                self._pump(reader, their_writer, back=False), self._pump(their_reader, writer, back=True)
            )
        finally:
            for one in both:
                self._open.discard(one)
                one.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        try:
            while data := await reader.read(1 << 16):
                if self._mode == STALL or (self._mode == HALF and back) or writer in self._forgotten:
                    await self._healed.wait()
                    raise ConnectionAbortedError
                writer.write(data)
                await writer.drain()
            if not writer.is_closing():
                writer.write_eof()
        except OSError:  # whoever is left must hear of it
            writer.transport.abort()


class Links:
    """All links by name, and the thread that they run in."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="links")
        self._thread.start()
        self.by_name: dict[str, Link] = {}

    def add(self, name: str, target: int, host: str = "127.0.0.1") -> int:
        """A new link to a port; the port by which it is reached."""
        made = self.by_name[name] = Link(self._loop, target, host)
        self._call(made.serve())
        return made.port

    def set(self, name: str, mode: str) -> None:
        """Have a link fail, or pass again."""
        self._call(self.by_name[name].set(mode))

    def heal(self) -> None:
        """Have all links pass."""
        for name in self.by_name:
            self.set(name, PASS)

    def _call(self, work) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
