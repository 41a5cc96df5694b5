"""Indexes for two questions: which repairs have a plate (claims without a VIN), which orders some batches assembled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_COLUMN = "plate"


def upgrade() -> None:
    """Add the indexes: to a store of a spec that has it, where no sink did so already, and to a state."""
    if context.config.attributes["role"] == "state":
        op.create_index("fragments_by_batch", "fragments", ["exchange", "assembled"])
        return
    spec = context.config.attributes["spec"]
    name = f"ix_{spec.name}_{_COLUMN}"
    there = {one["name"] for one in sa.inspect(op.get_bind()).get_indexes(spec.name)}
    if _COLUMN in spec.indexes and name not in there:
        op.create_index(name, spec.name, [_COLUMN])
