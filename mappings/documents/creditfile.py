"""How credit-transport gets entries: by REST as JSON, or as a dated file with a detached signature; and its receipt.

The item table of 信用交通 is not public: this is our own schema, `vingate.credit/1`.

- An entry is one JSON object: `schema`, and the members of `CreditEntry`. A withdrawn one has `withdrawn` (why) in
  place of everything but companycode and period.
- A file `credit-{sender}-{yyyymmdd}-{serial}.jsonl` is canonical JSON, one object a line (keys sorted, no blanks,
  UTF-8, each line ended by a line feed): first a header (`vingate.credit-file/1`: sender, day, serial, count, key),
  then entries sorted by USCC, company and period. Beside it `….jsonl.sig`: the Ed25519 signature over the file's bytes,
  64 bytes as base64 in one line. Keys are the caller's.
- A receipt (`vingate.credit-receipt/1`) names the file by its name and SHA-256, or the one entry that came by REST, and
  lists what was refused and why; everything else is taken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mappings.documents.credit import CreditEntry

SCHEMA, FILE_SCHEMA, RECEIPT_SCHEMA = "vingate.credit/1", "vingate.credit-file/1", "vingate.credit-receipt/1"

_KEY_DIGITS = 16
_LINE = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


class FileRefused(Exception):
    """A file, its signature or a receipt cannot be accepted; the message says why, in Chinese and English."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)


class Header(_Frozen):
    """First line of a file."""

    form: Literal["vingate.credit-file/1"] = Field(default="vingate.credit-file/1", alias="schema")
    sender: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{1,32}$")]
    """Who sends: the system's name (`44`)."""
    day: date
    """The day of the file."""
    serial: Annotated[int, Field(ge=1, le=9999)]
    """Number of the file on that day."""
    count: Annotated[int, Field(ge=0)]
    """Entries in it."""
    key: str
    """Which key signed: `key_id`."""

    @property
    def name(self) -> str:
        """The file's name."""
        return f"credit-{self.sender}-{self.day:%Y%m%d}-{self.serial:04d}.jsonl"


class SignedFile(NamedTuple):
    """A file and its signature, as they are written."""

    name: str
    body: bytes
    signature: bytes
    """Content of `{name}.sig`."""


class Verified(NamedTuple):
    """A file whose signature holds."""

    header: Header
    entries: tuple[CreditEntry, ...]


class Refusal(_Frozen):
    """One entry that was refused."""

    companycode: str
    period: str
    reason: str


class CreditReceipt(_Frozen):
    """The answer of credit-transport to a file, or to one entry."""

    form: Literal["vingate.credit-receipt/1"] = Field(default="vingate.credit-receipt/1", alias="schema")
    number: Annotated[str, Field(min_length=1, max_length=64)]
    """Number of the receipt with credit-transport."""
    day: date
    file: str = ""
    """Name of the file; empty where entries came by REST."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Of the bytes that came."""
    taken: Annotated[int, Field(ge=0)]
    refused: tuple[Refusal, ...] = ()


def encode_entry(entry: CreditEntry) -> bytes:
    """One entry as JSON, canonical: what REST carries and what a line of a file is, but for its line feed."""
    return _canonical({"schema": SCHEMA, **entry.members()}).rstrip(b"\n")


def decode_entry(body: bytes) -> CreditEntry:
    """The entry of such JSON.

    Raises:
        FileRefused: it is none.
    """
    members = _object(body)
    if members.pop("schema", None) != SCHEMA:
        message = f"不是 {SCHEMA} / not {SCHEMA}"
        raise FileRefused(message)
    try:
        return CreditEntry.of_members(members)
    except (ValidationError, TypeError):
        message = "信用记录的内容不完整或类型错误 / members of the entry are missing or of the wrong kind"
        raise FileRefused(message) from None


def encode_withdrawn(companycode: str, period: str, reason: str) -> bytes:
    """The withdrawal of an entry, as JSON."""
    told = {"companycode": companycode, "period": period, "withdrawn": reason}
    return _canonical({"schema": SCHEMA, **told}).rstrip(b"\n")


def key_id(key: Ed25519PublicKey) -> str:
    """How a public key is named: the first 16 hex digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:_KEY_DIGITS]


def sign_file(
    entries: Iterable[CreditEntry], sender: str, day: date, serial: int, key: Ed25519PrivateKey
) -> SignedFile:
    """The file of a day with its signature. The same entries, in any order, give the same bytes.

    Raises:
        pydantic.ValidationError: sender or serial are out of their bounds.
    """
    chosen = sorted(entries, key=lambda one: (one.uscc, one.companycode, one.period))
    header = Header(sender=sender, day=day, serial=serial, count=len(chosen), key=key_id(key.public_key()))
    first = _canonical(header.model_dump(mode="json", by_alias=True))
    body = first + b"".join(encode_entry(one) + b"\n" for one in chosen)
    return SignedFile(header.name, body, base64.b64encode(key.sign(body)) + b"\n")


def verify_file(body: bytes, signature: bytes, key: Ed25519PublicKey) -> Verified:
    """What a file says, once its signature is known to hold.

    Raises:
        FileRefused: the signature does not fit the bytes and the key, or the file is not what its header says.
    """
    try:
        key.verify(base64.b64decode(signature.strip(), validate=True), body)
    except (InvalidSignature, binascii.Error, ValueError):
        message = "签名与文件或公钥不符 / the signature does not fit the file or the key"
        raise FileRefused(message) from None
    first, *lines = body.split(b"\n")
    try:
        header = Header.model_validate_json(first)
    except ValidationError:
        message = f"首行不是 {FILE_SCHEMA} / the first line is no {FILE_SCHEMA}"
        raise FileRefused(message) from None
    if lines[-1:] != [b""] or len(lines) - 1 != header.count or header.key != key_id(key):
        message = "文件与首行所述不符 / the file is not what its first line says"
        raise FileRefused(message)
    return Verified(header, tuple(decode_entry(line) for line in lines[:-1]))


def encode_receipt(receipt: CreditReceipt) -> bytes:
    """A receipt as JSON, canonical."""
    return _canonical(receipt.model_dump(mode="json", by_alias=True))


def read_receipt(body: bytes, sent: bytes) -> CreditReceipt:
    """The receipt for what was sent.

    Raises:
        FileRefused: it is no receipt, or one for other bytes.
    """
    try:
        receipt = CreditReceipt.model_validate_json(body)
    except ValidationError:
        message = f"不是 {RECEIPT_SCHEMA} / not {RECEIPT_SCHEMA}"
        raise FileRefused(message) from None
    if receipt.sha256 != hashlib.sha256(sent).hexdigest():
        message = "回执所指的不是该报文 / the receipt is for other bytes"
        raise FileRefused(message)
    return receipt


def _canonical(members: dict[str, Any]) -> bytes:
    return orjson.dumps(members, option=_LINE)


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        message = "不是 JSON 对象 / not a JSON object"
        raise FileRefused(message)
    return found
