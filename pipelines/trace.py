"""Where the records of a vehicle went: every version, duplicate and letter, over all exchanges of a state.

The journals hold a hash of each VIN: it finds lines fast, and may find a wrong one; the record itself, read back from
its destination or from what waits, proves. Of records that stand nowhere (filtered ones) only the hash is known, and of
derived ones that nobody here keeps also the name.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from sqlalchemy import Connection, select

from dlq.letter import Letter
from dlq.letters import Filters, LetterStore
from dlq.sealing import Sealer
from pipelines import disclosures, tables
from pipelines.journal import ADDRESSED, FATES, RECEIVED, Journal, digest_column
from pipelines.lookup import Lookup, Name
from pipelines.places import Place, Places
from pipelines.pulls import Pull, key_of, pulls_of
from pipelines.state import State
from pipelines.toldnames import Named, opened_names
from pipelines.vinhash import vin_hash
from pipelines.vinplaces import Told, told_of
from pipelines.withdrawing import is_withdrawn


class _Hit(NamedTuple):
    """A journal line whose VIN hash is the one that is asked for."""

    batch: Any
    item: int
    line: Any
    book: Journal

    @property
    def place(self) -> Place:
        return self.batch.number, self.item, int(self.line["ordinal"])

    @property
    def key(self) -> tuple[int, int]:
        return int(self.line["key_hi"]), int(self.line["key_lo"])

    @property
    def routes(self) -> tuple[str, ...]:
        return self.book.routes[int(self.line["routes"])] if self.line["fate"] == ADDRESSED else ()


def trace(state: State, sealer: Sealer, vin: str) -> dict[str, Any]:
    """The stable form of `vingate trace --json`: {"vin", "versions": [...]}, by batch, item and ordinal.

    Each version: companycode, costlistcode, version, batch, findings (codes) and destinations [{name, outcome}], and
    beside these exchange, fate, received_at, note, whether it is proved, what was disclosed [{destination, moment,
    agreement, version, approval, purpose, kind, asked_by, fields}], and for letters id and reasons. A duplicate
    names the version that it equals, and that version's destinations.

    Args:
        state: the state; need not be owned.
        sealer: the state's sealer.
        vin: the VIN, in any case.
    """
    vin = vin.strip().upper()
    found: list[tuple[Place, dict[str, Any]]] = []
    lookup = Lookup(state, sealer, vin)
    try:
        with state.reading() as connection:
            hits = sorted(_hits(connection, vin), key=lambda hit: (hit.batch.number, hit.item))
            promoted = _promoted(connection, {hit.batch.id for hit in hits})
            found = _versions(connection, lookup, hits, promoted, _called(sealer, hits))
            _add_disclosures(connection, hits, found)
            _add_letters(connection, sealer, vin, found)
            _add_pulls(connection, vin, found)
    finally:
        lookup.close()
    return {"vin": vin, "versions": [entry for _, entry in sorted(found, key=lambda pair: pair[0])]}


def _hits(connection: Connection, vin: str) -> Iterator[_Hit]:
    """Journal lines with the VIN's hash, those of an item in order."""
    wanted = np.uint64(vin_hash(vin))
    if not wanted:
        return
    found: list[tuple[Told, Journal, list[int]]] = []
    for told in told_of(connection, int(wanted)):
        where = np.flatnonzero(digest_column(told.packed, "vin") == wanted)
        if len(where):
            found.append((told, Journal.unpack(told.packed), where.tolist()))
    batches = _batches(connection, {told.batch for told, _, _ in found})
    for told, book, lines in found:
        for index in lines:
            yield _Hit(batches[told.batch], told.item, book.lines[index], book)


def _batches(connection: Connection, names: Collection[str]) -> dict[str, Any]:
    b = tables.batches
    wanted = select(b.c.id, b.c.number, b.c.exchange, b.c.run, b.c.state, b.c.received_at)
    return {name: connection.execute(wanted.where(b.c.id == name)).one() for name in names}


