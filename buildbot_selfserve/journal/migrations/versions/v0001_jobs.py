"""Create the table of job requests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None

_LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")


def upgrade() -> None:
    """Create ``selfserve_jobs``."""
    op.create_table(
        "selfserve_jobs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("action", sa.String(256), nullable=False),
        sa.Column("who", sa.String(256), nullable=False),
        sa.Column("via", sa.String(256), nullable=False),
        sa.Column("remote", sa.String(256), nullable=False),
        sa.Column("branch", sa.String(256), nullable=False),
        sa.Column("submitted_at", sa.BigInteger, nullable=False),
        sa.Column("completed_at", sa.BigInteger),
        sa.Column("what", _LONG_TEXT, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("result", _LONG_TEXT),
        sa.Column("masterid", sa.Integer, nullable=False),
        sa.Column("incarnation", sa.String(64), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("selfserve_jobs_status", "selfserve_jobs", ["status"])
    op.create_index("selfserve_jobs_who", "selfserve_jobs", ["who"])
    op.create_index("selfserve_jobs_submitted_at", "selfserve_jobs", ["submitted_at"])
