"""The forms on the pages, sent as a browser sends them: what is asked for happens, and is shown."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from lxml import html

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

CANCELLED = 6
#: What Chromium sends when somebody presses a button.
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}
AT = f"/self-serve/main/rev/{REVISION}"
NEW = f"/self-serve/main/new?revision={REVISION}"


def with_nightly() -> Config:
    made = config(
        util.SelfServe(
            branches=[util.SelfServeBranch("main", sets={"nightly": ["fast", "opt/mac #1"]})]
        )
    )
    made["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=["fast"])
    return made


async def page(master: Any, path: str, user: str | None = USER) -> Any:
    """Return a page as *user* sees it, parsed."""
    answer = await master.get(path, json=False, user=user, headers=NAVIGATION)
    assert answer.status == 200, answer.text
    return html.fromstring(answer.text, base_url=master.url + path)


def form_with(document: Any, button: str) -> Any:
    """Return the form with this button."""
    (found,) = (
        one
        for one in document.forms
        if button in [one.text_content() for one in one.xpath(".//button")]
    )
    return found


async def send(master: Any, form: Any, button: str = "") -> Any:
    """Send a *form* as the *button* of this name does, or else its first one."""
    pressed = next(one for one in form.xpath(".//button") if button in (one.text_content(), ""))
    assert pressed.get("disabled") is None
    named = [(pressed.get("name"), pressed.get("value"))] if pressed.get("name") else []
    assert form.method == "POST"
    return await master.post(
        pressed.get("formaction") or form.get("action"),
        user=USER,
        json=False,
        headers={**NAVIGATION, "Origin": master.url},
        data=[*form.form_values(), *named],
    )


def plan(answer: Any) -> Any:
    """Return the page of a plan, parsed."""
    document = html.fromstring(answer.text)
    assert (answer.status, document.xpath("//h1")[0].text_content()[:6]) == (200, "Plan: ")
    return document


def planned(document: Any) -> dict[str, list[str]]:
    """Return the builders that the page of a plan shows, by the headings of their groups."""
    return {
        group.xpath("./summary/h2")[0].text_content(): [
            one.text_content().strip() for one in group.xpath(".//tbody/tr/th")
        ]
        for group in document.xpath("//details[@class='group']")
    }


async def press(master: Any, document: Any, button: str, **fields: str) -> tuple[Any, str]:
    """Fill *fields* into the form with this *button*, send it, and follow to the job.

    If a plan is shown first, it is confirmed.

    :returns: the job as JSON, and its page
    """
    form = form_with(document, button)
    for name, text in fields.items():
        form.inputs[name].value = text
    answer = await send(master, form)
    if "dry_run" in form.fields:
        answer = await send(master, plan(answer).get_element_by_id("confirm"))
    assert answer.status == 303, answer.text
    location = answer.header("location")
    shown = await master.get(location, json=False, headers=NAVIGATION)
    assert shown.status == 200
    return (await master.get(location)).json, shown.text


def outcomes(job: Any) -> list[tuple[str, str]]:
    """Return builder and outcome of each request."""
    requests = job["complete_data"]["body"]["requests"]
    return sorted((one["buildername"], one["outcome"]) for one in requests)


def is_linked(job: Any, shown: str) -> bool:
    """Say whether the page of a job links each of its requests."""
    requests = job["complete_data"]["body"]["requests"]
    return bool(requests) and all(
        f'href="/self-serve/main/request/{one["request_id"]}"' in shown for one in requests
    )


@pytest_twisted.ensureDeferred
async def test_a_build_is_built_again(master: Any) -> None:
    build = await master.finished_build()
    master.pause()
    document = await page(master, f"/self-serve/main/build/{build['buildid']}")
    job, shown = await press(master, document, "Rebuild", count="3", priority="7")
    assert (job["action"], outcomes(job)) == ("rebuild_build", [("fast", "created")] * 3)
    assert is_linked(job, shown)
    pending = await master.data("buildrequests")
    assert [one["priority"] for one in pending if not one["complete"]] == [7, 7, 7]


@pytest_twisted.ensureDeferred
async def test_what_a_build_found_may_be_built_again(master: Any) -> None:
    named = await master.finished_build()
    build = await master.finished_build(revision=None)
    found = build["buildid"], "got_revision", REVISION, "Git"
    await master.master.data.updates.setBuildProperty(*found)
    master.pause()
    document = await page(master, f"/self-serve/main/build/{named['buildid']}")
    assert "same_revision" not in form_with(document, "Rebuild").fields
    document = await page(master, f"/self-serve/main/build/{build['buildid']}")
    form_with(document, "Rebuild").xpath(".//input[@name='same_revision']")[0].checked = True
    job, shown = await press(master, document, "Rebuild")
    assert job["what"]["same_revision"] is True
    assert "At the revision that was found" in shown
    (request,) = job["complete_data"]["body"]["requests"]
    row = (await master.get(f"/self-serve/main/request/{request['request_id']}")).json
    assert row["revision"] == REVISION


@pytest_twisted.ensureDeferred
async def test_a_running_build_is_cancelled(master: Any) -> None:
    build = await master.running_build(await master.add_request("slow"))
    document = await page(master, f"/self-serve/main/build/{build['buildid']}")
    job, shown = await press(master, document, "Cancel this build")
    assert (job["action"], outcomes(job)) == ("cancel_build", [("slow", "stopped")])
    assert is_linked(job, shown)
    assert (await master.data("builds", build["buildid"]))["results"] == CANCELLED


@pytest_twisted.ensureDeferred
async def test_a_request_waits_longer_is_doubled_and_cancelled(master: Any) -> None:
    master.pause()
    path = f"/self-serve/main/request/{await master.add_request()}"
    job, _ = await press(master, await page(master, path), "Change priority", priority="-3")
    assert (job["action"], outcomes(job)) == ("reprioritize", [("fast", "reprioritized")])
    assert form_with(await page(master, path), "Change priority").fields["priority"] == "-3"
    job, _ = await press(master, await page(master, path), "Rebuild")
    assert (job["action"], outcomes(job)) == ("rebuild_request", [("fast", "created")])
    job, shown = await press(master, await page(master, path), "Cancel")
    assert (job["action"], outcomes(job)) == ("cancel_request", [("fast", "cancelled")])
    assert is_linked(job, shown)
    # what has ended can be built again, and no more
    forms = (await page(master, path)).forms
    (only,) = (form for form in forms if form.method == "POST")
    assert only.get("action") == "/self-serve/main/request"


@pytest.mark.parametrize("master", [with_nightly], indirect=True)
@pytest.mark.parametrize("path", [AT, NEW])
@pytest_twisted.ensureDeferred
async def test_a_revision_is_built_anew_and_with_sets(master: Any, path: str) -> None:
    await master.finished_build()
    master.pause()
    job, shown = await press(master, await page(master, path), "Same builds as a push", priority="")
    assert (job["action"], outcomes(job)) == ("new_build_at_revision", [("fast", "created")])
    assert is_linked(job, shown)
    job, shown = await press(master, await page(master, path), "nightly", priority="2")
    assert (job["action"], job["what"]["priority"]) == ("new_nightly_at_revision", 2)
    assert outcomes(job) == [("fast", "created"), ("opt/mac #1", "created")]
    assert is_linked(job, shown)


#: Where a set has its button.
LOOKED_UP = f"/self-serve/main/rev?revision={REVISION[:8]}"


def why_not(document: Any, button: str) -> str:
    """Return the reason beside a *button* that cannot be pressed."""
    (pressed,) = form_with(document, button).xpath(".//button")
    assert pressed.get("disabled") is not None
    return str(pressed.getnext().text_content())


@pytest.mark.parametrize("master", [with_nightly], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_set_without_builders_cannot_be_pressed(master: Any) -> None:
    await master.finished_build()
    for path in (AT, LOOKED_UP, NEW, "/self-serve/main/new?revision=never-seen"):
        document = await page(master, path)
        assert why_not(document, "pgo") == "has no builders"
        assert not form_with(document, "nightly").xpath(".//button[@disabled]")
    # a builder that one could not ask for gives its place to one that there is
    await master.reconfig(with_sets_of_others)
    for path in (AT, LOOKED_UP, NEW):
        document = await page(master, path)
        assert [why_not(document, name) for name in ("nightly", "gone")] == ["has no builders"] * 2
        assert not form_with(document, "pgo").xpath(".//button[@disabled]")
    # the JSON, for which that is not looked up, is as it was
    assert isinstance((await master.get(AT)).json, list)
    # and what there is nothing of has no buttons
    missing = await master.get("/self-serve/main/rev/never", json=False, user=USER)
    assert (missing.status, "<button>pgo" in missing.text) == (404, False)
    missing = await master.get("/self-serve/mian/rev/never", json=False, user=USER)
    assert (missing.status, "main" in missing.text) == (404, True)


def with_sets_of_others() -> Config:
    sets = {"pgo": ["fast"], "gone": ["lost"]}
    return config(util.SelfServe(branches=[util.SelfServeBranch("main", sets=sets)]))


def without_slow() -> Config:
    made = config()
    del made["builders"][1]
    made["schedulers"][1] = schedulers.Triggerable(name="rest", builderNames=["opt/mac #1"])
    return made


@pytest_twisted.ensureDeferred
async def test_what_nobody_builds_any_more_cannot_be_built_again(master: Any) -> None:
    request_id = await master.add_request("slow")
    build = await master.running_build(request_id)
    await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    await master.completed(request_id)
    paths = (
        f"/self-serve/main/build/{build['buildid']}",
        f"/self-serve/main/request/{build['buildrequestid']}",
    )
    await master.reconfig(without_slow)
    for path in paths:
        assert why_not(await page(master, path), "Rebuild") == (
            "no master has the builder slow now"
        )
    fields = {"build_id": build["buildid"]}
    refused = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert (refused.status, refused.json["msg"]) == (400, "Builder slow is no longer configured")
    # it may be there again
    await master.reconfig(config)
    for path in paths:
        assert not form_with(await page(master, path), "Rebuild").xpath(".//button[@disabled]")


@pytest_twisted.ensureDeferred
async def test_what_has_ended_offers_no_end(master: Any) -> None:
    build = await master.finished_build()
    for path in (
        f"/self-serve/main/build/{build['buildid']}",
        f"/self-serve/main/request/{build['buildrequestid']}",
        AT,
    ):
        document = await page(master, path)
        assert document.xpath("//input[@name='_method']") == []
    # a request that runs has no priority any more
    running = await master.add_request("slow")
    await master.running_build(running)
    document = await page(master, f"/self-serve/main/request/{running}")
    assert document.xpath("//input[@name='_method']/@value") == ["DELETE"]


@pytest_twisted.ensureDeferred
async def test_one_builder_builds_any_revision_with_properties(master: Any) -> None:
    await master.finished_build()
    master.pause()
    # from the form on the page of the branch
    day = await page(master, "/self-serve/main")
    choose = form_with(day, "Choose builders")
    choose.inputs["revision"].value = "never seen"
    assert (choose.method, choose.get("action")) == ("GET", "/self-serve/main/new")
    document = await page(master, "/self-serve/main/new?revision=never+seen")
    assert "has not seen this revision" in document.text_content()
    job, shown = await press(
        master,
        document,
        "Build",
        builder_name="fast",
        properties='{"level": 3}',
        files='["a/b.c"]',
    )
    assert (job["action"], outcomes(job)) == ("new_build_for_builder", [("fast", "created")])
    assert (job["what"]["revision"], job["what"]["files"]) == ("never seen", ["a/b.c"])
    assert is_linked(job, shown)
    (request,) = job["complete_data"]["body"]["requests"]
    found = (await master.get(f"/self-serve/main/request/{request['request_id']}")).json
    assert (found["properties"]["level"], found["revision"]) == (3, "never seen")


@pytest_twisted.ensureDeferred
async def test_a_wrong_property_is_a_page_that_says_so(master: Any) -> None:
    await master.finished_build()
    form = form_with(await page(master, NEW), "Build")
    form.inputs["properties"].value = "level = 3"
    answer = await master.post(
        form.get("action"), user=USER, json=False, headers=NAVIGATION, data=form.form_values()
    )
    assert answer.status == 400
    assert "Bad properties" in answer.text
    assert (await master.get("/self-serve/jobs")).json == []


@pytest_twisted.ensureDeferred
async def test_all_at_a_revision_is_cancelled_after_its_plan(master: Any) -> None:
    running = await master.add_request("slow")
    await master.running_build(running)
    master.pause()
    await master.add_request("fast")
    document = await page(master, AT)
    shown = plan(await send(master, form_with(document, "Cancel (2)")))
    assert planned(shown) == {
        "Cancel: 1 pending request": ["fast"],
        "Stop: 1 running build": ["slow"],
    }
    (button,) = shown.xpath("//form[@id='confirm']/button")
    assert (button.text_content(), button.get("class")) == ("Cancel 2", "danger")
    assert shown.xpath("//form[@id='confirm']/a/@href") == [AT]
    assert (await master.get("/self-serve/jobs")).json == []
    job, page_of_job = await press(master, document, "Cancel (2)")
    assert job["action"] == "cancel_revision"
    assert outcomes(job) == [("fast", "cancelled"), ("slow", "stopped")]
    assert is_linked(job, page_of_job)
    buttons = [
        button.text_content()
        for form in (await page(master, AT)).forms
        for button in form.xpath(".//button")
    ]
    assert not [text for text in buttons if text.startswith("Cancel")]


def one_by_one() -> Config:
    made = config()
    made["collapseRequests"] = False
    return made


@pytest.mark.parametrize("master", [one_by_one], indirect=True)
@pytest_twisted.ensureDeferred
async def test_buttons_count_requests_as_their_plans_do(master: Any) -> None:
    running = await master.add_request("slow")
    await master.running_build(running)
    waiting = [await master.add_request("slow") for _ in range(2)]
    document = await page(master, AT)
    shown = plan(await send(master, form_with(document, "Cancel (3)")))
    assert planned(shown) == {
        "Cancel: 2 pending requests": ["slow", "slow"],
        "Stop: 1 running build": ["slow"],
    }
    shown = plan(await send(master, form_with(document, "Build next (2)")))
    assert planned(shown) == {"Change the priority: 2 requests": ["slow", "slow"]}
    # what waits behind the running build is there, too, with what can be done with it
    listed = document.get_element_by_id("waiting").xpath(".//li")
    links = [one.xpath(".//a[@class='button']/@href") for one in listed]
    assert links == [[], *([f"/self-serve/main/request/{one}#priority"] for one in waiting)]
    # the first of them is the next already
    buttons = [one.xpath(".//form//button/text()") for one in listed]
    assert buttons == [[], [], ["Build next"]]
    for request_id, names in zip(waiting, ([], ["Build next"]), strict=True):
        document = await page(master, f"/self-serve/main/request/{request_id}")
        assert [one for one in document.xpath("//form//button/text()") if "next" in one] == names
        # why it waits comes before all else
        assert document.xpath("//h1/following-sibling::*[1]/h2/text()") == ["Why it waits"]


@pytest_twisted.ensureDeferred
async def test_what_has_changed_since_its_plan_is_not_done(master: Any) -> None:
    master.pause()
    await master.add_request("fast")
    shown = plan(await send(master, form_with(await page(master, AT), "Cancel (1)")))
    await master.add_request("slow")
    answer = await send(master, shown.get_element_by_id("confirm"))
    again = html.fromstring(answer.text)
    assert answer.status == 412
    assert again.xpath("//h1")[0].text_content() == "The plan has changed: cancel everything"
    assert "nothing was done" in again.get_element_by_id("sentence").text_content()
    assert planned(again) == {"Cancel: 2 pending requests": ["fast", "slow"]}
    assert (await master.get("/self-serve/jobs")).json == []
    # the new one can be confirmed from there
    answer = await send(master, again.get_element_by_id("confirm"))
    assert answer.status == 303
    (job,) = (await master.get("/self-serve/jobs")).json
    assert outcomes(job) == [("fast", "cancelled"), ("slow", "cancelled")]


def failing() -> Config:
    made = config()
    made["builders"] = [builder("fast", "false"), builder("slow"), builder("opt/mac #1", "false")]
    names = [one.name for one in made["builders"]]
    made["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=names)
    return made


@pytest.mark.parametrize("master", [failing], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_failed_is_rerun_and_what_is_missing_filled_in(master: Any) -> None:
    for name in ("fast", "opt/mac #1"):
        await master.finished_build(name)
    master.pause()
    document = await page(master, AT)
    (button,) = form_with(document, "Rerun failed (2)").xpath(".//button")
    assert button.get("class") == "first"
    job, shown = await press(master, document, "Rerun failed (2)")
    assert job["action"] == "rebuild_failed"
    assert outcomes(job) == [("fast", "created"), ("opt/mac #1", "created")]
    assert is_linked(job, shown)
    # once more: there is nothing left to do, and nothing to confirm
    nothing = plan(await send(master, form_with(document, "Rerun failed (2)")))
    assert planned(nothing) == {"Leave alone: 2 builders": ["fast", "opt/mac #1"]}
    assert nothing.xpath("//form[@id='confirm']/button") == []
    job, _ = await press(master, document, "Fill in missing (1)")
    assert job["action"] == "fill_missing"
    assert outcomes(job) == [("slow", "created")]


@pytest.mark.parametrize("master", [failing], indirect=True)
@pytest_twisted.ensureDeferred
async def test_only_some_builders_are_chosen(master: Any) -> None:
    for name in ("fast", "opt/mac #1"):
        await master.finished_build(name)
    master.pause()
    form = form_with(await page(master, AT), "Rerun these")
    boxes = {one.get("value"): one for one in form.xpath(".//input[@name='builders']")}
    assert set(boxes) == {"fast", "opt/mac #1", "slow"}
    boxes["opt/mac #1"].checked = True
    shown = plan(await send(master, form, "Rerun these"))
    assert planned(shown) == {"Build: 1 request": ["opt/mac #1"]}
    (patterns,) = form.xpath(".//textarea[@name='builders']")
    patterns.text = "s*\r\n"
    shown = plan(await send(master, form, "Build these"))
    assert planned(shown)["Build: 2 requests"] == ["opt/mac #1", "slow"]
    answer = await send(master, shown.get_element_by_id("confirm"))
    assert answer.status == 303
    form = form_with(await page(master, AT), "Cancel these")
    (patterns,) = form.xpath(".//textarea[@name='builders']")
    patterns.text = "slow"
    shown = plan(await send(master, form, "Cancel these"))
    assert planned(shown) == {"Cancel: 1 pending request": ["slow"]}
    answer = await send(master, shown.get_element_by_id("confirm"))
    job = (await master.get(answer.header("location"))).json
    assert (job["action"], outcomes(job)) == ("cancel_revision", [("slow", "cancelled")])
    # a pattern for which there is nothing
    patterns.text = "sloww"
    answer = await send(master, form, "Rerun these")
    assert (answer.status, "Bad builders" in answer.text) == (400, True)


# -- forms that are refused


HOLD = "/self-serve/main/hold"


async def refused(
    master: Any, path: str, fields: list[tuple[str, str]], before: str = "", **headers: str
) -> tuple[Any, Any]:
    """Send what is refused, from the page *before*; return the answer and its page, parsed."""
    came = {"Referer": master.url + before} if before else {}
    sent = {**NAVIGATION, "Origin": master.url, **came, **headers}
    answer = await master.post(path, user=USER, json=False, headers=sent, data=fields)
    return answer, html.fromstring(answer.text, base_url=master.url + path)


@pytest_twisted.ensureDeferred
async def test_a_form_that_is_refused_is_shown_again_as_it_was_sent(master: Any) -> None:
    await master.finished_build()
    form = (await page(master, HOLD)).get_element_by_id("hold")
    form.inputs["reason"].value = 'the <b>"lab"</b> moves'
    form.inputs["above"].value = "7"
    form.xpath(".//textarea[@name='builders']")[0].text = "fasst\nslow"
    form.xpath(".//input[@value='fast']")[0].checked = True
    answer, shown = await refused(master, HOLD, form.form_values(), HOLD)
    assert answer.status == 400
    (message,) = shown.xpath("//p[@role='alert']")
    assert message.text_content().startswith("Builders must be ")
    (field,) = shown.xpath("//*[@aria-invalid]")
    assert (field.name, field.text_content().split()) == ("builders", ["fast", "fasst", "slow"])
    told = shown.get_element_by_id(field.get("aria-describedby"))
    assert told.text_content().startswith("Must be ")
    labels = [one.text.strip() for one in shown.xpath("//form[@id='again']//label")]
    assert "Start those with this priority or a higher one" in labels
    assert shown.xpath("//a[text()='Back']/@href") == [HOLD]
    assert "main" in shown.xpath("//ol[@class='crumbs']")[0].text_content()
    assert not shown.xpath("//link[@rel='alternate']")
    assert "This page as JSON" not in answer.text
    (until,) = shown.xpath("//input[@name='expires']/@value")
    assert datetime.datetime.fromisoformat(until[:19]).year >= 2024
    # corrected, it does what was meant: first its plan
    again = shown.get_element_by_id("again")
    assert again.inputs["reason"].value == 'the <b>"lab"</b> moves'
    assert again.get("action") == HOLD
    again.inputs["builders"].value = "fast"
    confirmed = await send(master, plan(await send(master, again)).get_element_by_id("confirm"))
    assert confirmed.status == 303
    (held,) = (await master.get(HOLD)).json
    assert (held["reason"], held["above"]) == ('the <b>"lab"</b> moves', 7)
    assert held["builders"] == ["fast"]


@pytest_twisted.ensureDeferred
async def test_properties_of_a_refused_form_are_shown_again_but_for_secrets(master: Any) -> None:
    await master.finished_build()
    form = form_with(await page(master, NEW), "Build")
    fill_row(form, 0, "xyzzy", "api_token")
    fill_row(form, 1, "3", "level")
    form.inputs["files"].value = "a/b.c"
    answer, shown = await refused(master, form.get("action"), form.form_values(), NEW)
    assert answer.status == 400
    assert "Changed files must be a JSON list" in answer.text
    assert "Changed files, as a JSON list" in answer.text
    assert ("xyzzy" in answer.text, "was left out" in answer.text) == (False, True)
    again = shown.get_element_by_id("again")
    assert shown.xpath("//a[text()='Back']/@href") == [NEW]
    again.inputs["files"].value = '["a/b.c"]'
    values = [value for value in again.xpath(".//input[@name='property_value']/@value") if value]
    assert values == ["3"]
    answer, _ = await refused(master, again.get("action"), again.form_values())
    # a second page of this kind leads back, too: not to a path that has no page
    assert answer.status == 400
    assert "properties" in answer.text
    form.inputs["properties"].value = '{"password": "hunter2"}'
    answer, shown = await refused(master, form.get("action"), form.form_values())
    assert "hunter2" not in answer.text


@pytest_twisted.ensureDeferred
async def test_the_page_before_is_one_that_can_be_opened(master: Any) -> None:
    await master.finished_build()
    failed = f"{AT}/failed"
    fields = [("builders", "none*"), ("dry_run", "1")]
    for path, before, back in (
        (failed, AT, AT),
        (failed, failed, AT),
        (failed, "", "/self-serve/main"),
        ("/self-serve/main/build", "/self-serve/main/build", "/self-serve/main/pushes"),
        (failed, "/elsewhere", "/self-serve/main"),
    ):
        _, shown = await refused(master, path, fields, before)
        assert shown.xpath("//a[text()='Back']/@href") == [back]
        assert (await master.get(back, headers=NAVIGATION)).status in (200, 404)


@pytest_twisted.ensureDeferred
async def test_only_a_form_of_ours_in_a_browser_is_shown_again(master: Any) -> None:
    await master.finished_build()
    fields = [("_method", "PUT"), ("reason", "plugh")]
    answer, shown = await refused(master, HOLD, fields)
    assert (answer.status, len(shown.xpath("//form[@id='again']"))) == (400, 1)
    # what was missing is there to be filled in
    assert [one.name for one in shown.xpath("//*[@aria-invalid]")] == ["expires"]
    for more in (
        {"Origin": "https://elsewhere.example"},
        {"Accept": "*/*"},
    ):
        answer, _ = await refused(master, HOLD, fields, **more)
        assert (answer.status in (400, 403, 415), "plugh" in answer.text) == (True, False), more
    misspelled = [*fields, ("expires", "1"), ("builder", "fast")]
    answer, shown = await refused(master, HOLD, misspelled)
    assert "did you mean builders?" in answer.text
    assert "builder" not in shown.get_element_by_id("again").fields


def with_hundreds() -> Config:
    """Return the configuration of a master with 241 builders, some with brackets in their names."""
    made = config()
    names = [f"sanitizer-x86_64-linux-bootstrap [{number}]" for number in range(120)]
    names += [f"clang-x86_64-linux-multistage/{number}" for number in range(120)]
    names.append("sanitizer-x86_64-linux-bootstrap 1")
    made["builders"] = [builder(name) for name in names]
    made["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=names)]
    return made


@pytest.mark.parametrize("master", [with_hundreds], indirect=True)
@pytest_twisted.ensureDeferred
async def test_hundreds_of_builders_can_be_chosen(master: Any) -> None:
    await master.finished_build("sanitizer-x86_64-linux-bootstrap 1")
    master.pause()
    form = form_with(await page(master, AT), "Build these")
    boxes = form.xpath(".//input[@name='builders']")
    assert len(boxes) == 241
    for one in boxes:
        one.checked = one.get("value") != "sanitizer-x86_64-linux-bootstrap 1"
    shown = plan(await send(master, form, "Build these"))
    assert list(planned(shown)) == ["Build: 240 requests"]
    answer = await send(master, shown.get_element_by_id("confirm"))
    job = (await master.get(answer.header("location"))).json
    assert job["complete_data"]["body"]["msg"] == "240 builds requested"


# -- properties


def rows_of(form: Any) -> dict[str, str]:
    """Return the rows of properties that a form has, by name; the empty ones are left out."""
    values = [one.get("value") for one in form.xpath(".//input[@name='property_value']")]
    names = [one.get("value") for one in form.xpath(".//input[@name='property_name']")]
    return {name: value for name, value in zip(names, values, strict=True) if name}


def fill_row(form: Any, number: int, value: str, name: str | None = None) -> None:
    """Write into a row of properties."""
    form.xpath(".//input[@name='property_value']")[number].set("value", value)
    if name is not None:
        form.xpath(".//input[@name='property_name']")[number].set("value", name)


@pytest_twisted.ensureDeferred
async def test_a_rebuild_changes_properties_row_by_row(master: Any) -> None:
    await master.finished_build()
    given = {"mode": "quick", "level": 3, "text": "3", "gone": [1, "two"], "many": "a\nb", "no": ""}
    answer = await master.post(
        f"/self-serve/main/builders/fast/{REVISION}",
        user=USER,
        data={"properties": json.dumps(given)},
    )
    (made,) = answer.json["requests"]
    await master.completed(made["request_id"])
    master.pause()
    path = f"/self-serve/main/request/{made['request_id']}"
    before = (await master.get(path)).json["properties"]
    form = form_with(await page(master, path), "Rebuild")
    rows = rows_of(form)
    # what self-serve itself sets is not offered
    assert rows == {
        "gone": '[1, "two"]',
        "level": "3",
        "many": '"a\\nb"',
        "mode": "quick",
        "no": '""',
        "text": '"3"',
    }
    # nothing is touched, so it is a rebuild as ever
    job = await pressed_job(master, form)
    assert "properties" not in job["what"]
    names = list(rows)
    fill_row(form, names.index("mode"), "full")
    fill_row(form, names.index("level"), "4")
    form.xpath(".//input[@name='property_remove' and @value='gone']")[0].checked = True
    fill_row(form, len(names), "", " empty ")
    job = await pressed_job(master, form)
    assert job["what"]["properties"] == {"gone": None, "level": 4, "mode": "full", "empty": ""}
    (request,) = job["complete_data"]["body"]["requests"]
    found = (await master.get(f"/self-serve/main/request/{request['request_id']}")).json
    properties = found["properties"]
    assert "gone" not in properties
    assert {name: properties[name] for name in ("mode", "level", "text", "many", "empty")} == {
        "mode": "full", "level": 4, "text": "3", "many": "a\nb", "empty": ""
    }  # fmt: skip
    assert (properties["owner"], before["no"], properties["no"]) == (USER, "", "")


async def pressed_job(master: Any, form: Any) -> Any:
    answer = await send(master, form)
    assert answer.status == 303, answer.text
    return (await master.get(answer.header("location"))).json


@pytest.mark.parametrize(
    ("name", "value", "more", "why"),
    [
        ("", "lost", "", "one has no name"),
        ("owner", "eve", "", "reserved"),
        ("x", "1", '{"x": 2}', "given twice"),
        ("x", "1", "[]", "a JSON object"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_row_is_a_page_that_says_so(
    master: Any, name: str, value: str, more: str, why: str
) -> None:
    await master.finished_build()
    form = form_with(await page(master, NEW), "Build")
    fill_row(form, 0, value, name)
    form.inputs["properties"].value = more
    answer = await send(master, form)
    assert (answer.status, "Bad properties" in answer.text, why in answer.text) == (400, True, True)
    assert (await master.get("/self-serve/jobs")).json == []
