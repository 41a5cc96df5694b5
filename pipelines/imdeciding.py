"""A person's decision about a repair of the emission queue, as payloads that enter by the same door as everything else.

A decision is a fact: it goes as `vingate.im-match/1` into a folder that the exchange outside-in reads, one for each
vehicle's file that it concerns, and stands in the store of documents with its versions. A changed decision is the next
version, a decision that is undone is withdrawn; both stay in the history, so what followed can be worked out again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import orjson
from pydantic import SecretStr
from sqlalchemy import select

from connectors.engines import translated
from connectors.parts import sync_folder
from connectors.sqlbase import Store, StoreSettings
from mappings.documents.imcases import SCHEMA, Match, both_sides
from mappings.documents.interchange import encode_withdrawn
from mappings.records import Withdrawal
from pipelines.casebook import current
from pipelines.errors import SettingsError
from pipelines.sinks import must_be_there
from pipelines.storeform import REPAIRS


class Decider(NamedTuple):
    """Who decides, when and why."""

    office: str
    by: str
    """A number of staff, not a name."""
    at: datetime
    reason: str


def decided(repairs: SecretStr, key: str, report: tuple[str, str] | None, decider: Decider) -> Match:
    """The decision about a repair that stands in a store.

    Args:
        repairs: address of the store of repairs.
        key: the repair's record key, as the case shows it.
        report: number of the report that it answers and the vehicle that was tested; None: it belongs to none.
        decider: who decides.

    Raises:
        SettingsError: no such repair stands there.
        ConnectorError: the store is not to be had.
    """
    must_be_there(repairs.get_secret_value())
    store = Store(StoreSettings(url=repairs, table=REPAIRS))
    own = store.table.c
    wanted = select(own.companycode, own.vin, own.repairdate, own.settledate).where(
        own.record_key == key, own.current.is_(True), own.withdrawn.is_(None)
    )
    try:
        with translated(), store.engine.connect() as connection:
            found = connection.execute(wanted).first()
    finally:
        store.engine.dispose()
    if found is None:
        message = f"库中没有这条维修记录 / no such repair stands in the store: {key}"
        raise SettingsError(message)
    number, vin = report or (None, None)
    told = {
        "office": decider.office, "repair": key, "vin": found.vin, "repairvin": found.vin, "reportvin": vin,
        "reportno": number, "companyuniquecode": found.companycode, "repairdate": found.repairdate,
        "settledate": found.settledate, "decidedby": decider.by, "decidedat": decider.at.isoformat(),
        "reason": decider.reason,
    }  # fmt: skip
    return Match.of_members({name: value for name, value in told.items() if value is not None})


def standing(documents: SecretStr, key: str) -> list[Match]:
    """The decisions about a repair that stand, one for each file.

    Raises:
        ConnectorError: the store is not to be had.
    """
    return [one for one in current(documents, Match) if one.repair == key]


def payloads(match: Match, before: Iterable[Match]) -> list[bytes]:
    """A decision for each file that it concerns, and withdrawals from the files that it concerns no longer."""
    sides = both_sides(match)
    lines = [orjson.dumps({"schema": SCHEMA, **one.members()}) for one in sides]
    kept = {(one.office, one.listed) for one in sides}
    lines += undone(
        (one for one in before if (one.office, one.listed) not in kept),
        Decider(match.office, match.decidedby, match.decidedat, match.reason),
    )
    return lines


def undone(before: Iterable[Match], decider: Decider) -> list[bytes]:
    """Withdrawals of decisions, which say who took them back, when and why."""
    why = f"{decider.reason}（{decider.office} {decider.by} {decider.at.isoformat(timespec='seconds')}）"
    return [encode_withdrawn(Withdrawal(one.office, one.listed, why), {}) for one in before]


def hand_in(lines: list[bytes], folder: Path, at: datetime) -> Path:
    """Put payloads into a folder as one file of lines, whole or not at all.

    Raises:
        SettingsError: the folder cannot be written.
    """
    mark = sha256(b"\n".join(lines)).hexdigest()[:12]
    place = folder / f"im-match-{at:%Y%m%d%H%M%S}-{mark}.ndjson"
    hidden = folder / f".{place.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with hidden.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
        hidden.rename(place)
        sync_folder(str(folder))
    except OSError as error:
        message = f"无法写入 {folder}：{error.strerror} / cannot be written: {error.strerror}"
        raise SettingsError(message) from None
    return place
