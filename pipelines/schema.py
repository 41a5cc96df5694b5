"""Which builds may work on a state: its schema, and since which schema builds can still use it.

A migration *expands* where builds that do not know it go on unharmed: it adds tables, or columns that have a default.
Then gateways of the build before and of the next one share a state, and hosts are upgraded one after the other. Any
other migration waits until everybody who shares the state has ended.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from pipelines import tables

VERSION, SINCE = "schema", "schema-since"
"""Rows of `meta`."""
_t = tables.meta
_ASKED = select(_t.c.name, _t.c.value).where(_t.c.name.in_((VERSION, SINCE)))


class Standing(NamedTuple):
    """The schema that a state has."""

    version: str
    since: str
    """The oldest one whose builds can work on it."""

    def serves(self, known: str) -> bool:
        """Whether a build whose newest schema is this one can work on it."""
        return known == self.version or self.since <= known < self.version


def standing(connection: Connection) -> Standing:
    """The schema of a state; one made before this was noted serves only builds that know it."""
    found = {row.name: row.value for row in connection.execute(_ASKED)}
    return Standing(found[VERSION], found.get(SINCE, found[VERSION]))


def note(connection: Connection, made: Standing) -> None:
    """Write down what schema a state has now."""
    connection.execute(delete(_t).where(_t.c.name.in_((VERSION, SINCE))))
    rows = [{"name": VERSION, "value": made.version}, {"name": SINCE, "value": made.since}]
    connection.execute(insert(_t), rows)
