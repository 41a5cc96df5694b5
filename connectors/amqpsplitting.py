r"""Messages of many records: cut into one arrival each, byte for byte.

    >>> [one.body for one in arrivals("q", "m1", b'[{"a": 1}, {"b":2}]', "array")]
    [b'{"a": 1}', b'{"b":2}']
    >>> [one.key for one in arrivals("q", "m1", b'{}\n\n[]\n', "lines")]
    ['m1#0', 'm1#1']

What cannot be cut (no JSON array, nothing in it, longer than `longest`) is one arrival, whole: nobody drops it unseen.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec

from connectors.contracts import Arrival

Split = Literal["none", "array", "lines"]

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def arrivals(
    source: str,
    key: str,
    body: bytes,
    split: Split,
    company: str = "",
    system: str = "",
    longest: int = 16 << 20,
    *,
    first: bool = False,
) -> list[Arrival]:
    """The arrivals of one message, in order; never none.

    A digest alone does not tell a message from another one of the same bytes (a record, its withdrawal, the record
    again): it counts only where the broker says that the message may have come before.

    Args:
        source: queue.
        key: the message's id; where the sender gave none, a digest of source and body.
        body: the message.
        split: how it is cut: not at all, a JSON array, or lines of JSON (empty ones do not count).
        company: whom the sender was authenticated for.
        system: likewise.
        longest: bytes beyond which nothing is cut: pieces cost many times what they hold.
        first: the broker delivers it for the first time.
    """
    new = first and not key
    key = key or sha256(source.encode() + b"\0" + body).hexdigest()
    pieces = _pieces(body, split) if len(body) <= longest else []
    if not pieces:
        return [Arrival(body, source, key, company, system, new)]
    return [Arrival(bytes(piece), source, f"{key}#{n}", company, system, new) for n, piece in enumerate(pieces)]


def _pieces(body: bytes, split: Split) -> list[bytes] | list[msgspec.Raw]:
    if split == "lines":
        return [line for line in body.splitlines() if line.strip()]
    if split == "array":
        try:
            return _ARRAY.decode(body)
        except (msgspec.DecodeError, RecursionError):
            return []
    return []
