"""The door as a process: opens the state, listens, says when it is ready, and stops without losing a request."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import uvicorn
from starlette.types import ASGIApp

from pipelines.diskroom import DiskRoom
from pipelines.door.app import Door, at_once, direct, make_app, make_foshan_app
from pipelines.door.asgi import Room
from pipelines.door.callers import Callers
from pipelines.door.desk import Desk
from pipelines.door.failures import Failures
from pipelines.door.httpproto import AtOnce, bounded
from pipelines.door.insurers import InsurerDesk
from pipelines.door.intake import Intake
from pipelines.door.judging import Judge
from pipelines.door.limits import Limiters
from pipelines.door.orders import Orders
from pipelines.door.pieces import Pieces
from pipelines.door.protocols import shanghai
from pipelines.door.proxies import behind, behind_at_once
from pipelines.door.settings import DoorSettings
from pipelines.door.sharedlimits import shared
from pipelines.door.tracing import Told, traced
from pipelines.door.v1.api import Api
from pipelines.door.v1.closures import Closures
from pipelines.door.v1.holdings import Holdings
from pipelines.door.v1.receipts import Receipts
from pipelines.door.v1.records import Records
from pipelines.errors import PipelineError, StateMissing, StateTooOld
from pipelines.settings import Exchange
from pipelines.state import State

LOG = logging.getLogger("vingate.door")
_BACKLOG = 2048


class CannotListen(PipelineError):
    """The address is taken or not ours."""


class Urls(NamedTuple):
    """Where the door can be reached; `foshan` is empty while that listener is off."""

    door: str
    foshan: str


def serve_door(
    settings: DoorSettings,
    state_path: Path,
    exchange: Exchange,
    ready: Callable[[Urls], None] = lambda _: None,
    *,
    wait_seconds: float = 60.0,
    sockets: Sequence[socket.socket] = (),
    trace: Told | None = None,
    free_bytes: int = 0,
    begun: Callable[[Door], None] = lambda _: None,
    limits: int = -1,
    claims: Exchange | None = None,
) -> None:
    """Run the door until SIGTERM or SIGINT; then finish what was begun, commit it, and return.

    The state is the gateway's: the door waits until it is there and of this version, and never makes or changes it.

    Args:
        settings: of the door.
        state_path: folder of the state.
        exchange: the exchange that records go to, as its gateway runs it.
        ready: called once, when calls are answered.
        wait_seconds: how long to wait for the state.
        sockets: listening sockets of the door (and of Foshan's listener), where another process made them.
        trace: is told of each request, where somebody traces.
        free_bytes: with less room than this on the state's disk nothing is taken in.
        begun: is given the door's parts, once, as soon as they stand.
        limits: file descriptor of `sharedlimits.memory`, where the door has several processes.
        claims: the exchange that what insurers send goes to, where it is taken.

    Raises:
        CannotListen: an address cannot be listened on.
        StateMissing, StateTooOld, StateTooNew: the state did not become usable.
    """
    with ExitStack() as stack:
        state = stack.enter_context(open_state(state_path, wait_seconds))
        listening = [stack.enter_context(one) for one in sockets or _listening(settings)]
        limiters = shared(settings, limits) if limits >= 0 else None
        taken = claims.placed(state_path) if claims is not None else None
        placed = exchange.placed(state_path)
        door = stack.enter_context(
            opened(settings, state, placed, free_bytes=free_bytes, limiters=limiters, claims=taken)
        )
        begun(door)
        with asyncio.Runner(loop_factory=_new_loop()) as runner:
            runner.run(_serve(settings, door, listening, ready, trace))


def open_state(path: Path, seconds: float) -> State:
    """The state of a gateway, once it is there."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return State(path, own=False)
        except (StateMissing, StateTooOld):
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


@contextmanager
def opened(
    settings: DoorSettings,
    state: State,
    exchange: Exchange,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    free_bytes: int = 0,
    limiters: Limiters | None = None,
    claims: Exchange | None = None,
) -> Generator[Door]:
    """The door's parts on a state, with the intake running."""
    sealer = state.sealer()
    intake = Intake(state, sealer, exchange.name, settings.bounds(), clock, DiskRoom(state.path, free_bytes))
    callers = Callers(state, sealer, settings.caller_rules())
    desk = Desk(exchange.name, Judge(exchange), callers, intake, settings, clock, limiters)
    orders = Orders(exchange.name, exchange.versions.system)
    holdings = Holdings(exchange, settings.senders)
    closures = Closures(settings.closures, state, sealer) if settings.closures else None
    intake.start()
    try:
        pieces = Pieces(desk, orders, Failures(state, exchange.name, shanghai.NAME))
        room = Room(settings.body_room_each)
        api = Api(desk, Records(desk, exchange), Receipts(state, exchange), room, holdings, closures)
        insurers = InsurerDesk(desk, claims, room) if claims is not None else None
        yield Door(desk, pieces, api, room, insurers)
    finally:
        intake.stop()
        holdings.close()
        if closures is not None:
            closures.close()
        desk.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to us: there are two in one loop."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _serve(
    settings: DoorSettings,
    door: Door,
    listening: Sequence[socket.socket],
    ready: Callable[[Urls], None],
    trace: Told | None,
) -> None:
    made = [make_app(door), make_foshan_app(door)][: len(listening)]
    apps = [direct(app) for app in made]
    quick: dict[bytes, AtOnce] = {address: one.at_once for address, one in at_once(made[0]).items()}
    if settings.trusted_proxies:
        apps = [behind(app, settings.trusted_proxies) for app in apps]
        quick = {address: behind_at_once(one, settings.trusted_proxies) for address, one in quick.items()}
    if trace is not None:
        apps, quick = [traced(app, trace) for app in apps], {}
    heads = [settings.header_bytes, settings.header_bytes + settings.address_bytes]
    quicks: list[Mapping[bytes, AtOnce]] = [quick, {}]
    servers = [_Server(_config(settings, *one)) for one in zip(apps, heads, quicks, strict=False)]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread: the caller stops us
            loop.add_signal_handler(number, stop)
    running = [asyncio.create_task(server.serve(sockets=[one])) for server, one in zip(servers, listening, strict=True)]
    sweeping = asyncio.create_task(_sweep(door.desk))
    try:
        while not all(server.started for server in servers) and not any(task.done() for task in running):
            await asyncio.sleep(0.005)
        if not any(task.done() for task in running):
            scheme = "https" if settings.tls.certificate else "http"
            urls = [f"{scheme}://{_host(settings)}:{one.getsockname()[1]}" for one in listening]
            ready(Urls(urls[0], urls[1] if len(urls) > 1 else ""))
        await asyncio.gather(*running)
    finally:
        stop()
        sweeping.cancel()
        await asyncio.gather(*running, sweeping, return_exceptions=True)


