"""Count the builds of later steps of ongoing job requests from the time of their step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add ``selfserve_later_builds``."""
    on_mysql = op.get_bind().dialect.name in ("mysql", "mariadb")
    if on_mysql:
        # MySQL keeps the tables of an interrupted migration
        op.execute("DROP TABLE IF EXISTS selfserve_later_builds")
    op.create_table(
        "selfserve_later_builds",
        sa.Column("job_id", sa.Integer, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("asker", sa.String(64), nullable=False),
        sa.Column("taken_at", sa.BigInteger, nullable=False),
        sa.Column("builds", sa.Integer, nullable=False),
    )
    if on_mysql:
        # as the other tables: see v0003
        op.execute("ALTER TABLE selfserve_later_builds ENGINE=InnoDB")
    name, columns = "selfserve_later_builds_asker", ["asker", "taken_at"]
    op.create_index(name, "selfserve_later_builds", columns)
