"""Alembic's entry: runs the migrations on the connection that ``app.records.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from app.core import tables

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=tables.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
    transaction_per_migration=False,
)
context.run_migrations()
