"""Buildbot's own pages and ours, in a browser: each leads to the other, and both look alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import expect

from tests import PATIENCE
from tests.browser.conftest import Furnished
from tests.process_master import ProcessMaster

Open = Callable[..., Page]
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(22, 25, 29)"
#: At the end of a master.cfg: the operator wants dark pages.
DARK_BY_DEFAULT = """
c["www"]["ui_default_config"] = {"Selfserve.color_scheme": "Dark"}
"""


@pytest.fixture
def open_any(browser: Browser) -> Iterator[Open]:
    """Open pages of which some are Buildbot's own: those write to the console."""
    contexts = []

    def open_one(**more: Any) -> Page:
        contexts.append(browser.new_context(**more))
        contexts[-1].set_default_timeout(PATIENCE * 1000)
        return contexts[-1].new_page()

    yield open_one
    for context in contexts:
        context.close()


def our_item(page: Page) -> Locator:
    """Return the item in Buildbot's sidebar."""
    return page.locator(".sidebar").get_by_role("link", name="Self-serve")


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def test_buildbots_sidebar_leads_to_what_is_open(furnished: Furnished, open_any: Open) -> None:
    master = furnished.master
    change = master.data("changes")["changes"]
    build = master.data(f"builds/{furnished.build}")["builds"][0]
    builder = f"/builders/{build['builderid']}"
    page = open_any()
    leads = {
        f"{builder}/builds/{build['number']}": f"/main/build/{furnished.build}",
        f"{builder}/builds/{build['number']}?redirect=1": f"/main/build/{furnished.build}",
        builder: f"/main/builders#builder-{build['builderid']}",
        f"/buildrequests/{furnished.pending}": f"/main/request/{furnished.pending}",
        "/workers": "",
        "/self-serve/jobs": "/jobs",
    }
    if change:
        leads[f"/changes/{change[0]['changeid']}"] = f"/main/rev/{change[0]['revision']}"
    for there, here in leads.items():
        page.goto("about:blank")
        page.goto(f"{master.url}/#{there}")
        if "/self-serve" not in there:
            our_item(page).click()
        page.wait_for_url(f"{master.url}/self-serve{here}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
    # and back
    page.goto("about:blank")
    page.goto(f"{master.url}/#{builder}")
    our_item(page).click()
    page.wait_for_url("**/self-serve/main/builders*")
    page.go_back()
    page.wait_for_url(f"{master.url}/#{builder}")


def test_the_item_follows_as_buildbots_pages_change(furnished: Furnished, open_any: Open) -> None:
    page = open_any()
    page.goto(f"{furnished.master.url}/#/workers")
    our_item(page).hover()
    assert our_item(page).get_attribute("href") == f"{furnished.master.url}/self-serve"
    page.evaluate(f"location.hash = '#/buildrequests/{furnished.pending}'")
    # with the keyboard, too
    our_item(page).focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/self-serve/main/request/{furnished.pending}")


def test_our_sidebar_leads_to_buildbots_pages(furnished: Furnished, open_any: Open) -> None:
    page = open_any()
    for name, path in (("Home", "/"), ("Builders", "/builders"), ("Workers", "/workers")):
        page.goto(furnished.url("root"))
        sidebar = page.get_by_role("navigation", name="Buildbot")
        sidebar.get_by_role("link", name=name, exact=True).click()
        page.wait_for_url(re.compile(rf"#{path}$"))
    page.goto(furnished.url("revision"))
    page.get_by_text("More of Buildbot").click()
    page.get_by_role("navigation", name="Buildbot").get_by_role("link", name="Settings").click()
    page.wait_for_url(re.compile(r"#/settings$"))


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
@pytest.mark.parametrize(("scheme", "color"), [("light", LIGHT), ("dark", DARK)])
def test_without_a_setting_the_system_decides(
    furnished: Furnished, open_page: Open, scripts: bool, scheme: str, color: str
) -> None:
    page = open_page(java_script_enabled=scripts, color_scheme=scheme)
    page.goto(furnished.url("root"))
    expect(page.locator("body")).to_have_css("background-color", color)


def test_the_setting_in_buildbots_settings_decides(furnished: Furnished, open_any: Open) -> None:
    page = open_any(color_scheme="light")
    page.goto(f"{furnished.master.url}/#/settings")
    choice = page.locator("label", has_text="Color scheme of the self-serve pages").locator("..")
    choice.locator("select").select_option("Dark")
    ours = page.context.new_page()
    # it is there before anything is painted: no script that runs later has a say
    ours.route("**/selfserve.js*", lambda route: route.abort())
    ours.goto(furnished.url("root"), wait_until="commit")
    expect(ours.locator("body")).to_have_css("background-color", DARK)
    # it follows at once where it is open
    choice.locator("select").select_option("As the system")
    expect(ours.locator("body")).to_have_css("background-color", LIGHT)
    choice.locator("select").select_option("Light")
    ours.emulate_media(color_scheme="dark")
    expect(ours.locator("body")).to_have_css("background-color", LIGHT)


@pytest.mark.parametrize("kept", ["{", "null", "[]", '{"Selfserve": null}', '{"Selfserve": {}}'])
def test_whatever_is_kept_a_page_is_shown(furnished: Furnished, open_page: Open, kept: str) -> None:
    page = open_page(color_scheme="dark")
    page.goto(furnished.url("root"))
    page.evaluate("kept => localStorage.setItem('settings', kept)", kept)
    page.reload()
    assert background(page) == DARK


def test_the_operators_default_decides_unless_somebody_chose(
    tmp_path: Path, open_page: Open
) -> None:
    master = ProcessMaster(tmp_path, more=DARK_BY_DEFAULT)
    master.start()
    try:
        for scripts in (True, False):
            page = open_page(java_script_enabled=scripts, color_scheme="light")
            page.goto(f"{master.url}/self-serve")
            expect(page.locator("body")).to_have_css("background-color", DARK)
        page = open_page(color_scheme="light")
        page.goto(f"{master.url}/self-serve")
        page.evaluate(
            """localStorage.setItem('settings', '{"Selfserve": {"color_scheme": "Light"}}')"""
        )
        page.reload()
        assert background(page) == LIGHT
    finally:
        master.stop()
