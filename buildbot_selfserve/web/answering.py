"""Answers a GET: nouns, handler, value, JSON or page, in one call that runs in any reader.

Also holds the one table that turns what went wrong into a status code.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import threading
import zoneinfo
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlencode

import jinja2
import sqlalchemy as sa

from buildbot_selfserve import __version__
from buildbot_selfserve.errors import BadBody
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import KeyTaken
from buildbot_selfserve.errors import MethodNotAllowed
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooLarge
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import WrongType
from buildbot_selfserve.history import History
from buildbot_selfserve.history import database
from buildbot_selfserve.history import days
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import Outlook
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Verdict
from buildbot_selfserve.model import as_json
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import lengthy
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import snake
from buildbot_selfserve.web import nouns
from buildbot_selfserve.web import openapi
from buildbot_selfserve.web import paging
from buildbot_selfserve.web import render

#: What went wrong, as HTTP says it.
STATUS: dict[type[SelfServeError], int] = {
    BadParameter: 400,
    BadBody: 400,
    Refused: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    TooLarge: 413,
    WrongType: 415,
    KeyTaken: 422,
    TooMany: 429,
    SelfServeError: 500,
    Unavailable: 503,
}


#: What a database says that cannot be reached.
_AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)
#: So many of the newest jobs of a user are looked at for what they made.
MOST_JOBS = 1000
#: A smaller body is sent as it is.
SMALLEST_PACKED = 1024
#: Packing quickly matters more than the last percent.
GZIP_LEVEL = 2


@dataclass(frozen=True)
class Visitor:
    """Who asks for an answer.

    :param name: ``None`` when nobody knows
    :param via: how we know, as the journal writes it
    :param login: where they can say who they are; empty when they cannot
    :param logout: where they can take it back; likewise
    """

    name: str | None = None
    login: str = ""
    logout: str = ""
    via: str = "anonymous"


@dataclass(frozen=True)
class Question:
    """A GET on its way to a reader.

    :param route: its name in ``ROUTES``
    :param texts: the texts in its path, by noun
    :param params: the values of its parameters, by name on the wire
    :param form: ``json`` or ``html``
    :param query: the query as the client sent it, without ``format``
    :param verdicts: whether the visitor may do what the route offers, by action
    :param page: which rows, of a route that is paged
    :param known: tags of answers that the client has already
    :param gzip: it may be packed
    """

    route: str
    form: str
    texts: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    visitor: Visitor = Visitor()
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    page: paging.Wanted | None = None
    known: frozenset[str] = frozenset()
    gzip: bool = False

    @property
    def key(self) -> str:
        """Return what two questions share that have the same answer."""
        return repr(self)


@dataclass(frozen=True)
class Answer:
    """A whole response but for what only the reactor knows.

    :param headers: names and values, further to the content type
    """

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ReadContext:
    """The ``ctx`` of a GET's handler."""

    history: History
    journal: Reading
    openapi: Callable[[], dict[str, Any]]
    visitor: Visitor
    verdicts: Mapping[str, Verdict]


class Reading:
    """Reads the master's history and the journal: where nouns are looked up, too."""

    def __init__(
        self, history: sa.Connection, journal: sa.Connection, index: Index, site: Site
    ) -> None:
        self.history = History(history, index, site)
        self._site = site
        self._journal = journal
        self.branch = self.history.branch
        self.branches = self.history.branches
        self.build = self.history.build
        self.request = self.history.request
        self.revisions = self.history.revisions
        self.any_revision = self.history.any_revision
        self.builder = self.history.builder
        self.builder_set = self.history.builder_set

    def jobs(self, num: int, offset: int, **filters: Any) -> Jobs:
        """Return a page of the journal.

        :param filters: as ``store.Filters`` has them; a day counts as its begin, or as its end
        """
        zone = zoneinfo.ZoneInfo(self._site.timezone)
        for name, days_later in (("since", 0), ("until", 1)):
            if isinstance(filters.get(name), datetime.date):
                day = filters[name] + datetime.timedelta(days=days_later)
                filters[name] = days.midnight(day, zone) - days_later
        return store.list_jobs(self._journal, num, offset, store.Filters(**filters))

    def requests_made_for(self, who: str, branch: Branch) -> list[int]:
        """Return the build requests that job requests of *who* on *branch* made."""
        return store.requests_made_for(self._journal, who, branch.name, MOST_JOBS)

    def openapi(self) -> dict[str, Any]:
        """Return this API as an OpenAPI document."""
        return openapi.document(self._site, STATUS)

    def budgets(self, who: str, via: str) -> tuple[Budget, ...]:
        """Return what is left to an asker of each limit."""
        return budgets.budgets(self._journal, who, via, self._site.limits)

    def job(self, job_id: int) -> Job | None:
        """Return one job request."""
        return store.job(self._journal, job_id)


