"""Reads what happened on a branch on one day."""

from __future__ import annotations

import datetime
import zoneinfo

from buildbot_selfserve.history import rows
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import load_late
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Day
from buildbot_selfserve.model import midnight

#: The earliest day: the epoch.
FIRST_DAY = datetime.date(1970, 1, 1)


def day(history: History, branch: Branch, date: datetime.date | None) -> Day:
    """Return the rows of *branch* on *date*; ``None`` means today.

    A build belongs to the day on which it started, a request without a build to the day on which it
    was submitted. Builds that are running and requests that are pending also belong to today. Days
    are those of the site's time zone.
    """
    zone = zoneinfo.ZoneInfo(history.site.timezone)
    today = datetime.datetime.now(zone).date()
    date = date or today
    begin, end = midnight(date, zone), midnight(date + datetime.timedelta(days=1), zone)
    load_late(history.connection, history.facts)
    chosen = history.facts.between(branch, begin, end)
    records = rows.OF_BUILDSETS.of(history.connection, list(chosen))
    if date == today:
        older = {one: its for one, its in history.facts.open(branch).items() if one not in chosen}
        records += rows.OPEN_OF_BUILDSETS.of(history.connection, list(older))
        chosen |= older
    found = rows.rows_from(history, branch, records, chosen)
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
