"""Gateways that share a state: whose batch it is, the partition of an envelope, staged rows in the database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change a state; a store has none of it. What waits goes by its VIN's hash, without one into partition 0."""
    if context.config.attributes["role"] != "state":
        return
    op.add_column("batches", sa.Column("member", sa.Text(), server_default="", nullable=False))
    op.add_column("inbox", sa.Column("partition", sa.Integer(), server_default="0", nullable=False))
    op.execute("UPDATE inbox SET partition = vin & 31")
    waiting = sa.text("coalesce(batch, 0) = 0")
    op.create_index(
        "inbox_by_partition",
        "inbox",
        ["exchange", "partition", "id"],
        postgresql_where=waiting,
        sqlite_where=waiting,
    )
    op.create_table(
        "staged_rows",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("piece", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"]),
        sa.PrimaryKeyConstraint("batch", "item", "segment", "piece"),
    )
