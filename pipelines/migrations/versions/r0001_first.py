"""The first schema: the whole state, and a store's table of versioned rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STORE_TYPES: dict[str, Any] = {"int": sa.BigInteger, "date": sa.String}
"""Column types of a spec's kinds; all others are text."""


def upgrade() -> None:
    """Make the tables of the database's role."""
    attributes = context.config.attributes
    if attributes["role"] == "state":
        _state()
    else:
        _store(attributes["spec"])


def _store(spec: Any) -> None:
    """A row per version, the spec's columns behind the store's own."""
    given = [
        sa.Column(name, sa.String(10) if kind == "date" else _STORE_TYPES.get(kind, sa.Text)())
        for name, kind in spec.columns.items()
    ]
    op.create_table(
        spec.name,
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("record_key", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("merged_into", sa.Text(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("late", sa.Boolean(), nullable=False),
        *given,
        sa.UniqueConstraint("record_key", "version", name=f"uq_{spec.name}_version"),
        sa.UniqueConstraint("delivery_id", name=f"uq_{spec.name}_delivery"),
        sqlite_autoincrement=True,
    )
    for name in ("batch", *spec.indexes):
        op.create_index(f"ix_{spec.name}_{name}", spec.name, [name])


def _state() -> None:
    """All tables of the state, as `pipelines.tables` had them at this revision."""
    op.create_table(
        "company_hours",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("tens", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "company"),
    )
    op.create_table(
        "destination_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("names", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("names"),
    )
    op.create_table(
        "fragments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("order", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("intake", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("assembled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("fragments_by_order", "fragments", ["exchange", "system", "company", "order"], unique=False)
    op.create_table(
        "history",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("companycode", sa.Text(), nullable=False),
        sa.Column("costlistcode", sa.Text(), nullable=False),
        sa.Column("vin", sa.Text(), nullable=False),
        sa.Column("plate", sa.Text(), nullable=False),
        sa.Column("repairdate", sa.Text(), nullable=False),
        sa.Column("settledate", sa.Text(), nullable=False),
        sa.Column("mileage", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "companycode", "costlistcode"),
    )
    op.create_index("history_by_plate", "history", ["scope", "plate"], unique=False)
    op.create_index("history_by_vin", "history", ["scope", "vin"], unique=False)
    op.create_table(
        "items",
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("stop", sa.BigInteger(), nullable=False),
        sa.Column("envelopes", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "sender", "digest", "start"),
    )
    op.create_table(
        "letters",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), server_default="", nullable=False),
        sa.Column("reasons", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("source_key", sa.Text(), nullable=False),
        sa.Column("company", sa.Text(), server_default="", nullable=False),
        sa.Column("system", sa.Text(), server_default="", nullable=False),
        sa.Column("dialect", sa.Text(), server_default="", nullable=False),
        sa.Column("profile", sa.Text(), server_default="", nullable=False),
        sa.Column("mapping", sa.Text(), server_default="", nullable=False),
        sa.Column("build", sa.Text(), server_default="", nullable=False),
        sa.Column("destination", sa.Text(), server_default="", nullable=False),
        sa.Column("record_key", sa.Text(), server_default="", nullable=False),
        sa.Column("vin", sa.Text(), server_default="", nullable=False),
        sa.Column("parent", sa.Text(), server_default="", nullable=False),
        sa.Column("intake", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Text(), nullable=False),
        sa.Column("body_sha256", sa.Text(), nullable=False),
        sa.Column("body_size", sa.BigInteger(), nullable=False),
        sa.Column("ref_path", sa.Text(), nullable=True),
        sa.Column("ref_offset", sa.BigInteger(), nullable=True),
        sa.Column("ref_length", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.Column("claimed_by", sa.Text(), server_default="", nullable=False),
        sa.Column("resolved_by", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.Column("last_reasons", sa.Text(), server_default="", nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("codes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("letters_batch", "letters", ["batch"], unique=False)
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "operators",
        sa.Column("companycode", sa.Text(), nullable=False),
        sa.Column("intake", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("companyname", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("companycode", "intake"),
    )
    op.create_index(op.f("ix_operators_batch"), "operators", ["batch"], unique=False)
    op.create_table(
        "positions",
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("exchange", "path"),
    )
    op.create_table(
        "registrations",
        sa.Column("vin", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Text(), nullable=False),
        sa.Column("intake", sa.BigInteger(), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("valid_to", sa.Text(), nullable=True),
        sa.Column("plate", sa.Text(), nullable=True),
        sa.Column("home", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("vin", "valid_from", "intake"),
    )
    op.create_index(op.f("ix_registrations_batch"), "registrations", ["batch"], unique=False)
    op.create_index(op.f("ix_registrations_sequence"), "registrations", ["sequence"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("first_batch", sa.Integer(), nullable=True),
        sa.Column("receipts", sa.Text(), nullable=False),
        sa.Column("settings", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "version_front",
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("content", sa.BigInteger(), nullable=False),
        sa.Column("intake", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "version_runs",
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "visits",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("vin", sa.Text(), nullable=False),
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("settledate", sa.Text(), nullable=False),
        sa.Column("mileage", sa.Text(), nullable=False),
        sa.Column("costlistcode", sa.Text(), nullable=False),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("dealer_of", sa.Text(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("stands", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("destination", "key"),
    )
    op.create_index("visits_by_vin", "visits", ["destination", "vin"], unique=False)
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Text(), nullable=False),
        sa.Column("items", sa.LargeBinary(), nullable=False),
        sa.Column("plan", sa.LargeBinary(), nullable=True),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("decoded", sa.BigInteger(), nullable=False),
        sa.Column("addressed", sa.BigInteger(), nullable=False),
        sa.Column("dead_intake", sa.BigInteger(), nullable=False),
        sa.Column("dead_records", sa.BigInteger(), nullable=False),
        sa.Column("duplicate_intake", sa.BigInteger(), nullable=False),
        sa.Column("duplicate_records", sa.BigInteger(), nullable=False),
        sa.Column("fragments", sa.BigInteger(), nullable=False),
        sa.Column("filtered", sa.BigInteger(), nullable=False),
        sa.Column("unplaced", sa.BigInteger(), nullable=False),
        sa.Column("flagged", sa.BigInteger(), nullable=False),
        sa.Column("letters", sa.BigInteger(), nullable=False),
        sa.Column("letters_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run"],
            ["runs.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("number"),
    )
    op.create_index("batches_by_exchange", "batches", ["exchange", "state"], unique=False)
    op.create_table(
        "letter_bodies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["id"],
            ["letters.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "letter_replays",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reasons", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["id"],
            ["letters.id"],
        ),
        sa.PrimaryKeyConstraint("id", "batch"),
    )
    op.create_index("letter_replays_batch", "letter_replays", ["batch"], unique=False)
    op.create_table(
        "batch_destinations",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("addressed", sa.BigInteger(), nullable=False),
        sa.Column("delivered", sa.BigInteger(), nullable=False),
        sa.Column("duplicate", sa.BigInteger(), nullable=False),
        sa.Column("merged", sa.BigInteger(), nullable=False),
        sa.Column("filtered", sa.BigInteger(), nullable=False),
        sa.Column("dead", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("in_flight", sa.BigInteger(), nullable=False),
        sa.Column("stands", sa.BigInteger(), nullable=False),
        sa.Column("stands_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("batch", "destination"),
    )
    op.create_table(
        "journals",
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("lines", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("batch", "item"),
    )
    op.create_table(
        "parts",
        sa.Column("final", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("temporary", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("promoted", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("final"),
    )
    op.create_index(op.f("ix_parts_batch"), "parts", ["batch"], unique=False)
    op.create_table(
        "waiting",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("vin", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("merged_into", sa.Text(), nullable=False),
        sa.Column("trying", sa.Boolean(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch"],
            ["batches.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("waiting_by_vin", "waiting", ["exchange", "destination", "vin"], unique=False)
    op.bulk_insert(
        sa.table("destination_sets", sa.column("id", sa.Integer), sa.column("names", sa.Text)),
        [{"id": 0, "names": "[]"}],
    )
