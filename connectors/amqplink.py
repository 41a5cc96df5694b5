"""A connection to a broker that is kept open by a thread of its own, and opened again when it breaks.

The thread runs pika's event loop: heartbeats go out however busy the gateway is, and messages come in meanwhile. Other
threads hand work over with `call`. A link that broke is opened again with capped exponential back-off and jitter; what
only a person can mend ends it at the first refusal.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.channel import Channel
from pika.exceptions import AMQPError, ConnectionClosed
from tenacity import (
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential,
    wait_random,
)

from connectors.amqperrors import RETRIED, Absent, meaning
from connectors.amqpsettings import Address, BrokerSettings, addresses
from connectors.contracts import ConnectorError, Misconfigured, Unavailable

logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it would log is raised here, with a remedy

CLOSED = Unavailable("已关闭 / closed")
"""Why a connection ends that its user closes."""
_CLOSING_SECONDS = 5.0
_SILENT_CLOSING_SECONDS = 1.0
_MISSED = 1.5
"""So many heartbeats without a byte: the connection is dead. pika itself would wait for two, and ten seconds more."""


@contextmanager
def borrowed(settings: BrokerSettings) -> Iterator[BlockingChannel]:
    """A channel of a short connection, for a question or a declaration; errors come out as the connectors' own.

    Raises:
        Unavailable: no node can be reached.
        Misconfigured: refused; see `connectors.amqperrors`.
    """
    connection, address = _connected(settings)
    try:
        with connection:
            yield connection.channel()
    except (AMQPError, OSError) as error:
        raise meaning(error, address) from None


def _connected(settings: BrokerSettings) -> tuple[pika.BlockingConnection, Address]:
    """A connection to the first node that can be reached."""
    last: ConnectorError | None = None
    for address in addresses(settings):
        try:
            return pika.BlockingConnection(address.parameters), address
        except (AMQPError, OSError) as error:
            last = meaning(error, address)
            if isinstance(last, Misconfigured):
                break
    assert last is not None  # noqa: S101 - there is always one address
    raise last


class Linked:
    """What a feed and a publisher have in common: a link that is opened when first needed, and what is known of it.

    `changed` guards all that both threads see.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        self._broker = settings
        self.changed = threading.Condition()
        self.link: Link | None = None
        self.channel: Channel | None = None
        """The channel, once all is set up on it; without one there is no connection now."""
        self._trouble: ConnectorError | None = None
        self._refused_at = 0.0
        self._links = 0

    def opened(self, channel: Channel) -> None:
        """In the link's thread: set the channel up, and then call `up`."""
        raise NotImplementedError

    def forget(self) -> None:
        """With `changed` held: forget what belonged to the channel that is gone."""
        raise NotImplementedError

    def start(self) -> None:
        """With `changed` held: open the link, if need be again some time after a refusal."""
        if self.refused and time.monotonic() - self._refused_at >= self._broker.refused_seconds:
            self.link = self._trouble = None
        if self.link is None or not (self.link.alive or self.refused):
            self._links += 1
            self.link = Link(self._broker, self.opened, partial(self._ended, self._links))

    @property
    def refused(self) -> bool:
        """Whether the link ended for a reason that only a person can mend."""
        return isinstance(self._trouble, Misconfigured)

    @property
    def troubled(self) -> bool:
        """Whether the last try to connect failed, or the connection was lost."""
        return self._trouble is not None

    def error(self) -> ConnectorError:
        """Why there is no connection now. A new error at each call: it is raised with a trace of its own."""
        found = self._trouble or Unavailable("正在连接 / connecting", RETRIED)
        return type(found)(found.message, found.remedy)

    def up(self, channel: Channel) -> None:
        """In the link's thread: from now on the channel is used, and what is missing later may come back."""
        with self.changed:
            self.channel, self._trouble = channel, None
            if self.link is not None:
                self.link.serving()
            self.changed.notify_all()

    def _ended(self, number: int, why: ConnectorError) -> None:
        with self.changed:
            if number != self._links:  # it was stopped, and took longer than anybody waited for
                return
            self.channel, self._trouble, self._refused_at = None, why, time.monotonic()
            self.forget()
            self.changed.notify_all()

    def close(self) -> None:
        """End the connection, after what was handed over. Idempotent; the next use opens another one."""
        with self.changed:
            link, self.link = self.link, None
        if link is not None:
            link.stop()
        with self.changed:
            self.channel = self._trouble = None
            self.forget()


class _Connection(SelectConnection):  # type: ignore[misc]  # pika names no types
    """One that is closed as a whole, with its channel open, after all that was written to it.

    pika would cancel consumers first. A queue with one active consumer gives what waits to the next one then, and
    gives what the cancelled one holds back only when its channel ends: behind newer messages of the same vehicles.
    The end of a connection gives them back in the same step that makes another consumer the active one.
    """

    def _close_channels(self, reply_code: int, reply_text: str) -> None:
        self._open_ones = len(self._channels)

    def close(self, reply_code: int = 200, reply_text: str = "Normal shutdown") -> None:
        """Say that the connection ends; channels end with it."""
        self._open_ones = 0
        super().close(reply_code, reply_text)
        if self._open_ones:  # pika would wait for the channels, and goes on only then
            self._on_close_ready()

    def abandon(self) -> None:
        """Wait no longer for the broker's word: the socket is closed now."""
        if not self.is_closed:
            self._terminate_stream(ConnectionClosed(0, "no answer"))


