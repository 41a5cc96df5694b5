"""Marks of letters, references into what a file holds packed, and the items of a batch by its name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_AT_ONCE = 500


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
    from dlq.rows import TABLES, from_row, mark_of, since_of

    letters, replays = TABLES.letters, TABLES.replays
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