def _promoted(connection: Connection, batches: set[str]) -> dict[tuple[str, str], bool]:
    """(batch, destination) -> whether all its parts have their final names; nothing for row stores."""
    p = tables.parts
    found: dict[tuple[str, str], bool] = {}
    for batch in sorted(batches):
        for destination, promoted in connection.execute(
            select(p.c.destination, p.c.promoted).where(p.c.batch == batch)
        ):
            found[batch, destination] = found.get((batch, destination), True) and bool(promoted)
    return found


def _versions(
    connection: Connection,
    lookup: Lookup,
    hits: list[_Hit],
    promoted: dict[tuple[str, str], bool],
    called: dict[tuple[int, int], Named],
) -> list[tuple[Place, dict[str, Any]]]:
    names: dict[tuple[str, tuple[int, int]], Name] = {}
    held: dict[tuple[str, tuple[int, int]], list[str]] = {}
    for hit in hits:
        scope = lookup.scope(connection, hit.batch.run)
        ordinal = int(hit.line["ordinal"])
        name = lookup.name(connection, hit.batch.run, hit.batch.id, hit.item, ordinal, hit.key, hit.routes)
        if name is not None:
            names.setdefault((scope, hit.key), name)
        known = held.setdefault((scope, hit.key), [])
        known += [destination for destination in hit.routes if destination not in known]
    found = []
    for hit in sorted(hits, key=lambda one: one.place):
        at = lookup.scope(connection, hit.batch.run), hit.key
        entry = _entry(hit, names.get(at), held.get(at, []), promoted)
        if not entry["proved"] and hit.routes and not entry["note"]:
            entry["note"] = ", ".join(lookup.archived(connection, hit.batch.run, hit.batch.id, hit.routes))
        if not entry["proved"] and hit.key in called:
            entry["companycode"], entry["costlistcode"] = called[hit.key]
        found.append((hit.place, entry))
    return found


def _called(sealer: Sealer, hits: list[_Hit]) -> dict[tuple[int, int], Named]:
    """Key -> name of the derived records among some lines, as their journals have it."""
    found: dict[tuple[int, int], Named] = {}
    for hit in hits:
        for sealed in hit.book.names if hit.key not in found else ():
            name = opened_names(sealer, hit.batch.id, sealed).get(int(hit.line["ordinal"]))
            if name is not None:
                found[hit.key] = name
    return found


def _entry(hit: _Hit, name: Name | None, held: list[str], promoted: dict[tuple[str, str], bool]) -> dict[str, Any]:
    fate = FATES[int(hit.line["fate"])]
    ordinal = str(int(hit.line["ordinal"]))
    if hit.routes:
        told = hit.book.outcomes.get(ordinal, {})
        destinations = [
            {"name": one, "outcome": told.get(one) or _usual(hit.batch, promoted.get((hit.batch.id, one)))}
            for one in hit.routes
        ]
    elif fate in ("duplicate", "superseded"):
        destinations = [{"name": one, "outcome": fate} for one in held] or [{"name": "", "outcome": fate}]
    else:
        destinations = [{"name": "", "outcome": "waiting" if fate == "unplaced" else fate}]
    return {
        "companycode": name.companycode if name else "",
        "costlistcode": name.costlistcode if name else "",
        "version": int(hit.line["version"]),
        "withdrawn": is_withdrawn(hit.line),
        "batch": hit.batch.id,
        "findings": list(hit.book.findings[int(hit.line["findings"])]),
        "destinations": destinations,
        "exchange": hit.batch.exchange,
        "fate": fate,
        "received_at": hit.batch.received_at,
        "note": hit.book.notes.get(ordinal, ""),
        "proved": name is not None,
        "disclosed": [],
    }


def _usual(batch: Any, promoted: bool | None) -> str:
    """What became of a delivery that the journal has no outcome for."""
    if promoted is None:
        return "in_flight" if batch.state == "decided" else "delivered"
    if promoted:
        return "delivered"
    return "in_flight" if batch.state == "decided" else "waiting"


