"""Writes and reads holds, which all masters with the same journal enforce."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.journal.tables import NAME_LENGTH
from buildbot_selfserve.journal.tables import holds
from buildbot_selfserve.model import Hold

#: Seconds to keep an ended hold: the masters' clocks differ.
KEPT = 86_400


def every(connection: sa.Connection) -> list[Hold]:
    """Return all holds, some ended ones included, sorted by end."""
    query = sa.select(holds).order_by(holds.c.expires, holds.c.name)
    return [_hold(record) for record in connection.execute(query)]


def put(connection: sa.Connection, hold: Hold) -> bool:
    """Write *hold*, replacing a hold with the same selectors; return whether it is in force.

    It is not if a later job request has replaced it meanwhile. Writing a hold again changes
    nothing.
    """
    values = {
        "branch": hold.branch,
        "who": hold.who[:NAME_LENGTH],
        "reason": hold.reason,
        "since": hold.since,
        "expires": hold.expires,
        "selectors": json.dumps(
            {
                **{name: list(patterns) for name, patterns in hold.selectors.items()},
                "names": None if hold.names is None else sorted(hold.names),
                "excluded": sorted(hold.excluded),
            }
        ),
        "above": hold.above,
        "job_id": hold.job_id,
    }
    while True:
        update = holds.update().where(holds.c.name == hold.key, holds.c.job_id <= hold.job_id)
        found = sa.select(holds.c.job_id).where(holds.c.name == hold.key)
        try:
            with connection.begin():
                connection.execute(holds.delete().where(holds.c.expires < hold.since - KEPT))
                connection.execute(update.values(values))
                stands = connection.execute(found).scalar()
                if stands is None:
                    connection.execute(holds.insert().values(name=hold.key, **values))
                    stands = hold.job_id
            return bool(stands == hold.job_id)
        except sa.exc.IntegrityError:
            pass  # another transaction was faster


def release(connection: sa.Connection, some: Iterable[Hold]) -> None:
    """Delete *some* holds, unless they were replaced meanwhile."""
    with connection.begin():
        for one in some:
            its = holds.c.name == one.key, holds.c.job_id == one.job_id
            connection.execute(holds.delete().where(*its))


def _hold(record: Any) -> Hold:
    told = json.loads(record.selectors)
    return Hold(
        branch=record.branch,
        reason=record.reason,
        who=record.who,
        since=record.since,
        expires=record.expires,
        builders=tuple(told["builders"]),
        tags=tuple(told["tags"]),
        exclude_builders=tuple(told["exclude_builders"]),
        above=record.above,
        job_id=record.job_id,
        names=None if told["names"] is None else frozenset(told["names"]),
        excluded=frozenset(told["excluded"]),
    )
