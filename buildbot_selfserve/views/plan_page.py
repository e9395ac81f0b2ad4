"""Shows a plan as a page, with a form that executes it if it has not changed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.answers import NOTHING_DONE
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Site
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.permissions import HOLD
from buildbot_selfserve.permissions import RELEASE
from buildbot_selfserve.state_words import action_word
from buildbot_selfserve.state_words import is_later
from buildbot_selfserve.views import render
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.read_request import page_context
from buildbot_selfserve.views.reader import Reader

#: Fields that the form of a plan sets itself.
_OWN = frozenset({"_method", DRY_RUN.name, IF_PLAN.name, FORMAT.name})


#: The name of each group of a plan and the noun of its items, in the order shown.
_GROUPS: dict[str, tuple[str, str]] = {
    "would_create": ("Build", "request"),
    "later": ("Build later", "revision"),
    "would_cancel": ("Cancel", "pending request"),
    "would_stop": ("Stop", "running build"),
    "would_reprioritize": ("Change the priority", "request"),
    "would_hold": ("Hold", "pending request"),
    "would_release": ("Release", "pending request"),
    "denied": ("Not allowed", "builder"),
    "left_out": ("Leave alone", "builder"),
}


#: The heading of an action, if it is not the action's label.
_TITLES = {"new_build_at_revision": "new builds"}
#: Parameters that the page shows in any case.
_SHOWN = frozenset({"branch", "revision", "bid", "brid", "count", "priority"})
_ABOUT_HOLDS = frozenset({HOLD.action, RELEASE.action})


@dataclass(frozen=True)
class Line:
    """The outcome of one request, or of several equal requests.

    :param times: the number of requests
    """

    outcome: RequestOutcome
    times: int


@dataclass(frozen=True)
class Group:
    """The requests to which a plan does the same.

    :param total: the number of requests, which may be more than that of *lines*
    :param noun: the noun of the items
    :param acts: whether the plan does anything to them
    """

    name: str
    lines: tuple[Line, ...]
    total: int
    noun: str
    acts: bool


@dataclass(frozen=True)
class Confirmation:
    """The form that executes a plan.

    :param method: ``POST``, ``PUT`` or ``DELETE``
    :param fields: names and texts as they were sent
    """

    method: str
    fields: tuple[tuple[str, str], ...]


def confirmation(method: str, sent: Mapping[str, Any]) -> Confirmation:
    """Return the form that sends the *sent* fields again; repeated fields are tuples."""
    fields = [
        (name, one if isinstance(one, str) else json.dumps(one))
        for name, value in sent.items()
        if name not in _OWN
        for one in (value if isinstance(value, tuple) else (value,))
        if one is not None and one != ""
    ]
    return Confirmation(method, tuple(fields))


def groups(outcomes: Iterable[RequestOutcome]) -> tuple[Group, ...]:
    """Return *outcomes* grouped by outcome; within a group, equal reasons are adjacent."""
    counted = Counter(outcomes)
    found = []
    for word, (name, noun) in _GROUPS.items():
        lines = [Line(one, times) for one, times in counted.items() if _group_of(one) == word]
        lines.sort(key=lambda line: (line.outcome.msg, line.outcome.buildername))
        if lines:
            total = sum(line.times for line in lines)
            acts = lines[0].outcome.outcome not in NOTHING_DONE
            if not acts and any(line.outcome.request_id for line in lines):
                noun = "request"
            elif not acts and any(line.outcome.revision for line in lines):
                noun = "revision"
            found.append(Group(name, tuple(lines), total, noun, acts))
    return tuple(found)


def _group_of(one: RequestOutcome) -> str:
    return "later" if is_later(one.outcome, one.msg) else one.outcome


def back(job: Job) -> tuple[str, ...]:
    """Return the path of the target of a job request, as segments below the branch."""
    what = job.what
    if job.action in _ABOUT_HOLDS:
        return ("hold",)
    if "bid" in what:
        return ("build", str(what["bid"]))
    if "brid" in what:
        return ("request", str(what["brid"]))
    return ("rev", str(what["revision"])) if "revision" in what else ()


def answer(
    reader: Reader,
    site: Site,
    read_request: ReadRequest,
    planned: PlannedReceipt,
    form: Confirmation,
    changed: bool = False,
) -> Response:
    """Return the page of a plan.

    :param changed: the plan differs from the one that the user confirmed
    """
    told = {
        "value": planned,
        "form": form,
        "changed": changed,
        "groups": groups(planned.job.requests),
        "back": back(planned.job),
        "title": _title(planned.job.action),
        "acts": _acts(planned),
        "word": _word(planned.job, form.method),
        "given": {name: value for name, value in planned.job.what.items() if name not in _SHOWN},
        "branch": {"name": planned.job.branch},
        "json_url": "",
    }
    context = {**page_context(read_request), **told}
    body = render.page(reader.templates, "plan.html", site, context)
    return Response(412 if changed else 200, render.HTML_TYPE, body)


def _acts(planned: PlannedReceipt) -> bool:
    """Return whether the plan does anything; a hold does even if nothing is pending."""
    if planned.job.action in _ABOUT_HOLDS or _goes_on(planned.job):
        return planned.changes
    return any(one.outcome not in NOTHING_DONE for one in planned.job.requests)


def _goes_on(job: Job) -> bool:
    return job.ongoing is not None and job.ongoing.status == "running"


def _word(job: Job, method: str) -> str:
    """Return the label of the button that executes the plan."""
    if job.action in _ABOUT_HOLDS:
        return "Hold" if job.action == HOLD.action else "Release"
    if _goes_on(job):
        return "Begin"
    return {"DELETE": "Cancel", "PUT": "Change priority"}.get(method, "Build")


def _title(action: str) -> str:
    # not the action's label, as the plan may have only some builders of a push
    label = _TITLES.get(action) or action_word(action)
    return label[:1].lower() + label[1:]
