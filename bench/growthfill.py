"""Rows of a province's store and state, as the exchange itself would leave them, by the million: see `growth.py`."""

# ruff: noqa: E402 - the path comes before what is found by it; names are our own
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import orjson
import psycopg

# Our packages first: the tests have folders of the same names.
ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]
from connectors.contracts import Delivery, fingerprint
from connectors.pgmonths import digest_of, month_of
from mappings.encoding import content_bytes, content_digest, delivery_id, key_digests, record_key
from mappings.records import RepairRow
from mappings.vin import check_digit
from pipelines.journal import ADDRESSED, LINE, Journal
from pipelines.storeform import REPAIRS
from pipelines.versions import pack_intake, signed
from pipelines.vinhash import vin_hashes

BATCH, MONTHS, SHOPS, FIRST = 2_000, 36, 20_000, date(2023, 10, 1)
PROVED_EVERY = 50
"""One batch of so many has the sums by which its rows are proved: those are made of bodies."""
STORE_TABLES, STATE_TABLES = ("repairs", "repairs_keys"), ("versions", "history", "vin_journals")
"""Tables with a row for each record."""
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_NAMES = (
    ("机油", "4", "P000001"),
    ("机油滤清器", "1", "P000002"),
    ("制动片", "2", "P000003"),
    ("火花塞", "4", "P000004"),
)
_WORK = (("更换机油机滤", "1.5"), ("更换前制动片", "2"), ("四轮定位", "0.8"))
_PARTS = [tuple((name, Decimal(count), code) for name, count, code in _NAMES[:n]) for n in (1, 2, 3, 4)]
_PROJECTS = [tuple((name, Decimal(hours)) for name, hours in _WORK[:n]) for n in (1, 2, 3)]


_TEXTS = {
    (len(parts), len(work)): (
        orjson.dumps([{"name": n, "quantity": str(q), "code": c} for n, q, c in parts]).decode(),
        orjson.dumps([{"name": n, "hours": str(h)} for n, h in work]).decode(),
    )
    for parts in _PARTS
    for work in _PROJECTS
}


class Made(NamedTuple):
    """A record of the fill, in the forms in which tables hold it."""

    row: RepairRow
    key: str
    content: int
    values: tuple[Any, ...]
    """Columns of the store's spec."""


def row_of(number: int, now: bool = False) -> RepairRow:
    """Record `number`: its batch's month, one of the shops, one of the vehicles; each vehicle comes three times or so.

    `now`: of the last month, as what comes in daily.
    """
    rnd = (number * 2654435761 + 97) & 0xFFFFFFFF
    vehicle = number // 300_000 * 100_000 + rnd % 100_000
    month = MONTHS - 1 if now else number // BATCH % MONTHS
    repaired, settled, compact = days_of(month, rnd % 28, rnd % 3)
    shop = (rnd >> 8) % SHOPS
    return RepairRow(
        f"4401{shop:08d}", f"某某汽车维修有限公司{shop}", _plate(vehicle), _vin(vehicle), repaired, settled,
        _mileage(700 * month + vehicle % 700), "保养及异响检查，更换磨损件",
        f"{compact}{number:08d}", _PARTS[rnd % 4], _PROJECTS[rnd % 3],
    )  # fmt: skip


