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

from buildbot_selfserve import __version__
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.history import History
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
