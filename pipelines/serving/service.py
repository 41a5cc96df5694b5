"""One role as a service: its children, its health, its metrics, its reloads, and the line that says it can be used."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipelines.diskroom import DiskRoom
from pipelines.serving import link, logs
from pipelines.serving.children import Child
from pipelines.serving.health import Health
from pipelines.serving.logs import log
from pipelines.serving.metrics import Page
from pipelines.serving.opening import open_state
from pipelines.serving.pulse import Pulse
from pipelines.serving.reach import Reach
from pipelines.serving.reloading import Change, Reloader
from pipelines.serving.roles import Loaded, frozen, load
from pipelines.serving.standing import Standing
from pipelines.serving.supervisor import GaveUp, Supervisor
from pipelines.version import BUILD

PORT_SECONDS = 3.0
"""How long a start waits for the door's port: who was killed a moment ago may still have it."""
_COMMAND = (sys.executable, "-m", "pipelines.serving.child")


class Service:
    """`vingate serve`. Everything that is held is given back when `run` returns or raises."""

    def __init__(self, path: Path, overrides: Sequence[str], state: Path) -> None:
        self._path, self._overrides, self._state = path, overrides, state
        state.mkdir(parents=True, exist_ok=True)
        state.chmod(0o700)
        self._loaded = self._load()
        self._reach = Reach(state)

    def run(self) -> int:
        """Serve until a signal says stop; the exit code.

        Raises:
            SettingsError: the role cannot be used.
            CannotListen: an address is taken.
            GaveUp: a child cannot run.
        """
        role = self._loaded.role
        logs.set_up(role.name, "supervisor", role.logging)
        with ExitStack() as stack:
            children = self._children(stack)
            page = Page()
            room = DiskRoom(self._state, role.health.free_megabytes << 20)
            self._reach.watch(role)
            stack.callback(self._reach.close)
            self.pulse = Pulse(children, role.health.silent_seconds, room, self._reach)
            page.add(self.pulse.families)
            standing = Standing(
                lambda: open_state(role, self._state, own=False), list(role.exchanges), role.metrics.cache_seconds
            )
            page.add(standing)
            health = Health(
                role.health.host,
                role.health.port,
                self.pulse.health,
                self.pulse.readiness,
                page.text if role.metrics.enabled else None,
            )
            stack.callback(health.close)
            self._url = health.url
            reloader = Reloader(self._loaded, self._state, self._load, self._apply)
            self.supervisor = Supervisor(
                children,
                role.stop_seconds,
                on_ready=self._ready,
                on_beat=lambda child, beat: page.carry(child.name, beat.get("metrics", ())),
                tick=reloader.tick,
                reload=reloader.begin,
                on_stop=self._stopping,
                drain_seconds=role.drains,
            )
            log.info("start", extra={"text": f"vingate {BUILD} {self._path}"})
            try:
                return self.supervisor.run()
            except GaveUp as error:
                raise GaveUp(self._loaded.said(str(error)), error.exit_code) from None

    def _load(self) -> Loaded:
        return frozen(load(self._path, self._overrides), self._state)

    def _children(self, stack: ExitStack) -> list[Child]:
        role = self._loaded.role
        children = [Child("gateway", _COMMAND, self._task("gateway"))]
        if role.door is not None:
            from pipelines.door.sharedlimits import memory  # late: roles without a door need no HTTP server
            from pipelines.serving.doorway import sockets

            several = sockets(role.door, PORT_SECONDS)
            limits = memory() if len(several) > 1 else -1
            if limits >= 0:
                stack.callback(os.close, limits)
            for number, made in enumerate(several, 1):
                named = "door" if number == 1 else f"door-{number}"
                numbers = [stack.enter_context(one).fileno() for one in made]
                task = {**self._task("door"), "sockets": numbers, "limits": limits}
                inherited = numbers if limits < 0 else [*numbers, limits]
                children.append(Child(named, _COMMAND, task, sockets=inherited, after="gateway"))
        return children

    def _task(self, kind: str) -> dict[str, Any]:
        """What a child of a kind is told in its first line."""
        return {"kind": kind, "state": str(self._state), "role": self._loaded.data}

    def _ready(self) -> None:
        """Say on stdout, once, that everything can be used."""
        told: dict[str, Any] = {"ready": True, "door": None, "health": self._url}
        for child in self.supervisor.children:
            said: Mapping[str, Any] = child.ready or {}
            told |= {name: said[name] for name in ("door", "foshan") if said.get(name)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
        log.info("ready", extra={"text": json.dumps(told)})

    def _stopping(self) -> None:
        self.pulse.stopping = True

    def _apply(self, loaded: Loaded, found: Change) -> None:
        """Go on with settings that were validated."""
        self._loaded = loaded
        self._reach.watch(loaded.role)
        for child in self.supervisor.children:
            task = {**child.task, "role": loaded.data}
            door = task["kind"] == "door"
            anew = found.door if door else found.gateway
            if anew:
                self.supervisor.restart(child, task)
                continue
            child.task = task
            if not door and found.exchanges:
                child.tell({"order": link.RELOAD, "role": loaded.data})
        log.info("reload-taken")
