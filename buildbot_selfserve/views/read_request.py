"""What the reactor sends to a reader, and what it gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from urllib.parse import urlencode

from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import LogText
from buildbot_selfserve.resources.context import Visitor
from buildbot_selfserve.views import paging


@dataclass(frozen=True)
class ReadRequest:
    """A GET on its way to a reader.

    :param route: its name in ``ROUTES``
    :param texts: the texts in its path, by noun
    :param params: the values of its parameters, by name on the wire
    :param form: ``json`` or ``html``
    :param query: the query as the client sent it, without ``format``
    :param verdicts: whether the visitor may do what the route offers, by action
    :param page: which rows, of a route that is paged
    :param known: tags of answers that the client has already
    :param gzip: it may be compressed
    :param master_state: what the live objects of the master know, pickled; empty if the route does
        not need it
    :param is_large: it is answered in the lane of large answers
    """

    route: str
    form: str
    texts: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    visitor: Visitor = field(default_factory=Visitor)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    page: paging.PageRequest | None = None
    known: frozenset[str] = frozenset()
    gzip: bool = False
    master_state: bytes = field(default=b"", repr=False)
    is_large: bool = False

    @property
    def key(self) -> str:
        """Return a key that requests with the same answer share."""
        return repr(self)


@dataclass(frozen=True)
class Response:
    """A whole response but for what only the reactor knows.

    :param headers: names and values, further to the content type
    :param left: what follows the body, of a text that is sent part after part
    """

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    left: LogText | None = None


def page_context(read_request: ReadRequest) -> dict[str, Any]:
    """Return what every page finds: who looks at it, what they may do, its path, its JSON twin."""
    return {
        "visitor": read_request.visitor,
        "may": read_request.decisions,
        "path": read_request.path,
        "json_url": twin_url(read_request),
    }


def twin_url(read_request: ReadRequest) -> str:
    """Return the URL of the JSON rendering of the same value."""
    return f"{read_request.path}?{urlencode([*read_request.query, ('format', 'json')])}"
