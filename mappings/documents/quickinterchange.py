"""The quick path of our own form of documents: for what is, byte for byte, as `encode_document` writes it.

What was written by us and is read by us needs no tree to be looked through for what may be wrong in it: a document is
built from its members, and where encoding it gives the bytes that came, nothing can be. Everything else is left to the
careful path (`mappings.documents.interchange`), which says what is wrong. The law, tested: what goes this way is judged
as by the careful path, to the last member. What this very process wrote a moment ago is not even built again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import msgspec
from pydantic import ValidationError

from mappings.documents import DIALECT, Document
from mappings.documents.interchange import PROVENANCE, SCHEMA, encode_document
from mappings.documents.kinds import kind
from mappings.judging import Judgement
from mappings.trees import DEFAULT_LIMITS, Limits

_DEEPEST = 8
"""Deeper than any kind of document goes."""
_NUL = b"\\u0000"
_AT_HAND = 20_000
"""Documents that are kept until they are read; the oldest go first where nobody reads them."""

_at_hand: OrderedDict[bytes, Document] = OrderedDict()


def write_document(document: Document) -> bytes:
    """Encode a document that has no provenance yet; reading the bytes in this process finds the document itself."""
    body = encode_document(document, {})
    _at_hand[body] = document
    while len(_at_hand) > _AT_HAND:
        _at_hand.popitem(last=False)
    return body


class _Shown(Mapping[str, Any]):
    """What is shown of a document, where somebody looks: its members, and what names it."""

    def __init__(self, document: Document) -> None:
        self._document = document

    @cached_property
    def _all(self) -> dict[str, Any]:
        issuer, _, day, vin = self._document.identity
        told = {"companycode": issuer, "costlistcode": self._document.listed, "day": day.isoformat(), "vin": vin}
        return {**told, **self._document.members()}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - any member
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


class Written(NamedTuple):
    """A document as we write it, taken apart."""

    document: Document
    provenance: dict[str, Any]
    """What it carries beside its content, as a draft has it."""

    def judgement(self) -> Judgement:
        """What the careful path says of it: nothing is wrong."""
        document = self.document
        return Judgement(document.KIND, DIALECT, (), document, _Shown(document), provenance=self.provenance)


class _Message(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    schema: Literal[SCHEMA]  # type: ignore[valid-type]
    kind: str
    companycode: str
    costlistcode: str
    vin: str
    day: str
    members: msgspec.Raw
    system: str | None = None
    version: int | None = None
    dialect: str | None = None
    received_at: str | None = None
    findings: list[str] | None = None


def compile_written_reader(limits: Limits = DEFAULT_LIMITS) -> Callable[[Sequence[bytes]], list[Written | None]]:
    """A function that takes documents in our own form apart; None for each that it leaves to the careful path."""
    decode = msgspec.json.Decoder(_Message).decode
    commas = min(limits.rows, limits.members, limits.values)

    def one(body: bytes) -> Written | None:
        if len(body) > limits.payload_bytes or body.count(b",") >= commas or _NUL in body:
            return None
        known = _at_hand.pop(body, None)
        if known is not None:
            return Written(known, {})
        try:
            sent = decode(body)
            document = kind(sent.kind).model_validate_json(bytes(sent.members))
            told = {name: value for name in PROVENANCE if (value := getattr(sent, name)) is not None}
            return Written(document, told) if encode_document(document, told) == body else None
        except (msgspec.MsgspecError, ValidationError, TypeError, ValueError, KeyError):
            return None

    def read(bodies: Sequence[bytes]) -> list[Written | None]:
        return [one(body) for body in bodies]

    return read if limits.depth >= _DEEPEST else lambda bodies: [None] * len(bodies)
