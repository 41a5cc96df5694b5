"""Rate budgets: "30 calls a minute", and never more in any 60 seconds, kept where all who share the budget see it.

Calls are counted in 20 slots of the window; a slot counts until the window has passed since its end, so that in no
stretch of the window's length more calls go out than are allowed, and at most a twentieth fewer. What is kept is a few
pairs of numbers, changed in one step by their store: `MemoryBudgets` is one process's, `FileBudgets` that of all
processes of a host (setting `folder`), and who has a database that several hosts see gives a store on it to `share`.

    >>> now = [0.0]
    >>> settings = BudgetSettings(calls=2, seconds=60)
    >>> budget = Budget("ministry", settings, store=MemoryBudgets(), clock=lambda: now[0])
    >>> budget.take(), budget.take(), budget.take()
    (0.0, 0.0, 63.0)
"""

from __future__ import annotations

import fcntl
import math
import os
import time
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Protocol

import orjson
from pydantic import Field

from connectors.parts import disk_error
from connectors.settings import ConnectorSettings

Spent = Mapping[int, int]
"""Calls by slot; a slot is the number of its length in seconds since the epoch."""
_SLOTS = 20


class Step(Protocol):
    """Takes one call: what is spent afterwards, and 0 or the seconds to wait."""

    def __call__(self, spent: Spent, now: float | None = None) -> tuple[Spent, float]:
        """`now` is the store's own time, where those who share it must not rely on their clocks."""


class BudgetSettings(ConnectorSettings):
    """How many calls in how many seconds."""

    calls: int = Field(ge=1)
    """Calls that the peer allows in `seconds`; as many may go at once after a pause."""
    seconds: float = Field(default=60.0, gt=0)
    name: str = ""
    """Who shares this budget; by default the peer's address does."""
    folder: Path | None = None
    """Folder in which all processes of this host share it.

    Without it, all who work on one state on PostgreSQL share it through its database, on whatever host; on SQLite it is
    this process's alone.
    """


def spend(spent: Spent, settings: BudgetSettings, now: float) -> tuple[Spent, float]:
    """Take one call, pure: what is spent afterwards, and 0 or the seconds until a call may be taken."""
    width = settings.seconds / _SLOTS
    slot = math.floor(now / width)
    kept: dict[int, int] = {}
    for one, count in spent.items():
        if one >= slot - _SLOTS:
            # A clock that was set back: what seems to come from the future counts as spent now.
            place = min(one, slot)
            kept[place] = kept.get(place, 0) + count
    if sum(kept.values()) < settings.calls:
        kept[slot] = kept.get(slot, 0) + 1
        return kept, 0.0
    return kept, max((min(kept) + 1 + _SLOTS) * width - now, 0.001)


class BudgetStore(Protocol):
    """Where it is kept what was spent."""

    def change(self, name: str, step: Step) -> float:
        """Replace what is kept under a name by what `step` makes of it, as one step that nobody comes between.

        Returns what `step` says to wait. A `step` may be called more than once.
        """


class MemoryBudgets:
    """Budgets of this process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._spent: dict[str, Spent] = {}

    def change(self, name: str, step: Step) -> float:
        """Replace it under the lock."""
        with self._lock:
            self._spent[name], seconds = step(self._spent.get(name, {}))
            return seconds


class FileBudgets:
    """Budgets of all processes of a host: a small file each, changed under its lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def change(self, name: str, step: Step) -> float:
        """Replace it under the file's lock; a file that cannot be read counts as nothing spent.

        Raises:
            Unavailable: no room.
            Misconfigured: the folder cannot be written.
        """
        file = self._folder / f"{blake2b(name.encode(), digest_size=12).hexdigest()}.budget"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                spent, seconds = step(_read(os.read(handle, 1 << 16)))
                data = orjson.dumps({str(slot): count for slot, count in spent.items()})
                os.pwrite(handle, data, 0)
                os.ftruncate(handle, len(data))
            finally:
                os.close(handle)
        except OSError as error:
            raise disk_error(error, str(file)) from error
        return seconds


def _read(data: bytes) -> Spent:
    try:
        return {int(slot): int(count) for slot, count in orjson.loads(data).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


_OURS = MemoryBudgets()


class _Shared:
    """Which store those budgets use that were given none."""

    store: BudgetStore = _OURS


def share(store: BudgetStore | None) -> None:
    """Keep all budgets of this process in a store that others see as well; None: in this process again.

    Budgets that name a folder of their own stay there.
    """
    _Shared.store = _OURS if store is None else store


def unshare(store: BudgetStore) -> None:
    """Keep budgets in this process again, if they were kept in this store."""
    if _Shared.store is store:
        _Shared.store = _OURS


class Budget:
    """The budget of one name."""

    def __init__(
        self,
        name: str,
        settings: BudgetSettings,
        *,
        store: BudgetStore | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._name, self._settings, self._clock = settings.name or name, settings, clock
        self._store = store or (FileBudgets(settings.folder) if settings.folder else None)

    def take(self) -> float:
        """Take one call: 0.0, and it may go out; else nothing is taken and so many seconds are to wait.

        Raises:
            ConnectorError: the store cannot be changed.
        """
        ours = self._clock()

        def step(spent: Spent, now: float | None = None) -> tuple[Spent, float]:
            return spend(spent, self._settings, ours if now is None else now)

        return (self._store or _Shared.store).change(self._name, step)
