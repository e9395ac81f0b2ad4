"""Every page, light and dark, wide and narrow: nobody is hindered, nothing sticks out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from playwright.sync_api import expect

from buildbot_selfserve.resources import ROUTES
from tests.browser.conftest import Furnished
from tests.browser.conftest import log_in

AXE = Axe()
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 800}
#: Each page with the template that it shows.
PAGES = {
    "root": "root.html",
    "branches": "branches.html",
    "found revision": "branches.html",
    "unfound revision": "branches.html",
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
    "pending request": "request.html",
    "cancelled request": "request.html",
    "user": "user.html",
    "journal": "jobs.html",
    "filtered journal": "jobs.html",
    "job": "job.html",
    "missing branch": "error.html",
    "missing revision": "error.html",
    "bad parameter": "error.html",
}


def test_every_page_is_looked_at(furnished: Furnished) -> None:
    assert set(PAGES) == set(furnished.places)
    templates = {route.template for route in ROUTES if route.method == "GET" and route.template}
    assert templates <= set(PAGES.values())


def opened(page: Page, furnished: Furnished, name: str) -> None:
    """Open a page, and all that it keeps folded."""
    page.goto(furnished.url(name))
    for folded in page.locator("main details").all():
        folded.evaluate("one => { one.open = true; }")


def hindrances(page: Page) -> list[Any]:
    """Return what axe-core finds that is serious."""
    found = AXE.run(page).response["violations"]
    return [
        (one["id"], one["nodes"][0]["html"][:300], one["nodes"][0].get("failureSummary"))
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
@pytest.mark.parametrize("name", PAGES)
def test_nobody_is_hindered_and_nothing_sticks_out(
    furnished: Furnished, open_page: Callable[..., Page], name: str, size: Any
) -> None:
    page = open_page(viewport=size, color_scheme="light")
    log_in(page, furnished.master.url)
    opened(page, furnished, name)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert hindrances(page) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert hindrances(page) == []


def test_a_hindrance_would_be_found(furnished: Furnished, open_page: Callable[..., Page]) -> None:
    page = open_page(viewport=WIDE)
    page.goto(furnished.url("day"))
    page.evaluate("document.querySelector('main h1').style.color = '#eee'")
    assert [one[0] for one in hindrances(page)] == ["color-contrast"]


@pytest.mark.parametrize("name", ["day", "revision", "journal", "pending request"])
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
        "main a[href], main button:not([disabled]), main input:not([type=hidden]), main summary"
    )
    within = (
        f"Array.from(document.querySelectorAll('{wanted}')).filter(one => one.checkVisibility())"
    )
    total = page.evaluate(f"{within}.length")
    reached = set()
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
