"""What was disclosed to whom, under which terms, and when: written in the commit that counts it (事中留痕).

A batch has a row a destination and kind. What went out later (it had waited, its letter was replayed, it was sent
again) has a row of its own, and so has what went out under other terms than the first of its batch: of every delivery
it can be said under which agreement it left, and its body be made again as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Connection, insert, select

from pipelines import tables
from pipelines.outbox import Outcomes
from pipelines.upserts import given, inserting
from routing.agreements import Terms

_DISCLOSED = insert(tables.disclosures)
Place = tuple[str, str, str, str, str]
"""Batch, destination, kind, terms, delivery."""


class Notes:
    """Notes disclosures in the state, within the transactions of the caller."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        """Digests of terms that stand in the state for good: seen there by a later transaction."""

    def deliveries(self, connection: Connection, batch: str, outcomes: Outcomes) -> None:
        """Note what deliveries were received. `batch`: whose the counted ones are."""
        rows: list[dict[str, Any]] = []
        for (destination, kind, digest), one in outcomes.disclosed.items():
            about = {"destination": destination, "kind": kind, "terms": digest}
            if one.count:
                rows.append({"batch": batch, "delivery": "", "moment": one.moment, "count": one.count, **about})
            rows += [
                {"batch": name, "delivery": place_of(item, ordinal), "moment": moment, "count": 1, **about}
                for name, item, ordinal, moment in one.each
            ]
        self._write(connection, rows, [one.terms for one in outcomes.disclosed.values()])

    def parts(
        self, connection: Connection, parts: Iterable[Any], told: Mapping[str, Mapping[str, Terms]], *, late: bool
    ) -> None:
        """Note files that were handed over (rows of `parts`).

        Args:
            connection: of the state.
            parts: the files.
            told: destination -> kind -> under which terms.
            late: whether each has a row of its own, since its batch was closed before.
        """
        counts: dict[Place, int] = {}
        used: dict[str, Terms] = {}
        for part in parts:
            for kind, terms in told.get(part.destination, {}).items():
                used[terms.digest] = terms
                place: Place = (part.batch, part.destination, kind, terms.digest, part.final if late else "")
                counts[place] = counts.get(place, 0) + part.count
        moment = datetime.now(UTC).isoformat()
        names = ("batch", "destination", "kind", "terms", "delivery")
        rows = [dict(zip(names, place, strict=True)) | {"moment": moment, "count": n} for place, n in counts.items()]
        self._write(connection, rows, list(used.values()))

    def _write(self, connection: Connection, rows: Sequence[Mapping[str, Any]], used: Sequence[Terms]) -> None:
        if not rows:
            return
        new = [one for one in used if one.digest not in self._known]
        if new:
            self._known |= keep_terms(connection, new)
        connection.execute(_DISCLOSED, list(rows))


def keep_terms(connection: Connection, used: Sequence[Terms]) -> set[str]:
    """Write down terms that do not stand in the state yet; the digests of those that did."""
    t, new = tables.terms, {one.digest: one for one in used}
    stands = set(connection.execute(select(t.c.digest).where(t.c.digest.in_(list(new)))).scalars())
    made = [_terms_row(one) for digest, one in sorted(new.items()) if digest not in stands]
    if made:
        adding = inserting(connection.dialect.name, t, tuple(made[0])).on_conflict_do_nothing()
        connection.execute(adding, given(connection.dialect.name, made))
    return stands


def _terms_row(terms: Terms) -> dict[str, Any]:
    return {
        "digest": terms.digest,
        "agreement": terms.agreement,
        "version": terms.version,
        "approval": terms.approval,
        "purpose": terms.purpose,
        "fields": orjson.dumps(terms.fields).decode(),
        "packed": terms.packed.decode(),
    }


def place_of(item: int, ordinal: int) -> str:
    """How a delivery's place in its batch stands in a row."""
    return f"{item}/{ordinal}"


class Told:
    """The disclosures of one batch."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows: dict[tuple[str, str, str], list[Any]] = {}
        for row in rows:
            self._rows.setdefault((row.destination, row.kind, row.delivery), []).append(row)

    def of(self, destination: str, kind: str, *places: str) -> list[Any]:
        """The disclosures of a delivery, oldest first; those of its batch where it has none of its own."""
        own = [row for place in places for row in self._rows.get((destination, kind, place), ())]
        return own or self._rows.get((destination, kind, ""), [])

    def rows(self, destination: str) -> list[Any]:
        """All of a destination."""
        return [row for (name, _, _), rows in self._rows.items() if name == destination for row in rows]

    def kinds(self, destination: str) -> list[str]:
        """Kinds of which anything was disclosed there."""
        return list(dict.fromkeys(kind for name, kind, _ in self._rows if name == destination))


def read(connection: Connection, batch: str, places: Sequence[str] | None = None) -> Told:
    """What was disclosed of a batch; with `places` of these and of the batch as one."""
    d, t = tables.disclosures, tables.terms
    wanted = select(d, t.c.agreement, t.c.version, t.c.approval, t.c.purpose, t.c.fields, t.c.packed)
    wanted = wanted.join(t, t.c.digest == d.c.terms).where(d.c.batch == batch).order_by(d.c.moment)
    if places is not None:
        wanted = wanted.where(d.c.delivery.in_(["", *places]))
    return Told(connection.execute(wanted))


def single_out(connection: Connection, told: Told, destination: str, kind: str, place: str) -> None:
    """Give a delivery that went with its batch a row of its own: it is sent again, and then has another one."""
    d = tables.disclosures
    rows = [row._mapping for row in told.of(destination, kind, place) if not row.delivery]
    for row in rows:
        again = {column.name: row[column.name] for column in d.columns}
        connection.execute(insert(d), again | {"delivery": place, "count": 0})
