"""The contracts between the gateway and the systems it reaches: envelopes in, deliveries out.

The lowest module of the project. A source hands out *work items* (small descriptors that any process can read from)
and is acknowledged after commit; a sink takes deliveries and answers one outcome each, in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol, runtime_checkable


class ConnectorError(Exception):
    """Base of what a connector raises; `remedy` says what to do about it."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} - {remedy}" if remedy else message)
        self.message, self.remedy = message, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.remedy)


class Unavailable(ConnectorError):
    """The system cannot be reached or has no room now; it may heal by itself."""


class Misconfigured(ConnectorError):
    """The settings cannot work (no such folder, wrong schema, no permission); a person must change them."""


class Unverifiable(ConnectorError):
    """This destination cannot be read again: what it answered when it was written to is all the proof there is."""


class Unreadable(ConnectorError):
    """This input cannot be read (cut Avro, bad archive); it becomes a letter."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A descriptor of envelopes to read: small, picklable and JSON-able, meaningful in any process.

    `source` is the path inside the source (or a name), `digest` identifies its content, `offset` and `length` bound
    the part to read (`length` -1: to the end). `company` and `system` come from the source's layout. `extra` is the
    connector's own.
    """

    source: str
    digest: str
    offset: int = 0
    length: int = -1
    company: str = ""
    system: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


class Block(NamedTuple):
    """Some hundred envelopes of one work item, by columns: they flow together through the steps.

    `offsets[i]` is the place of `bodies[i]` in the item's source. `problems` are envelopes that could not even be
    read as bytes of one payload (offset, the bytes that are there, reason): each becomes a letter.
    """

    item: WorkItem
    bodies: list[bytes]
    offsets: list[int]
    problems: list[tuple[int, bytes, str]]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record version for one destination, encoded."""

    id: str
    """Hex digest of (record key, version, content hash, destination): never random."""
    destination: str
    key: str
    """Record key as text: system|companycode|costlistcode."""
    version: int
    content: str
    """Hex digest of the record's content."""
    body: bytes
    """The payload in the destination's mapping; for SQL stores a JSON object whose members are columns."""
    batch: str
    merged_into: str = ""
    """Key of the record that this one was merged into; empty when it stands for itself."""


ACCEPTED, DUPLICATE, REFUSED, UNAVAILABLE = "accepted", "duplicate", "refused", "unavailable"


class Outcome(NamedTuple):
    """What the destination said to one delivery."""

    status: str
    """`accepted`, `duplicate`, `refused` or `unavailable`."""
    reason: str = ""


class Tally(NamedTuple):
    """What stands at a destination for one batch: how many deliveries, and the sum of their fingerprints mod 2^64."""

    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody needs here
    digest: int


@runtime_checkable
class Source(Protocol):
    """Where envelopes come from, when it can be read again (files, stores).

    One that has nothing to `finish` says so by `mark_suffices = True`: its marks are kept with what was read.
    """

    def plan(self, done: Mapping[str, str]) -> Iterator[WorkItem]:
        """Work that is not done, in a stable order.

        `done` maps a path inside the source to the mark that `mark()` gave for it when it was finished; a path whose
        mark is unchanged is not planned again.
        """

    def read(self, item: WorkItem, block: int = 512) -> Iterator[Block]:
        """The item's envelopes, at most `block` at a time, in order."""

    def mark(self, path: str) -> str:
        """What identifies the present state of a path (so that a change is seen), kept by the gateway."""

    def finish(self, paths: Iterable[str]) -> None:
        """After commit: archive or mark the paths that are read to their end. Idempotent."""

    def check(self) -> list[str]:
        """Sentences on what was found (readable, how much waits); raises ConnectorError with the remedy."""


@runtime_checkable
class KnowsDays(Protocol):
    """A source whose records can be read again by day."""

    def between(self, first: date, last: date) -> Iterator[WorkItem]:
        """Items of all records of some days, whatever was read before."""


class Arrival(NamedTuple):
    """One payload that was pushed to us, exactly as it arrived."""

    body: bytes
    source: str
    """Where from: queue, URL, or path of the door."""
    key: str = ""
    """Unique at its source: message id, idempotency key; empty where the source names none."""
    company: str = ""
    """The company it was authenticated for; empty if the payload itself must say."""
    system: str = ""
    """The collecting system it was authenticated for; empty: the exchange's own."""
    new: bool = False
    """Sure not to have come before: it is kept though its key be known, and known by it when it comes again."""


@runtime_checkable
class Feed(Protocol):
    """Where envelopes come from that cannot be read again: what is taken goes to the inbox, and only then is acked."""

    def take(self, most: int, seconds: float) -> list[Arrival]:
        """The next arrivals, at most `most`, waiting at most so many seconds for the first of them.

        Taking goes on before what was taken is acked, as far as the system lets so much be open at a time. Raises
        Unavailable while the system cannot be reached, Misconfigured for what only a person can mend.
        """

    def ack(self) -> None:
        """Everything taken so far is durable in the inbox. Taken and never acked: it comes again.

        What cannot be acked any more, because its connection was lost, comes again with the same key: no error.
        """

    def check(self) -> list[str]:
        """Sentences on what was found; raises ConnectorError with the remedy."""

    def close(self) -> None:
        """Give back what is held; what was not acked goes back to its system. Idempotent; a later take opens again."""


