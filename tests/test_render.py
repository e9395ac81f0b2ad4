"""JSON and pages: what is odd is still JSON, what is hostile is still text."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import meta
from jinja2 import nodes

from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Bisection
from buildbot_selfserve.model import BisectionDetail
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import BranchHold
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import BuilderState
from buildbot_selfserve.model import BuildLink
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import ChangeInfo
from buildbot_selfserve.model import Day
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import FailedStep
from buildbot_selfserve.model import Forecast
from buildbot_selfserve.model import FoundNumber
from buildbot_selfserve.model import FoundSubject
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import Holds
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobDetail
from buildbot_selfserve.model import JobMention
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import LastGreen
from buildbot_selfserve.model import Link
from buildbot_selfserve.model import ListedBranch
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import LogLine
from buildbot_selfserve.model import Manual
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import Permissions
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Pushes
from buildbot_selfserve.model import Queue
from buildbot_selfserve.model import QueuedBuilder
from buildbot_selfserve.model import QueuedRequest
from buildbot_selfserve.model import Reason
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestNow
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import RouteText
from buildbot_selfserve.model import Run
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import SetPart
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Step
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.model import Waiting
from buildbot_selfserve.model import Waits
from buildbot_selfserve.model import Why
from buildbot_selfserve.model import WorkerSet
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.resources.builds import BuildPage
from buildbot_selfserve.resources.context import Visitor
from buildbot_selfserve.resources.pushes import PushesPage
from buildbot_selfserve.resources.requests import RequestPage
from buildbot_selfserve.resources.revisions import RevisionPage
from buildbot_selfserve.resources.root import RootPage
from buildbot_selfserve.views import plan_page
from buildbot_selfserve.views.error_responses import failure
from buildbot_selfserve.views.paging import PageInfo
from buildbot_selfserve.views.paging import urls
from buildbot_selfserve.views.plan_page import Confirmation
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import page_context
from buildbot_selfserve.views.refused_form import Field
from buildbot_selfserve.views.refused_form import PropertyRow
from buildbot_selfserve.views.refused_form import RefusedForm
from buildbot_selfserve.views.render import ALWAYS
from buildbot_selfserve.views.render import duration
from buildbot_selfserve.views.render import json_bytes
from buildbot_selfserve.views.render import page
from buildbot_selfserve.views.render import segment
from buildbot_selfserve.views.render import templates

TEMPLATES = templates()

# -- small things


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0s"),
        (9, "9s"),
        (59, "59s"),
        (60, "1m 00s"),
        (61, "1m 01s"),
        (3599, "59m 59s"),
        (3600, "1h 00m 00s"),
        (3723, "1h 02m 03s"),
        (360_000, "100h 00m 00s"),
        (61.9, "1m 01s"),
        (-5, "0s"),
    ],
)
def test_a_duration_is_what_people_say(seconds: int | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("main", "main"),
        ("feature/x", "feature%2Fx"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("a b+c", "a%20b%2Bc"),
        ("ä", "%C3%A4"),
        ("\"'<>&", "%22%27%3C%3E%26"),
        ("", ""),
        (7, "7"),
    ],
)
def test_a_segment_of_a_path_holds_any_text(text: object, encoded: str) -> None:
    assert segment(text) == encoded


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1, "ä", None, True, 1.5]},
        {"int64": 2**63 - 1},
        {"uint64": 2**64 - 1},
        {"beyond": 2**64},
        {"negative": -(2**64)},
        {"googol": 10**100},
        {"lone": "\ud800"},
        {"\udfff": "key"},
        {"mixed": [2**70, "\ud800", "ä"]},
        [],
        None,
    ],
)
def test_whatever_properties_hold_becomes_json_that_is_read_back_the_same(data: Any) -> None:
    assert json.loads(json_bytes(data).decode("utf-8")) == data


def test_json_has_no_spaces_and_is_utf_8() -> None:
    assert json_bytes({"a": [1, "ä"]}) == '{"a":[1,"ä"]}'.encode()


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("beside", [1, 2**70])
def test_what_is_no_number_is_null(number: float, beside: int) -> None:
    body = json_bytes({"number": number, "beside": beside})
    assert json.loads(body, parse_constant=refuse) == {"number": None, "beside": beside}


def test_nesting_deeper_than_orjson_takes_is_still_json() -> None:
    nested: list[Any] = []
    for _ in range(300):
        nested = [nested]
    assert json_bytes(nested) == b"[" * 301 + b"]" * 301


# -- pages

#: What is shortened to twelve characters still has the whole tag.
HOSTILE = "\"'><script>alert(1)</script>{{ 7*7 }}&amp;"
HARMLESS = "harmless-harmless"


def site(text: str = "Buildbot", **more: Any) -> Site:
    return Site("self-serve", "https://ci.example.org/buildbot/", title=text, **more)


def branch(text: str) -> Branch:
    return Branch(
        text,
        (text,),
        repo=text,
        repo_type=text,
        revlink="https://example.org/{revision}",
        sets=((text, ()),),
    )


def request(text: str, **more: Any) -> RequestRow:
    given: dict[str, Any] = {
        "request_id": 5,
        "buildername": text,
        "builder_id": 2,
        "branch": text,
        "revision": text,
        "submittime": 1_700_000_000,
        "complete": 0,
        "complete_at": None,
        "priority": 3,
        "claimed_at": 0,
        "reason": text,
        "status": None,
        "buildset_id": 1,
        **more,
    }
    return RequestRow(**given)


def build(text: str, **more: Any) -> BuildRow:
    given: dict[str, Any] = {
        "build_id": 9,
        "request": request(text, claimed_at=1),
        "buildnumber": 4,
        "buildername": text,
        "builder_id": 2,
        "branch": text,
        "revision": text,
        "starttime": 1_700_000_000,
        "endtime": None,
        "status": None,
        "claimed_by_name": text,
        "worker": text,
        "state_string": text,
        **more,
    }
    return BuildRow(**given)


def rows(text: str) -> tuple[BuildRow | RequestRow, ...]:
    """Return a pending request, a running build, a finished one and a cancelled request."""
    ended = {"complete": 1, "complete_at": 1_700_000_100, "status": CANCELLED}
    return (
        request(text),
        build(text),
        build(text, endtime=1_700_000_100, status=FAILURE),
        request(text, **ended),
    )


def properties(text: str) -> dict[str, Any]:
    return {text: text, f"{text} list": [text, {text: text}], "number": 2**70}


def job(text: Any, **more: Any) -> Job:
    outcome = RequestOutcome(6, text, text, (10, 11), text)
    denied = RequestOutcome(None, text, text)
    given: dict[str, Any] = {
        "job_id": 3,
        "action": text,
        "who": text,
        "via": text,
        "remote": text,
        "when": 1_700_000_000,
        "branch": text,
        "what": {"bid": 9, "branch": text, f"zz{text}": text, "properties": properties(text)},
        "status": text,
        "completed_at": 1_700_000_001,
        "msg": text,
        "requests": (outcome, denied),
        **more,
    }
    return Job(**given)


def bisection(text: str) -> BisectionDetail:
    named = {"revision": text, "author": text, "subject": text, "when": 1_700_000_000}
    states = ("passed", "failed", "flaky", "exception", "pending", "untested")
    revisions = [
        {**named, "state": state, "build_id": 9, "builds": 1, "open": [6]} for state in states
    ]
    spec = {"buildername": text, "confirm": 1, "properties": {text: text}}
    now = {
        "status": "running",
        "msg": text,
        "good": text,
        "bad": text,
        "low": text,
        "high": text,
        "revisions": revisions,
        "next": text,
        "culprit": named,
        "left_steps": 3,
    }
    begun = job(text, status="running", ongoing=Ongoing(spec, now))
    branch = nouns(text)["branch"]
    return BisectionDetail(Bisection(branch, begun), {6: RequestNow("running", None, (9,))})


def mentions(text: str) -> tuple[JobMention, ...]:
    """Return what made something, in a job request of its own and as a rebuild."""
    made = JobMention(3, text, text, 1_700_000_000, text, text, {}, "created")
    return made, replace(made, action="rebuild_build", what={"bid": text})


def planned(text: str) -> tuple[RequestOutcome, ...]:
    """Return something of each kind that a plan may have."""
    return (
        RequestOutcome(None, text, "would_create", revision=text, priority=0),
        RequestOutcome(6, text, "would_cancel"),
        RequestOutcome(7, text, "would_stop", (10, 11)),
        RequestOutcome(None, text, "left_out", msg=text),
        RequestOutcome(8, text, "denied", msg=text),
    )


def jobs(text: str) -> Jobs:
    filters = {"who": text, "action": text, "branch": text, "revision": text, "build_id": 3}
    return Jobs((job(text),), num=1, offset=1, more=True, filters=filters)


def manual(text: str) -> Manual:
    schema = {"type": "string", "default": text}
    parameter: Any = {"name": text, "in": text, "required": True, "text": text, "schema": schema}
    route = RouteText(text, f"/{text}", f"{text}\n\n{text}", (parameter,))
    return Manual((route,), (ListedBranch(branch(text), 1),), 1)


def nouns(text: str) -> dict[str, Any]:
    """Return what the texts in a path meant."""
    return {"branch": branch(text), "revision": Revision(branch(text), text, (1,))}


def possible(text: str) -> Possible:
    """Return what can be built: a set with builders, one without."""
    where = Sourcestamp(text, text, text, text)
    revision = AnyRevision(branch(text), text, False, (where,))
    builder = Builder(1, text)
    parts = (SetPart(text, (builder,)), SetPart(f"{text}2", (), undecided=True))
    sets = (BuilderSet(branch(text), text, parts), BuilderSet(branch(text), "pgo", ()))
    named = (text, text)
    lately = ((text, named),)
    return Possible(revision, named, sets, (builder,), named, (text,), (text,), lately)


def steps(text: str) -> tuple[Step, ...]:
    """Return a step that ended, with logs and links, one that runs and one that has not begun."""
    logs = tuple(Log(number, text, text, kind, 3) for number, kind in enumerate("sthd"))
    links = (Link(text, f"https://example.org/{text}"), Link(text, f"javascript:{text}"))
    ended = Step(1, 9, 0, text, text, FAILURE, 1_700_000_000, 1_700_000_100, links, False, logs)
    running = ended._replace(results=None, complete_at=None, urls=())
    return ended, running, running._replace(started_at=None, logs=())


def failed_step(text: str) -> FailedStep:
    """Return a step that failed, with lines of both streams, one with colours and one cut off."""
    lines = (
        LogLine("stdout", (Run(text), Run(text, "in-red bold"))),
        LogLine("stderr", (Run(text),), is_cut=True),
        LogLine("stdout", ()),
    )
    step = steps(text)[0]
    return FailedStep(step, step.logs[0], lines)


def health(text: str) -> Health:
    """Return a push with builders in several states, one of them without a build."""
    states = (
        BuilderState(
            text, 2, "failed", 2, 3, 4, 5, "failed", True, 1_700_000_000, 1_700_000_100, 3
        ),
        BuilderState(text, 2, "pending", 1, None, None, 2, "failed", False, None, None, 3),
        BuilderState(text, 2, "missing", 0, None, None, None, "", False, None, None),
    )
    builders = (
        BuilderHealth(states[0], "regressed", "passed", text, 1, text),
        BuilderHealth(states[1], "still_failing", "failed", text, 2, text),
        BuilderHealth(states[2], "unknown", None, None, None),
    )
    change = ChangeInfo((7,), text, text, f"{text}\n\n{text}", (text,), 3, 1_700_000_000, text)
    revision = Revision(branch(text), text, (1,))
    return Health(revision, text, "failed", builders, change, 1_700_000_000)


DONE = Done(180, job_complete=True, job_passed=False, builds=1, failed=1)


def paged(text: str) -> dict[str, Any]:
    """Return what the page of a long list has: it is one in the middle."""
    some = PageInfo(limit=2, offset=2, total=5)
    return {
        "rows": some,
        "url_of": urls(f"/self-serve/{text}", (("date", text),), some),
        "every": rows(text),
    }


def reason(text: str, **more: Any) -> Reason:
    links = (BuildLink(1, 2, 3, text, text), BuildLink(None, None, None, text, text))
    return Reason("workers_busy", text, workers=(text,), builds=links, **more)


def why(text: str) -> Why:
    return Why(request(text), "pending", 1, 0, (reason(text, fatal=True), reason(text, until=7)))


def hold(text: str) -> Hold:
    return Hold(text, text, text, 1, 2, (text,), (text,), (text,), 5)


def queue(text: str) -> Queue:
    waits = Waits(7, 3700)
    return Queue(
        branch(text),
        1,
        90,
        (QueuedBuilder(1, text, 1, 0, 90, waits, {"workers_busy": 1}, {text: 1}),),
        (WorkerSet((text,), (text,), 1, 1, 90, waits),),
        (QueuedRequest(request(text), reason(text)),),
    )


def contexts(text: str) -> dict[str, dict[str, Any]]:
    """Return what each page shows, with *text* wherever there is text that others wrote."""
    revision = Revision(branch(text), text, (1,))
    return {
        "root.html": {
            "value": manual(text),
            "beside": RootPage({text: health(text)}, {text: hold(text)}),
        },
        "pushes.html": {
            "value": Pushes(branch(text), (health(text),), text, text),
            "beside": PushesPage(
                {text: text}, LastGreen(Revision(branch(text), text, (1,)), 1_700_000_000, 3)
            ),
            "older_url": segment(text),
            **nouns(text),
        },
        "user_pushes.html": {
            "value": Pushes(None, (health(text),), text, text),
            "beside": PushesPage({text: text}, asked_on=(text,)),
            "older_url": segment(text),
        },
        "api.html": {"value": manual(text)},
        "search.html": {
            "value": SearchResults(
                text,
                (Revision(branch(text), text, (1,)),),
                (Builder(1, text),),
                (text,),
                (branch(text),),
                (FoundNumber(1, text, Destination((text, "build", "1"))),),
                (FoundNumber(2, text, Destination((text, "request", "2"))),),
                (FoundSubject(Revision(branch(text), text, (1,)), text),),
                1,
                ("builders",),
            )
        },
        "branches.html": {
            "value": Branches((ListedBranch(branch(text)),)),
            "beside": {text: hold(text)},
            **paged(text),
        },
        "day.html": {
            "value": Day(branch(text), "2023-11-14", "2023-11-13", "2023-11-15", rows(text)),
            **paged(text),
            **nouns(text),
        },
        "builders.html": {
            "value": Builders(branch(text), (Builder(1, text),)),
            **nouns(text),
        },
        "user.html": {
            "value": UserRows(branch(text), text, (build(text),), (build(text),), (request(text),)),
            **nouns(text),
        },
        "build.html": {
            "value": BuildDetail(
                build(text, endtime=1_700_000_100, status=FAILURE),
                properties(text),
                steps(text),
                failed_step(text),
                mentions(text),
            ),
            "beside": BuildPage(False, Forecast(None, text), health(text).builders[0]),
            **nouns(text),
        },
        "request.html": {
            "value": RequestDetail(request(text), properties(text), (build(text),), mentions(text)),
            "beside": RequestPage(False, why(text)),
            **nouns(text),
        },
        "why.html": {"value": why(text), **nouns(text)},
        "queue.html": {"value": queue(text), **nouns(text)},
        "holds.html": {
            "value": Holds(branch(text), (BranchHold(hold(text), 3),)),
            "beside": (text,),
            "holds": [hold(text)],
            **nouns(text),
        },
        "revision.html": {
            "value": RevisionRows(
                revision, rows(text), lambda: replace(DONE, pending=2, running=1)
            ),
            "beside": RevisionPage(
                possible(text).sets,
                possible(text).builders,
                health(text),
                {3: failed_step(text)},
                {2: Waiting(Reason("unknown", text), False)},
                {text: text},
                [job(text)],
            ),
            **paged(text),
            **nouns(text),
        },
        "new.html": {"value": possible(text), **nouns(text)},
        "is_done.html": {"value": DONE, **nouns(text)},
        "jobs.html": {"value": jobs(text)},
        "job.html": {"value": JobDetail(job(text), {6: RequestNow(text, 0, (10, 11))})},
        "bisection.html": {"value": bisection(text), **nouns(text)},
        "plan.html": {
            "value": PlannedReceipt(job(text, requests=planned(text)), text),
            "form": Confirmation("DELETE", ((text, text),)),
            "changed": False,
            "groups": plan_page.groups(planned(text)),
            "back": ("rev", text),
            "title": text,
            "acts": True,
            "word": text,
            "given": {text: text, "priority": 3, "properties": properties(text), "states": [text]},
        },
        "permissions.html": {
            "value": Permissions(
                branch(text),
                text,
                text,
                {text: Decision(False, text), "reprioritize": Decision(None, "", ("owner",))},
                (Budget("builds_per_hour", 5, 3, 1800),),
            ),
            **nouns(text),
        },
        "error.html": {
            "code": 401,
            "error": {"msg": text, "detail": text, "job_id": 3, "job_url": text},
            "links": ((text, segment(text)),),
            "sought": text,
            "form": refused(text),
            "back": f"/self-serve/{segment(text)}",
            "branch_name": text,
        },
    }


def refused(text: str) -> RefusedForm:
    """Return a refused form with a field of each kind."""
    fields = [
        Field(text, kind, text, (text,), text, (text, "other"))
        for kind in ("box", "boxes", "select", "lines", "moment", "line")
    ]
    rows = (PropertyRow(text, text, text, True), PropertyRow(text, text, "", False))
    return RefusedForm(tuple(fields), rows, ((text, text),), text, True)


PAGES = tuple(contexts(HARMLESS))


def rendered(template: str, text: str, visitor: str | None = None) -> str:
    """Return a page with *text*, as *visitor* sees it, or else somebody who can log in."""
    question = ReadRequest(
        text,
        "html",
        path=f"/self-serve/{text}",
        query=(("who", text),),
        visitor=Visitor(visitor, login=f"/login?{text}"),
    )
    context = {**page_context(question), **contexts(text)[template]}
    return page(TEMPLATES, template, site(text), context).decode("utf-8")


class _Structure(HTMLParser):
    """The tags of a page with the names of their attributes, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, ...]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, *(name for name, _ in attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def structure(html: str) -> _Structure:
    parsed = _Structure()
    parsed.feed(html)
    parsed.close()
    return parsed


def says(source: str, word: str) -> set[str]:
    """Return the names that the comment at the top of a template lists after *word*."""
    comment = source.partition("#}")[0]
    listed = re.search(rf"{word}: ([a-z_, \n]+)", comment)
    return {name.strip() for name in listed[1].split(",")} if listed else set()


def source_of(template: str) -> str:
    assert TEMPLATES.loader is not None
    return TEMPLATES.loader.get_source(TEMPLATES, template)[0]


def used_by(template: str) -> set[str]:
    """Return the names that a template and those that it includes take from their context."""
    tree = TEMPLATES.parse(source_of(template))
    used = meta.find_undeclared_variables(tree) - ALWAYS
    # what is set or imported outside a block is found inside it
    for node in tree.find_all((nodes.Name, nodes.FromImport)):
        if isinstance(node, nodes.FromImport):
            used -= {str(name) for name in node.names}
        elif isinstance(node, nodes.Name) and node.ctx == "store":
            used.discard(node.name)
    for node in tree.find_all(nodes.Include):
        assert isinstance(node.template, nodes.Const)
        used |= used_by(node.template.value)
    return used


@pytest.mark.parametrize("template", TEMPLATES.list_templates())
def test_a_template_says_what_it_needs(template: str) -> None:
    source = source_of(template)
    assert used_by(template) - says(source, "May have") == says(source, "Needs")


@pytest.mark.parametrize("template", PAGES)
def test_a_page_is_given_what_its_template_says(template: str) -> None:
    assert says(source_of(template), "Needs") <= set(contexts(HARMLESS)[template])


def test_every_page_is_tried_here() -> None:
    own = {"error.html", "plan.html"}
    assert set(PAGES) == {route.template for route in ROUTES if route.template} | own


@pytest.mark.parametrize("visitor", [None, HOSTILE])
@pytest.mark.parametrize("template", PAGES)
def test_hostile_text_does_not_change_a_page(template: str, visitor: str | None) -> None:
    hostile = structure(rendered(template, HOSTILE, visitor))
    harmless = structure(rendered(template, HARMLESS, visitor and HARMLESS))
    assert hostile.tags == harmless.tags


@pytest.mark.parametrize("template", PAGES)
def test_hostile_text_is_shown_as_it_is_and_nowhere_raw(template: str) -> None:
    html = rendered(template, HOSTILE, visitor=HOSTILE)
    assert "<script>alert" not in html
    assert HOSTILE in "".join(structure(html).text)


@pytest.mark.parametrize(
    ("template", "times"),
    [
        ("root.html", 3),
        ("api.html", 6),
        ("search.html", 12),
        ("branches.html", 3),
        ("day.html", 9),
        ("revision.html", 10),
        ("build.html", 5),
        ("request.html", 6),
        ("jobs.html", 9),
        ("job.html", 13),
        ("bisection.html", 15),
        ("plan.html", 16),
        ("error.html", 12),
    ],
)
def test_a_page_leaves_no_text_of_its_value_out(template: str, times: int) -> None:
    html = rendered(template, HOSTILE, visitor="ada")
    main = unescape(html.partition("<main")[2].partition("</main>")[0])
    # more is fine: a page may come to show more
    assert main.count(HOSTILE) >= times


@pytest.mark.parametrize("template", PAGES)
def test_a_page_can_be_shown_with_text_that_is_no_unicode(template: str) -> None:
    assert "<span>lone ?</span>" in rendered(template, HARMLESS, visitor="lone \ud800")


@pytest.mark.parametrize("template", PAGES)
def test_a_page_links_its_json_twin_in_its_head_and_visibly(template: str) -> None:
    html = rendered(template, HARMLESS)
    twin = f"/self-serve/{HARMLESS}?who={HARMLESS}&amp;format=json"
    assert f'<link rel="alternate" type="application/json" href="{twin}">' in html
    assert f'<a href="{twin}">This page as JSON</a>' in html


def test_a_branch_with_a_slash_is_one_segment_in_links() -> None:
    assert 'href="/buildbot/self-serve/feature%2Fx/build/9"' in rendered("day.html", "feature/x")


@pytest.mark.parametrize(
    ("timezone", "shown"),
    [("UTC", "2023-11-14 22:13:20"), ("Europe/Berlin", "2023-11-14 23:13:20")],
)
def test_times_are_those_of_the_site(timezone: str, shown: str) -> None:
    context = {**page_context(ReadRequest("", "html")), **contexts(HARMLESS)["build.html"]}
    html = page(TEMPLATES, "build.html", site(timezone=timezone), context).decode()
    assert f"<dt>Started</dt><dd>{shown}</dd>" in html


@pytest.mark.parametrize("template", ["build.html", "request.html", "bisection.html", "job.html"])
def test_properties_are_shown_in_the_letters_that_they_have(template: str) -> None:
    html = unescape(rendered(template, "it's <Zoë> & co"))
    assert re.search("<code>[^\n]*it's <Zoë> & co[^\n]*</code>", html)
    assert "\\u0000" in rendered(template, "\0")


def test_the_queue_of_a_branch_is_one_of_its_pages() -> None:
    assert 'aria-current="page">Queue</a>' in rendered("queue.html", HARMLESS)


@pytest.mark.parametrize("template", PAGES)
def test_crumbs_begin_with_a_capital_letter(template: str) -> None:
    crumbs = rendered(template, HARMLESS).partition('class="crumbs">')[2].partition("</ol>")[0]
    texts = re.findall(r"<li[^>]*>(?:<a[^>]*>)?([^<]*)", crumbs)
    names = [one for one in texts if not HARMLESS.startswith(one)]  # those of branches and others
    assert names[0] == "Self-serve"
    assert [one for one in names if one[:1].islower()] == []


def test_a_job_stays_on_one_line_and_one_control_is_called_filter() -> None:
    html = rendered("jobs.html", HARMLESS)
    assert re.search(r'<th scope="row" class="id"[^>]*><a [^>]*>job \d+</a>', html)
    # the scripts call the field above a table so
    assert ">Filter<" not in html


def test_what_has_not_ended_says_so() -> None:
    context = {
        **page_context(ReadRequest("", "html")),
        **nouns(HARMLESS),
        "value": BuildDetail(build(HARMLESS), {}),
        "beside": BuildPage(True, Forecast(None, "nobody knows")),
    }
    html = page(TEMPLATES, "build.html", site(), context).decode()
    assert "<dt>Ended</dt><dd>not yet</dd>" in html
    assert "nobody knows" in html


@pytest.mark.parametrize(
    "error",
    [
        Unauthorized(HOSTILE, HOSTILE),
        Unavailable(HOSTILE, HOSTILE, job_id=3),
        Unauthorized(HOSTILE),
    ],
)
def test_an_error_is_shown_as_text(error: Unauthorized | Unavailable) -> None:
    question = ReadRequest("", "html", path=f"/{HOSTILE}", visitor=Visitor(None, HOSTILE))
    html = failure(TEMPLATES, site(HOSTILE), error, question).body.decode()
    assert "<script>alert" not in html
    assert f"<h1>{HOSTILE}</h1>" in unescape(html)
