"""Deliveries that are ordered from a running gateway to be sent again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table in a state; a store has none of it."""
    if context.config.attributes["role"] != "state":
        return
    op.create_table(
        "backfill_orders",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("backfill_orders_waiting", "backfill_orders", ["exchange", "answered_at"])
