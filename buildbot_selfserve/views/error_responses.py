"""Makes error responses, as JSON or page. Has the only table of status codes."""

from __future__ import annotations

from typing import Any

import jinja2

from buildbot_selfserve.errors import BadBody
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import KeyTaken
from buildbot_selfserve.errors import MethodNotAllowed
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import PlanChanged
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooLarge
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import WrongType
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import as_json
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.views import render
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.read_request import page_context
from buildbot_selfserve.views.refused_form import refused_form

#: The HTTP status of each kind of error.
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
    PlanChanged: 412,
    KeyTaken: 422,
    TooMany: 429,
    SelfServeError: 500,
    Unavailable: 503,
}


def failure(
    templates: jinja2.Environment,
    site: Site,
    error: SelfServeError,
    read_request: ReadRequest,
    back: str = "",
) -> Response:
    """Return the response for *error*, in the requested form.

    :param back: the path of the page from which a job request was sent; empty for a GET
    """
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
    if isinstance(error, PlanChanged):
        now = as_json(error.planned, site)
        data |= {"plan": now["plan"], "requests": now["requests"]}
    if read_request.form == "json":
        return Response(status, render.JSON_TYPE, render.json_bytes(data), headers)
    links, sought = (error.links, error.sought) if isinstance(error, NotFound) else ((), None)
    told = {"code": status, "error": data, "links": links, "sought": sought}
    context = {**page_context(read_request), **told, **_sent(error, back)}
    body = render.page(templates, "error.html", site, context)
    return Response(status, render.HTML_TYPE, body, headers)


def _sent(error: SelfServeError, back: str) -> dict[str, Any]:
    """Return what an error page shows of a refused form; for a GET, the page links to its JSON."""
    sent = error.form
    form = None if sent is None else refused_form(ROUTES[sent.route], sent, error)
    if form is not None and not (form.fields or form.rows or isinstance(error, NotNow)):
        form = None  # a button: to press it again would do the same
    known = "" if sent is None or isinstance(error, NotFound) else sent.branch
    shown: dict[str, Any] = {"form": form, "back": back, "branch_name": known}
    return {**shown, "json_url": ""} if back else shown
