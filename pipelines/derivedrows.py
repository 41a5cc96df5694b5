"""Rows of stores as facts of a derivation, and which subjects a record that names none may belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, SecretStr
from sqlalchemy import Connection, Select, func, literal, or_, select

from connectors.sqlbase import ASKED, Store
from mappings.documents.kinds import kind
from mappings.records import RepairRow
from pipelines.rowform import row_of_columns
from routing.cases import REPAIR, Derivation, Fact, Linking

_MODEL = 8
"""Characters of a VIN that name the model: WMI and VDS without its check digit."""
_PLATE = "plate:"
_PROVENANCE = ("withdrawn", "system", "received_at")
_DOCUMENT = ("kind", "members")
_LISTS = ("parts", "projects")
_SCANNED = 200_000
"""Rows that one statement looks through, which may take only so long."""

_moment = lru_cache(maxsize=4_096)(datetime.fromisoformat)


class Holding(BaseModel):
    """A store that facts come from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr
    """Address, as of a SQL source; a SQLite address with `*` reads every store that fits."""
    password: SecretStr = SecretStr("")
    holds: Literal["repairs", "documents"] = "repairs"
    where: dict[str, str | int] = {}
    """Columns that must have a value: `{ repaircomefrom = 1 }` leaves out what came down from above."""


class Row:
    """One version of a record in a store."""

    __slots__ = ("fact", "key", "number", "subject", "version")

    def __init__(self, number: int, key: str, version: int, subject: str, fact: Fact | None) -> None:
        self.number, self.key, self.version, self.subject, self.fact = number, key, version, subject, fact


class Reader:
    """Facts of one store, by subject."""

    def __init__(self, store: Store, holding: Holding, wanted: Derivation, connection: Connection) -> None:
        self._store, self._holds, self._wanted, self._connection = store, holding.holds, wanted, connection
        self._where = [store.table.c[name] == value for name, value in holding.where.items()]
        own = store.table.c
        column = own.companycode if wanted.by == "issuer" else own.vin
        self._subject = func.substr(column, 1, _MODEL) if wanted.by == "model" else column

    def subjects(self, low: int, high: int) -> Iterator[str]:
        """Subjects of the records of which a row came behind `low`, up to `high`; also those that they had before."""
        own = self._store.table.c
        came = select(own.record_key).where(own.seq > low, own.seq <= high, *self._asked())
        all_of = select(self._subject).where(own.seq <= high).distinct()
        statement = all_of.where(own.record_key.in_(came)) if low else all_of.where(*self._asked())
        for (subject,) in self._connection.execute(statement):
            if subject:
                yield subject

    def told_of(self, subjects: Sequence[str], by: Derivation, low: int, high: int) -> Iterator[str]:
        """Those of these subjects of which there ever was what a derivation needs, up to `high`.

        `low`: behind which number rows of all of them came. From the beginning on they are the store, which is read
        once; else they are few of it, and are looked up.
        """
        own = self._store.table.c
        found = select(self._subject).where(own.seq <= high, *self._asked()).distinct()
        if self._holds == "documents":
            found = found.where(own.kind.in_(sorted(by.needs)))
        elif by.words:
            in_projects = [orjson.dumps(word).decode()[1:-1] for word in by.words]  # as JSON writes it
            told = [
                *(own.faultdescription.contains(word, autoescape=True) for word in by.words),
                *(own.projects.contains(word, autoescape=True) for word in in_projects),
            ]
            found = found.where(or_(*told))
        else:
            return
        if not low:
            wanted = set(subjects)
            for at in range(0, high, _SCANNED):
                part = found.where(own.seq > at, own.seq <= at + _SCANNED)
                yield from wanted.intersection(self._connection.scalars(part))
            return
        for at in range(0, len(subjects), ASKED):
            yield from self._connection.scalars(found.where(self._subject.in_(subjects[at : at + ASKED])))

    def rows(self, subjects: Sequence[str], high: int) -> list[Row]:
        """Every version, up to `high`, of the records that ever were of one of these subjects."""
        own = self._store.table.c
        of_them = select(own.record_key).where(self._subject.in_(subjects), own.seq <= high, *self._asked())
        return self._found(self._rows().where(own.record_key.in_(of_them), own.seq <= high))

    def _rows(self) -> Select[Any]:
        own = self._store.table.c
        names = (*_PROVENANCE, *(RepairRow._fields if self._holds == "repairs" else _DOCUMENT))
        given = self._store.given(own, names)
        if self._wanted.skims and self._holds == "repairs":
            given = [literal("[]") if name in _LISTS else one for name, one in zip(names, given, strict=True)]
        return select(own.seq, own.record_key, own.version, own.merged_into, self._subject, *given)

    def _found(self, wanted: Select[Any]) -> list[Row]:
        return [self._row(*row) for row in self._connection.execute(wanted).all()]

    def loose(self, high: int) -> list[Row]:
        """Every version, up to `high`, of the documents that ever named no subject."""
        if self._holds == "repairs":
            return []
        own = self._store.table.c
        nameless = or_(self._subject.is_(None), self._subject == "")
        keys = select(own.record_key).where(nameless, own.seq <= high, own.withdrawn.is_(None), *self._asked())
        return self._found(self._rows().where(own.record_key.in_(keys), own.seq <= high))

    def linked(self, wanted: Collection[str], by: Linking, high: int) -> Iterator[tuple[str, str]]:
        """(link, subject) of each record that shares one of these links."""
        own = self._store.table.c
        named = self._rows().where(self._subject != "", own.seq <= high, *self._asked())
        for part in self._parts(wanted):
            for row in self._found(named if part is None else named.where(own.plate.in_(part))):
                for link in by.links(row.fact.record).intersection(wanted) if row.fact else ():
                    yield link, row.subject

    def _parts(self, wanted: Iterable[str]) -> list[list[str] | None]:
        """Plates to ask for at a time; [None]: whatever is there."""
        if self._holds != "repairs":
            return [None]
        plates = sorted(link.removeprefix(_PLATE) for link in wanted if link.startswith(_PLATE))
        return [plates[at : at + ASKED] for at in range(0, len(plates), ASKED)]

    def _row(
        self, number: int, key: str, version: int, merged: str, subject: str | None, withdrawn: str | None, *given: str
    ) -> Row:
        if withdrawn is not None or merged:
            return Row(number, key, version, "", None)
        system, received, *values = given
        at = _moment(received)
        if self._holds == "repairs":
            fact = Fact(REPAIR, key, version, system, at, row_of_columns(values))
        else:
            name, members = values
            fact = Fact(name, key, version, system, at, kind(name).model_validate_json(members))
        return Row(number, key, version, subject or "", fact)

    def _asked(self) -> list[Any]:
        """What rows must be."""
        if self._holds == "repairs":
            return self._where
        return [*self._where, self._store.table.c.kind.in_(sorted(self._wanted.takes))]


