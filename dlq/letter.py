"""The dead letter as a value: an envelope or a delivery that could not go on, with everything needed to mend it."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b, sha256
from typing import NamedTuple

import orjson

from connectors.contracts import Tally
from dlq.reasons import Reason, pack
from dlq.sealing import Sealer

OPEN, CLAIMED, RESOLVED, DISCARDED = "open", "claimed", "resolved", "discarded"
STATES = (OPEN, CLAIMED, RESOLVED, DISCARDED)
STAGES = ("receive", "decode", "judge", "address", "encode", "deliver", "assemble")
GENERATIONS = 3
"""Failed replays after which a letter is parked."""
INLINE_BYTES = 64 * 1024 * 1024
"""Bodies up to this size are kept sealed in the store; larger ones stay where they are, by reference."""


class BodyRef(NamedTuple):
    """Where a body lies that is too large to be kept: a file as its source names it, and the range in it."""

    path: str
    offset: int
    length: int
    inside: str = ""
    """How the range is found in the file where it is no plain range of it (`connectors.unpacking.Inside`)."""


class Origin(NamedTuple):
    """What all letters of one work item have in common."""

    exchange: str
    batch: str
    source: str
    company: str
    """Company or system that the envelopes were authenticated for; a replay enters as this one."""
    system: str
    profile: str
    build: str
    """Version of vingate that made the letter."""
    received_at: str
    """ISO 8601 in UTC, fixed when the batch was opened."""
    parent: str = ""
    """Letter whose replay made these."""
    generation: int = 0
    created_at: str = ""
    """When they died, ISO 8601 in UTC; empty for `received_at` (a delivery that waited dies later)."""


class Letter(NamedTuple):
    """One dead letter.

    A tuple, since bulk work makes them by the thousand. Everything down to `sealed` is fixed when it dies and proved by
    its `fingerprint`; the members after it tell what became of it since.
    """

    id: str
    exchange: str
    batch: str
    stage: str
    step: str
    """Label of the pipeline step."""
    reasons: tuple[Reason, ...]
    """Why it died: all reasons, the primary one first."""
    source: str
    offset: int
    source_key: str
    """Key of the envelope, unique at its source."""
    company: str
    system: str
    dialect: str
    profile: str
    mapping: str
    """Version of the mapping."""
    build: str
    destination: str
    """Where the delivery was for; empty for an envelope."""
    record_key: str
    """system|companycode|costlistcode, as far as the record could be read."""
    vin: str
    """Keyed hash of the VIN (`Sealer.pseudonym`), never the VIN."""
    parent: str
    intake: int
    """Intake number: a replay keeps it, so an old version never overtakes a newer one."""
    received_at: str
    created_at: str
    body_sha256: str
    body_size: int
    ref: BodyRef | None
    sealed: bytes | None
    """The original bytes, sealed for `context(id)`; None when kept by reference, or when read without them."""
    state: str = OPEN
    attempts: int = 0
    generation: int = 0
    parked: bool = False
    claimed_by: str = ""
    """Batch that works on it, or worked last."""
    resolved_by: str = ""
    """Batch that resolved it."""
    note: str = ""
    updated_at: str = ""
    last_reasons: tuple[Reason, ...] = ()
    """Why its last replay failed; empty before."""

    @property
    def current(self) -> tuple[Reason, ...]:
        """The reasons that stand now."""
        return self.last_reasons or self.reasons

    @property
    def named_company(self) -> str:
        """The company that the envelope was authenticated for, else the one that the record itself names."""
        parts = self.record_key.split("|")
        return self.company or (parts[1].replace("%7C", "|").replace("%25", "%") if len(parts) == 3 else "")

    @property
    def reason(self) -> str:
        """Code of the primary reason that stands now."""
        return self.current[0].code


_REASONS, _REF = Letter._fields.index("reasons"), Letter._fields.index("ref")


def letter_id(exchange: str, source_key: str, stage: str, destination: str = "") -> str:
    """The id (32 hex digits): the same death gives the same letter, however often its batch runs."""
    return blake2b(orjson.dumps((exchange, source_key, stage, destination)), digest_size=16).hexdigest()


def context(letter_id: str) -> bytes:
    """What a letter's body is sealed for."""
    return b"letter:" + letter_id.encode()


def compose(
    origin: Origin,
    sealer: Sealer,
    *,
    stage: str,
    reasons: tuple[Reason, ...],
    body: bytes,
    source_key: str,
    offset: int = 0,
    step: str = "",
    dialect: str = "",
    mapping: str = "",
    destination: str = "",
    record_key: str = "",
    vin: str = "",
    intake: int = 0,
    ref: BodyRef | None = None,
    measured: tuple[str, int] | None = None,
) -> Letter:
    """Make the letter of one envelope or delivery.

    `vin` is the plain VIN; only its keyed hash is kept. With `ref` the body is hashed but not kept; `measured`
    (SHA-256, size) spares loading it.

    Raises:
        ValueError: no reason, a reason that heals by itself, an unknown stage, or a body over `INLINE_BYTES` without
            `ref`: a mistake of the step that calls.
    """
    if not reasons or any(reason.heals for reason in reasons) or stage not in STAGES:
        msg = (
            f"a letter needs a stage and reasons that do not heal by themselves: {stage!r}, {[r.code for r in reasons]}"
        )
        raise ValueError(msg)
    if ref is None and len(body) > INLINE_BYTES:
        msg = f"a body of {len(body)} bytes is kept by reference only"
        raise ValueError(msg)
    measured = measured or (sha256(body).hexdigest(), len(body))
    created = origin.created_at or origin.received_at
    source_key = storable(source_key)
    name = letter_id(origin.exchange, source_key, stage, destination)
    return Letter(
        name,
        origin.exchange,
        origin.batch,
        stage,
        step or stage,
        reasons,
        storable(origin.source),
        offset,
        source_key,
        origin.company,
        origin.system,
        dialect,
        origin.profile,
        mapping,
        origin.build,
        destination,
        storable(record_key),
        sealer.pseudonym(vin),
        origin.parent,
        intake,
        origin.received_at,
        created,
        *measured,
        ref,
        sealer.seal(body, context(name)) if ref is None else None,
        generation=origin.generation,
        updated_at=created,
    )


def storable(text: str) -> str:
    """The text as any store takes it: lone surrogates and NUL, which a hostile payload can hold, are written out."""
    if text.isprintable():  # no surrogate and no control character is
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def fixed_text(letter: Letter, packed: str | None = None) -> bytes:
    """What is fixed when a letter dies, as a JSON list: up to `body_size`, then the members of a reference.

    `packed` are its reasons as text, where they are at hand already.
    """
    reasons = pack(letter.reasons) if packed is None else packed
    ref = (letter.ref if letter.ref.inside else letter.ref[:3]) if letter.ref else ()
    return orjson.dumps((*letter[:_REASONS], reasons, *letter[_REASONS + 1 : _REF], *ref))


def fingerprint(letter: Letter, packed: str | None = None) -> int:
    """64 bits of everything that is fixed when a letter dies; the body counts by its hash."""
    return hash_text(fixed_text(letter, packed))


def hash_text(fixed: bytes) -> int:
    """64 bits of a `fixed_text`."""
    return int.from_bytes(blake2b(fixed, digest_size=8).digest(), "big")


def tally_of(letters: Iterable[Letter]) -> Tally:
    """What the ledger keeps of letters: their count, and the sum of their fingerprints mod 2^64."""
    count = digest = 0
    for letter in letters:
        count, digest = count + 1, digest + fingerprint(letter)
    return Tally(count, digest & 0xFFFF_FFFF_FFFF_FFFF)
