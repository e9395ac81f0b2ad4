"""Let job requests be sent again, and be followed after their answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns for Idempotency-Key, and ``followed``."""
    op.add_column("selfserve_jobs", sa.Column("idempotency", sa.String(64)))
    op.add_column("selfserve_jobs", sa.Column("fingerprint", sa.String(64)))
    followed = sa.Column("followed", sa.SmallInteger, nullable=False, server_default="0")
    op.add_column("selfserve_jobs", followed)
    op.create_index("selfserve_jobs_followed", "selfserve_jobs", ["followed"])
    op.create_index("selfserve_jobs_idempotency", "selfserve_jobs", ["idempotency"], unique=True)
