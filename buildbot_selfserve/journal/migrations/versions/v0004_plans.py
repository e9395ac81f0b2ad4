"""Keep the plan of a job request while it is carried out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the plan as JSON; NULL before planning, and once the job has ended."""
    text = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
    op.add_column("selfserve_jobs", sa.Column("plan", text))