@lru_cache(10_000)
def days_of(month: int, day: int, before: int) -> tuple[date, date, str]:
    settled = date(FIRST.year + (FIRST.month - 1 + month) // 12, (FIRST.month - 1 + month) % 12 + 1, 1 + day)
    return settled - timedelta(days=before), settled, f"JS{settled:%Y%m%d}"


@lru_cache(30_000)
def _mileage(more: int) -> Decimal:
    return Decimal(10_000 + more)


@lru_cache(10_000)
def _iso(day: date) -> str:
    return day.isoformat()


@lru_cache(30_000)
def _text(mileage: Decimal) -> str:
    return str(mileage)


def _plate(vehicle: int) -> str:
    return f"粤{_LETTERS[vehicle // 240_000]}{_LETTERS[vehicle // 10_000 % 24]}{vehicle % 10_000:04d}"


@lru_cache(100_000)
def _vin(vehicle: int) -> str:
    raw = f"LSVAA2180{'HJKLMN'[vehicle % 6]}{vehicle:07d}"
    return raw[:8] + check_digit(raw) + raw[9:]


def payload_of(row: RepairRow) -> dict[str, Any]:
    """The record as a shop uploads it."""
    return {
        "basicInfo": {
            "companycode": row.companycode, "companyname": row.companyname, "vehicleplatenumber": row.plate,
            "vin": row.vin, "repairdate": f"{row.repairdate:%Y%m%d}", "repairmileage": str(row.mileage),
            "settledate": f"{row.settledate:%Y%m%d}", "faultdescription": row.faultdescription,
            "costlistcode": row.costlistcode,
        },
        "vehiclepartslist": [{"partsname": n, "partsquantity": str(q), "partscode": c} for n, q, c in row.parts],
        "repairprojectlist": [{"repairproject": n, "workinghours": str(h)} for n, h in row.projects],
    }  # fmt: skip


def is_proved(batch: int) -> bool:
    """Whether a batch of the fill has what proving needs: its records' true digests, and the sums of their bodies."""
    return batch == 1 or batch % PROVED_EVERY == 0


def made(number: int, received: str, *, now: bool = False) -> Made:
    """A record in all its forms; its content digest is the true one where its batch is proved, or it comes now."""
    row = row_of(number, now)
    parts, projects = _TEXTS[len(row.parts), len(row.projects)]
    values = (
        "vingate.repair/1", "report", "44", row.companycode, row.companyname, row.plate, row.vin,
        _iso(row.repairdate), _iso(row.settledate), _text(row.mileage), row.faultdescription,
        row.costlistcode, parts, projects, 1, "national", received, "[]", None,
    )  # fmt: skip
    if now or is_proved(number // BATCH + 1):
        content = int.from_bytes(content_digest(content_bytes(row[1:])), "big")
    else:
        content = (number + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return Made(row, record_key("44", row.companycode, row.costlistcode), content, values)


def delivery_of(one: Made, batch: str) -> Delivery:
    members = dict(zip(REPAIRS.columns, one.values, strict=True))
    for name in ("parts", "projects", "findings"):
        members[name] = orjson.Fragment(members[name])
    content = f"{one.content:016x}"
    identity = delivery_id(one.key, 1, content, "province-44")
    return Delivery(identity, "province-44", one.key, 1, content, REPAIRS.body(members), batch)


class Filler:
    """Rows of whole batches for every table of the store and the state."""

    def __init__(self, scope: str, received: str, held: int, divided: bool) -> None:
        self.scope, self.received, self._held, self._divided = scope, received, held, divided

    def records(self, batch: int) -> list[Made]:
        """The records of a batch; the first one is 1."""
        first = (batch - 1) * BATCH
        return [made(number, self.received) for number in range(first, first + BATCH)]

    def tables(self, batch: int, found: list[Made], *, proved: bool) -> dict[str, list[tuple[Any, ...]]]:
        name = f"growth-{batch:06d}"
        repairs = []
        for one in found:
            content = f"{one.content:016x}"
            identity = delivery_id(one.key, 1, content, "province-44")
            month = (month_of(one.values[8]),) if self._divided else ()
            repairs.append((one.key, 1, identity, content, name, "", True, False, *one.values, *month))
        book = Journal(np.zeros(len(found), LINE), routes=[(), ("province-44",)])
        codes = [one.row.companycode for one in found], [one.row.costlistcode for one in found]
        keys = key_digests(self.scope, "44", *codes)
        lines = book.lines
        lines["ordinal"], lines["fate"], lines["version"], lines["routes"] = range(len(found)), ADDRESSED, 1, 1
        lines["key_hi"] = [int.from_bytes(key[:8], "big") for key in keys]
        lines["key_lo"] = [int.from_bytes(key[8:], "big") for key in keys]
        lines["content"] = [one.content for one in found]
        lines["vin"] = vin_hashes([one.row.vin for one in found])
        stands = sum(fingerprint(delivery_of(one, name)) for one in found) % 2**64 if proved else 0
        count = len(found)
        vins = np.unique(lines["vin"]).view(np.int64).tolist()
        return {
            "repairs": repairs,
            "repairs_keys": sorted((digest_of(one.key), month_of(one.values[8])) for one in found),
            "versions": [
                (UUID(bytes=key), signed(one.content), pack_intake(batch, place), 1, self._held)
                for place, (key, one) in enumerate(zip(keys, found, strict=True))
            ],
            "history": [
                (self.scope, r.companycode, r.costlistcode, r.vin, r.plate, _iso(r.repairdate),
                 _iso(r.settledate), _text(r.mileage)) for r in (one.row for one in found)
            ],
            "vin_journals": [(vin, batch, 0) for vin in vins],
            "journals": [(name, 0, f"{batch}.ndjson", book.pack())],
            "batches": [(name, "growth", batch, 1, "source", "closed", self.received, b"[]", count, count, count)],
            "batch_destinations": [(name, "province-44", "provinces", count, count, count, str(stands))],
        }  # fmt: skip


COLUMNS = {
    "repairs": (
        "record_key", "version", "delivery_id", "content", "batch", "merged_into", "current", "late",
        *REPAIRS.columns,
    ),
    "repairs_keys": ("key", "month"),
    "versions": ("key", "content", "intake", "version", "held"),
    "history": ("scope", "companycode", "costlistcode", "vin", "plate", "repairdate", "settledate", "mileage"),
    "vin_journals": ("vin", "number", "item"),
    "journals": ("batch", "item", "source", "lines"),
    "batches": (
        "id", "exchange", "number", "run", "kind", "state", "received_at", "items", "received", "decoded", "addressed",
    ),
    "batch_destinations": ("batch", "destination", "sink", "addressed", "delivered", "stands", "stands_digest"),
}  # fmt: skip
_ZEROS = {
    "batches": (
        "dead_intake", "dead_records", "duplicate_intake", "duplicate_records", "fragments", "filtered", "unplaced",
        "flagged", "letters",
    ),
    "batch_destinations": ("duplicate", "merged", "filtered", "dead", "waiting", "in_flight"),
}  # fmt: skip


def copy_all(connection: psycopg.Connection[Any], name: str, rows: list[tuple[Any, ...]], divided: bool) -> None:
    columns = [*COLUMNS[name], *(("month",) if name == "repairs" and divided else ())]
    columns += _ZEROS.get(name, ())
    tail = (0,) * len(_ZEROS.get(name, ()))
    if name == "batches":
        columns, tail = [*columns, "letters_digest"], (*tail, "0")
    types = {
        row[0]: row[1]
        for row in connection.execute(
            "SELECT attname, format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = %s::regclass", [name]
        )
    }
    listed = ", ".join(f'"{one}"' for one in columns)
    with connection.cursor() as cursor, cursor.copy(f'COPY "{name}" ({listed}) FROM STDIN (FORMAT BINARY)') as copy:
        copy.set_types([types[one] for one in columns])
        for row in rows:
            copy.write_row((*row, *tail))


def fill(store: str, state: str, filler: Filler, batches: list[int], only_store: bool, divided: bool) -> None:
    with psycopg.connect(store) as rows, psycopg.connect(state) as books:
        for connection in (rows, books):
            connection.execute("SET synchronous_commit = off")
        for at in range(0, len(batches), 10):
            gathered: dict[str, list[tuple[Any, ...]]] = {}
            for batch in batches[at : at + 10]:
                found = filler.tables(batch, filler.records(batch), proved=is_proved(batch))
                for name, given in found.items():
                    gathered.setdefault(name, []).extend(given)
            gathered["repairs"].sort(key=lambda row: row[-1] if divided else 0)
            for name in STORE_TABLES if divided else STORE_TABLES[:1]:
                copy_all(rows, name, gathered[name], divided)
            for name in (
                ()
                if only_store
                else ("batches", "batch_destinations", "journals", "versions", "history", "vin_journals")
            ):
                copy_all(books, name, gathered[name], divided)
            rows.commit()
            books.commit()


@contextmanager
def without_indexes(address: str, names: tuple[str, ...]) -> Iterator[None]:
    """Keys and indexes of some tables are gone meanwhile, and made again."""
    again: list[str] = []
    with psycopg.connect(address, autocommit=True) as connection:
        for table, name, text in connection.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('p', 'u')", [list(names)],
        ).fetchall():  # fmt: skip
            again.append(f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {text}')
            connection.execute(f'ALTER TABLE "{table}" DROP CONSTRAINT "{name}"')
        for name, text in connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [list(names)]
        ).fetchall():
            again.append(text.replace(" ON ONLY ", " ON "))
            connection.execute(f'DROP INDEX "{name}"')
    yield
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in again:
            connection.execute(statement)
        for name in names:
            connection.execute(f'VACUUM (ANALYZE) "{name}"' if name != "repairs" else f'ANALYZE "{name}"')
        connection.execute("CHECKPOINT")
