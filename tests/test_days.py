"""Whose midnight a day begins at."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from buildbot_selfserve.model import midnight

HOUR = 3600


@pytest.mark.parametrize(
    ("zone", "date", "hours"),
    [
        ("UTC", "2026-03-29", 24),
        # clocks go forward, and back
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Berlin", "2026-07-01", 24),
        ("America/New_York", "2026-03-08", 23),
        # by half an hour
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
    ],
)
def test_a_day_is_as_long_as_its_clocks_say(zone: str, date: str, hours: float) -> None:
    day, where = datetime.date.fromisoformat(date), zoneinfo.ZoneInfo(zone)
    begin, end = midnight(day, where), midnight(day + datetime.timedelta(days=1), where)
    assert (end - begin) / HOUR == hours
    at_home = datetime.datetime.fromtimestamp(begin, where)
    assert (at_home.date(), at_home.hour, at_home.minute) == (day, 0, 0)
