"""Letters as database rows and back, the filters of a search, and bodies read by reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import MetaData, Row, Select, or_

from connectors.contracts import Unreadable
from connectors.unpacking import Inside
from dlq.errors import BodyGone
from dlq.letter import BodyRef, Letter
from dlq.marks import SINCE, Tried, mark
from dlq.reasons import pack, unpack
from dlq.sealing import Sealer
from dlq.tables import define

TABLES = define(MetaData())
"""The tables as this package's statements name them."""
_L = TABLES.letters
_REASONS, _REF = Letter._fields.index("reasons"), Letter._fields.index("ref")
_SINCE = _REF + 2
_LAST = len(Letter._fields)  # one column more for a reference in three, one less for the body
_NO_REF = (None, None, None)
_STATE = _L.c.keys().index(SINCE[0])
_CODES = _STATE + len(SINCE)
_LAST_REASONS = SINCE.index("last_reasons")
_INSIDE = _L.c.keys().index("ref_inside")


class Filters(NamedTuple):
    """Which letters: every filter that is set must hold."""

    reason: str = ""
    """A code among the reasons that stand."""
    source: str = ""
    """Part of the source's name."""
    company: str = ""
    """The company that the envelope was authenticated for, or that the record names."""
    exchange: str = ""
    stage: str = ""
    state: str = ""
    destination: str = ""
    batch: str = ""
    vin: str = ""
    """The plain VIN; its keyed hash is compared."""
    parked: bool | None = None
    older_than: datetime | None = None
    """Received before this moment (aware)."""
    newer_than: datetime | None = None
    """Received at this moment or later."""
    limit: int | None = None


def utc(moment: datetime) -> str:
    """A moment (aware) as the store keeps it: ISO 8601 in UTC with microseconds."""
    if moment.tzinfo is None:
        msg = "a moment without its zone"
        raise ValueError(msg)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_row(letter: Letter, packed: str, fingerprint: int) -> tuple[object, ...]:
    """The row of a letter in the order of the table's columns, its body left out; `packed` are its reasons as text."""
    last = pack(letter.last_reasons) if letter.last_reasons else ""
    codes, ref = codes_of(letter), letter.ref
    since = (*letter[_SINCE:-1], last, *codes)
    return (
        letter[:_REASONS]
        + (packed,)
        + letter[_REASONS + 1 : _REF]
        + (ref[:3] if ref else _NO_REF)
        + since
        + (mark(fingerprint, letter.created_at, codes, since), ref.inside if ref else "")
    )


def mark_of(letter: Letter, fingerprint: int, since: tuple[object, ...], tried: Sequence[Tried] = ()) -> str:
    """The mark that a letter's row must have once its columns `SINCE` hold `since`.

    Raises:
        ValueError, TypeError, LookupError: the reasons in `since` cannot be read.
    """
    last = since[_LAST_REASONS]
    codes = codes_of(letter._replace(last_reasons=unpack(str(last)) if last else ()))
    return mark(fingerprint, letter.created_at, codes, since, tried)


def since_of(row: Row[Any]) -> tuple[object, ...]:
    """The columns `SINCE` of a row that begins with the table's columns."""
    return tuple(row[_STATE:_CODES])


def codes_of(letter: Letter) -> tuple[str, str]:
    """The columns that searches use: the primary reason that stands, and all of them between blanks."""
    current = letter.last_reasons or letter.reasons
    if len(current) == 1:
        return current[0].code, f" {current[0].code} "
    return current[0].code, f" {' '.join(dict.fromkeys([reason.code for reason in current]))} "


def from_row(row: Row[Any]) -> Letter:
    """The letter of a row that begins with the table's columns, without its body."""
    found = tuple(row)
    path, offset, length = found[_REF : _REF + 3]
    ref = None if path is None else BodyRef(path, offset, length, found[_INSIDE])
    last = unpack(found[_LAST]) if found[_LAST] else ()
    return Letter._make(
        (
            *found[:_REASONS],
            unpack(found[_REASONS]),
            *found[_REASONS + 1 : _REF],
            ref,
            None,
            *found[_REF + 3 : _LAST],
            last,
        )
    )


def filtered(query: Select[Any], filters: Filters, sealer: Sealer) -> Select[Any]:
    """The query with the filters' conditions."""
    for name in ("exchange", "stage", "state", "destination", "batch"):
        value = getattr(filters, name)
        if value:
            query = query.where(_L.c[name] == value)
    if filters.company:
        named = filters.company.replace("%", "%25").replace("|", "%7C")
        own = _L.c.record_key.contains(f"|{named}|", autoescape=True)
        query = query.where(or_(_L.c.company == filters.company, own))
    if filters.reason:
        query = query.where(_L.c.codes.contains(f" {filters.reason} ", autoescape=True))
    if filters.source:
        query = query.where(_L.c.source.contains(filters.source, autoescape=True))
    if filters.vin:
        query = query.where(_L.c.vin == sealer.pseudonym(filters.vin.strip().upper()))
    if filters.parked is not None:
        query = query.where(_L.c.parked == filters.parked)
    if filters.older_than:
        query = query.where(_L.c.received_at < utc(filters.older_than))
    if filters.newer_than:
        query = query.where(_L.c.received_at >= utc(filters.newer_than))
    return query


def chunks(path: Path, ref: BodyRef) -> Iterator[bytes]:
    """The bytes that a reference names, piece by piece, unpacked where their file is packed.

    Raises:
        BodyGone: the file is not there, cannot be read, or is shorter.
    """
    try:
        inside = Inside.of(ref.inside)
        left = ref.length + (inside.head[1] if inside.head else 0)
        with path.open("rb") as source:
            for data in inside.pieces(source, ref.offset, ref.length):
                left -= len(data)
                yield data
    except OSError as error:
        raise _gone(path, str(error.strerror)) from error
    except Unreadable as error:
        raise _gone(path, str(error)) from error
    if left:
        raise _gone(path, f"{left} bytes short")


def replay_fingerprint(letter_id: str, batch: str, reasons: str) -> int:
    """64 bits of a failed replay: what `LetterStore.tally` sums for the batch that replayed."""
    text = f"{letter_id}\x1f{batch}\x1f{reasons}"
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def failed_replay(letter: Letter, batch: str) -> int:
    """The `replay_fingerprint` of a letter whose replay by `batch` failed for its `last_reasons`."""
    return replay_fingerprint(letter.id, batch, pack(letter.last_reasons))


def _gone(path: Path, why: str) -> BodyGone:
    return BodyGone(f"原文 {path} 无法读取（{why}） / the original bytes in {path} cannot be read ({why})")
