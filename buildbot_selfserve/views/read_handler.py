"""Answers a GET in one call to a reader: lookup, handler, and JSON or page."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from urllib.parse import quote

from buildbot_selfserve.control.explain import queue
from buildbot_selfserve.control.explain.collect import unpickled
from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.errors import OutdatedSetup
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history import builders
from buildbot_selfserve.history import logs
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.revisions import known_revisions
from buildbot_selfserve.model import HTML
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import JobDetail
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import LastGreen
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Pushes
from buildbot_selfserve.model import QueueFigures
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import SetupBasis
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.model import as_json
from buildbot_selfserve.model import page_of_revision
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import Route
from buildbot_selfserve.routes import snake
from buildbot_selfserve.views import etag
from buildbot_selfserve.views import lookup
from buildbot_selfserve.views import paging
from buildbot_selfserve.views import render
from buildbot_selfserve.views.error_responses import failure
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.read_request import page_context
from buildbot_selfserve.views.read_request import twin_url
from buildbot_selfserve.views.reader import Reader
from buildbot_selfserve.views.reader import Reading

#: The largest size of an answer in the lane of small answers, in rows; each request of a job counts
#: as a row.
MOST_SMALL = {"json": 1000, "html": 200}
#: The number of names that take as long as a row.
NAMES_A_ROW = 10
#: The number of builders of pushes that take as long as a row.
PUSHED_A_ROW = 4


def answer(
    reader: Reader, site: Site, read_request: ReadRequest, facts: Facts | None = None
) -> Response:
    """Return the response to *read_request*, error responses included.

    :param facts: the facts of the index, if they were brought up to date for this request
    :raises LargeAnswer: the answer is too large for the lane of small answers
    """
    route = ROUTES[read_request.route]
    if route.media_types:
        return _text_answer(reader, site, read_request)
    try:
        found, value, beside = reader.read(site, partial(_answered, route, read_request), facts)
    except SelfServeError as error:
        return failure(reader.templates, site, error, read_request)
    if not read_request.is_large and _size(value) > MOST_SMALL[read_request.form]:
        raise LargeAnswer
    rows, whole = None, value
    if read_request.page is not None:
        value, rows = paging.cut(value, read_request.page, read_request.form)
    links = paging.links(read_request.path, read_request.query, rows)
    older = None
    if isinstance(value, Pushes) and value.older is not None:
        older = paging.older_url(
            read_request.path, read_request.query, value.older, value.older_branch
        )
        links = (("Link", f'<{older}>; rel="next"'),)
    if read_request.form == "json":
        body = render.json_bytes(as_json(value, site))
        return etag.tagged(read_request, Response(200, render.JSON_TYPE, body, links))
    destination = _destination(value)
    if destination is not None:
        return Response(302, render.HTML_TYPE, b"", (("Location", destination.url(site.root)),))
    assert route.template is not None  # the pipeline requests JSON for routes without a page
    context = {**page_context(read_request), "value": value, **found, **beside}
    if rows is not None:
        url_of = paging.urls(read_request.path, read_request.query, rows)
        context |= {"rows": rows, "url_of": url_of, "every": whole.rows}
    if isinstance(value, Pushes):
        context["older_url"] = older
    body = render.page(reader.templates, route.template, site, context)
    twin = ("Link", f'<{twin_url(read_request)}>; rel="alternate"; type="{render.JSON_TYPE}"')
    return etag.tagged(read_request, Response(200, render.HTML_TYPE, body, (*links, twin)))


def _text_answer(reader: Reader, site: Site, read_request: ReadRequest) -> Response:
    """Return the first part of a log's text, with the rest in ``left``.

    :raises SelfServeError: the log does not exist or cannot be read; browsers get an error page
    :raises LargeAnswer: the text is too large for the lane of small answers
    """

    def work(reading: Reading) -> tuple[LogText, tuple[bytes, LogText | None] | None]:
        _, asked = _value(ROUTES[read_request.route].handler, read_request, reading)
        # a file to save stays as the step wrote it
        wanted = asked._replace(plain=read_request.plain and asked.log.type != HTML)
        is_large = wanted.end - wanted.first > MOST_SMALL["json"]
        if is_large and not read_request.is_large:
            return wanted, None
        return wanted, logs.part(reading.history, wanted)

    wanted, part = reader.read(site, work)
    if part is None:
        raise LargeAnswer
    body, left = part
    first = Response(200, render.TEXT_TYPE, body, left=left)
    if wanted.log.type == HTML:
        # a step wrote this HTML: do not let browsers show it as a page of this site
        name = quote(f"{wanted.log.slug}.html", safe="")
        saved = ("Content-Disposition", f"attachment; filename*=UTF-8''{name}")
        first = first._replace(content_type=render.FILE_TYPE, headers=(saved,))
    # the tag of a text in several parts is unknown before its end
    return etag.tagged(read_request, first) if left is None else first


def next_part(reader: Reader, site: Site, wanted: LogText) -> Lengthy:
    """Return the next part of a text, and the rest as the value."""
    body, left = reader.read(site, lambda reading: logs.part(reading.history, wanted))
    return Lengthy(left, body)


def _destination(value: Any) -> Destination | None:
    """Return the page to redirect browsers to, ``None`` to show *value*."""
    if isinstance(value, Destination):
        return value
    if isinstance(value, Health | LastGreen):
        return page_of_revision(value.revision)
    if isinstance(value, Branches) and value.only is not None:
        return page_of_revision(value.only)
    return value.only if isinstance(value, SearchResults) else None


def answer_packed(
    reader: Reader, site: Site, packed: bytes, in_pieces: bool, repeats: bool
) -> tuple[Any, ...] | Lengthy:
    """Return the response to a packed ``ReadRequest`` as a plain tuple.

    :param in_pieces: return a long body as a ``Lengthy``, which is sent in pieces
    :param repeats: the response may be the previous one, if nothing has changed
    """

    def make(facts: Facts | None) -> Response:
        return answer(reader, site, ReadRequest.unpacked(packed), facts)

    whole = reader.repeated(site, packed, make) if repeats else make(None)
    if in_pieces and (len(whole.body) > PIECE or whole.left is not None):
        return Lengthy(whole._replace(body=b""), whole.body)
    return tuple(whole)


def _value(
    handler: Callable[..., Any], read_request: ReadRequest, reading: Reading
) -> tuple[dict[str, Any], Any]:
    """Return the nouns of *read_request*, and the value that *handler* returns for them.

    :raises NotFound: a noun does not exist, or *handler* returned ``None``
    :raises BadParameter: a pattern that selects builders matches nothing
    :raises OutdatedSetup: *reading* has the setup of an earlier state of the branch or revision
    """
    found = lookup.resolve(reading, read_request.texts)
    known = reading.site.basis
    if known is not None and known != _basis(reading, found):
        raise OutdatedSetup
    params = dict(read_request.params)
    selectors = ROUTES[read_request.route].take_selectors(params)
    arguments = {snake(name): value for name, value in params.items()}
    if selectors is not None:
        arguments["selection"] = lookup.selection(reading, selectors)
    value = handler(_context(read_request, reading), **found, **arguments)
    if value is None:
        raise lookup.missing(found, read_request.texts)
    return found, value


def _size(value: Any) -> int:
    """Return the size of *value* in rows that take as long to render."""
    if isinstance(value, RevisionRows):
        return len(value.rows)
    if isinstance(value, Pushes):
        return sum(len(one.builders) for one in value.pushes) // PUSHED_A_ROW
    if isinstance(value, Jobs):
        return len(value.jobs) + sum(len(job.requests) for job in value.jobs)
    if isinstance(value, JobDetail):
        return len(value.job.requests)
    if isinstance(value, BuildDetail):
        return len(value.steps)
    return len(value.builders) // NAMES_A_ROW if isinstance(value, Builders | Possible) else 0


def _answered(
    route: Route, read_request: ReadRequest, reading: Reading
) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Return the nouns of *read_request*, its value, and further values for its page.

    :raises NotFound: see ``_value``
    """
    found, value = _value(route.handler, read_request, reading)
    if read_request.form != "html":
        return found, value, {}
    shown = _holds(found, reading)
    if route.beside is not None:
        more = {"value": value} if route.beside_needs_value else {}
        shown["beside"] = route.beside(_context(read_request, reading), **found, **more)
    return found, value, shown


