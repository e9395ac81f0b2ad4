"""What pages of other sites can do with the session of somebody who looks at them, in a browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.parse import unquote

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page
from playwright.sync_api import expect

from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import ProcessMaster

#: Asks with the visitor's own credentials, and says what it could read of the answer.
ASK = """async ([url, options]) => {
    try {
        const answer = await fetch(url, {credentials: "include", ...options});
        return {
            type: answer.type,
            status: answer.status,
            location: answer.headers.get("Location"),
            text: await answer.text(),
        };
    } catch (error) {
        return {error: error.name};
    }
}"""
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _Elsewhere(BaseHTTPRequestHandler):
    """Serves a page of another site; its query is the body."""

    def do_GET(self) -> None:
        body = unquote(self.path.partition("?")[2])
        page = f"<!DOCTYPE html><title>Elsewhere</title>{body}".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *arguments: Any) -> None:
        pass


@dataclass
class Sites:
    """A master, and a server that has two names.

    :param friend: the origin of that server which ``allowed_origins`` names; *foe* the one that
        it does not, on another site
    """

    master: ProcessMaster
    friend: str
    foe: str
    request_id: int

    def untouched(self) -> bool:
        """Whether nothing was asked for, and the request still waits."""
        request = self.master.data(f"buildrequests/{self.request_id}")["buildrequests"][0]
        return self.master.get("/jobs") == [] and not request["complete"]


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[Sites]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    friend, foe = f"http://127.0.0.1:{port}", f"http://localhost:{port}"
    more = f"""
c["www"]["allowed_origins"] = [c["buildbotURL"].rstrip("/"), {friend!r}]
"""
    master = ProcessMaster(tmp_path, more=more)
    master.start()
    try:
        master.force("slow")
        master.until(lambda: master.data("builds")["builds"], "one runs, so that the other waits")
        waiting = master.force("slow")
        yield Sites(master, friend, foe, waiting)
    finally:
        master.kill()
        server.shutdown()
        server.server_close()


@pytest.fixture
def page(browser: Browser, sites: Sites) -> Iterator[Page]:
    """Return a page of somebody who has logged in at the master."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(sites.master.url.replace("//", f"//{USER}:{PASSWORD}@") + "/auth/login")
    assert [one["name"] for one in context.cookies()] == ["TWISTED_SESSION"]
    yield page
    context.close()


def ask(page: Page, url: str, method: str = "GET", **options: Any) -> Any:
    """Return what a script on *page* could read of an answer, or the kind of its error."""
    return page.evaluate(ASK, [url, {"method": method, **options}])


def elsewhere(origin: str, body: str) -> str:
    """Return the URL of a page with *body* at *origin*."""
    return f"{origin}/?{quote(body)}"


def at(sites: Sites) -> str:
    return f"{sites.master.url}/self-serve/main/request/{sites.request_id}"


def test_a_form_elsewhere_is_refused_though_the_session_comes_along(
    page: Page, sites: Sites
) -> None:
    form = (
        f'<form method="post" action="{at(sites)}"><input name="_method" value="DELETE">'
        "<button>Win a prize</button></form>"
    )
    page.goto(elsewhere(sites.foe, form))
    page.get_by_role("button").click()
    expect(page.get_by_text("Cross-site request")).to_be_visible()
    assert page.url == at(sites)
    assert sites.untouched()


def test_a_script_elsewhere_can_neither_act_nor_read(page: Page, sites: Sites) -> None:
    page.goto(elsewhere(sites.foe, "a page"))
    refused = {"error": "TypeError"}
    for form in (at(sites), f"{at(sites)}?format=json"):
        # simple requests, which are sent before the browser looks at the answer
        assert ask(page, form, "POST", body="_method=DELETE", headers=FORM) == refused
        assert ask(page, form, "POST", body="_method=PUT&priority=9", headers=FORM) == refused
    assert ask(page, at(sites), "DELETE") == refused
    assert ask(page, at(sites), "PUT", body='{"priority": 9}') == refused
    assert ask(page, f"{sites.master.url}/self-serve/branches") == refused
    blind = ask(page, at(sites), "POST", body="_method=DELETE", headers=FORM, mode="no-cors")
    assert blind == refused
    assert sites.untouched()


def test_a_script_of_an_allowed_origin_acts_and_reads(page: Page, sites: Sites) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on(
        "requestfailed", lambda request: complaints.append(f"{request.method}: {request.failure}")
    )
    page.goto(elsewhere(sites.friend, "a page"))
    json_form = {**FORM, "Accept": "application/json"}
    # with a question beforehand
    headers = {
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Idempotency-Key": "once",
    }
    sooner = ask(page, at(sites), "PUT", body='{"priority": 9}', headers=headers)
    assert sooner.get("status") == 202, (sooner, complaints)
    # as the dashboards of old: without one
    answer = ask(page, at(sites), "POST", body="_method=DELETE", headers=json_form)
    assert (answer["status"], answer["location"]) == (202, "/self-serve/jobs/2")
    assert json.loads(answer["text"])["requests"][0]["outcome"] == "cancelled"
    # a refusal can be read, too
    missing = ask(page, f"{at(sites)}99", "DELETE", headers={"Accept": "application/json"})
    assert missing["status"] == 404
    assert json.loads(missing["text"])["status"] == "FAILED"
    jobs = sites.master.get("/jobs")
    assert [(job["who"], job["via"], job["action"]) for job in jobs] == [
        (USER, "session", "cancel_request"),
        (USER, "session", "reprioritize"),
    ]


def test_nobody_can_frame_us(page: Page, sites: Sites) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    for origin in (sites.foe, sites.friend):
        for path in ("/self-serve", "/self-serve/main/new", "/self-serve/no/where"):
            complaints.clear()
            page.goto(elsewhere(origin, f'<iframe src="{sites.master.url}{path}"></iframe>'))
            page.wait_for_load_state("networkidle")
            assert any("frame-ancestors 'none'" in text for text in complaints), complaints
            assert not any(frame.url.startswith(sites.master.url) for frame in page.frames)
    # what is framed otherwise is there
    page.goto(elsewhere(sites.foe, f'<iframe src="{sites.friend}/?hello"></iframe>'))
    expect(page.frame_locator("iframe").get_by_text("hello")).to_be_visible()