def _add_disclosures(connection: Connection, hits: list[_Hit], found: list[tuple[Place, dict[str, Any]]]) -> None:
    """What each destination received of what it was delivered, when, and under which approval."""
    p = tables.parts
    entries = {place: entry for place, entry in found}
    for hit in hits:
        if not hit.routes:
            continue
        batch, item = hit.batch.id, hit.item
        parts = connection.execute(select(p.c.destination, p.c.final).where(p.c.batch == batch)).all()
        mine = [part for part in parts if part.final.split("--")[-1].startswith(f"{item:05d}-")]
        own = disclosures.place_of(item, int(hit.line["ordinal"]))
        told = disclosures.read(connection, batch, [own, *(part.final for part in mine)])
        for destination in entries[hit.place]["destinations"]:
            name = destination["name"]
            places = [own, *(part.final for part in mine if part.destination == name)]
            if destination["outcome"] in RECEIVED:
                rows = [row for kind in _kinds(told, name, entries[hit.place]) for row in told.of(name, kind, *places)]
                entries[hit.place]["disclosed"] += [_disclosed(name, row) for row in rows]


def _kinds(told: disclosures.Told, destination: str, entry: dict[str, Any]) -> list[str]:
    """The kind of one record of a batch; all kinds of which the destination got any where its name is not known."""
    kinds, own = told.kinds(destination), entry["costlistcode"].partition(":")[0]
    return [own] if own in kinds else kinds


def _disclosed(destination: str, row: Any) -> dict[str, Any]:
    return {
        "destination": destination,
        "moment": row.moment,
        "agreement": row.agreement,
        "version": row.version,
        "approval": row.approval,
        "purpose": row.purpose,
        "kind": row.kind,
        "asked_by": "",
        "fields": [{"path": path, "treatment": how} for path, how in orjson.loads(row.fields).items()],
    }


def _add_pulls(connection: Connection, vin: str, found: list[tuple[Place, dict[str, Any]]]) -> None:
    """What those who asked were told joins the version that it was; what no exchange here knows stands alone."""
    known = {(key_of(one["companycode"], one["costlistcode"]), one["version"]): one for _, one in found}
    for pull in pulls_of(connection, vin):
        at = pull.key, pull.version
        if at not in known:
            known[at] = _asked(pull)
            found.append(((sys.maxsize, 0, 0), known[at]))
        known[at].setdefault("disclosed", []).append(pull.disclosed)


def _asked(pull: Pull) -> dict[str, Any]:
    return {
        "companycode": "",
        "costlistcode": "",
        "version": pull.version,
        "withdrawn": False,
        "batch": "",
        "findings": [],
        "destinations": [{"name": pull.disclosed["destination"], "outcome": "asked"}],
        "exchange": "",
        "fate": "asked",
        "received_at": "",
        "note": "",
        "proved": False,
        "disclosed": [],
    }


def _add_letters(connection: Connection, sealer: Sealer, vin: str, found: list[tuple[Place, dict[str, Any]]]) -> None:
    """Letters: those of a delivery join the version that was refused, others are entries of their own."""
    known = {place: entry for place, entry in found}
    places = Places(connection)
    for letter in LetterStore(connection, sealer).search(Filters(vin=vin)):
        place = places(letter.intake)
        entry = known.get(place) if letter.destination else None
        if entry is not None:
            for destination in entry["destinations"]:
                if destination["name"] == letter.destination:
                    destination.update(letter=letter.id, reasons=_codes(letter))
        else:
            found.append((place, _dead(letter)))


def _codes(letter: Letter) -> list[str]:
    return list(dict.fromkeys(reason.code for reason in letter.current))


def _dead(letter: Letter) -> dict[str, Any]:
    try:
        name = Name.of(letter.record_key)
    except ValueError:
        name = Name(letter.system, letter.company, "")
    return {
        "companycode": name.companycode,
        "costlistcode": name.costlistcode,
        "version": 0,
        "withdrawn": False,
        "batch": letter.batch,
        "findings": _codes(letter),
        "destinations": [{"name": letter.destination, "outcome": "dead"}],
        "exchange": letter.exchange,
        "fate": "dead",
        "received_at": letter.received_at,
        "note": "",
        "proved": True,
        "letter": letter.id,
        "state": letter.state,
        "reasons": [
            {"code": r.code, "field": r.field, "value": r.value, "expected": r.expected} for r in letter.current
        ],
    }