class Reader:
    """What one reader has: its engines and its pages.

    :param history: the master's database
    :param journal: where the journal is, often the same
    :param keeps: each thread keeps its connections; only where nobody else needs them
    """

    def __init__(self, history: sa.Engine, journal: sa.Engine, keeps: bool = False) -> None:
        self._history = history
        self._journal = journal
        self._kept: threading.local | None = threading.local() if keeps else None
        self._index = Index()
        self.templates = render.templates()

    def warm(self) -> None:
        """Load the index, so that the first question need not wait for it.

        Where that fails, the first question tries again, and says what is wrong.
        """
        with suppress(sa.exc.SQLAlchemyError), self._history.connect() as history:
            self._index.facts(history)

    def read(self, site: Site, work: Callable[[Reading], Any]) -> Any:
        """Return what *work* returns, which reads.

        Where a server was restarted, the first question finds that its connection is dead; then
        all of them are made anew, and it is asked once more.

        :raises Unavailable: a database does not answer
        """
        for last in (False, True):
            try:
                with self._connected(site) as reading:
                    return work(reading)
            except _AWAY as error:
                if last or not getattr(error, "connection_invalidated", False):
                    raise Unavailable("The database does not answer") from error
        raise AssertionError("unreachable")

    @contextmanager
    def _connected(self, site: Site) -> Iterator[Reading]:
        with self._connection(self._history) as history:
            if self._journal is self._history:
                yield Reading(history, history, self._index, site)
            else:
                with self._connection(self._journal) as journal:
                    yield Reading(history, journal, self._index, site)

    @contextmanager
    def _connection(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """Provide a connection; to take one from a pool each time costs as much as a query."""
        if self._kept is None:
            with engine.connect() as connection:
                yield connection
            return
        kept: dict[sa.Engine, sa.Connection] = self._kept.__dict__.setdefault("connections", {})
        if engine not in kept:
            kept[engine] = engine.connect()
        try:
            yield kept[engine]
            kept[engine].rollback()  # whatever was begun: nothing was written
        except BaseException:
            kept.pop(engine).close()
            raise


def open_reader(history_url: str, journal_url: str | None, connections: int) -> Reader:
    """Return what a reader with engines of its own has.

    :param history_url: the master's database, with its password
    :param journal_url: where the journal is; ``None`` for the same database
    :param connections: how many threads read at once
    """
    history = journal = database.open_engine(sa.engine.make_url(history_url), connections)
    if journal_url is not None:
        journal = database.open_engine(sa.engine.make_url(journal_url), connections)
    return Reader(history, journal, keeps=True)


def open_warm_reader(*arguments: Any) -> Reader:
    """Return what ``open_reader`` returns, ready for the first question."""
    reader = open_reader(*arguments)
    reader.warm()
    return reader


def answer(reader: Reader, site: Site, question: Question) -> Answer:
    """Answer *question*; what cannot be found is an answer too."""
    route = ROUTES[question.route]
    try:
        found, value = reader.read(site, partial(_value, route.handler, question))
    except SelfServeError as error:
        return failure(reader.templates, site, error, question)
    rows, whole = None, value
    if question.page is not None:
        value, rows = paging.cut(value, question.page, question.form)
    # the JSON is what tells one value from another, and cheap beside a page
    json = render.json_bytes(as_json(value, site))
    tag = _tag(question, json, rows)
    headers = (("ETag", tag), *paging.links(question.path, question.query, rows))
    if tag in question.known or "*" in question.known:
        return Answer(304, "", b"", headers)
    if question.form == "json":
        return _packed(question, Answer(200, render.JSON_TYPE, json, headers))
    assert route.template is not None  # the pipeline asks for JSON of what has no page
    context = {**page_context(question), "value": value, **found}
    if rows is not None:
        url_of = paging.urls(question.path, question.query, rows)
        context |= {"rows": rows, "url_of": url_of, "every": whole.rows}
    body = render.page(reader.templates, route.template, site, context)
    twin = ("Link", f'<{twin_url(question)}>; rel="alternate"; type="{render.JSON_TYPE}"')
    return _packed(question, Answer(200, render.HTML_TYPE, body, (*headers, twin)))


def answer_in_pieces(reader: Reader, site: Site, question: Question) -> Answer | Lengthy:
    """Return what ``answer`` returns, a long body in pieces beside it."""
    whole = answer(reader, site, question)
    if len(whole.body) <= PIECE:
        return whole
    return lengthy(replace(whole, body=b""), whole.body)


def _value(
    handler: Callable[..., Any], question: Question, reading: Reading
) -> tuple[dict[str, Any], Any]:
    """Return the nouns of *question*, and what *handler* says of them."""
    found = nouns.resolve(reading, question.texts)
    arguments = {snake(name): value for name, value in question.params.items()}
    ctx = ReadContext(
        reading.history, reading, reading.openapi, question.visitor, question.verdicts
    )
    return found, handler(ctx, **found, **arguments)


def outlook(reader: Reader, site: Site, question: Question) -> Outlook:
    """Say what the answer to *question* waits for.

    :raises NotFound: it is about something that does not exist
    """
    look = ROUTES[question.route].held
    assert look is not None  # it is asked of routes that are held only
    found: Outlook = reader.read(site, partial(_value, look, question))[1]
    return found


def stamps_of(
    reader: Reader, site: Site, request_ids: Sequence[int]
) -> dict[int, tuple[Sourcestamp, ...]]:
    """Return the sourcestamps of build requests, by id."""
    found: dict[int, tuple[Sourcestamp, ...]] = reader.read(
        site, lambda reading: reading.history.sourcestamps_of(request_ids)
    )
    return found


def resolve(reader: Reader, site: Site, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the nouns that a job request is about.

    :raises NotFound: one of them does not exist
    """
    found: dict[str, Any] = reader.read(site, lambda reading: nouns.resolve(reading, texts))
    return found


def failure(
    templates: jinja2.Environment, site: Site, error: SelfServeError, question: Question
) -> Answer:
    """Return the answer that tells of *error*, in the form that was asked for."""
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    data: dict[str, Any] = {"status": "FAILED", "msg": error.msg}
    headers: tuple[tuple[str, str], ...] = ()
    if error.detail:
        data["detail"] = error.detail
    if isinstance(error, MethodNotAllowed):
        headers = (("Allow", ", ".join(error.allowed)),)
    if isinstance(error, NotNow):
        headers = (("Retry-After", str(error.retry_after)),)
    if isinstance(error, Unavailable) and error.job_id is not None:
        data |= {"job_id": error.job_id, "job_url": f"{site.root}/jobs/{error.job_id}"}
    if question.form == "json":
        return Answer(status, render.JSON_TYPE, render.json_bytes(data), headers)
    links = error.links if isinstance(error, NotFound) else ()
    context = {**page_context(question), "code": status, "error": data, "links": links}
    body = render.page(templates, "error.html", site, context)
    return Answer(status, render.HTML_TYPE, body, headers)


def page_context(question: Question) -> dict[str, Any]:
    """Return what every page finds: who looks at it, what they may do, its path, its JSON twin."""
    return {
        "visitor": question.visitor,
        "may": question.verdicts,
        "path": question.path,
        "json_url": twin_url(question),
    }


def twin_url(question: Question) -> str:
    """Return the URL of the JSON rendering of the same value."""
    return f"{question.path}?{urlencode([*question.query, ('format', 'json')])}"


def _tag(question: Question, json: bytes, rows: paging.Rows | None) -> str:
    """Return the entity tag of an answer: another one for another value, form or reader of it."""
    digest = hashlib.blake2b(json, digest_size=16)
    digest.update(repr((question.form, rows, __version__)).encode())
    if question.form == "html":
        shown = (question.visitor, question.verdicts, question.path, question.query)
        digest.update(repr(shown).encode())
    return f'"{digest.hexdigest()}{"-gzip" if question.gzip else ""}"'


def _packed(question: Question, answer: Answer) -> Answer:
    if not question.gzip or len(answer.body) < SMALLEST_PACKED:
        return answer
    body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
    return replace(answer, body=body, headers=(*answer.headers, ("Content-Encoding", "gzip")))
