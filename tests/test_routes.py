"""Declarations: what is refused, and what every route of this API has."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest

from buildbot_selfserve.model import Receipt
from buildbot_selfserve.params.declared import BRANCH_FILTER
from buildbot_selfserve.params.declared import BUILD_ID
from buildbot_selfserve.params.declared import COUNT
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.params.declared import SELECTORS
from buildbot_selfserve.params.declared import STABLE_DELAY
from buildbot_selfserve.permissions import CANCEL_REQUEST
from buildbot_selfserve.permissions import CANCEL_REVISION
from buildbot_selfserve.permissions import REBUILD_BUILD
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import BadDeclaration
from buildbot_selfserve.routes import Declarations
from buildbot_selfserve.routes import Route
from buildbot_selfserve.routes import snake

TEMPLATES = resources.files("buildbot_selfserve") / "templates"


def read(ctx: Any, branch: Any) -> None:
    """Something to read."""


def read_root(ctx: Any) -> None:
    """Something to read."""


def read_silently(ctx: Any, branch: Any) -> None:
    pass


def read_blankly(ctx: Any, branch: Any) -> None:
    pass


read_blankly.__doc__ = " "


def read_without_ctx(branch: Any) -> None:
    """Something to read."""


def read_with_ctx_last(branch: Any, ctx: Any) -> None:
    """Something to read."""


def read_nothing() -> None:
    """Something to read."""


def read_build(ctx: Any, branch: Any, build: Any) -> None:
    """Something to read."""


def read_delay(ctx: Any, branch: Any, stable_delay: int) -> None:
    """Something to read."""


async def read_slowly(ctx: Any, branch: Any) -> None:
    """Something to read."""


async def act(ctx: Any, branch: Any, build: Any) -> None:
    """Something to do."""


def act_at_once(ctx: Any, branch: Any, build: Any) -> None:
    """Something to do."""


async def act_on_branch(ctx: Any, branch: Any) -> None:
    """Something to do."""


def declare(
    handler: Callable[..., Any] = read,
    method: str = "GET",
    path: str = "/<branch>",
    **more: Any,
) -> Declarations:
    declarations = Declarations()
    template = "day.html" if method == "GET" else None
    more = {"returns": object, "template": template, **more}
    declarations.declare(method, path, **more)(handler)
    return declarations


WRITE: dict[str, Any] = {"method": "POST", "params": (BUILD_ID,), "permission": REBUILD_BUILD}


def test_a_good_declaration_of_a_get_is_kept() -> None:
    (route,) = declare(read_delay, path="/<branch>/wait", params=(STABLE_DELAY,))
    assert (route.name, route.nouns) == ("GET /<branch>/wait", ("branch",))
    assert route.handler is read_delay
    assert route.text == "Something to read."
    assert route.shown_path == "/{branch}/wait"
    assert [(one["name"], one["in"]) for one in route.parameters()] == [
        ("branch", "path"),
        ("stableDelay", "query"),
    ]


def test_a_good_declaration_of_a_job_request_is_kept() -> None:
    declarations = declare(act, **WRITE)
    route = declarations["POST /<branch>"]
    assert route.permission is REBUILD_BUILD
    assert [(one["name"], one["in"]) for one in route.parameters()] == [
        ("branch", "path"),
        ("build_id", "body"),
        ("dry_run", "query"),
        ("if_plan", "body"),
    ]


def test_the_root_is_a_path() -> None:
    (route,) = declare(read_root, path="/")
    assert (route.nouns, route.shown_path) == ((), "/")


def test_the_handler_is_handed_back_as_it_was() -> None:
    declare_read = Declarations().declare("GET", "/<branch>", returns=object, template="day.html")
    assert declare_read(read) is read


@pytest.mark.parametrize(
    ("handler", "given", "reason"),
    [
        (read, {"path": "<branch>"}, "does not begin with a slash"),
        (read, {"path": ""}, "does not begin with a slash"),
        (read, {"path": "/<branch>/"}, "'' is neither a word nor a <noun>"),
        (read, {"path": "//<branch>"}, "'' is neither a word nor a <noun>"),
        (read, {"path": "/<branch"}, "'<branch' is neither a word nor a <noun>"),
        (read, {"path": "/x<branch>"}, "'x<branch>' is neither a word nor a <noun>"),
        (read, {"path": "/<branch>/a b"}, "'a b' is neither a word nor a <noun>"),
        (read, {"path": "/<planet>"}, "<planet> is not one of branch, "),
        (read, {"path": "/<branch>/<branch>"}, "names a noun twice"),
        (read, {"method": "PATCH"}, "the method must be one of GET, POST, PUT, DELETE"),
        (read, {"method": "get"}, "the method must be one of GET, POST, PUT, DELETE"),
        (read_silently, {}, "the handler has no docstring"),
        (read_blankly, {}, "the handler has no docstring"),
        (read, {"permission": CANCEL_REQUEST}, "a GET changes nothing and takes no permission"),
        (act, {**WRITE, "permission": None}, "a job request needs a permission"),
        (act, {**WRITE, "template": "job.html"}, "a job request has no page of its own"),
        (read_slowly, {}, "a GET handler is a plain function"),
        (act_at_once, WRITE, "every other one a coroutine"),
        (read, {"params": (COUNT, COUNT)}, "a parameter is declared twice"),
        (read_without_ctx, {}, "takes (branch), declared is (ctx, branch)"),
        (read_with_ctx_last, {}, "takes (branch, ctx), declared is (ctx, branch)"),
        (read_nothing, {"path": "/"}, "takes (), declared is (ctx)"),
        (read_root, {}, "takes (ctx), declared is (ctx, branch)"),
        (read_build, {}, "takes (ctx, branch, build), declared is (ctx, branch)"),
        (read, {"params": (COUNT,)}, "declared is (ctx, branch, count)"),
        (read, {"params": (STABLE_DELAY,)}, "declared is (ctx, branch, stable_delay)"),
        (read, {"params": (BRANCH_FILTER,)}, "declared is (ctx, branch, branch)"),
        (
            act_on_branch,
            {"method": "DELETE", "permission": CANCEL_REQUEST},
            "the permission is about a request, which this route has not",
        ),
    ],
)
def test_a_bad_declaration_is_refused_with_its_reason(
    handler: Callable[..., Any], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadDeclaration) as refusal:
        declare(handler, **given)
    assert reason in str(refusal.value)
    assert given.get("path", "/<branch>") in str(refusal.value)


def test_a_route_cannot_be_declared_twice() -> None:
    declarations = declare()
    with pytest.raises(BadDeclaration, match="GET /<branch> is declared twice"):
        declarations.declare("GET", "/<branch>", returns=object, template="day.html")(read)


def test_what_was_refused_is_not_kept() -> None:
    declarations = Declarations()
    with pytest.raises(BadDeclaration):
        declarations.declare("GET", "/<branch>", returns=object, template="x")(read_silently)
    assert list(declarations) == []


# -- selectors


def read_selected(ctx: Any, branch: Any, stable_delay: int, selection: Any) -> None:
    """Something to read."""


async def act_on_selected(ctx: Any, branch: Any, selection: Any) -> None:
    """Something to do."""


DELETE_SELECTED: dict[str, Any] = {
    "method": "DELETE",
    "permission": CANCEL_REVISION,
    "selects": True,
}


def test_what_selects_takes_the_selectors_and_gets_a_selection() -> None:
    (route,) = declare(read_selected, params=(STABLE_DELAY,), selects=True)
    assert route.params == (STABLE_DELAY, *SELECTORS)
    params = {"stableDelay": 1, "builders": ("a",), "tags": (), "exclude_builders": ()}
    selectors = route.take_selectors(params)
    assert selectors == {"builders": ("a",), "tags": (), "exclude_builders": ()}
    assert params == {"stableDelay": 1}
    (plain,) = declare(read_delay, params=(STABLE_DELAY,))
    assert plain.take_selectors(params) is None
    assert params == {"stableDelay": 1}


def test_selectors_of_a_delete_may_stand_in_its_query() -> None:
    (route,) = declare(act_on_selected, **DELETE_SELECTED)
    assert route.query_params == (DRY_RUN, IF_PLAN, *SELECTORS)
    (route,) = declare(act_on_selected, **{**DELETE_SELECTED, "method": "POST"})
    assert route.query_params == (DRY_RUN,)
    (route,) = declare(read_selected, params=(STABLE_DELAY,), selects=True)
    assert route.query_params == (STABLE_DELAY, *SELECTORS)


@pytest.mark.parametrize(
    ("handler", "given", "reason"),
    [
        (read, {"selects": True}, "declared is (ctx, branch, selection)"),
        (act_on_selected, {**DELETE_SELECTED, "selects": False}, "declared is (ctx, branch)"),
        (act_on_selected, {**DELETE_SELECTED, "params": SELECTORS}, "declared twice"),
        (read_selected, {"selects": True, "live": "x/y", "template": None}, "what is live"),
    ],
)
def test_what_selects_in_a_way_that_cannot_work_is_refused(
    handler: Callable[..., Any], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadDeclaration) as refusal:
        declare(handler, **given)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("wire", "python"), [("stableDelay", "stable_delay"), ("build_id", "build_id"), ("num", "num")]
)
def test_names_on_the_wire_become_python_names(wire: str, python: str) -> None:
    assert snake(wire) == python


# -- every route of this API

every_route = pytest.mark.parametrize("route", list(ROUTES), ids=lambda route: route.name)


@every_route
def test_a_route_is_documented_with_whole_sentences(route: Route) -> None:
    paragraphs = route.text.split("\n\n")
    assert all(text[0].isupper() and text.endswith(".") for text in paragraphs)


@every_route
def test_a_route_has_a_template_that_exists(route: Route) -> None:
    assert route.template is None or TEMPLATES.joinpath(route.template).is_file()


@every_route
def test_a_route_says_what_type_it_returns(route: Route) -> None:
    annotation = route.handler.__annotations__["return"]
    if route.method != "GET":
        # a dry run has a receipt, too
        assert (annotation, route.returns) == ("Answer", Receipt)
        return
    # a GET may have nothing to tell of
    assert annotation.removesuffix(" | None") == route.returns.__name__


@every_route
def test_the_parameters_of_a_route_have_text_and_schema(route: Route) -> None:
    for parameter in route.parameters():
        assert parameter["text"].endswith(".")
        schema = parameter["schema"]
        types = {one["type"] for one in schema.get("oneOf", [schema])}
        assert types <= {"integer", "string", "object", "array"}


@every_route
def test_what_stands_in_the_path_of_a_route_is_required(route: Route) -> None:
    in_path = [one for one in route.parameters() if one["in"] == "path"]
    assert [one["required"] for one in in_path] == [True] * len(route.nouns)
    assert all("{" + one["name"] + "}" in route.shown_path for one in in_path)


def test_no_two_permissions_share_an_action() -> None:
    permissions = {route.permission for route in ROUTES if route.permission}
    actions = [permission.action for permission in permissions]
    assert sorted(actions) == sorted(set(actions))


# -- held and live routes


def until(ctx: Any, branch: Any) -> None:
    """Say what to wait for."""


def until_nothing(ctx: Any) -> None:
    """Say what to wait for, without the noun."""


@pytest.mark.parametrize(
    ("handler", "given", "reason"),
    [
        (act, {**WRITE, "wait_for": until}, "only the answer of a GET is held back"),
        (read, {"wait_for": until_nothing}, "wait_for takes (ctx), declared is"),
        (read, {"wait_for": until, "large": True}, "a long answer cannot be shared"),
        (read, {"wait_for": until, "paged": True}, "a long answer cannot be shared"),
        (read, {"live": "text/plain"}, "without a page"),
        (read, {"live": "text/plain", "template": None, "paged": True}, "what is live is a GET"),
        (read, {"live": "text/plain", "template": None, "wait_for": until}, "never held back"),
        (read, {"media_types": ("text/plain",)}, "what is sent as a text is a GET without a page"),
        (
            read,
            {"media_types": ("x/y",), "template": None, "paged": True},
            "what is sent as a text",
        ),
        (read_delay, {"live": "x/y", "template": None, "params": (STABLE_DELAY,)}, "what is live"),
        (act, {**WRITE, "beside": until}, "only the page of a GET shows something beside"),
        (read, {"beside": until, "template": None}, "only the page of a GET shows something"),
        (read, {"beside": until_nothing}, "beside its value takes (ctx, branch)"),
        (read, {"page_needs_setup": True}, "nothing that would need the setup"),
    ],
)
def test_what_waits_in_a_way_that_cannot_work_is_refused(
    handler: Callable[..., Any], given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadDeclaration) as refusal:
        declare(handler, **given)
    assert reason in str(refusal.value)


def test_what_is_held_takes_the_time_to_wait() -> None:
    (route,) = declare(read, wait_for=until)
    assert [one["name"] for one in route.parameters()] == ["branch", "wait"]
