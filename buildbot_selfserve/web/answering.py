"""Answers a GET: nouns, handler, value, JSON or page, in one call that runs in any reader."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import quote

from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.history import History
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import Outlook
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Verdict
from buildbot_selfserve.model import as_json
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from buildbot_selfserve.routes import snake
from buildbot_selfserve.web import nouns
from buildbot_selfserve.web import paging
from buildbot_selfserve.web import render
from buildbot_selfserve.web.failures import failure
from buildbot_selfserve.web.questions import Answer
from buildbot_selfserve.web.questions import Question
from buildbot_selfserve.web.questions import Visitor
from buildbot_selfserve.web.questions import page_context
from buildbot_selfserve.web.questions import twin_url
from buildbot_selfserve.web.reader import Reader
from buildbot_selfserve.web.reader import Reading

#: A smaller body is sent as it is.
SMALLEST_PACKED = 1024
#: So much may an answer have in the lane of small ones: rows, each request of a job being one.
MOST_SMALL = {"json": 1000, "html": 200}
#: So many names take no longer than a row.
NAMES_A_ROW = 10
#: Packing quickly matters more than the last percent.
GZIP_LEVEL = 2


@dataclass(frozen=True)
class ReadContext:
    """The ``ctx`` of a GET's handler."""

    history: History
    journal: Reading
    openapi: Callable[[], dict[str, Any]]
    visitor: Visitor
    verdicts: Mapping[str, Verdict]


def answer(reader: Reader, site: Site, question: Question) -> Answer:
    """Answer *question*; what cannot be found is an answer too.

    :raises LargeAnswer: it was asked as a small one, and is not
    """
    route = ROUTES[question.route]
    try:
        found, value, beside = reader.read(site, partial(_answered, route, question))
    except SelfServeError as error:
        return failure(reader.templates, site, error, question)
    if not question.is_large and _size(value) > MOST_SMALL[question.form]:
        raise LargeAnswer
    rows, whole = None, value
    if question.page is not None:
        value, rows = paging.cut(value, question.page, question.form)
    links = paging.links(question.path, question.query, rows)
    if question.form == "json":
        body = render.json_bytes(as_json(value, site))
        return _tagged(question, Answer(200, render.JSON_TYPE, body, links))
    if isinstance(value, Branches) and value.only is not None:
        return Answer(302, render.HTML_TYPE, b"", (("Location", _page_of(site, value.only)),))
    assert route.template is not None  # the pipeline asks for JSON of what has no page
    context = {**page_context(question), "value": value, **found, **beside}
    if rows is not None:
        url_of = paging.urls(question.path, question.query, rows)
        context |= {"rows": rows, "url_of": url_of, "every": whole.rows}
    body = render.page(reader.templates, route.template, site, context)
    twin = ("Link", f'<{twin_url(question)}>; rel="alternate"; type="{render.JSON_TYPE}"')
    return _tagged(question, Answer(200, render.HTML_TYPE, body, (*links, twin)))


def _page_of(site: Site, revision: Revision) -> str:
    """Return the path of the page of a revision, which is what somebody looked for."""
    branch, text = quote(revision.branch.name, safe=""), quote(revision.revision, safe="")
    return f"{site.root}/{branch}/rev/{text}"


def answer_in_pieces(reader: Reader, site: Site, question: Question) -> Answer | Lengthy:
    """Return what ``answer`` returns, a long body in pieces beside it."""
    whole = answer(reader, site, question)
    if len(whole.body) <= PIECE:
        return whole
    return Lengthy(replace(whole, body=b""), whole.body)


def _value(
    handler: Callable[..., Any], question: Question, reading: Reading
) -> tuple[dict[str, Any], Any]:
    """Return the nouns of *question*, and what *handler* says of them.

    :raises NotFound: one of them does not exist, or has nothing that *handler* could tell
    """
    found = nouns.resolve(reading, question.texts)
    arguments = {snake(name): value for name, value in question.params.items()}
    value = handler(_context(question, reading), **found, **arguments)
    if value is None:
        raise nouns.missing(found, question.texts)
    return found, value


def _size(value: Any) -> int:
    """Return how many rows it takes as long to write as *value*, as far as that grows."""
    if isinstance(value, RevisionRows):
        return len(value.rows)
    if isinstance(value, Jobs):
        return len(value.jobs) + sum(len(job.requests) for job in value.jobs)
    if isinstance(value, Job):
        return len(value.requests)
    return len(value.builders) // NAMES_A_ROW if isinstance(value, Builders | Possible) else 0


def _answered(
    route: Route, question: Question, reading: Reading
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return the nouns of *question*, its value, and what a page shows beside it.

    :raises NotFound: as ``_value`` does
    """
    found, value = _value(route.handler, question, reading)
    if route.beside is None or question.form != "html":
        return found, value, {}
    return found, value, {"beside": route.beside(_context(question, reading), **found)}


def _context(question: Question, reading: Reading) -> ReadContext:
    return ReadContext(
        reading.history, reading, reading.openapi, question.visitor, question.verdicts
    )


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


def _tagged(question: Question, whole: Answer) -> Answer:
    """Return *whole* with its entity tag, or that it is what the client has already."""
    # what is sent tells one answer from another; links lead on from a part that may stay the same
    digest = hashlib.blake2b(whole.body, digest_size=16)
    digest.update(repr((whole.content_type, whole.headers)).encode())
    tag = f'"{digest.hexdigest()}{"-gzip" if question.gzip else ""}"'
    headers = (("ETag", tag), *whole.headers)
    if tag in question.known or "*" in question.known:
        return Answer(304, "", b"", headers)
    return _packed(question, replace(whole, headers=headers))


def _packed(question: Question, answer: Answer) -> Answer:
    if not question.gzip or len(answer.body) < SMALLEST_PACKED:
        return answer
    body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
    return replace(answer, body=body, headers=(*answer.headers, ("Content-Encoding", "gzip")))
