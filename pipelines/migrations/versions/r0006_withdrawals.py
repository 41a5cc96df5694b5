"""Withdrawals: a column of stores that says why a version is withdrawn.

A state's tables stay as they are. What stands in them does not: an index entry may be a withdrawn version, which an
older vingate would take for content.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMN = "withdrawn"


def upgrade() -> None:
    """Add the column to a store of a spec that has it, where no sink did so already."""
    if context.config.attributes["role"] == "state":
        return
    spec = context.config.attributes["spec"]
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns(spec.name)}
    if _COLUMN in spec.added and _COLUMN not in there:
        op.add_column(spec.name, sa.Column(_COLUMN, sa.Text()))
