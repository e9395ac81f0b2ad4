"""Times as options have them."""

from __future__ import annotations

import datetime
import re

import click

_UNITS = {"m": 60, "h": 3600, "d": 86400}


def span(text: str) -> int:
    """Return seconds: *text* is like ``90m``, ``2h`` or ``3d``."""
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip(), re.ASCII)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"{text!r} must be like 90m, 2h or 3d")
    return int(found[1]) * _UNITS[found[2]]


def ending(text: str) -> int:
    """Return epoch seconds, which *text* is, or an ISO time, of this place if it has no offset."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        if not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}", text, re.ASCII):
            raise ValueError(text)
        # Python 3.10 does not know that Z is an offset
        moment = datetime.datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        msg = f"{text!r} must be epoch seconds, or like 2026-11-24T10:30"
        raise click.BadParameter(msg) from None