def _holds(found: Mapping[str, Any], reading: Reading) -> dict[str, Any]:
    """Return the holds of the branch for a page, if the journal can be read."""
    with suppress(Unavailable):
        if "branch" in found:
            return {"holds": reading.journal.holds(found["branch"])}
    return {}


def _context(read_request: ReadRequest, reading: Reading) -> ReadContext:
    return ReadContext(
        reading.history,
        reading.journal,
        reading.openapi,
        read_request.visitor,
        read_request.decisions,
        unpickled(read_request.master_state) if read_request.master_state else None,
    )


def wait_condition(reader: Reader, site: Site, read_request: ReadRequest) -> WaitCondition:
    """Return the condition that a long poll of *read_request* waits for.

    :raises NotFound: a noun does not exist
    """
    look = ROUTES[read_request.route].wait_for
    assert look is not None  # only routes with long polls are passed in
    found: WaitCondition = reader.read(site, partial(_value, look, read_request))[1]
    return found


def ask_history(
    reader: Reader, site: Site, function: Callable[..., Any], arguments: Sequence[Any]
) -> Any:
    """Call *function* with the ``History`` and *arguments*; return its result."""
    return reader.read(site, lambda reading: function(reading.history, *arguments))


def holds_now(reader: Reader, site: Site) -> list[Hold]:
    """Return the holds of all branches, with the builders that they select now."""

    def work(reading: Reading) -> list[Hold]:
        return lookup.held_now(reading, reading.journal.all_holds())

    found: list[Hold] = reader.read(site, work)
    return found