class Link:
    """A connection with one channel.

    Args:
        settings: which broker.
        opened: called in the link's thread with each new channel.
        ended: called in the link's thread when a connection ended, or could not be made, and why. A `Misconfigured`
            is the last: the thread ends.
    """

    def __init__(
        self, settings: BrokerSettings, opened: Callable[[Channel], None], ended: Callable[[ConnectorError], None]
    ) -> None:
        self._settings, self._opened, self._ended = settings, opened, ended
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._loop: IOLoop | None = None
        self._connection: _Connection | None = None
        self._served = False
        self._trouble: ConnectorError | None = None
        self._turn = count()
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    # -- from any thread -----------------------------------------------------------------------------------------------

    def call(self, do: Callable[[], None]) -> None:
        """Let the link's thread do something soon; nothing happens where no connection is."""
        with self._lock:
            if self._loop is not None:
                self._loop.add_callback_threadsafe(lambda: self._guarded(do))

    def drop(self, why: ConnectorError) -> None:
        """Give this connection up, and open another one."""
        self.call(lambda: self._close(why))

    def stop(self) -> None:
        """Close the connection after what was handed over is done, and end the thread. Idempotent.

        A connection that is just being made is made first, or times out.
        """
        self._stopping.set()
        self.drop(CLOSED)
        self._thread.join(self._settings.connect_seconds + 2 * _CLOSING_SECONDS)

    # -- the link's thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        settings = self._settings
        retrying = Retrying(
            wait=wait_exponential(settings.backoff_seconds, max=settings.backoff_limit_seconds)
            + wait_random(0, settings.backoff_seconds),
            retry=retry_if_exception_type(Unavailable),
            stop=stop_when_event_set(self._stopping),
            sleep=sleep_using_event(self._stopping),
            reraise=True,
        )
        told = False
        try:
            while not self._stopping.is_set():
                retrying(self._session)
        except ConnectorError:
            told = True
        finally:
            if not (told or self._stopping.is_set()):
                self._ended(Unavailable("连接线程意外结束 / the connection's thread ended unexpectedly", RETRIED))

    def _session(self) -> None:
        """One connection, from its making to its end; returns when it lived long enough to forget earlier failures."""
        began = time.monotonic()
        try:
            nodes = addresses(self._settings)
            why = self._live(nodes[next(self._turn) % len(nodes)])
        except ConnectorError as error:
            why = error
        if isinstance(why, Absent) and self._served:  # it was there and may come back
            why = Unavailable(why.message, why.remedy)
        self._ended(why)
        if isinstance(why, Misconfigured) or time.monotonic() - began < self._settings.backoff_limit_seconds:
            raise why

    def _live(self, address: Address) -> ConnectorError:
        """Make a connection and run it to its end; why it ended."""
        self._trouble = self._connection = None
        loop = IOLoop()

        def finished(_: object, error: BaseException) -> None:
            self._trouble = self._trouble or meaning(error, address)
            loop.stop()

        def channel_closed(_: Channel, error: BaseException) -> None:
            self._close(meaning(error, address))

        def channel_open(channel: Channel) -> None:
            channel.add_on_close_callback(channel_closed)
            self._guarded(lambda: self._opened(channel))

        def made(result: _Connection | BaseException) -> None:
            if isinstance(result, BaseException):
                finished(None, result)
                return
            self._connection = result
            self._listen(result, result.bytes_received, time.monotonic(), address)
            result.add_on_close_callback(finished)
            result.channel(on_open_callback=channel_open)
            if self._stopping.is_set():  # pika cannot give up a connection that it is making
                self._close(CLOSED)

        _Connection.create_connection([address.parameters], made, custom_ioloop=loop)
        with self._lock:
            self._loop = loop
        try:
            loop.start()
        finally:
            with self._lock:
                self._loop = None
            loop.close()
        return self._trouble or Unavailable(f"连接中断 / the connection was lost: {address.place}", RETRIED)

    def serving(self) -> None:
        """From `opened`, when all is set up: from now on what is missing may come back."""
        self._served = True

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except AMQPError as error:  # the channel was closed since: what closed it is told in its own callback
            self._close(Unavailable(f"连接中断 / the connection was lost: {type(error).__name__}"))

    def _listen(self, connection: _Connection, heard: int, at: float, address: Address) -> None:
        """Look again and again whether the broker says anything; give the connection up where it does not."""
        now = time.monotonic()
        if connection.is_closing or connection.is_closed:
            return
        if connection.bytes_received != heard:
            heard, at = connection.bytes_received, now
        if now - at > _MISSED * self._settings.heartbeat_seconds:
            why = Unavailable(f"服务器没有回应 / the broker says nothing: {address.place}", RETRIED)
            self._close(why, _SILENT_CLOSING_SECONDS)
            return
        again = self._settings.heartbeat_seconds / 8
        connection.ioloop.call_later(again, lambda: self._listen(connection, heard, at, address))

    def _close(self, why: ConnectorError, patience: float = _CLOSING_SECONDS) -> None:
        self._trouble = self._trouble or why
        connection = self._connection
        if connection is not None and not (connection.is_closing or connection.is_closed):
            connection.ioloop.call_later(patience, connection.abandon)
            connection.close()