async def _sweep(desk: Desk) -> None:
    """Once in a while remove tokens and nonces that are over."""
    while True:
        await asyncio.sleep(600)
        try:
            await asyncio.to_thread(desk.callers.sweep, desk.clock())
        except Exception as error:  # noqa: BLE001 - the next time will do
            LOG.warning("sweeping failed: %s", type(error).__name__)


def _config(settings: DoorSettings, app: ASGIApp, header_bytes: int, quick: Mapping[bytes, AtOnce]) -> uvicorn.Config:
    tls = settings.tls
    demanded = ssl.CERT_REQUIRED if tls.demand else ssl.CERT_OPTIONAL
    return uvicorn.Config(
        app,
        http=bounded(settings.header_seconds, settings.body_seconds, header_bytes, settings.connections_each, quick),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=settings.keep_alive_seconds,
        timeout_graceful_shutdown=settings.stop_seconds,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        ssl_ca_certs=tls.authorities,
        ssl_cert_reqs=demanded if tls.authorities else ssl.CERT_NONE,
    )


def _listening(settings: DoorSettings) -> list[socket.socket]:
    made: list[socket.socket] = []
    try:
        for host, port in settings.places:
            made += listen(host, port)
    except CannotListen:
        for one in made:
            one.close()
        raise
    return made


def listen(host: str, port: int, several: int = 1) -> list[socket.socket]:
    """A socket that listens, or several, among which the kernel divides those who call.

    Raises:
        CannotListen: it cannot. Sockets that share an address with each other share it with nobody else.
    """
    made: list[socket.socket] = []
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made.append(socket.create_server((host, port), family=family, backlog=_BACKLOG))
        if several > 1:
            port = made[0].getsockname()[1]
            made.pop().close()
        for _ in range(several - len(made)):
            made.append(socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=True))
    except OSError as error:
        for one in made:
            one.close()
        message = (
            f"无法监听 {host}:{port}：{error.strerror}；请换一个端口或停止占用它的程序"
            f" / cannot listen on {host}:{port}: {error.strerror}; name another port, or stop the program that has it"
        )
        raise CannotListen(message) from None
    return made


def _host(settings: DoorSettings) -> str:
    """The host to name to people: an address that stands for all is reached by the loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host


def _new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # not on every system: asyncio's own loop does the same, slower
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
