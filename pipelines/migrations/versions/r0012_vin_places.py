"""What finds a vehicle: an index of its letters, and one of the journals, which is empty beside SQLite."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table in a state, and fill it from the journals; a store has none of it."""
    if context.config.attributes["role"] != "state":
        return
    op.create_table(
        "vin_journals",
        sa.Column("vin", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("vin", "number", "item"),
    )
    op.create_index("letters_vin", "letters", ["vin"])
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        from pipelines.vinplaces import fill

        fill(connection, connection)
