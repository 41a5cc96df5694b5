"""Connectors that live in this process: for tests, for trying things out, and as the smallest example of each contract.

Envelopes and deliveries meet in a named **hub**, so that a connector that was built from settings (or unpickled)
reaches the same data as the test that looks at it. The sinks fail on purpose:

    >>> from connectors.contracts import Delivery
    >>> sink = MemorySink(MemorySink.Settings(hub="doc", mode="refuse", every=2))
    >>> [one.status for one in sink.write([Delivery(str(n), "d", str(n), 1, "", b"{}", "b") for n in range(4)])]
    ['accepted', 'refused', 'accepted', 'refused']
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from itertools import count
from typing import Any, Literal

from pydantic import Field

from connectors.contracts import (
    ACCEPTED,
    DUPLICATE,
    REFUSED,
    UNAVAILABLE,
    Arrival,
    Block,
    Delivery,
    Held,
    Misconfigured,
    Outcome,
    StagedPart,
    Tally,
    Unavailable,
    Unreadable,
    WorkItem,
    fingerprint,
)
from connectors.hubs import Broken, Hub, HubSettings, forget, hub

Mode = Literal["accept", "refuse", "stall", "break"]

_TOO_LONG = "PAYLOAD_TOO_LARGE: 单条超长 / payload too long"
_ATTEMPT = count()


class MemorySource:
    """The payloads of a hub's queues; a path is a queue's name and its mark is what it holds."""

    class Settings(HubSettings):
        """Settings of a memory source."""

        item_payloads: int = Field(default=1000, ge=1)
        """Payloads in one work item."""
        max_payload_bytes: int = Field(default=64 << 20, ge=1)
        """A longer payload becomes a problem."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._planned: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Items of `item_payloads` payloads of each queue that changed, by name."""
        queues, step = hub(self.settings.hub).queues, self.settings.item_payloads
        for path in sorted(queues):
            state = self._state(path)
            if done.get(path) == state:
                continue
            self._planned[path] = state
            for at in range(0, len(queues[path]), step):
                length = min(step, len(queues[path]) - at)
                yield WorkItem(path, state.partition(":")[2], at, length, extra={"mark": state})

    def _state(self, path: str) -> str:
        bodies = hub(self.settings.hub).queues.get(path)
        if bodies is None:
            return ""
        lengths = b"".join(b"%d:%s," % (len(one), one) for one in bodies)
        return f"{len(bodies)}:{sha256(lengths).hexdigest()}"

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's payloads; offsets count them.

        Raises:
            Unreadable: the queue is gone or has other content than was planned.
        """
        bodies = hub(self.settings.hub).queues.get(item.source, [])
        planned = int(str(item.extra["mark"]).partition(":")[0])
        now = b"".join(b"%d:%s," % (len(one), one) for one in bodies[:planned])
        if sha256(now).hexdigest() != item.digest:
            message = f"队列内容已变 / the queue changed after it was planned: {item.source}"
            raise Unreadable(message, "请重新计划 / plan again")
        end, longest = item.offset + item.length, self.settings.max_payload_bytes
        for at in range(item.offset, end, block):
            offsets = range(at, min(at + block, end))
            good = [one for one in offsets if len(bodies[one]) <= longest]
            long = [(one, bodies[one][: 1 << 16], _TOO_LONG) for one in offsets if one not in good]
            yield Block(item, [bodies[one] for one in good], good, long)

    def mark(self, path: str) -> str:
        """Count and hash of the queue as planned by this object, else as it is now."""
        return self._planned.get(path) or self._state(path)

    def finish(self, paths: Iterable[str]) -> None:
        """Note the paths as finished. Idempotent."""
        finished = hub(self.settings.hub).finished
        finished.extend(path for path in paths if path not in finished)

    def check(self) -> list[str]:
        """How many payloads wait."""
        queues = hub(self.settings.hub).queues
        total = sum(map(len, queues.values()))
        return [f"{self.settings.hub}: {total} 条待读 / {total} payloads in {len(queues)} queues"]


class MemoryFeed:
    """What arrives at a hub. Several feeds share it: each arrival goes to one of them."""

    class Settings(HubSettings):
        """Settings of a memory feed."""

        mode: Mode = "accept"
        """refuse: raise *Unavailable*; stall: give nothing though something waits; break: end the process."""
        every: int = Field(default=1, ge=1)
        """Fail at each n-th take."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._number = next(_ATTEMPT)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """The next arrivals, in order.

        Raises:
            Unavailable: the hub is not reachable, or in mode `refuse`.
            Broken: in mode `break`; what was taken goes back.
        """
        store = hub(self.settings.hub)
        stalled = self._fails(store)
        with store.arrived:
            store.arrived.wait_for(lambda: store.arrivals and not stalled, seconds)
            if stalled:
                return []
            given, store.arrivals[:most] = store.arrivals[:most], []
            store.taken.setdefault(self._number, []).extend(given)
        return given

    def _fails(self, store: Hub) -> bool:
        """Whether to give nothing; counts this take."""
        store.takes += 1
        mode = self.settings.mode if store.takes % self.settings.every == 0 else "accept"
        if mode == "break":
            store.lose()
            raise Broken(self.settings.hub)
        if mode == "refuse" or not store.reachable:
            message = "按设置不可用 / unavailable on request"
            raise Unavailable(message, "稍后重试 / try again later")
        return mode == "stall"

    def ack(self) -> None:
        """What was taken is gone."""
        hub(self.settings.hub).taken.pop(self._number, None)

    def check(self) -> list[str]:
        """How much waits."""
        total = len(hub(self.settings.hub).arrivals)
        return [f"{self.settings.hub}: {total} 条待取 / {total} arrivals wait"]

    def close(self) -> None:
        """What was not acked waits again."""
        store = hub(self.settings.hub)
        with store.arrived:
            store.arrivals[:0] = store.taken.pop(self._number, [])
            store.arrived.notify_all()


class FailingSettings(HubSettings):
    """Which hub, and how to fail."""

    mode: Mode = "accept"
    """refuse: answer *refused*; stall: answer nothing until `deadline`, then *unavailable*; break: end the process."""
    every: int = Field(default=1, ge=1)
    """Fail at each n-th delivery that is offered."""
    match: str = ""
    """Fail only where the delivery's key (or the part's destination) contains this."""
    deadline: float = Field(default=0.0, ge=0)
    """Seconds after which a stalled peer counts as unavailable."""
    capacity: int = Field(default=-1, ge=-1)
    """Deliveries or records that there is room for; beyond that all is *unavailable*. -1: any number."""

    def fails(self, store: Hub, text: str) -> bool:
        """Whether to fail here; counts this offer."""
        store.writes += 1
        return self.mode != "accept" and self.match in text and store.writes % self.every == 0


class MemorySink:
    """Deliveries kept in the hub, by id."""

    class Settings(FailingSettings):
        """Settings of a memory sink."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order; what came before a break stays written.

        Raises:
            Broken: in mode `break`.
        """
        store = hub(self.settings.hub)
        with store.lock:
            return [self._take(store, one) for one in deliveries]

    def _take(self, store: Hub, delivery: Delivery) -> Outcome:
        if self.settings.fails(store, delivery.key):
            if self.settings.mode == "break":
                raise Broken(delivery.id)
            if self.settings.mode == "refuse":
                return Outcome(REFUSED, "按设置拒绝 / refused on request")
            time.sleep(self.settings.deadline)
            return Outcome(UNAVAILABLE, "对方超时 / the peer did not answer in time")
        before = store.delivered.get(delivery.id)
        if before is not None:
            return Outcome(ACCEPTED if before.batch == delivery.batch else DUPLICATE)
        if store.contents.get((delivery.key, delivery.version), delivery.content) != delivery.content:
            return Outcome(REFUSED, "VERSION_CONFLICT: 该版本已有不同内容 / this version stands with another content")
        if 0 <= self.settings.capacity <= len(store.delivered):
            return Outcome(UNAVAILABLE, "没有空间 / no room")
        store.delivered[delivery.id] = delivery
        store.contents[delivery.key, delivery.version] = delivery.content
        return Outcome(ACCEPTED)

    def verify(self, batch: str) -> Tally:
        """Count and digest of what the hub holds of a batch."""
        found = [fingerprint(one) for one in hub(self.settings.hub).delivered.values() if one.batch == batch]
        return Tally(len(found), sum(found) % 2**64)

    def held(self, since: datetime, batches: Sequence[str]) -> Iterator[Held]:
        """What the hub holds of some batches; it knows no moments."""
        del since
        for one in tuple(hub(self.settings.hub).delivered.values()):
            if one.batch in batches:
                yield Held(one.key, one.content, one.id, one.version)

    def check(self) -> list[str]:
        """How much the hub holds."""
        total = len(hub(self.settings.hub).delivered)
        return [f"{self.settings.hub}: {total} 条 / {total} deliveries"]

    def close(self) -> None:
        """Nothing is held."""


class MemoryPart:
    """A part being written in memory."""

    def __init__(self, settings: FailingSettings, destination: str, final: str) -> None:
        self._settings, self._destination, self._final = settings, destination, final
        self._temporary = f"{final}.{next(_ATTEMPT)}.part"
        hub(settings.hub).staged[self._temporary] = (final, [])

    def add(self, records: Sequence[bytes]) -> None:
        """Append records.

        Raises:
            Unavailable: in mode `stall` or `refuse`, or without room; the part is gone then.
            Broken: in mode `break`.
        """
        store = hub(self._settings.hub)
        for record in records:
            if self._settings.fails(store, self._destination):
                if self._settings.mode == "break":
                    raise Broken(self._final)
                self._no_room("按设置拒绝 / refused on request")
            if 0 <= self._settings.capacity <= store.held():
                self._no_room("没有空间 / no room")
            store.staged[self._temporary][1].append(record)

    def _no_room(self, message: str) -> None:
        self.abort()
        raise Unavailable(message, "稍后重试 / try again later")

    def close(self) -> StagedPart:
        """Hash the staged part."""
        records = hub(self._settings.hub).staged[self._temporary][1]
        return StagedPart(self._destination, self._temporary, self._final, _hashed(records), len(records))

    def abort(self) -> None:
        """Remove the staged part. Idempotent."""
        hub(self._settings.hub).staged.pop(self._temporary, None)


def _hashed(records: Sequence[bytes]) -> str:
    return sha256(b"".join(b"%d:%s," % (len(one), one) for one in records)).hexdigest()


class MemoryPartSink:
    """Parts kept in the hub."""

    class Settings(FailingSettings):
        """Settings of a memory part sink."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings,)

    def open(self, destination: str, batch: str, item: str) -> MemoryPart:
        """Begin a part."""
        return MemoryPart(self.settings, destination, "\0".join((destination, batch, item)))

    def promote(self, parts: Sequence[StagedPart]) -> None:
        """Give the staged parts their final names. Idempotent.

        Raises:
            Misconfigured: a part has neither name, or another content under the final one.
        """
        store = hub(self.settings.hub)
        for part in parts:
            staged = store.staged.pop(part.temporary, None)
            if staged is not None:
                store.parts[part.final] = staged[1]
            elif part.final not in store.parts or _hashed(store.parts[part.final]) != part.sha256:
                message = f"分片已丢失或被改 / the part is lost or has another content: {part.final}"
                raise Misconfigured(message, "请从备份恢复 / restore it from a backup")

    def sweep(self, keep: Sequence[str]) -> int:
        """Remove staged parts that are not in `keep`; returns how many went."""
        staged = hub(self.settings.hub).staged
        going = [one for one in staged if one not in set(keep)]
        for one in going:
            del staged[one]
        return len(going)

    def verify(self, batch: str) -> Tally:
        """Records of the batch's parts, and the sum of their hashes' first 8 bytes."""
        parts = hub(self.settings.hub).parts
        found = [records for final, records in parts.items() if final.split("\0")[1] == batch]
        return Tally(sum(map(len, found)), sum(int(_hashed(one)[:16], 16) for one in found) % 2**64)

    def check(self) -> list[str]:
        """How many parts the hub holds."""
        store = hub(self.settings.hub)
        done, staged = len(store.parts), len(store.staged)
        return [f"{self.settings.hub}: {done} 个分片, {staged} 个暂存 / {done} parts, {staged} staged"]


__all__ = ["Broken", "Hub", "HubSettings", "MemoryFeed", "MemoryPart", "MemoryPartSink", "MemorySink", "MemorySource"]
__all__ += ["Mode", "forget", "hub"]
