"""The requests that the reactor sends to readers, and their responses."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple
from urllib.parse import urlencode

from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import LogText
from buildbot_selfserve.resources.context import Visitor
from buildbot_selfserve.views import paging

#: The visitor of an answer that is the same for everybody.
ANYBODY = Visitor()
_NOTHING: Mapping[str, Any] = {}


class ReadRequest(NamedTuple):
    """A GET for a reader.

    :param route: the name of the route in ``ROUTES``
    :param texts: the texts in the path, by noun
    :param params: the values of the parameters, by name on the wire
    :param form: ``json`` or ``html``
    :param query: the query as the client sent it, without ``format``
    :param decisions: whether the visitor may send the job requests that the page offers, by action
    :param page: the wanted rows, if the route is paged
    :param known: entity tags of answers that the client has already
    :param gzip: the answer may be compressed
    :param master_state: the state of the master's live objects, pickled; empty if the route does
        not need it
    :param plain: a text is wanted without escape sequences, as browsers do not know them
    :param is_large: the request is in the lane of large answers
    """

    route: str
    form: str
    texts: Mapping[str, str] = _NOTHING
    params: Mapping[str, Any] = _NOTHING
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    visitor: Visitor = ANYBODY
    decisions: Mapping[str, Decision] = _NOTHING
    page: paging.PageRequest | None = None
    known: frozenset[str] = frozenset()
    gzip: bool = False
    master_state: bytes = b""
    is_large: bool = False
    plain: bool = False

    @property
    def key(self) -> str:
        """Return a key shared by requests with the same answer."""
        return repr(self._replace(master_state=b""))

    @property
    def repeats(self) -> bool:
        """Return whether the answer can change only with the database and the clock.

        Pages show the current time, and the master's live objects change all the time.
        """
        return self.form == "json" and not self.master_state and not self.is_large

    def packed(self) -> bytes:
        """Return the request as bytes, with plain tuples instead of our classes in most cases.

        Pickling a class takes as long as pickling all the texts.
        """
        visitor = None if self.visitor is ANYBODY else self.visitor
        page = None if self.page is None else tuple(self.page)
        plain = tuple(self._replace(visitor=visitor, page=page))  # type: ignore[arg-type]
        return pickle.dumps(plain, pickle.HIGHEST_PROTOCOL)

    @classmethod
    def unpacked(cls, packed: bytes) -> ReadRequest:
        """Return the request that was *packed*."""
        read_request = cls._make(pickle.loads(packed))
        return read_request._replace(
            visitor=read_request.visitor or ANYBODY,
            page=None if read_request.page is None else paging.PageRequest(*read_request.page),
        )


class Response(NamedTuple):
    """A response, except for headers that only the reactor knows.

    :param headers: names and values, besides the content type
    :param left: the rest of a text that is sent in parts, ``None`` if the body is all
    :param version: of the database that it is of, where all connections have the same versions
    """

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    left: LogText | None = None
    version: str | None = None


def page_context(read_request: ReadRequest) -> dict[str, Any]:
    """Return the context of every page: visitor, decisions, path and URL of the JSON twin."""
    return {
        "visitor": read_request.visitor,
        "may": read_request.decisions,
        "path": read_request.path,
        "json_url": twin_url(read_request),
    }


def twin_url(read_request: ReadRequest) -> str:
    """Return the URL of the JSON rendering of the same value."""
    return f"{read_request.path}?{urlencode([*read_request.query, ('format', 'json')])}"
