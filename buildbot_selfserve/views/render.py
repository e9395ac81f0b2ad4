"""Renders a value as JSON or as a page."""

from __future__ import annotations

import datetime
import functools
import glob
import json
import math
import re
import time as clock
import zoneinfo
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import jinja2
import orjson

from buildbot_selfserve import __version__
from buildbot_selfserve import state_words
from buildbot_selfserve.model import Site
from buildbot_selfserve.params.property_rows import property_rows
from buildbot_selfserve.params.texts import json_text
from buildbot_selfserve.permissions import set_action
from buildbot_selfserve.views import charts
from buildbot_selfserve.views import push_words
from buildbot_selfserve.views import words

JSON_TYPE = "application/json"
HTML_TYPE = "text/html; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
FILE_TYPE = "application/octet-stream"

#: The variables of every template: the site, the URL of static files and their version, the current
#: time in epoch seconds; functions for times in the site's time zone, charts, properties as rows of
#: a form, pushes in words and times in words; and of the request the visitor, the path and the URL
#: of the JSON twin.
ALWAYS = frozenset(
    {
        "site",
        "assets",
        "version",
        "now",
        "time",
        "timeline",
        "load",
        "property_rows",
        "push_words",
        "ago",
        "visitor",
        "path",
        "json_url",
    }
)

#: So many names of branches, builders and users are remembered as they stand in a path: a page has
#: the same ones again and again.
MOST_SEGMENTS = 5000

#: Characters that no page may contain, and control characters that some terminals obey.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def json_bytes(data: Any) -> bytes:
    """Return *data* as UTF-8 JSON."""
    try:
        return orjson.dumps(data)
    except TypeError:
        # properties may have numbers over 64 bits and lone surrogates
        return json.dumps(_finite(data), separators=(",", ":")).encode()


def _finite(data: Any) -> Any:
    """Return *data* with ``None`` in place of NaN and infinity, as orjson writes them."""
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    return data


@functools.cache
def templates() -> jinja2.Environment:
    """Return the environment of all templates; each is compiled once per process."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("buildbot_selfserve"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["segment"] = segment
    environment.filters["as_pattern"] = glob.escape
    environment.filters["set_action"] = set_action
    environment.filters["duration"] = duration
    for words_of in (
        words.done_to_row,
        words.field_label,
        words.job_words,
        words.reason_word,
        words.short_name,
        words.via_word,
        state_words.action_word,
        state_words.bisection_word,
        state_words.outcome_word,
        state_words.state_word,
        state_words.status_word,
        state_words.what_label,
    ):
        environment.filters[words_of.__name__] = words_of
    environment.globals["known_actions"] = words.known_actions
    environment.filters["printable"] = printable
    environment.filters["json_text"] = json_text
    return environment


def page(
    environment: jinja2.Environment, template: str, site: Site, context: Mapping[str, Any]
) -> bytes:
    """Return the page of *template* as UTF-8.

    Templates find the variables in ``ALWAYS`` and in *context*.
    """
    zone = zoneinfo.ZoneInfo(site.timezone)
    now = int(clock.time())

    def time(seconds: int | None, form: str = "%Y-%m-%d %H:%M:%S") -> str:
        if seconds is None:
            return ""
        return datetime.datetime.fromtimestamp(seconds, zone).strftime(form)

    always = {
        "site": site,
        "assets": f"{site.prefix}/plugins/selfserve",
        "version": __version__,
        "now": now,
        "time": time,
        "timeline": lambda rows: charts.timeline(rows, now),
        "load": lambda rows, date: charts.load(rows, date, site.timezone, now),
        "property_rows": property_rows,
        "push_words": push_words,
        "ago": lambda seconds: push_words.ago(seconds, now),
    }
    text = environment.get_template(template).render(always, **context)
    return text.encode("utf-8", "replace")


def segment(text: object) -> str:
    """Return *text* quoted as one segment of a path, slashes included."""
    return _segment(str(text))


@functools.lru_cache(maxsize=MOST_SEGMENTS)
def _segment(text: str) -> str:
    return quote(text, safe="", errors="replace")


def printable(text: str) -> str:
    """Return *text* with a replacement for each control character but tabs and newlines."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def duration(seconds: int | None) -> str:
    """Return seconds formatted like ``1h 02m 03s``."""
    if seconds is None:
        return ""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes:02}m {rest:02}s"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"