@runtime_checkable
class Sink(Protocol):
    """Where deliveries go. Idempotent by `Delivery.id`; partial acceptance is the normal case."""

    def write(self, deliveries: Sequence[Delivery]) -> list[Outcome]:
        """One outcome for each delivery, in order.

        A delivery that the same batch wrote before (a crash came between effect and close) answers `accepted`; one
        that another batch wrote answers `duplicate`. Never raises for what a single delivery causes.
        """

    def verify(self, batch: str) -> Tally:
        """Count and digest of what stands at the destination for a batch, re-read and re-computed from it.

        A sink that cannot read again what it gave away (a queue, an upload) raises Unverifiable: its answer to each
        delivery is the proof.
        """

    def check(self) -> list[str]:
        """Sentences on what was found; raises ConnectorError with the remedy."""

    def close(self) -> None:
        """Give back what is held. Idempotent."""


@runtime_checkable
class KeepsReceipts(Protocol):
    """A sink that notes what it gave away, and proves it by that."""

    def note(self, deliveries: Sequence[Delivery]) -> None:
        """These stand at the destination too: an attempt whose answer was lost brought them. Idempotent.

        Raises ConnectorError where the receipts cannot be written.
        """


class Held(NamedTuple):
    """One version of a record that stands at a destination, as the destination itself says."""

    key: str
    """Record key as text: system|companycode|costlistcode; the system is the name that the destination gives it."""
    content: str
    """Hex digest of the record's content."""
    id: str = ""
    """Id of the delivery; empty where the destination does not know ours."""
    version: int = 0
    """Version; 0 where the destination does not tell ours."""


@runtime_checkable
class Lists(Protocol):
    """A destination that can be asked which records it holds: `verify` for who must name each of them."""

    def held(self, since: datetime, batches: Sequence[str]) -> Iterator[Held]:
        """What it took since a moment; one that knows our batches goes by them, and tells those of no other.

        Raises Unavailable, and Misconfigured where the settings do not say how it is asked.
        """


@runtime_checkable
class VerifiesMany(Protocol):
    """A sink that tells what stands of many batches in one go; `tallies` asks any sink."""

    def verify_many(self, batches: Sequence[str]) -> dict[str, Tally]:
        """What `verify` tells of each of them; all of them are in the answer. Raises what `verify` raises."""


def tallies(sink: Any, batches: Sequence[str]) -> dict[str, Tally]:  # noqa: ANN401 - anything with `verify`
    """What stands at a sink for each of some batches: in one go where it can, else batch after batch."""
    if isinstance(sink, VerifiesMany):
        return sink.verify_many(batches)
    return {batch: sink.verify(batch) for batch in batches}


class StagedPart(NamedTuple):
    """A file written under a name of its own, waiting to be promoted by its receipt."""

    destination: str
    temporary: str
    """Path of the staged file; never ends in the final suffix."""
    final: str
    """Path that it gets when its batch was decided; deterministic from destination, batch and item."""
    sha256: str
    count: int  # type: ignore[assignment]  # hides tuple.count
    """Records in it."""


@runtime_checkable
class PartWriter(Protocol):
    """One part being written: records go in encoded, a durable staged file comes out."""

    def add(self, records: Sequence[bytes]) -> None:
        """Append encoded records."""

    def close(self) -> StagedPart:
        """Finish, sync and hash the staged file."""

    def abort(self) -> None:
        """Remove the staged file."""


@runtime_checkable
class PartSink(Protocol):
    """A sink whose deliveries are whole files: workers stage parts, the coordinator promotes them.

    `verify` of such a sink gives the records counted in the files of a batch, and as digest the sum mod 2^64 of the
    first 8 bytes (big endian) of each file's SHA-256.
    """

    def open(self, destination: str, batch: str, item: str) -> PartWriter:
        """Begin a part. Its staged name is unique to this attempt."""

    def promote(self, parts: Sequence[StagedPart]) -> None:
        """Rename the staged parts to their final names and sync the folders. Idempotent."""

    def sweep(self, keep: Sequence[str]) -> int:
        """Remove staged files whose temporary path is not in `keep`; returns how many went."""

    def verify(self, batch: str) -> Tally:
        """Count and digest of the batch's final files, read again."""

    def check(self) -> list[str]:
        """Sentences on what was found; raises ConnectorError with the remedy."""


_FINGERPRINT = blake2b(digest_size=8)


def fingerprint(delivery: Delivery) -> int:
    """64 bits of everything that a store keeps of a delivery: what `Sink.verify` sums for row stores."""
    digest = _FINGERPRINT.copy()  # copying a hash costs half of making one
    head = (delivery.id, delivery.key, str(delivery.version), delivery.content, delivery.merged_into, "")
    digest.update("\0".join(head).encode())
    digest.update(delivery.body)
    return int.from_bytes(digest.digest(), "big")
