"""Times as options have them."""

from __future__ import annotations

import datetime
import re
import time

import click

from buildbot_selfserve.answers import LONGEST_HOLD

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
