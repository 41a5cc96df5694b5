"""Claims without a VIN: a store of repairs is asked by plate, so it has an index on it.

A state's tables stay as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0013"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMN = "plate"


def upgrade() -> None:
    """Add the index to a store of a spec that has it, where no sink did so already."""
    if context.config.attributes["role"] == "state":
        return
    spec = context.config.attributes["spec"]
    name = f"ix_{spec.name}_{_COLUMN}"
    if _COLUMN in spec.indexes and name not in {one["name"] for one in sa.inspect(op.get_bind()).get_indexes(spec.name)}:
        op.create_index(name, spec.name, [_COLUMN])
