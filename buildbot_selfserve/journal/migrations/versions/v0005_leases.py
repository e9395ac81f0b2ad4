"""Add leases, for work that only one master at a time may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add ``selfserve_leases``."""
    op.create_table(
        "selfserve_leases",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("holder", sa.String(64), nullable=False),
        sa.Column("renewals", sa.Integer, nullable=False),
    )
    if op.get_bind().dialect.name in ("mysql", "mariadb"):
        # as the other tables: see v0003
        op.execute("ALTER TABLE selfserve_leases ENGINE=InnoDB")