class Loose:
    """Which subjects records that name none may belong to, up to some numbers.

    Args:
        by: the derivation.
        readers: the stores.
        high: up to which number of each.
    """

    def __init__(self, by: Derivation, readers: Mapping[str, Reader], high: Mapping[str, int]) -> None:
        self.rows: dict[str, list[Row]] = {}
        self._keys: dict[str, set[str]] = defaultdict(set)
        self._subjects: dict[str, set[str]] = defaultdict(set)
        if not isinstance(by, Linking):
            return
        self.rows = {name: rows for name, one in readers.items() if (rows := one.loose(high.get(name, 0)))}
        leads: dict[str, set[str]] = defaultdict(set)
        for row in (row for rows in self.rows.values() for row in rows):
            for link in by.links(row.fact.record) if row.fact else ():
                leads[link].add(row.key)
        for name, reader in readers.items() if leads else ():
            for link, subject in reader.linked(leads, by, high.get(name, 0)):
                self._keys[subject] |= leads[link]
                for key in leads[link]:
                    self._subjects[key].add(subject)

    def __contains__(self, subject: object) -> bool:
        """Whether such a record may belong to a subject."""
        return subject in self._keys

    def came(self, low: Mapping[str, int]) -> set[str]:
        """Subjects that what came behind these numbers may belong to."""
        keys = {row.key for name, rows in self.rows.items() for row in rows if row.number > low.get(name, 0)}
        return {subject for key in keys for subject in self._subjects[key]}

    def beside(self, subjects: Iterable[str]) -> set[str]:
        """These subjects, and the others that share such a record with them."""
        own = set(subjects)
        return own | {other for one in own for key in self._keys.get(one, ()) for other in self._subjects[key]}

    def of(self, subject: str, facts: Mapping[str, Sequence[Fact]]) -> list[Fact]:
        """The facts of a subject, what may be its own, and the facts of those that it shares that with.

        Args:
            subject: whose.
            facts: by subject; those that name none under the empty one.
        """
        keys = self._keys.get(subject)
        if not keys:
            return list(facts.get(subject, ()))
        shared = [fact for fact in facts.get("", ()) if fact.key in keys]
        return [fact for one in sorted(self.beside({subject})) for fact in facts.get(one, ())] + shared
