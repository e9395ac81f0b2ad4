"""A browser for the tests that need one: the Chromium of this machine."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser
from playwright.sync_api import Page
from playwright.sync_api import Playwright
from playwright.sync_api import expect
from playwright.sync_api import sync_playwright

from demo.chromium import CHROMIUM
from demo.chromium import WITHOUT_A_WINDOW
from demo.chromium import find
from tests import PATIENCE
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

# else Playwright waits for five seconds, which a busy machine may take
expect.set_options(timeout=PATIENCE * 1000)

#: It runs in CI as root, where its sandbox does not; and it looks nothing up for itself.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


#: Somebody who can log in, and may do nothing.
BOB = "bob"
#: A name in which no line can be broken, of a branch and of its builder.
LONG = "_".join(["lengthy"] * 10)
#: What a step prints that fails: each colour before and behind the text, a line that is too long.
PRINTED = (
    "for code in 1 2 3 4 7 9 30 31 32 33 34 35 36 37 40 41 42 43 44 45 46 47 90 91 92 93 94 95 96"
    " 97 100 101 102 103 104 105 106 107; do printf '\\\\033[%smcolour %s\\\\033[0m ' $code $code;"
    " [ $code -gt 89 ] || echo; done; echo; printf 'long %0600d\\\\n' 1; echo failed >&2; exit 1"
)
#: At the end of a master.cfg: a build of this builder outlives all tests.
MORE = f"""
from tests.harness import builder
long = {LONG!r}
c["builders"].append(builder(long))
c["builders"].append(builder("failing", "{PRINTED}"))
c["schedulers"].append(schedulers.Triggerable(name="never", builderNames=["failing"]))
c["schedulers"].append(schedulers.SingleBranchScheduler(
    name="long", builderNames=[long], change_filter=util.ChangeFilter(branch=long)))
c["builders"][1] = builder("slow", "sleep 3600")
c["www"]["auth"] = util.UserPasswordAuth({{{USER!r}: {PASSWORD!r}, {BOB!r}: {PASSWORD!r}}})
c["www"]["authz"] = util.Authz(
    allowRules=[util.SelfServeEndpointMatcher(role="developers")],
    roleMatchers=[util.RolesFromUsername(roles=["developers"], usernames=[{USER!r}])])
