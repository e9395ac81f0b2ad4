"""What happened on a branch on one day."""

from __future__ import annotations

import datetime
import zoneinfo

import sqlalchemy as sa

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Day

#: There is nothing to see before the epoch.
FIRST_DAY = datetime.date(1970, 1, 1)


def day(
    connection: sa.Connection, branch: Branch, date: datetime.date | None, timezone: str
) -> Day:
    """Return the rows of *branch* on *date*, or today.

    A build belongs to the day on which it started, a request without a build to the day on which
    it was asked for. What still runs or waits also belongs to today.

    :param timezone: whose midnight counts, as an IANA name
    """
    zone = zoneinfo.ZoneInfo(timezone)
    today = datetime.datetime.now(zone).date()
    date = date or today
    begin, end = midnight(date, zone), midnight(date + datetime.timedelta(days=1), zone)
    started, asked = rows.builds.c.started_at, rows.requests.c.submitted_at
    on_the_day = sa.or_(
        sa.and_(started >= begin, started < end),
        sa.and_(asked >= begin, asked < end),
    )
    if date == today:
        on_the_day = sa.or_(on_the_day, rows.requests.c.complete == 0)
    found = rows.rows_of(connection, branch, on_the_day)
    return Day(
        branch=branch,
        date=date.isoformat(),
        earlier=(date - datetime.timedelta(days=1)).isoformat() if date > FIRST_DAY else None,
        later=(date + datetime.timedelta(days=1)).isoformat() if date < today else None,
        rows=tuple(
            row
            for row in found
            if begin <= row.starttime < end or (date == today and row.endtime is None)
        ),
    )


def midnight(date: datetime.date, zone: zoneinfo.ZoneInfo) -> int:
    """Return when *date* begins in *zone*, in epoch seconds."""
    return int(datetime.datetime.combine(date, datetime.time(), tzinfo=zone).timestamp())
