"""Marks of letters, references into what a file holds packed, and the items of a batch by its name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AT_ONCE = 500
_COLUMNS = (
    *("id", "exchange", "batch", "stage", "step", "reasons", "source", "offset", "source_key", "company", "system"),
    *("dialect", "profile", "mapping", "build", "destination", "record_key", "vin", "parent", "intake", "received_at"),
    *("created_at", "body_sha256", "body_size", "ref_path", "ref_offset", "ref_length", "state", "attempts"),
    *("generation", "parked", "claimed_by", "resolved_by", "note", "updated_at", "last_reasons", "reason", "codes"),
    *("mark", "ref_inside"),
)
_LETTERS = sa.table("letters", *(sa.column(name, sa.Boolean() if name == "parked" else None) for name in _COLUMNS))
_REPLAYS = sa.table("letter_replays", *map(sa.column, ("id", "batch", "generation", "outcome", "reasons", "at")))
"""The tables as this revision makes them: today's may have columns that are not there yet."""


def upgrade() -> None:
    """Change a state; a store has none of it."""
    if context.config.attributes["role"] != "state":
        return
    for name in ("mark", "ref_inside"):
        op.add_column("letters", sa.Column(name, sa.Text(), server_default="", nullable=False))
    op.create_index("items_by_batch", "items", ["batch"])
    _mark(op.get_bind())


def _mark(connection: sa.Connection) -> None:
    """Mark the letters as they stand: what was changed before cannot be told any more."""
    from dlq.letter import fingerprint
    from dlq.marks import Tried
    from dlq.rows import from_row, mark_of, since_of

    letters, replays = _LETTERS, _REPLAYS
    last = ""
    while rows := connection.execute(
        sa.select(letters).where(letters.c.id > last).order_by(letters.c.id).limit(_AT_ONCE)
    ).all():
        last = rows[-1].id
        tried: dict[str, list[Tried]] = {}
        told = sa.select(replays.c.id, *(replays.c[name] for name in Tried._fields))
        for name, *one in connection.execute(told.where(replays.c.id.in_([row.id for row in rows]))):
            tried.setdefault(name, []).append(Tried(*one))
        for row in rows:
            letter = from_row(row)
            own = mark_of(letter, fingerprint(letter, row.reasons), since_of(row), tried.get(row.id, ()))
            connection.execute(sa.update(letters).where(letters.c.id == row.id).values(mark=own))
