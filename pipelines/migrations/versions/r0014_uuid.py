"""Keys of the version index as UUIDs: 28 bytes for 36 in an entry of the index, which has a level less for longer."""

from __future__ import annotations

from alembic import context, op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rewrite the index's table on PostgreSQL; it is empty beside SQLite, and a store has none."""
    if context.config.attributes["role"] != "state" or op.get_bind().dialect.name != "postgresql":
        return
    op.execute("SET LOCAL statement_timeout = 0")
    op.execute("ALTER TABLE versions ALTER COLUMN key TYPE uuid USING encode(key, 'hex')::uuid")
