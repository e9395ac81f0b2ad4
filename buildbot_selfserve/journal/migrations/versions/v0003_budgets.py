"""Count the job requests and builds of each user."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the hash of the user, the number of builds, and ``selfserve_askers``."""
    op.add_column("selfserve_jobs", sa.Column("asker", sa.String(64)))
    builds = sa.Column("builds", sa.Integer, nullable=False, server_default="0")
    op.add_column("selfserve_jobs", builds)
    op.create_index("selfserve_jobs_asker", "selfserve_jobs", ["asker", "submitted_at"])
    op.create_table(
        "selfserve_askers",
        sa.Column("asker", sa.String(64), primary_key=True),
        sa.Column("turns", sa.Integer, nullable=False),
    )
    if op.get_bind().dialect.name in ("mysql", "mariadb"):
        # Buildbot has MySQL create tables without transactions (buildbot/db/enginestrategy.py),
        # where rows cannot be locked and nothing is rolled back
        op.execute("ALTER TABLE selfserve_jobs ENGINE=InnoDB")
        op.execute("ALTER TABLE selfserve_askers ENGINE=InnoDB")
