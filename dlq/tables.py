"""The tables of letters. The State's migrations create them; this package only reads and writes rows.

Times are text, ISO 8601 in UTC of one width, so that they sort alike in SQLite and PostgreSQL. Bodies stand in a table
of their own: lists never touch them, and a change of state never rewrites them.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text


class LettersTables(NamedTuple):
    """The three tables: letters, their sealed bodies, and the replays that failed or succeeded."""

    letters: Table
    bodies: Table
    replays: Table


def define(metadata: MetaData) -> LettersTables:
    """Define the tables in `metadata`; defining them twice gives the same tables."""
    if "letters" in metadata.tables:
        return LettersTables(*(metadata.tables[name] for name in ("letters", "letter_bodies", "letter_replays")))
    return LettersTables(_letters(metadata), _bodies(metadata), _replays(metadata))


def _text(name: str, default: str | None = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _letters(metadata: MetaData) -> Table:
    table = Table(
        "letters",
        metadata,
        Column("id", Text, primary_key=True),
        _text("exchange", None),
        _text("batch", None),
        _text("stage", None),
        _text("step"),
        _text("reasons", None),
        _text("source"),
        Column("offset", BigInteger, nullable=False, server_default="0"),
        _text("source_key", None),
        *(_text(name) for name in ("company", "system", "dialect", "profile", "mapping", "build", "destination")),
        _text("record_key"),
        _text("vin"),
        _text("parent"),
        Column("intake", BigInteger, nullable=False, server_default="0"),
        _text("received_at", None),
        _text("created_at", None),
        _text("body_sha256", None),
        Column("body_size", BigInteger, nullable=False),
        Column("ref_path", Text),
        Column("ref_offset", BigInteger),
        Column("ref_length", BigInteger),
        _text("state", "open"),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("generation", Integer, nullable=False, server_default="0"),
        Column("parked", Boolean, nullable=False),
        _text("claimed_by"),
        _text("resolved_by"),
        _text("note"),
        _text("updated_at", None),
        _text("last_reasons"),
        _text("reason", None),
        _text("codes", None),
        _text("mark"),
        _text("ref_inside"),
    )
    Index("letters_batch", table.c.batch)
    Index("letters_vin", table.c.vin)
    return table


def _bodies(metadata: MetaData) -> Table:
    return Table(
        "letter_bodies",
        metadata,
        Column("id", Text, ForeignKey("letters.id"), primary_key=True),
        Column("sealed", LargeBinary, nullable=False),
    )


def _replays(metadata: MetaData) -> Table:
    """One row a replay: the letter's generation then, the batch, and its reasons if it failed (else empty)."""
    table = Table(
        "letter_replays",
        metadata,
        Column("id", Text, ForeignKey("letters.id"), primary_key=True),
        Column("batch", Text, primary_key=True),
        Column("generation", Integer, nullable=False),
        _text("outcome", None),
        _text("reasons"),
        _text("at", None),
    )
    Index("letter_replays_batch", table.c.batch)
    return table