def queue_figures(reader: Reader, site: Site, master_state: bytes) -> QueueFigures:
    """Return the figures of the queue for metrics.

    :param master_state: the state of the master's live objects, pickled
    """
    state = unpickled(master_state)

    def work(reading: Reading) -> QueueFigures:
        return queue.figures(queue.queue(reading.history, state, None, Selection()))

    figures: QueueFigures = reader.read(site, work)
    return figures


def setup_basis(reader: Reader, site: Site, texts: Mapping[str, str]) -> SetupBasis:
    """Return the basis for asking the schedulers about a branch, or a revision of it.

    :param texts: texts of the path, by noun
    :raises NotFound: there is no such branch or revision, or several such revisions
    """
    basis: SetupBasis = reader.read(
        site, lambda reading: _basis(reading, lookup.resolve(reading, texts))
    )
    return basis


def _basis(reading: Reading, found: Mapping[str, Any]) -> SetupBasis:
    """Return the basis for asking the schedulers about these nouns."""
    branch, any_revision = found["branch"], found.get("any_revision")
    if "revision" in found:
        (any_revision,) = known_revisions(reading.history, [found["revision"]])
    return builders.setup_basis(reading.history, branch, any_revision)


def resolve(
    reader: Reader,
    site: Site,
    texts: Mapping[str, str],
    selectors: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the nouns that a job request names.

    :param selectors: if given, also return the builders that they select as ``selection``
    :raises NotFound: a noun does not exist
    :raises BadParameter: a pattern in *selectors* matches nothing
    """

    def found(reading: Reading) -> dict[str, Any]:
        nouns = lookup.resolve(reading, texts)
        if selectors is not None:
            nouns["selection"] = lookup.selection(reading, selectors)
        return nouns

    nouns: dict[str, Any] = reader.read(site, found)
    return nouns