"""

#: Keeps what is told, and tells it nevertheless.
RECORDER = """
window.told = [];
const Real = window.Notification;
window.Notification = class extends Real {
  constructor(title, options) { super(title, options); window.told.push([title, options.body]); }
};
"""


def notified(page: Page, url: str) -> Page:
    """Let *page* notify whoever looks at a master, and keep in ``window.told`` what it tells."""
    page.context.grant_permissions(["notifications"], origin=url)
    page.add_init_script(RECORDER)
    return page


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Run a browser; each test makes contexts of its own, so that none finds another's login."""
    yield from _run(playwright, WITHOUT_A_WINDOW)


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Run the browser that people have, which notifies them and paints as theirs does."""
    yield from _run(playwright, CHROMIUM)


def _run(playwright: Playwright, names: tuple[str, ...]) -> Iterator[Browser]:
    path = find(names)
    if path is None:
        # in CI nothing may be left out
        assert not os.environ.get("CI"), "Chromium is not installed"
        pytest.skip("Chromium is not installed: the pages were not tried in a browser")
    running = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
    yield running
    running.close()


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Furnished]:
    """Run a master that has something on every page; the tests of a module look at the same one."""
    master = ProcessMaster(tmp_path_factory.mktemp("furnished"), more=MORE)
    master.start()
    yield Furnished(master)
    master.stop()


class Furnished:
    """A master with builds of every state at one revision, and with jobs in its journal.

    :ivar places: paths of its pages, by name
    """

    def __init__(self, master: ProcessMaster) -> None:
        self.master = master
        first = master.force("fast")
        _, receipt = master.send("POST", "/self-serve/main/request", request_id=first, count=8)
        last = receipt["requests"][-1]["request_id"]
        master.until(lambda: self._request(last)["complete"], "fast is built")
        self.running = master.force("slow")
        self.build = master.until(self._running_build, "slow runs")
        # what self-serve asks for is not collapsed
        _, receipt = master.send(
            "POST", "/self-serve/main/request", request_id=self.running, count=2
        )
        self.pending, gone = (one["request_id"] for one in receipt["requests"])
        status, receipt = master.send("DELETE", f"/self-serve/main/request/{gone}")
        assert status == 202, receipt
        master.send("PUT", f"/self-serve/main/request/{self.pending}", priority=3)
        # what has ended cannot be cancelled, and a set that is empty cannot be built
        _, done = master.send("DELETE", f"/self-serve/main/request/{first}")
        master.send("POST", f"/self-serve/main/rev/{REVISION}/pgo")
        refused = master.get("/jobs")[0]
        good = "b" * 40
        master.send("POST", f"/self-serve/main/builders/fast/{good}")
        _, receipt_failed = master.send("POST", f"/self-serve/main/builders/failing/{'f' * 40}")
        failing = receipt_failed["requests"][0]["request_id"]
        master.until(lambda: self._request(failing)["complete"], "a build has failed")
        (failed,) = self._request(failing)["build_ids"]
        running, ended = (self._bisect(one, good) for one in ("slow", "failing"))
        at = f"/main/rev/{REVISION}"
        self.places = {
            "root": "",
            "api": "/api",
            "search": "/search?q=e",
            "empty search": "/search?q=nothing+has+this+in+its+name",
            "branches": "/branches",
            "found revision": f"/branches?revision={REVISION[:8]}",
            "unfound revision": "/branches?revision=123456",
            "pushes": "/main/pushes",
            "no pushes": "/main/pushes?author=nobody",
            "user's pushes": f"/user/{USER}/pushes",
            "queue of a branch": "/main/pending",
            "failed revision": f"/main/rev/{'f' * 40}",
            "day": "/main",
            "empty day": "/main?date=2020-02-02",
            "builders": "/main/builders",
            "permissions": "/main/permissions",
            "revision": at,
            "is_done": f"{at}/is_done",
            "new": f"/main/new?revision={REVISION}",
            "unknown revision": "/main/new?revision=never-seen",
            "running build": f"/main/build/{self.build}",
            "finished build": "/main/build/1",
            "failed build": f"/main/build/{failed}",
            "pending request": f"/main/request/{self.pending}",
            "cancelled request": f"/main/request/{gone}",
            "why": f"/main/request/{self.pending}/why",
            "queue": "/pending",
            "branch queue": "/main/pending",
            "user": f"/main/user/{USER}",
            "unknown user": "/main/user/nobody",
            "journal": "/jobs",
            "filtered journal": "/jobs?who=nobody&since=2026-01-01",
            "empty journal": "/jobs?offset=1000",
            "holds": "/main/hold",
            "bisection": f"/main/bisect/{running}",
            "ended bisection": f"/main/bisect/{ended}",
            "job": f"/jobs/{receipt['job_id']}",
            "job for nothing": f"/jobs/{done['job_id']}",
            "failed job": f"/jobs/{refused['job_id']}",
            "missing branch": "/mian",
            "missing revision": "/main/rev/123456",
            "missing build": "/main/build/4711",
            "missing job": "/jobs/4711",
            "bad parameter": "/main?date=yesterday",
        }

    def url(self, name: str) -> str:
        return f"{self.master.url}/self-serve{self.places[name]}"

    def _bisect(self, builder: str, good: str) -> int:
        """Begin a bisection; return its id."""
        fields = {"builder_name": builder, "revision": "f" * 40, "good": good}
        status, receipt = self.master.send("POST", "/self-serve/main/bisect", **fields)
        assert status == 202, receipt
        return int(receipt["job_id"])

    def _request(self, request_id: int) -> Any:
        return self.master.get(f"/main/request/{request_id}")

    def _running_build(self) -> int | None:
        ids: list[int] = self._request(self.running)["build_ids"]
        return ids[0] if ids else None


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open pages of one's own, which must have nothing to complain of."""
    contexts = []
    complaints: list[str] = []

    def open_one(within: Browser = browser, **more: Any) -> Page:
        context = within.new_context(**more)
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda told: complaints.append(f"{told.text} {told.location}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    for context in contexts:
        context.close()
    # pages that are errors are told of as resources that failed
    assert [one for one in complaints if "Failed to load resource" not in one] == []


def log_in(page: Page, url: str, user: str = USER) -> None:
    """Give *page* a session of Buildbot's, without its login page."""
    words = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
    answer = page.request.get(f"{url}/auth/login", headers={"Authorization": f"Basic {words}"})
    assert answer.ok
