"""Run by Alembic, never imported: migrates the connection that `database` hands over."""

from __future__ import annotations

from alembic import context

from deployments.persistence.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=METADATA,
    transaction_per_migration=True,
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
