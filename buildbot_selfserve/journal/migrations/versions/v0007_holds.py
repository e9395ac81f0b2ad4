"""Store holds, which keep a branch's builds from starting for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add ``selfserve_holds``."""
    on_mysql = op.get_bind().dialect.name in ("mysql", "mariadb")
    if on_mysql:
        # MySQL keeps the tables of an interrupted migration
        op.execute("DROP TABLE IF EXISTS selfserve_holds")
    op.create_table(
        "selfserve_holds",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("branch", sa.String(256), nullable=False),
        sa.Column("who", sa.String(256), nullable=False),
        sa.Column("reason", sa.String(256), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.Column(
            "selectors",
            sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"),
            nullable=False,
        ),
        sa.Column("above", sa.Integer),
        sa.Column("job_id", sa.Integer, nullable=False),
    )
    if on_mysql:
        # as the other tables: see v0003
        op.execute("ALTER TABLE selfserve_holds ENGINE=InnoDB")
