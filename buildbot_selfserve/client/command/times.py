"""Times as options have them, and as they are shown."""

from __future__ import annotations

import datetime
import re
import time

import click

from buildbot_selfserve.answers import LONGEST_HOLD

#: Characters of the name of a zone.
LONGEST_ZONE = 5
_UNITS = {"m": 60, "h": 3600, "d": 86400}
#: Seconds.
_LONGEST = LONGEST_HOLD * _UNITS["d"]


def span(text: str) -> int:
    """Return the seconds of a hold: *text* is like ``90m``, ``2h`` or ``3d``."""
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip(), re.ASCII)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{text!r} must be like 90m, 2h or 3d")
    seconds = int(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST:
        raise click.BadParameter(f"{text!r} is too long: at most {LONGEST_HOLD}d")
    return seconds


def ending(text: str) -> int:
    """Return when a hold ends in epoch seconds, which *text* is, or an ISO time."""
    seconds = _instant(text)
    if seconds is None:
        raise click.BadParameter(f"{text!r} must be epoch seconds, or like 2026-11-24T10:30")
    now = time.time()
    if not now < seconds <= now + _LONGEST:
        msg = f"{text!r} must be in the future, at most {LONGEST_HOLD} days from now"
        raise click.BadParameter(msg)
    return seconds


def moment(text: str) -> int | str:
    """Return epoch seconds, which *text* is, or an ISO time; a day stays a day."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text, re.ASCII):
        return text  # the server knows when it begins and ends there
    seconds = _instant(text)
    if seconds is None:
        msg = f"{text!r} must be epoch seconds, or like 2026-11-24 or 2026-11-24T10:30"
        raise click.BadParameter(msg)
    return seconds


def _instant(text: str) -> int | None:
    """Return epoch seconds, which *text* is, or an ISO time, local if it has no offset."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}", text, re.ASCII):
            return None
        # Python 3.10 does not know that Z is an offset
        found = datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
        return int(found.timestamp())
    except (ValueError, OverflowError):
        return None


def shown(seconds: int) -> str:
    """Return epoch seconds as a date and a time of this place, with its zone."""
    here = _local(seconds)
    return str(seconds) if here is None else _told("%Y-%m-%d %H:%M:%S", here)


def shown_short(seconds: int) -> str:
    """Return epoch seconds likewise, without the year if it is this one, else only the date."""
    here = _local(seconds)
    if here is None:
        return str(seconds)
    if here.tm_year != time.localtime().tm_year:
        return time.strftime("%Y-%m-%d", here)
    return _told("%m-%d %H:%M", here)


def now_shown() -> str:
    """Return the time of day, with its zone."""
    return _told("%H:%M:%S", time.localtime())


def with_local_times(sentence: str) -> str:
    """Return a sentence of the server's, which knows no place but UTC, with times of this place."""
    return re.sub("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2} UTC", _here, sentence)


def _here(found: re.Match[str]) -> str:
    try:
        there = datetime.datetime.strptime(f"{found[0]}+0000", "%Y-%m-%d %H:%M UTC%z")
        here = _local(int(there.timestamp()))
    except ValueError:
        here = None
    return found[0] if here is None else _told("%Y-%m-%d %H:%M", here)


def _local(seconds: int) -> time.struct_time | None:
    """Return epoch seconds in the time of this place, ``None`` if it is none that has a name."""
    try:
        return time.localtime(seconds)
    except (OverflowError, OSError, ValueError):
        return None


def _told(style: str, here: time.struct_time) -> str:
    """Return *here* in a format of ``strftime``, with its zone.

    Windows has long names of zones: of these, the offset is told.
    """
    is_short = 0 < len(here.tm_zone) <= LONGEST_ZONE
    zone = here.tm_zone if is_short else time.strftime("%z", here)
    return f"{time.strftime(style, here)} {zone}"
