"""The pages on which one reads who did it."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest_twisted

from buildbot_selfserve.model import JobMention
from buildbot_selfserve.views import words as words_of
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Master
from tests.test_who import send


async def page(master: Master, path: str) -> str:
    answer = await master.get(f"/self-serve{path}", json=False, headers={"Accept": "text/html"})
    assert answer.status == 200, answer.text
    return answer.text


def items(html: str, within: str) -> list[str]:
    """Return the texts of the list of what was done, without links."""
    part = html.partition(f'id="{within}"')[2].partition("</section>")[0]
    found = re.findall(r"<li>(.*?)</li>", part.partition('<ul class="done">')[2], re.DOTALL)
    texts = [unescape(" ".join(re.sub(r"<[^>]*>", "", one).split())) for one in found]
    # on a busy machine
    return [re.sub(r"\d+ \w+ ago", "just now", text) for text in texts]


def followed(html: str) -> str:
    """Return what the page of a job says of its builds."""
    part = html.partition('id="followed"')[2].partition(">")[2].partition("</p>")[0]
    return " ".join(re.sub(r"<[^>]*>", "", part).split())


@pytest_twisted.ensureDeferred
async def test_pages_say_who_did_it_and_link_both_ways(master: Master) -> None:
    build = await master.finished_build()
    master.pause()
    made = await send(master, "POST", "/main/build", build_id=build["buildid"])
    (new,) = [one["request_id"] for one in made["requests"]]
    ended = await send(master, "DELETE", f"/main/rev/{REVISION}")
    again = await send(master, "DELETE", f"/main/request/{new}")
    one, two, three = (receipt["job_id"] for receipt in (made, ended, again))
    of_request = await page(master, f"/main/request/{new}")
    assert items(of_request, "done") == [
        f"Cancelled by {USER}, just now (job {two})",
        f"Requested as a rebuild of build {build['buildid']} by {USER}, just now (job {one})",
        "All job requests about it",
    ]
    assert f'href="/self-serve/jobs/{two}"' in of_request
    assert f'href="/self-serve/jobs?request_id={new}"' in of_request
    of_build = await page(master, f"/main/build/{build['buildid']}")
    assert items(of_build, "done") == [
        f"Rebuilt by {USER}, just now (job {one})",
        "All job requests about it",
    ]
    of_revision = await page(master, f"/main/rev/{REVISION}")
    assert items(of_revision, "jobs-here") == [
        f"{USER} asked to cancel request {new} of fast, just now (job {three}:"
        f" Request {new} is already complete)",
        f"{USER} cancelled everything at {REVISION[:12]}, just now (job {two}:"
        f" Request {new} is cancelled)",
        f"{USER} rebuilt build {build['buildid']} of fast, just now (job {one}: 1 build requested)",
        "All job requests about it",
    ]
    of_job = await page(master, f"/jobs/{one}")
    assert f"/main/request/{new}" in of_job
    assert f">build {build['buildid']}</a> of fast" in of_job
    for query in (f"request_id={new}", f"branch=main&revision={REVISION}"):
        found = await page(master, f"/jobs?{query}")
        assert all(f"job {job_id}<" in found for job_id in (one, two, three))


@pytest_twisted.ensureDeferred
async def test_the_page_of_a_job_follows_its_requests_to_their_end(master: Master) -> None:
    await master.finished_build()
    master.pause()
    made = await send(master, "POST", f"/main/builders/fast/{REVISION}")
    (request,) = [one["request_id"] for one in made["requests"]]
    path = f"/jobs/{made['job_id']}"
    waiting = await page(master, path)
    assert '<span class="state pending">waiting</span>' in waiting
    # by events, by asking again where nobody tells, and without scripts
    assert 'data-events="/self-serve/main/events"' in waiting
    assert '<meta http-equiv="refresh"' in waiting
    # the job request itself has ended: what it made is another matter
    assert '<span class="state job-ok">done</span></h1>' in waiting
    assert followed(waiting) == "Builds: 1 waiting Notify me"
    master.resume()
    await master.completed(request)
    over = await page(master, path)
    assert '<span class="state success">passed</span>' in over
    assert '<span class="state job-ok">done</span></h1>' in over
    assert followed(over) == "Builds: 1 passed"
    assert 'http-equiv="refresh"' not in over
    assert "data-events" not in over


@pytest_twisted.ensureDeferred
async def test_the_page_of_a_job_follows_no_requests_of_others(master: Master) -> None:
    master.pause()
    request = await master.add_request("fast")
    told = {"reason": "the lab moves", "expires": int(time.time()) + 3600}
    for method, path, data in (
        ("PUT", f"/main/request/{request}", {"priority": 3}),
        ("PUT", "/main/hold", told),
        ("DELETE", "/main/hold", {}),
    ):
        done = await send(master, method, path, **data)
        html = await page(master, f"/jobs/{done['job_id']}")
        assert '<span class="state job-ok">done</span></h1>' in html
        # the table says that it waits
        assert '<span class="state pending">waiting</span>' in html
        for following in ("followed", "Notify me", "updates itself", "refresh", "data-events"):
            assert following not in html, (method, path)


def test_what_was_only_tried_was_not_done() -> None:
    def words(action: str, status: str, outcome: str) -> list[str]:
        mention = JobMention(1, action, "ada", 1, status, "main", {}, outcome)
        return [text for text, _ in words_of.done_to_row([mention])]

    assert words("cancel_revision", "ok", "denied") == []
    assert words("cancel_request", "ok", "already_complete") == []
    assert words("cancel_request", "failed", "") == []
    assert words("rebuild_build", "failed", "") == []
    assert words("rebuild_build", "ok", "") == ["Rebuilt"]
    assert words("cancel_revision", "ok", "stop_sent") == ["Told to stop"]
