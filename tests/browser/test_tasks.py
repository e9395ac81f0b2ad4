"""What people do with the pages, done in a browser, with JavaScript and without."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page
from playwright.sync_api import Route
from playwright.sync_api import expect

from tests.browser.conftest import Furnished
from tests.browser.conftest import log_in
from tests.browser.conftest import notified
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

with_and_without = pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
Open = Callable[..., Page]


def shown_job(page: Page) -> tuple[str, list[str]]:
    """Return the message on the page of a job, and the outcomes."""
    expect(page.get_by_role("heading", level=1)).to_contain_text("Job")
    outcomes = page.locator("#requests tbody td:nth-child(3)").all_text_contents()
    return page.locator("main p[role=status]").inner_text(), outcomes


def sidebar(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Self-serve").get_by_role("link", name=name).click()


def test_buildbots_sidebar_leads_here_and_the_title_back(
    furnished: Furnished, open_page: Open
) -> None:
    page = open_page()
    page.goto(furnished.master.url)
    page.get_by_text("Self-serve", exact=True).click()
    page.wait_for_url("**/self-serve")
    expect(page.get_by_role("heading", name="Branches", level=1)).to_be_visible()
    # not caught between the two
    page.go_back()
    page.wait_for_url(re.compile(r"^http://[^/]*/(#/)?$"))
    page.goto(furnished.url("root"))
    page.locator(".side-title a").click()
    page.wait_for_url(re.compile(r"^http://[^/]*/(#/)?$"))


@with_and_without
def test_a_login_leads_back_to_the_page_that_one_came_from(
    furnished: Furnished, open_page: Open, scripts: bool
) -> None:
    page = open_page(
        http_credentials={"username": USER, "password": PASSWORD}, java_script_enabled=scripts
    )
    page.goto(furnished.url("finished build"))
    page.locator("main").get_by_role("link", name="Log in").click()
    page.wait_for_url(furnished.url("finished build"))
    expect(page.locator(".who")).to_contain_text(USER)
    expect(page.get_by_role("button", name="Rebuild")).to_be_enabled()
    page.get_by_role("link", name="Log out").click()
    page.wait_for_url(furnished.url("finished build"))
    expect(page.get_by_role("banner").get_by_role("link", name="Log in")).to_be_visible()


@with_and_without
def test_a_revision_is_looked_up(furnished: Furnished, open_page: Open, scripts: bool) -> None:
    page = open_page(java_script_enabled=scripts)
    page.goto(furnished.url("root"))
    page.get_by_label("Find a revision, author or builder").fill(REVISION[:8])
    page.get_by_role("button", name="Find").click()
    # it is on one branch only
    page.wait_for_url(furnished.url("revision"))
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Revision {REVISION[:12]}")
    expect(page.locator("main")).to_contain_text(f"{REVISION} on main")
    page.get_by_label("Find a revision, author or builder").fill("123456")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("main")).to_contain_text("No revision begins with this")
    page.goto(furnished.url("missing revision"))
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Revision 123456 not found on branch main"
    )
    page.get_by_role("link", name="Build anyway").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Build revision 123456")


@with_and_without
def test_a_name_that_is_nearly_right_is_found(
    furnished: Furnished, open_page: Open, scripts: bool
) -> None:
    page = open_page(java_script_enabled=scripts)
    page.goto(furnished.url("missing branch"))
    page.locator("main").get_by_role("link", name="main").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("main")
    page.wait_for_url("**/self-serve/main/pushes")


def test_a_revision_tells_at_a_glance(furnished: Furnished, open_page: Open) -> None:
    page = open_page()
    page.goto(furnished.url("revision"))
    verdict = page.get_by_role("status").first
    expect(verdict).to_contain_text("Running: 1 of 2 done")
    expect(verdict).to_contain_text("2 builders, 1 passed")
    waits = page.locator("section", has=page.get_by_role("heading", name="Running and waiting"))
    # the running build, and the request that waits behind it
    expect(waits.get_by_role("listitem")).to_have_count(2)
    # what was cancelled is no bar
    bars = page.locator(".timeline a")
    expect(bars).to_have_count(11)
    expect(page.get_by_label("Timeline")).to_contain_text("1 cancelled or skipped row")
    # a bar has its say in words, and leads to what it is about
    running = bars.filter(has_text=f"build {furnished.build}")
    expect(running).to_have_accessible_name(re.compile(r"^slow build [0-9]+ , running [0-9ms ]+"))
    expect(running.locator("rect.run.running")).to_have_count(1)
    running.click()
    page.wait_for_url(furnished.url("running build"))


def job_ids(master: ProcessMaster) -> list[int]:
    return [one["job_id"] for one in master.get("/jobs")]


@with_and_without
def test_somebody_who_is_not_logged_in_is_told_to(
    furnished: Furnished, open_page: Open, scripts: bool
) -> None:
    page = open_page(java_script_enabled=scripts)
    before = job_ids(furnished.master)
    page.goto(furnished.url("finished build"))
    expect(page.get_by_role("button", name="Rebuild")).to_be_disabled()
    expect(page.locator("main").get_by_role("link", name="Log in")).to_be_visible()
    # whose session ended meanwhile is told when they try
    page.locator("main form button").evaluate("button => { button.disabled = false; }")
    page.get_by_role("button", name="Rebuild").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Log in first")
    expect(page.locator("main").get_by_role("link", name="Log in")).to_be_visible()
    assert job_ids(furnished.master) == before  # those that go on may have ended


@with_and_without
def test_a_build_is_built_twice_again_and_seen_to_run(
    process_master: Any, open_page: Open, scripts: bool
) -> None:
    """The whole walk, from a search for a revision to the filters of the journal."""
    request_id = process_master.force("slow")
    process_master.until(
        lambda: process_master.get(f"/main/request/{request_id}")["build_ids"], "slow runs"
    )
    page = open_page(java_script_enabled=scripts)
    log_in(page, process_master.url)
    page.goto(f"{process_master.url}/self-serve/main")
    page.get_by_label("Find a revision, author or builder").fill(REVISION[:6])
    page.get_by_role("button", name="Find").click()
    page.locator(".timeline a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Build 1")
    page.get_by_label("Number of times").fill("2")
    page.get_by_role("button", name="Rebuild").click()
    assert shown_job(page) == ("2 builds requested", ["created"] * 2)

    # one of the two is wanted sooner
    page.get_by_role("link", name="request 3").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("waiting")
    page.locator("form", has_text="Change priority").get_by_label("Priority").fill("9")
    page.get_by_role("button", name="Change priority").click()
    assert shown_job(page)[1] == ["priority changed"]

    # the build that runs is cancelled, and the request with the higher priority runs
    page.goto(f"{process_master.url}/self-serve/main/build/1")
    page.get_by_role("button", name="Cancel this build").click()
    assert shown_job(page)[1] == ["stopped"]
    process_master.until(
        lambda: process_master.get("/main/request/3")["build_ids"], "request 3 runs"
    )
    page.goto(f"{process_master.url}/self-serve/main/request/3")
    expect(page.get_by_role("heading", level=1)).to_contain_text("running")
    expect(page.get_by_role("button", name="Stop its build")).to_be_visible()

    # everything is cancelled, after its plan
    page.goto(f"{process_master.url}/self-serve/main/rev/{REVISION}")
    page.get_by_role("button", name="Cancel (2)").click()
    expect(page.get_by_role("status")).to_have_text(
        "1 request would be cancelled, 1 build would be stopped"
    )
    page.get_by_role("button", name="Cancel 2").click()
    assert sorted(shown_job(page)[1]) == ["cancelled", "stopped"]

    # all of it is in the journal
    sidebar(page, "Journal")
    actions = page.locator("#jobs tbody td:nth-child(3)")
    expect(actions).to_have_text(
        [
            f"{USER} cancelled everything at {REVISION[:12]}",
            f"{USER} cancelled build 1 of slow",
            f"{USER} changed the priority of request 3 of slow to 9",
            f"{USER} rebuilt build 1 of slow, 2 times",
        ]
    )
    search = page.get_by_role("search", name="Job requests")
    search.get_by_label("Action").select_option("Change priority")
    search.get_by_label("From").fill("2026-01-01")
    search.get_by_role("button", name="Search").click()
    expect(actions).to_have_count(1)
    search.get_by_label("To", exact=True).fill("2026-01-02")
    search.get_by_role("button", name="Search").click()
    expect(page.locator("main")).to_contain_text("No job request fits.")


def test_a_button_that_is_pressed_twice_acts_once(process_master: Any, open_page: Open) -> None:
    process_master.force("fast")
    process_master.until(
        lambda: process_master.get("/main")[0].get("endtime"), "the build has ended"
    )
    page = open_page()
    log_in(page, process_master.url)
    page.goto(f"{process_master.url}/self-serve/main/build/1")
    sent: list[Route] = []
    # on its way for a while
    page.route("**/self-serve/main/build", lambda route: sent.append(route))
    box = page.get_by_role("button", name="Rebuild").bounding_box()
    assert box is not None
    for _ in range(2):
        page.mouse.click(box["x"] + 5, box["y"] + 5)
        page.wait_for_timeout(300)
    assert len(sent) == 1
    sent[0].continue_()
    page.unroute("**/self-serve/main/build")
    page.wait_for_url("**/jobs/1")
    assert shown_job(page) == ("1 build requested", ["created"])
    # whoever comes back may press it again
    page.go_back()
    page.get_by_role("button", name="Rebuild").click()
    page.wait_for_url("**/jobs/2")
    assert len(process_master.get("/jobs")) == 2


@with_and_without
def test_a_revision_is_built_with_a_builder_of_ones_choice(
    process_master: Any, open_page: Open, scripts: bool
) -> None:
    process_master.force("fast")
    page = open_page(java_script_enabled=scripts)
    log_in(page, process_master.url)
    page.goto(f"{process_master.url}/self-serve/main")
    page.get_by_label("Build a revision").fill("0123abc")
    page.get_by_role("button", name="Choose builders").click()
    page.locator("summary", has_text="Properties").click()
    row = page.get_by_role("group", name="New property").first
    row.get_by_label("Name").fill("level")
    row.get_by_label("Value").fill("3")
    page.get_by_role("button", name="Build", exact=True).click()
    assert shown_job(page) == ("1 build requested", ["created"])
    (job,) = process_master.get("/jobs")
    assert job["what"]["properties"] == {"level": 3}
    # and once more, with other properties
    page.get_by_role("link", name="request 2").click()
    page.locator("summary", has_text="Change properties").click()
    page.get_by_label("Value of level").fill("high")
    row = page.get_by_role("group", name="New property").nth(1)
    row.get_by_label("Name").fill("mode")
    row.get_by_label("Value").fill("full")
    # one more row is there as soon as one needs it
    expect(page.get_by_role("group", name="New property")).to_have_count(3 if scripts else 2)
    page.get_by_role("button", name="Rebuild").click()
    assert shown_job(page) == ("1 build requested", ["created"])
    assert process_master.get("/jobs")[0]["what"]["properties"] == {"level": "high", "mode": "full"}


@with_and_without
def test_what_is_missing_is_filled_in_for_some_builders(
    process_master: Any, open_page: Open, scripts: bool
) -> None:
    request_id = process_master.force("slow")
    page = open_page(java_script_enabled=scripts)
    log_in(page, process_master.url)
    page.goto(f"{process_master.url}/self-serve/main/rev/{REVISION}")
    page.locator("summary", has_text="Only some builders").click()
    page.get_by_label("Patterns of names").fill("fa*")
    page.get_by_role("button", name="Fill in these").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Plan: fill in what is missing")
    expect(page.locator(".group h2")).to_have_text(["Build: 1 request"])
    # nothing is done, and then it is
    page.get_by_role("link", name="Do nothing").click()
    page.wait_for_url(f"**/self-serve/main/rev/{REVISION}")
    assert process_master.get("/jobs") == []
    # what is rare is behind the dots
    page.get_by_label("More actions").click()
    page.get_by_role("button", name="Fill in missing", exact=True).click()
    page.get_by_role("button", name="Build 1").click()
    assert shown_job(page) == ("1 build requested", ["created"])
    # only what was ticked is cancelled, if the plan is still that one
    page.goto(f"{process_master.url}/self-serve/main/rev/{REVISION}")
    page.locator("summary", has_text="Only some builders").click()
    page.get_by_label("slow", exact=True).check()
    page.get_by_role("button", name="Cancel these").click()
    expect(page.locator(".group tbody th")).to_have_text(["slow"])
    process_master.force("slow")
    page.get_by_role("button", name="Cancel 1").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "The plan has changed: cancel everything"
    )
    assert len(process_master.get("/jobs")) == 1
    page.get_by_role("button", name="Cancel 2").click()
    assert sorted(shown_job(page)[1]) == ["cancelled", "stopped"]
    assert process_master.get(f"/main/request/{request_id}")["complete"]


# -- with JavaScript only


def test_a_table_sorts_and_filters(furnished: Furnished, open_page: Open) -> None:
    page = open_page()
    page.goto(furnished.url("revision"))
    page.get_by_text("All builds and requests").click()
    table = page.get_by_role("table")
    ids = table.locator("td.id")
    newest_first = ids.all_text_contents()
    header = table.get_by_role("button", name="Build or request")
    header.click()
    expect(table.get_by_role("columnheader", name="Build or request")).to_have_attribute(
        "aria-sort", "ascending"
    )
    numbers = [int(text.split()[1]) for text in ids.all_text_contents()]
    # by number, not by text
    assert numbers == sorted(numbers)
    assert max(numbers) >= 10
    header.click()
    numbers = [int(text.split()[1]) for text in ids.all_text_contents()]
    assert numbers == sorted(numbers, reverse=True)
    page.get_by_label("Filter the rows of").fill("slow running")
    expect(ids.filter(visible=True)).to_have_text([f"build {furnished.build}"])
    expect(page.locator(".filter [role=status]")).to_have_text(f"1 of {len(newest_first)} rows")
    page.get_by_label("Filter the rows of").fill("")
    expect(ids.filter(visible=True)).to_have_count(len(newest_first))


def test_a_page_follows_what_happens(process_master: Any, open_page: Open) -> None:
    first = process_master.force("slow")
    process_master.until(
        lambda: process_master.get(f"/main/request/{first}")["build_ids"], "slow runs"
    )
    page = open_page()
    loads: list[str] = []
    page.on("load", lambda loaded: loads.append(loaded.url))
    page.goto(f"{process_master.url}/self-serve/main/rev/{REVISION}")
    # it keeps what somebody has made of it
    page.get_by_text("All builds and requests").click()
    page.locator("#rows thead").get_by_role("button", name="Builder").click()
    page.locator("summary", has_text="Build more").click()
    page.get_by_label("More actions").click()
    second = process_master.force("slow")
    expect(page.locator("#rows")).to_contain_text(f"request {second}")
    expect(page.get_by_role("columnheader", name="Builder")).to_have_attribute(
        "aria-sort", "ascending"
    )
    expect(
        page.locator("#acts").get_by_role("button", name="Same builds as a push")
    ).to_be_visible()
    expect(page.get_by_role("button", name="Build everything again")).to_be_visible()
    for request_id in (second, first):
        process_master.send("DELETE", f"/self-serve/main/request/{request_id}")
    expect(page.locator("#verdict")).to_contain_text("Incomplete")
    expect(page.get_by_role("button", name="Cancel (")).to_have_count(0)
    assert len(loads) == 1


def test_the_page_of_a_job_request_follows_what_it_made(
    process_master: Any, open_page: Open
) -> None:
    request_id = process_master.force("fast")
    process_master.until(
        lambda: process_master.data(f"buildrequests/{request_id}")["buildrequests"][0]["complete"],
        "it is built",
    )
    _, made = process_master.send("POST", "/self-serve/main/request", request_id=request_id)
    page = open_page()
    page.goto(f"{process_master.url}/self-serve{made['job_url'].partition('/self-serve')[2]}")
    # without being loaded anew
    page.evaluate("window.sameAsBefore = true")
    expect(page.locator("#requests .state")).to_have_text("passed")
    expect(page.get_by_role("link", name="build 2")).to_be_visible()
    assert page.evaluate("window.sameAsBefore")
    expect(page.locator("#followed")).to_have_text("Builds: 1 passed")


def test_the_page_of_a_job_request_tells_of_its_end(
    process_master: Any, open_page: Open, chromium: Browser
) -> None:
    request_id = process_master.force("slow")
    _, made = process_master.send("POST", "/self-serve/main/request", request_id=request_id)
    page = notified(open_page(chromium), process_master.url)
    page.goto(f"{process_master.url}/self-serve{made['job_url'].partition('/self-serve')[2]}")
    followed = page.locator("#followed")
    expect(followed).to_contain_text("Builds: 1 waiting")
    button = followed.get_by_role("button", name="Notify me")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    again = made["requests"][0]["request_id"]
    process_master.send("DELETE", f"/self-serve/main/request/{again}")
    expect(followed).to_have_text("Builds: 1 cancelled")
    process_master.until(lambda: page.evaluate("window.told"), "it is told")
    assert page.evaluate("window.told") == [[f"Job {made['job_id']}", "Builds: 1 cancelled"]]
    process_master.send("DELETE", f"/self-serve/main/request/{request_id}")


def test_an_age_goes_on(furnished: Furnished, open_page: Open) -> None:
    page = open_page(timezone_id="Asia/Tokyo", locale="en-GB")
    page.clock.install()
    page.goto(furnished.url("journal"))
    when = page.locator("#jobs time").first
    page.clock.fast_forward("02:10:00")
    expect(when).to_have_text("2 hours ago")
    # the whole time is that of who looks at it
    expect(when).to_have_attribute("title", re.compile(r"GMT\+9|JST"))


def test_what_somebody_writes_is_not_taken_away(process_master: Any, open_page: Open) -> None:
    first = process_master.force("slow")
    process_master.until(
        lambda: process_master.get(f"/main/request/{first}")["build_ids"], "slow runs"
    )
    waiting = process_master.force("slow")
    page = open_page()
    page.goto(f"{process_master.url}/self-serve/main/request/{waiting}")
    priority = page.locator("form", has_text="Change priority").get_by_label("Priority")
    priority.fill("12")
    process_master.send("PUT", f"/self-serve/main/request/{waiting}", priority=3)
    with page.expect_response(re.compile(f"/main/request/{waiting}$")):
        pass
    page.wait_for_timeout(300)
    expect(priority).to_have_value("12")
