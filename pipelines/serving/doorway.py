"""The door as children of the supervisor: each process listens on sockets that the supervisor made and keeps.

So one that starts anew, after a crash or for new settings, refuses nobody: who calls meanwhile waits in the queue of
its socket, or is given to another process by the kernel.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from itertools import chain
from pathlib import Path

from pipelines.door.app import Door as Parts
from pipelines.door.serving import Urls, listen, serve_door
from pipelines.door.tracing import Commit, Told
from pipelines.errors import PipelineError
from pipelines.serving import link
from pipelines.serving.gateway import BEAT_SECONDS
from pipelines.serving.metrics import carried
from pipelines.serving.roles import Door, Role
from pipelines.serving.tracing import Timed, Tracer, open_tracer
from pipelines.usable import usable


def sockets(door: Door, seconds: float) -> list[tuple[socket.socket, ...]]:
    """The listening sockets of each process of a door: of all dialects, and of Foshan's where it is on.

    Args:
        door: its settings.
        seconds: how long to try; who was just killed may still have the port.

    Raises:
        CannotListen: an address is taken or not ours.
    """
    made: list[list[socket.socket]] = []
    until = time.monotonic() + seconds
    while len(made) < len(door.places):
        try:
            made.append(listen(*door.places[len(made)], door.processes))
        except PipelineError:
            if time.monotonic() > until:
                for one in chain(*made):
                    one.close()
                raise
            time.sleep(0.1)
    return list(zip(*made, strict=True))


def serve(line: link.Link) -> None:
    """The work of a door process, until its supervisor says stop."""
    role, folder = Role.model_validate(line.task["role"]), Path(str(line.task["state"]))
    if role.door is None:
        return
    exchange = role.exchanges[role.door.exchange].settings
    claims = role.exchanges[name].settings if (name := role.door.insurers.exchange) else None
    for one in (exchange, claims):
        if one is not None:
            usable(one.placed(folder))
    listening, parts = threading.Event(), list[Parts]()

    def ready(urls: Urls) -> None:
        listening.set()
        line.report(link.READY, door=urls.door, foshan=urls.foshan)

    def stop() -> None:
        line.stopping.wait()
        if not listening.is_set():  # nobody was answered yet: there is nothing to finish
            logging.shutdown()
            os._exit(0)
        os.kill(os.getpid(), signal.SIGTERM)  # the server finishes what it has begun, then ends

    def beat() -> None:
        while True:
            line.report(link.BEAT, metrics=carried(), full=any(door.desk.intake.full for door in parts))
            time.sleep(BEAT_SECONDS)

    for work in (stop, beat):
        threading.Thread(target=work, daemon=True, name=work.__name__).start()
    made = [socket.socket(fileno=number) for number in line.task["sockets"]]
    tracer = open_tracer(role.name, role.tracing.endpoint) if role.tracing.enabled else None
    told = _told(tracer) if tracer else None
    free = role.health.free_megabytes << 20
    try:
        serve_door(
            role.door, folder, exchange, ready, sockets=made, trace=told, free_bytes=free, begun=parts.append,
            limits=int(line.task["limits"]), claims=claims,
        )  # fmt: skip
    finally:
        if tracer is not None:
            tracer.close()


def _told(tracer: Tracer) -> Told:
    """Makes spans of requests."""

    def told(path: str, status: int, begun: int, ended: int, commits: list[Commit]) -> None:
        below = tuple(
            Timed("inbox.commit", since, until, {"vingate.envelopes": count}) for since, until, count in commits
        )
        about: dict[str, str | int] = {"url.path": path, "http.response.status_code": status}
        tracer.alone(Timed("door", begun, ended, about), below)

    return told
