"""Canonical bytes of a record and the digests that rest on them: record key, content, delivery id, VIN hash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from mappings.avroschema import DAY_ZERO, compile_encoder, repair_schema
from mappings.records import RepairRow, Withdrawal

SCHEMA = repair_schema()

CONTENT_FIELDS = RepairRow._fields[1:]
"""The content of a record: every element but the company code, which is part of its key."""

_UNIQUE = frozenset({"plate", "vin", "costlistcode"})
_typed: Callable[[Iterable[RepairRow]], list[bytes]] = compile_encoder(SCHEMA, CONTENT_FIELDS, _UNIQUE, skip=1)

_EPOCH, _MILLISECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)
_PROVENANCE_FIELDS = ("system", "version", "repaircomefrom", "dialect", "received_at", "findings", "withdrawn")
_provenance = compile_encoder(SCHEMA, _PROVENANCE_FIELDS)
_company = compile_encoder(SCHEMA, ("companycode",))


def contents_of(rows: Sequence[RepairRow | None]) -> list[bytes]:
    """Avro encoding of the content of many rows; none of what is no repair record (None)."""
    return list(map(content_of, rows)) if None in rows else _typed(rows)  # type: ignore[arg-type] # as just seen


def content_of(row: RepairRow | None) -> bytes:
    """Avro encoding of one row's content; none of what is no repair record."""
    return _typed((row,))[0] if row is not None else b""


def content_bytes(values: Sequence[object]) -> bytes:
    """Avro encoding of one record's content, given as the tuple `row[1:]`."""
    return _typed(((None, *values),))[0]  # type: ignore[arg-type] # the code is skipped


def company_bytes(companycode: str) -> bytes:
    """Avro encoding of the leading member of a record."""
    return _company(((companycode,),))[0]


def provenance_bytes(
    system: str,
    version: int,
    repaircomefrom: int,
    dialect: str,
    received_at: datetime,
    findings: Sequence[str],
    withdrawn: str | None = None,
) -> bytes:
    """Avro encoding of the closing members of a record; `withdrawn` says why, of a version that is."""
    millis = (received_at - _EPOCH) // _MILLISECOND  # whole numbers all the way: a float loses the last millisecond
    return _provenance(((system, version, repaircomefrom, dialect, millis, findings, withdrawn),))[0]


def withdrawn_bytes(withdrawal: Withdrawal) -> bytes:
    """Avro encoding of key and content of a withdrawn version: texts are empty, days are day 0, the mileage is 0."""
    day = date.fromordinal(DAY_ZERO)
    company, code, _ = withdrawal
    return company_bytes(company) + content_of(RepairRow(company, "", "", "", day, day, Decimal(0), "", code, (), ()))


def _key_base(scope: str, system: str) -> Any:  # noqa: ANN401 - any JSON value
    base = blake2b(digest_size=16)
    base.update(f"{len(scope)}:{scope}{len(system)}:{system}".encode("utf-8", "surrogatepass"))
    return base


def _key_text(companycode: str, costlistcode: str) -> bytes:
    """The members of a key, told apart by the first one's length."""
    return f"{len(companycode)}:{companycode}{costlistcode}".encode("utf-8", "surrogatepass")


def key_digest(scope: str, system: str, companycode: str, costlistcode: str) -> bytes:
    """16 bytes that stand for a record key within a scope (an exchange's version index)."""
    own = _key_base(scope, system)
    own.update(_key_text(companycode, costlistcode))
    return bytes(own.digest())


_CONTENT = blake2b(digest_size=8)


def content_digests(contents: Iterable[bytes]) -> list[bytes]:
    """8 bytes for each record's content, which stand for it under one key."""
    copy = _CONTENT.copy  # copying a hash costs half of making one
    digests = []
    for content in contents:
        own = copy()
        own.update(content)
        digests.append(own.digest())
    return digests


def content_digest(content: bytes) -> bytes:
    """8 bytes that stand for a record's content under one key."""
    return content_digests((content,))[0]


WITHDRAWN = int.from_bytes(content_digest(b""), "big")
"""The content digest of a withdrawn version, as journals and the index hold it: that of no content.

It is the same whatever the reason, so a record that is withdrawn twice has one withdrawn version.
"""


def key_digests(scope: str, system: str, companycodes: Iterable[str], costlistcodes: Iterable[str]) -> list[bytes]:
    """16 bytes for each record's key within a scope: see `key_digest`."""
    begun: dict[str, Any] = {}
    base = _key_base(scope, system)
    digests: list[bytes] = []
    add = digests.append
    for company, code in zip(companycodes, costlistcodes, strict=True):
        begin = begun.get(company)
        if begin is None:
            begin = begun[company] = base.copy()
            begin.update(_key_text(company, ""))
        own = begin.copy()
        own.update(code.encode("utf-8", "surrogatepass"))
        add(own.digest())
    return digests


def vin_digest(vin: str) -> bytes:
    """8 bytes by which a VIN is found again without being written down."""
    return blake2b(vin.encode("utf-8", "surrogatepass"), digest_size=8, person=b"vingate.vin").digest()


def record_key(system: str, companycode: str, costlistcode: str) -> str:
    """A record key as text; its members cannot hold the separator unescaped."""
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in (system, companycode, costlistcode))


def delivery_id(key: str, version: int, content: str, destination: str) -> str:
    """Hex id of a delivery: derived, never random, so that A -> B -> back to A is three versions, not a duplicate."""
    text = f"{key}\0{version}\0{content}\0{destination}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
