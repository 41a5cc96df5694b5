"""Hot reload: settings, tables and mappings that changed are validated first; what is bad changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import SettingsError
from pipelines.serving.logs import log
from pipelines.serving.roles import Loaded, Role, Work

LOOK_SECONDS = 1.0
TRIAL_SECONDS = 120.0

Stamps = Mapping[Path, tuple[int, int, int] | None]


class Change(NamedTuple):
    """What differs between two settings of a role, by what it takes to go on with the new ones."""

    door: bool
    """The door must start anew."""
    gateway: bool
    """The gateway must start anew: exchanges came or went, or what feeds them and how much at a time changed."""
    exchanges: bool
    """Exchanges go on with other settings, tables or mappings."""
    unmoved: tuple[str, ...]
    """Sections that only a new start of the service takes up."""


_UNMOVED = ("name", "state", "health", "metrics", "logging", "tracing", "audit", "drain_seconds", "stop_seconds")
_ADDRESS = ("host", "port", "processes", "foshan", "foshan_host", "foshan_port")


def change(old: Role, new: Role) -> Change:
    """What differs between two settings of a role."""
    unmoved = [name for name in _UNMOVED if getattr(old, name) != getattr(new, name)]
    door = False
    if (old.door is None) != (new.door is None):
        unmoved.append("door")
    elif old.door is not None and new.door is not None:
        before, after = old.exchanges.get(old.door.exchange), new.exchanges[new.door.exchange]
        door = old.door != new.door or before is None or before.settings != after.settings
        unmoved += [f"door.{name}" for name in _ADDRESS if getattr(old.door, name) != getattr(new.door, name)]
    ours, theirs = old.exchanges, new.exchanges
    gateway = ours.keys() != theirs.keys() or any(_drive(ours[name]) != _drive(theirs[name]) for name in ours)
    return Change(door, gateway, ours != theirs, tuple(unmoved))


def _drive(work: Work) -> tuple[object, ...]:
    """What a running exchange cannot change."""
    return work.feeds, work.records, work.milliseconds


class Reloader:
    """Watches the files that a role came from, and tries what changed in a process of its own.

    `load` reads the role anew; `apply` goes on with one that was validated. Both are called in the supervisor's thread,
    which calls `tick` some times a second.
    """

    def __init__(
        self,
        current: Loaded,
        state: Path,
        load: Callable[[], Loaded],
        apply: Callable[[Loaded, Change], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current = current
        self._state, self._load, self._apply, self._clock = state, load, apply, clock
        self._known = self._seen = stamps(current.files)
        self._look_at = 0.0
        self._trial: _Trial | None = None
        self._again = False

    def begin(self) -> None:
        """Read the role anew and have it tried; called for SIGHUP too."""
        if self._trial is not None:
            self._again = True
            return
        self._known = self._seen = stamps(self.current.files)
        try:
            loaded = self._load()
        except SettingsError as error:
            _refused(str(error))
            return
        self._known = self._seen = stamps(loaded.files)
        if loaded.role == self.current.role:
            log.info("reload-nothing-new")
            return
        self._trial = _Trial(loaded, self._state)

    def tick(self) -> None:
        """See whether a trial has ended or a file has changed."""
        if self._trial is not None:
            if self._trial.ended.is_set():
                trial, self._trial = self._trial, None
                self._take(trial)
            return
        if self._again:
            self._again = False
            self.begin()
        elif self._clock() >= self._look_at:
            self._look_at = self._clock() + LOOK_SECONDS
            self._look()

    def _look(self) -> None:
        """A file counts as changed when it is so for two looks: whoever writes it may be at it still."""
        now = stamps(self._known)
        if now != self._known and now == self._seen:
            log.info("settings-changed", extra={"text": ", ".join(str(p) for p in now if now[p] != self._known[p])})
            self.begin()
        else:
            self._seen = now

    def _take(self, trial: _Trial) -> None:
        if trial.problem:
            _refused(trial.loaded.said(trial.problem))
            return
        found = change(self.current.role, trial.loaded.role)
        self.current = trial.loaded
        if found.unmoved:
            log.warning("reload-needs-restart", extra={"text": ", ".join(found.unmoved)})
        self._apply(trial.loaded, found)


class _Trial:
    """A role being tried."""

    def __init__(self, loaded: Loaded, state: Path) -> None:
        self.loaded, self.problem, self.ended = loaded, "", threading.Event()
        self._task = json.dumps({"role": loaded.data, "state": str(state)}, default=str).encode()
        threading.Thread(target=self._run, daemon=True, name="trial").start()

    def _run(self) -> None:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pipelines.serving.trial"],
                input=self._task,
                capture_output=True,
                timeout=TRIAL_SECONDS,
                check=False,
            )
            if done.returncode:
                self.problem = done.stdout.decode("utf-8", "replace") or f"exit {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            self.problem = type(error).__name__
        finally:
            self.ended.set()


def stamps(files: Sequence[Path] | Mapping[Path, object]) -> Stamps:
    """What tells that a file changed; None: it is not there."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _refused(problem: str) -> None:
    said = "设置未采用，继续按原设置运行 / settings not taken, the service goes on with the old ones"
    log.error("reload-refused", extra={"text": f"{said}: {problem}"})
