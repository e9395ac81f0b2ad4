"""Shows a plan as a page, with a form that carries it out if it is still that one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import Site
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.views import render
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.read_request import page_context
from buildbot_selfserve.views.reader import Reader

#: What the form of a plan gives anew.
_OWN = frozenset({"_method", DRY_RUN.name, IF_PLAN.name, FORMAT.name})


@dataclass(frozen=True)
class Confirmation:
    """The form that carries a plan out.

    :param method: ``POST``, ``PUT`` or ``DELETE``
    :param fields: names and texts, as they were sent
    """

    method: str
    fields: tuple[tuple[str, str], ...]


def confirmation(method: str, sent: Mapping[str, Any]) -> Confirmation:
    """Return the form that sends again what was *sent*, which has tuples for repeated fields."""
    fields = [
        (name, one if isinstance(one, str) else json.dumps(one))
        for name, value in sent.items()
        if name not in _OWN
        for one in (value if isinstance(value, tuple) else (value,))
        if one is not None and one != ""
    ]
    return Confirmation(method, tuple(fields))


def answer(
    reader: Reader,
    site: Site,
    read_request: ReadRequest,
    planned: PlannedReceipt,
    form: Confirmation,
    changed: bool = False,
) -> Response:
    """Return the page of a plan.

    :param changed: it is another one than the user has confirmed
    """
    told = {"value": planned, "form": form, "changed": changed, "json_url": ""}
    context = {**page_context(read_request), **told}
    body = render.page(reader.templates, "plan.html", site, context)
    return Response(412 if changed else 200, render.HTML_TYPE, body)
