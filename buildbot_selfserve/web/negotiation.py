"""Decides between JSON and a page, and reads other headers of a request."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from twisted.web.server import Request

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.texts import by_name

#: As many as in a form.
MOST_FIELDS = 256


def query_of(request: Request) -> dict[str, Any]:
    """Return the texts of the query by name; of a name that is repeated, a tuple of all.

    :raises BadParameter: it is not UTF-8, or endless
    """
    raw = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        return by_name(
            parse_qsl(raw, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
        )
    except ValueError:
        raise BadParameter("query", f"UTF-8 with at most {MOST_FIELDS} parameters") from None


def form_of(request: Request, query: Mapping[str, Any]) -> str:
    """Return ``json`` or ``html``: what ``?format=`` says, or else the Accept header.

    :raises BadParameter: another value of ``format``
    """
    asked = format_in(query)
    return str(FORMAT.parse(asked, {})) if asked else accepted_form(request)


def format_in(query: Mapping[str, Any]) -> str:
    """Return what *query* says of the format, as it stands there; empty if it says nothing."""
    asked = query.get(FORMAT.name, "")
    # the last: clients append it to URLs that may have one
    return str(asked[-1] if isinstance(asked, tuple) else asked)


def accepted_form(request: Request) -> str:
    """Return ``json`` if the Accept header includes it, else ``html``."""
    return "json" if "application/json" in _accepted(request) else "html"


def is_browser(request: Request) -> bool:
    """Whether the client asks for pages, as browsers do, and not just for anything."""
    return "text/html" in _accepted(request)


def has_a_page(request: Request) -> bool:
    """Whether a browser waits for the answer, be it a person's or a script's in a page."""
    from_script = request.getHeader(b"x-requested-with") or request.getHeader(b"sec-fetch-mode")
    return is_browser(request) or bool(from_script)


def takes_gzip(request: Request) -> bool:
    """Whether the client accepts gzip."""
    return "gzip" in _accepted(request, b"accept-encoding")


def known_tags(request: Request) -> frozenset[str]:
    """Return the entity tags in If-None-Match, as strong ones."""
    header = request.getHeader(b"if-none-match")
    if not header:
        return frozenset()
    tags = header.decode("latin-1").split(",")
    return frozenset(tag.strip().removeprefix("W/") for tag in tags)


def _accepted(request: Request, name: bytes = b"accept") -> frozenset[str]:
    return _in_header(request.getHeader(name) or b"")


@lru_cache(maxsize=64)  # a kind of client always sends the same
def _in_header(header: bytes) -> frozenset[str]:
    accepted = set()
    for part in header.decode("latin-1").split(","):
        kind, *options = (piece.strip().lower() for piece in part.split(";"))
        if not any(option in ("q=0", "q=0.0", "q=0.00", "q=0.000") for option in options):
            accepted.add(kind)
    return frozenset(accepted)


def client_address(request: Request) -> str:
    """Return the address that *request* came from."""
    return str(getattr(request.getClientAddress(), "host", ""))
