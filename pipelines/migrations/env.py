"""How Alembic runs the revisions: on the connection that `pipelines.migrations` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from pipelines.migrations import metadata_of, version_table

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=metadata_of(attributes["spec"]),
    version_table=version_table(attributes["spec"]),
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
