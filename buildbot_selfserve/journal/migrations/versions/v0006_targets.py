"""Find job requests by target and by action."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

#: The number of job requests to read at a time: one may have thousands of build requests.
BATCH = 200

_jobs = sa.table(
    "selfserve_jobs", sa.column("id"), sa.column("what"), sa.column("result"), sa.column("status")
)
_targets = sa.table(
    "selfserve_job_targets",
    sa.column("job_id"),
    sa.column("kind"),
    sa.column("name"),
    sa.column("outcome"),
)


def upgrade() -> None:
    """Add ``selfserve_job_targets``, filled with the targets of the journal's rows."""
    on_mysql = op.get_bind().dialect.name in ("mysql", "mariadb")
    if on_mysql:
        # MySQL keeps the tables of an interrupted migration
        op.execute("DROP TABLE IF EXISTS selfserve_job_targets")
    op.create_table(
        "selfserve_job_targets",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("job_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
    )
    if on_mysql:
        # as the other tables: see v0003
        op.execute("ALTER TABLE selfserve_job_targets ENGINE=InnoDB")
    _fill(op.get_bind())
    name, columns = "selfserve_job_targets_name", ["kind", "name", "job_id"]
    op.create_index(name, "selfserve_job_targets", columns)
    op.create_index("selfserve_job_targets_job_id", "selfserve_job_targets", ["job_id"])
    indexes = sa.inspect(op.get_bind()).get_indexes("selfserve_jobs")
    if all(one["name"] != "selfserve_jobs_action" for one in indexes):
        op.create_index("selfserve_jobs_action", "selfserve_jobs", ["action", "id"])


def _fill(connection: sa.Connection) -> None:
    last = 0
    while True:
        query = sa.select(_jobs.c.id, _jobs.c.what, _jobs.c.result).where(_jobs.c.id > last)
        records = connection.execute(query.order_by(_jobs.c.id).limit(BATCH)).all()
        if not records:
            return
        found = [
            {"job_id": job_id, "kind": kind, "name": name, "outcome": outcome}
            for job_id, what, result in records
            for kind, name, outcome in sorted({*_targets_of(_read(what), _read(result))})
        ]
        if found:
            connection.execute(_targets.insert(), found)
        last = records[-1][0]


def _read(text: str | None) -> dict[str, Any]:
    """Return *text* as a JSON object; an empty object if it is none, as in a row edited by hand."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _targets_of(what: dict[str, Any], result: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for kind, name in (("request", "brid"), ("build", "bid"), ("revision", "revision")):
        if what.get(name) not in (None, ""):
            yield kind, str(what[name])[:256], ""
    for one in result.get("requests", ()):
        outcome = str(one["outcome"])[:16]
        if one.get("request_id") is not None:
            yield "request", str(one["request_id"]), outcome
        if outcome in ("stopped", "stop_sent") and one.get("build_ids"):
            # builds before the last one had ended already
            yield "build", str(one["build_ids"][-1]), outcome
