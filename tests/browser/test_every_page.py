"""Every page, light and dark, wide and narrow: nobody is hindered, nothing sticks out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page
from playwright.sync_api import Route
from playwright.sync_api import ViewportSize
from playwright.sync_api import expect

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import SentForm
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import Site
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.resources.context import Visitor
from buildbot_selfserve.views.error_responses import failure
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.render import templates
from tests.browser.conftest import BOB
from tests.browser.conftest import LONG
from tests.browser.conftest import Furnished
from tests.browser.conftest import log_in
from tests.harness import USER
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

TEMPLATES = templates()
WIDE: ViewportSize = {"width": 1280, "height": 900}
BETWEEN: ViewportSize = {"width": 760, "height": 800}
NARROW: ViewportSize = {"width": 400, "height": 800}
#: Each page is looked at in these ways, in the last two for what depends on colours.
LOOKS: tuple[tuple[Any, Any], ...] = (
    (WIDE, "light"),
    (NARROW, "dark"),
    (NARROW, "light"),
    (WIDE, "dark"),
)
#: What is wider than its place. What gets focus may be scrolled, and so may tables on wide pages.
STICKS_OUT = """() => Array.from(
        document.querySelectorAll("html, .page, main, form, label, .scroll"))
    .filter(one => one.scrollWidth > one.clientWidth + 1
        && !(one.matches(".scroll") && (innerWidth > 640 || one.tabIndex === 0)))
    .map(one => `${one.tagName}.${one.className} ${one.scrollWidth} > ${one.clientWidth}`)"""
#: Each page with the template that it shows.
PAGES = {
    "root": "root.html",
    "api": "api.html",
    "search": "search.html",
    "empty search": "search.html",
    "branches": "branches.html",
    "found revision": "branches.html",
    "unfound revision": "branches.html",
    "pushes": "pushes.html",
    "no pushes": "pushes.html",
    "user's pushes": "user_pushes.html",
    "queue of a branch": "queue.html",
    "failed revision": "revision.html",
    "day": "day.html",
    "empty day": "day.html",
    "builders": "builders.html",
    "permissions": "permissions.html",
    "revision": "revision.html",
    "is_done": "is_done.html",
    "new": "new.html",
    "unknown revision": "new.html",
    "running build": "build.html",
    "finished build": "build.html",
    "failed build": "build.html",
    "pending request": "request.html",
    "cancelled request": "request.html",
    "why": "why.html",
    "queue": "queue.html",
    "branch queue": "queue.html",
    "user": "user.html",
    "unknown user": "user.html",
    "journal": "jobs.html",
    "filtered journal": "jobs.html",
    "empty journal": "jobs.html",
    "holds": "holds.html",
    "bisection": "bisection.html",
    "ended bisection": "bisection.html",
    "job": "job.html",
    "job for nothing": "job.html",
    "failed job": "job.html",
    "missing branch": "error.html",
    "missing revision": "error.html",
    "missing build": "error.html",
    "missing job": "error.html",
    "bad parameter": "error.html",
}


def test_every_page_is_looked_at(furnished: Furnished) -> None:
    assert set(PAGES) == set(furnished.places)
    templates = {route.template for route in ROUTES if route.method == "GET" and route.template}
    assert templates <= set(PAGES.values())


#: At the end of a master.cfg.
MANY_BUILDERS = """
from tests.harness import builder
names = [f"linux-{number}" for number in range(200)]
c["builders"] += [builder(name) for name in names]
c["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=["fast", *names])
"""
#: Pages that are errors, as nobody, and who may not, get them.
ERRORS = (
    Unauthorized("Log in first", "this master knows no user of that name"),
    Forbidden("Cross-site request", "its Origin is not this site"),
    Refused("Set pgo of branch main has no builders", "tag builders with 'pgo'"),
    TooMany("5 builds an hour are the limit", retry_after=60),
    Unavailable("The reader does not answer"),
    Unavailable("Interrupted: 2 of 3 builds requested", job_id=1),
    SelfServeError("Something went wrong", "the master's log says what"),
)
WITH_BUTTONS = {route.template for route in ROUTES if route.offers}
#: What depends on colours, and is looked at again where they are others.
OF_COLOURS = ("color-contrast", "link-in-text-block")


def look_into(page: Page) -> None:
    """Open all that *page* keeps folded, and load what looks for hindrances."""
    page.evaluate("document.querySelectorAll('main details').forEach(one => { one.open = true; })")
    page.evaluate(AXE_SCRIPT)


def hindrances(page: Page, *rules: str) -> list[Any]:
    """Return what axe-core finds.

    :param rules: look only for these
    """
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = page.evaluate("options => axe.run(options).then(all => all.violations)", options)
    return [
        (one["id"], one["nodes"][0]["html"][:300], one["nodes"][0].get("failureSummary"))
        for one in found
    ]


#: What a keyboard cannot scroll on a screen on which it is too wide, whatever the fonts are.
OUT_OF_REACH = """
[...document.querySelectorAll(".scroll:not([tabindex])")]
    .filter(one => !one.querySelector("a[href], button, input:not([type=hidden]), select"))
    .map(one => "no keyboard scrolls it: " + one.outerHTML.slice(0, 100))
"""


def faults(page: Page, *rules: str) -> list[Any]:
    """Return what hinders somebody on *page*, and what sticks out: wide or narrow, light or dark.

    :param rules: of what depends on no colours, look only for these; each width and scheme once
    """
    found: list[Any] = []
    look_into(page)
    if page.get_by_role("heading", level=1).count() != 1:
        found.append("it has no title, or several")
    found += page.evaluate(OUT_OF_REACH)
    looks = LOOKS[:2] if rules else LOOKS
    for number, (size, scheme) in enumerate(looks):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(f"matchMedia('(prefers-color-scheme: {scheme})').matches")
        looked_for = rules if number < 2 else OF_COLOURS
        found += [(scheme, *one) for one in hindrances(page, *looked_for)]
        if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            found.append(f"it is wider than {size['width']}")
    return found


#: Who looks at what, and for what. Others than who may do everything see other buttons.
VISITS: dict[str | None, tuple[tuple[str, ...], tuple[str, ...]]] = {
    USER: (tuple(PAGES), ()),
    BOB: (tuple(name for name in PAGES if PAGES[name] in WITH_BUTTONS), OF_COLOURS),
    None: (tuple(PAGES), OF_COLOURS),
}


# who may do everything sees nearly all that can be wrong, and takes long: CI looks as all of them
@pytest.mark.parametrize(
    "visitor", [BOB, *(pytest.param(one, marks=pytest.mark.heavy) for one in (USER, None))]
)
def test_nobody_is_hindered_and_nothing_sticks_out(
    furnished: Furnished, open_page: Callable[..., Page], visitor: str | None
) -> None:
    page = open_page()
    if visitor is not None:
        log_in(page, furnished.master.url, visitor)
    names, rules = VISITS[visitor]
    found = {}
    for name in names:
        page.goto(furnished.url(name))
        found[name] = faults(page, *rules)
    assert {name: some for name, some in found.items() if some} == {}


def test_nobody_is_hindered_by_a_plan(furnished: Furnished, open_page: Callable[..., Page]) -> None:
    page = open_page(viewport=WIDE)
    log_in(page, furnished.master.url)
    found = {}
    for button, title in (
        ("Cancel (2)", "Plan: cancel everything"),
        ("Fill in these", "Plan: fill in what is missing"),
        ("Rerun these", "Plan: rerun what failed"),
        ("Build these", "Plan: new builds"),
    ):
        page.set_viewport_size(WIDE)
        page.goto(furnished.url("revision"))
        page.locator("summary", has_text="Only some builders").click()
        page.get_by_role("button", name=button).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        found[title] = faults(page)
        # the button is in sight without scrolling, and reached before what is below it
        page.set_viewport_size(NARROW)
        assert (
            page.evaluate("document.getElementById('confirm').getBoundingClientRect().bottom") < 800
        )
    # what has changed meanwhile is told
    page.locator("#confirm input[name=if_plan]").evaluate("one => { one.value = 'another'; }")
    page.get_by_role("button", name="Build 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("The plan has changed: new builds")
    found["changed"] = faults(page)
    assert {name: some for name, some in found.items() if some} == {}


def test_a_list_of_builders_is_searched(tmp_path: Path, open_page: Callable[..., Page]) -> None:
    master = ProcessMaster(tmp_path, more=MANY_BUILDERS)
    master.start()
    try:
        master.force("fast")
        page = open_page(viewport=WIDE)
        log_in(page, master.url)
        page.goto(f"{master.url}/self-serve/main/rev/{REVISION}")
        page.locator("summary", has_text="Only some builders").click()
        boxes = page.locator(".boxes.many label:visible")
        expect(boxes).to_have_count(201)
        page.get_by_label("Search the builders").fill("LINUX -19")
        page.get_by_label("Search the builders").press("Enter")  # presses no button
        expect(boxes).to_have_count(11)
        page.get_by_role("button", name="Tick those shown").click()
        expect(page.locator(".choice [role=status]")).to_have_text("11 ticked, 11 of 201 shown")
        page.get_by_role("button", name="Build these").click()
        expect(page.locator(".group h2")).to_have_text("Build: 11 requests")
        # with many, the groups are folded
        page.goto(f"{master.url}/self-serve/main/rev/{REVISION}")
        # in the menu as long as the build of "fast" runs
        page.get_by_label("More actions").click()
        page.get_by_role("button", name=re.compile("^Fill in missing")).click()
        group = page.locator("details.group").first
        expect(group).to_have_js_property("open", False)
        group.locator("summary").click()
        page.get_by_label("Filter the rows of").fill("linux-7")
        expect(group.locator("tbody tr:visible")).to_have_count(11)
        assert faults(page) == []
    finally:
        master.stop()


def test_no_name_is_too_long(furnished: Furnished, open_page: Callable[..., Page]) -> None:
    master, revision = furnished.master, "r" * 256
    properties = json.dumps({LONG * 3: LONG})
    master.send("POST", f"/self-serve/{LONG}/rev/{revision}")
    _, made = master.send(
        "POST", f"/self-serve/{LONG}/builders/{LONG}/{revision}", properties=properties
    )
    master.send("POST", f"/self-serve/{LONG}/rev/{revision}/pgo")
    refused = master.get("/jobs")[0]
    request = f"/{LONG}/request/{made['requests'][0]['request_id']}"
    (build_id,) = master.until(lambda: master.get(request)["build_ids"], "it is built")
    page = open_page()
    log_in(page, master.url)
    found = {}
    for path in (
        "",
        "/branches",
        f"/branches?revision={revision}x",
        f"/{LONG}",
        f"/{LONG}/builders",
        f"/{LONG}/permissions",
        f"/{LONG}/rev/{revision}",
        f"/{LONG}/rev/{revision}/is_done",
        f"/{LONG}/new?revision={revision}",
        f"/{LONG}/new?revision=x{revision[1:]}",
        f"/{LONG}/build/{build_id}",
        request,
        f"/{LONG}/user/{LONG}",
        "/jobs",
        f"/jobs/{made['job_id']}",
        f"/jobs/{refused['job_id']}",
        f"/{LONG}x",
        f"/{LONG}/rev/x{revision[1:]}",
    ):
        page.goto(f"{master.url}/self-serve{path}")
        look_into(page)
        for size in (WIDE, BETWEEN, NARROW):
            page.set_viewport_size(size)
            found[path, size["width"]] = page.evaluate(STICKS_OUT)
    assert {where: some for where, some in found.items() if some} == {}


def test_nobody_is_hindered_by_an_error(
    furnished: Furnished, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    site = Site("self-serve", f"{furnished.master.url}/")
    visitor = Visitor(None, login="/auth/login")
    answers = [
        failure(TEMPLATES, site, error, ReadRequest("", "html", path="/x", visitor=visitor))
        for error in ERRORS
    ]
    form = ReadRequest("", "html", path="/x", visitor=visitor)
    answers.append(failure(TEMPLATES, site, refused_form(), form, back="/main/hold"))
    found = {}
    for one in answers:
        page.unroute_all()
        page.route("**/self-serve/x", partial(_fulfill, one))
        page.goto(f"{furnished.master.url}/self-serve/x")
        found[one.body] = faults(page)
    assert {one.status for one in answers} >= {400, 401, 403, 429, 500, 503}
    assert {name: some for name, some in found.items() if some} == {}


def refused_form() -> BadParameter:
    """Return an error that is shown with a form of which each field has something in it."""
    error = BadParameter("builders", "names or patterns of builders: no builder matches fasst")
    fields = {"reason": "why", "expires": "1", "builders": ("fast", "fasst"), "dry_run": "1"}
    row = {"property_name": ("a", "b"), "property_value": ("1", "2"), "property_before": ("", "1")}
    error.form = SentForm("PUT /<branch>/hold", {**fields, **row}, "main")
    return error


def _fulfill(told: Response, route: Route) -> None:
    route.fulfill(status=told.status, content_type=told.content_type, body=told.body)


def test_a_hindrance_would_be_found(furnished: Furnished, open_page: Callable[..., Page]) -> None:
    page = open_page(viewport=WIDE)
    page.goto(furnished.url("finished build"))
    look_into(page)
    assert hindrances(page) == []
    page.evaluate("document.querySelector('main h1').style.color = '#eee'")
    page.evaluate("document.querySelector('.why-not a').style.textDecoration = 'none'")
    assert {one[0] for one in hindrances(page)} == set(OF_COLOURS)
    assert {one[0] for one in hindrances(page, *OF_COLOURS)} == set(OF_COLOURS)


@pytest.mark.parametrize("name", ["pushes", "day", "revision", "journal", "pending request"])
def test_everything_can_be_reached_with_the_keyboard(
    furnished: Furnished, open_page: Callable[..., Page], name: str
) -> None:
    page = open_page(viewport=WIDE)
    log_in(page, furnished.master.url)
    page.goto(furnished.url(name))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#content"
    wanted = (
        "main a[href], main button:not([disabled]), main input:not([type=hidden]), main select,"
        " main summary"
    )
    within = (
        f"Array.from(document.querySelectorAll('{wanted}')).filter(one => one.checkVisibility())"
    )
    total = page.evaluate(f"{within}.length")
    reached: set[Any] = set()
    for _ in range(total * 3 + 5):  # a date has three parts
        page.keyboard.press("Tab")
        at = page.evaluate(f"{within}.indexOf(document.activeElement)")
        if at < 0 and reached:
            break
        reached.add(at)
    assert reached - {-1} == set(range(total))


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_page_asks_nobody_else_for_anything(
    furnished: Furnished, open_page: Callable[..., Page], scripts: bool
) -> None:
    page = open_page(java_script_enabled=scripts)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for name in PAGES:
        page.goto(furnished.url(name))
    assert len(asked) >= len(PAGES)
    assert [url for url in asked if not url.startswith(furnished.master.url + "/")] == []
