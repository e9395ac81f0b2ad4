"""What the reactor sends to a reader, and what it gets back."""

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

#: Who gets an answer that is the same for everybody.
ANYBODY = Visitor()
_NOTHING: Mapping[str, Any] = {}


class ReadRequest(NamedTuple):
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

    @property
    def key(self) -> str:
        """Return a key that requests with the same answer share."""
        return repr(self._replace(master_state=b""))

    @property
    def repeats(self) -> bool:
        """Return whether the answer is the same while the database and the clock are.

        A page shows what time it is, and the live objects of the master change all the time.
        """
        return self.form == "json" and not self.master_state and not self.is_large

    def packed(self) -> bytes:
        """Return it as bytes, without classes of ours as far as every JSON answer has them.

        Each class takes pickle as long as all the texts together.
        """
        visitor = None if self.visitor is ANYBODY else self.visitor
        page = None if self.page is None else tuple(self.page)
        plain = tuple(self._replace(visitor=visitor, page=page))  # type: ignore[arg-type]
        return pickle.dumps(plain, pickle.HIGHEST_PROTOCOL)

    @classmethod
    def unpacked(cls, packed: bytes) -> ReadRequest:
        """Return that of which *packed* was made."""
        read_request = cls._make(pickle.loads(packed))
        return read_request._replace(
            visitor=read_request.visitor or ANYBODY,
            page=None if read_request.page is None else paging.PageRequest(*read_request.page),
        )


class Response(NamedTuple):
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
