"""Alembic's script: runs migrations over the connection of ``schema.upgrade``."""

from __future__ import annotations

from alembic import context

from buildbot_selfserve.journal.schema import VERSION_TABLE
from buildbot_selfserve.journal.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
