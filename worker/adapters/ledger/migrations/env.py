"""Alembic's entry: runs on the connection that upgrade hands in."""

from __future__ import annotations

from alembic import context

from worker.adapters.ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
