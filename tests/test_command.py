"""The command ``selfserve``, as people and scripts run it, against a master of its own process."""

from __future__ import annotations

import datetime
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import urlsplit

import click
import pytest
from rich.cells import cell_len

from buildbot_selfserve.client.command import selfserve
from tests import PATIENCE
from tests import zygote
from tests.harness import PASSWORD
from tests.harness import USER
from tests.ports import free_port
from tests.process_master import REVISION
from tests.process_master import ProcessMaster
from tests.unreliable import DONE_BUT_LOST
from tests.unreliable import LOST
from tests.unreliable import Fault
from tests.unreliable import Unreliable
from tests.unreliable import unreliable
from tests.zygote import SELFSERVE

DONE, FAILED, USAGE, TIMED_OUT, REFUSED, NOT_NOW, NOT_FOUND = range(7)

#: A builder that fails, sets, and two users: one may not stop builds, the other one may not hold.
MORE = """
from tests.harness import builder
from buildbot.plugins import schedulers, util
c["builders"].append(builder("broken", "false"))
c["schedulers"].append(schedulers.Triggerable(name="others", builderNames=["broken"]))
c["www"]["auth"] = util.UserPasswordAuth({"ada": "analytical", "bob": "builder"})
c["www"]["authz"] = util.Authz(
    allowRules=[util.StopBuildEndpointMatcher(role="admins"),
                util.SelfServeEndpointMatcher(role="holders", action="hold")],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["ada"]),
                  util.RolesFromUsername(roles=["holders"], usernames=["bob"])])
token = util.SelfServeToken("ci", "a token of forty characters or so, no blank".replace(" ", "-"),
    actions=["new_build_for_builder"], branches=["main"])
c["www"]["plugins"]["selfserve"] = util.SelfServe(tokens=[token], branches=[
    util.SelfServeBranch(
        "main", builders=["fast", "slow", "broken"],
        sets={"nightly": ["fast", "broken"], "weekly": ["fast"]}),
    util.SelfServeBranch("feature/x", branch="main")])
"""


#: The last columns of a table that may be as wide as it likes.
END = ("BASE",)
TOKEN = "a-token-of-forty-characters-or-so,-no-blank"


@dataclass
class Ran:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs the command with the environment of somebody who may do everything."""

    def __init__(self, master: ProcessMaster, home: Path) -> None:
        self.master = master
        self.environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "SELFSERVE_URL": f"http://127.0.0.1:{master.port}/self-serve",
            "SELFSERVE_USER": USER,
            "SELFSERVE_PASSWORD": PASSWORD,
        }

    def __call__(self, *arguments: str, **environment: str | None) -> Ran:
        merged = {**self.environment, **environment}
        done = zygote.run(
            [SELFSERVE, *arguments],
            env={name: value for name, value in merged.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def into(self, output: int, *arguments: str) -> tuple[int, str]:
        """Run it as users do, with this file for its output; return its status and its errors."""
        done = subprocess.run(
            [SELFSERVE, *arguments],
            env=self.environment,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=PATIENCE,
        )
        return done.returncode, done.stderr

    def ok(self, *arguments: str) -> Any:
        """Run it with ``--json``; return that."""
        ran = self(*arguments, "--json")
        assert ran.status == DONE, ran
        return ran.json

    def build(self, builder: str, revision: str) -> int:
        """Have a revision built; return the id of the build once it has begun."""
        _, receipt = self.master.send("POST", f"/self-serve/main/builders/{builder}/{revision}")
        (request,) = receipt["requests"]
        path = f"/main/request/{request['request_id']}"
        found = self.master.until(lambda: self.master.get(path)["build_ids"], "it is built")
        return int(found[0])

    def settled(self, revision: str) -> Any:
        """Return the rows at a revision once everything there has ended."""
        path = f"/main/rev/{revision}"
        done = f"{path}/is_done?stableDelay=0"
        self.master.until(lambda: self.master.get(done)["job_complete"], "it is done")
        return self.master.get(path)


@pytest.fixture(scope="module")
def running(tmp_path_factory: Any) -> Iterator[ProcessMaster]:
    """Run one master for all tests that do not break it."""
    running = ProcessMaster(tmp_path_factory.mktemp("master"), more=MORE)
    running.start()
    running.force("fast")
    yield running
    running.stop()


@pytest.fixture
def shell(running: ProcessMaster, tmp_path: Path) -> Shell:
    return Shell(running, tmp_path)


@pytest.fixture
def proxy(running: ProcessMaster) -> Iterator[Unreliable]:
    with unreliable(running.port) as one:
        yield one


def revision(letter: str) -> str:
    """Return a revision that no other test builds."""
    return letter * 40


# -- what is asked


def test_branches_builders_and_rows(shell: Shell) -> None:
    assert shell.ok("branches")["main"]["graph_branches"] == ["main"]
    assert "broken" in shell.ok("builders", "main")
    build_id = shell.build("fast", revision("1"))
    shell.settled(revision("1"))
    (row,) = shell.ok("rev", "main", "111111")
    assert (row["build_id"], row["revision"]) == (build_id, revision("1"))
    assert row in shell.ok("builds", "main")
    assert row in shell.ok("user", "main", USER)["builds"]
    assert shell.ok("builds", "main", "--date", "2001-01-01") == []
    assert len(shell.ok("builds", "main", "--limit", "1")) == 1


def test_what_one_may_do_with_some_builders(shell: Shell) -> None:
    one = ("permissions", "main", "--builders", "fa*", "--builders", "broken", "--exclude", "b*")
    found = shell.ok(*one)
    assert (found["builders"], found["who"]) == (["fast"], USER)
    head, *lines = shell(*one).out.splitlines()
    assert head.split() == ["ACTION", "ALLOWED", "NOTE"]
    assert ["Change", "priority", "yes"] in [line.split() for line in lines]
    words = [re.split("  +", line)[0] for line in lines]
    assert {"Rerun what failed", "Fill in what is missing", "Build the set pgo"} <= set(words)
    assert shell("permissions", "main", "--builders", "nothing*").status == 6


def test_a_slash_in_a_branch_is_a_part_of_its_name(shell: Shell) -> None:
    assert shell.ok("builders", "feature/x")
    assert {row["branch"] for row in shell.ok("builds", "feature/x")} == {"feature/x"}


def test_tables_are_plain_where_there_is_no_terminal(shell: Shell) -> None:
    build_id = shell.build("fast", revision("2"))
    shell.settled(revision("2"))
    ran = shell("rev", "main", revision("2"))
    head, line = ran.out.splitlines()
    assert head.split() == [
        "BUILD", "REQUEST", "BUILDER", "REVISION", "STATE", "SINCE", "TOOK", "OWNER"
    ]  # fmt: skip
    words = line.split()
    assert (words[0], words[2:5]) == (str(build_id), ["fast", "222222222222", "passed"])
    assert words[-1] == USER
    assert "\x1b" not in ran.out
    assert all(line == line.rstrip() for line in ran.out.splitlines())


def test_what_the_output_cannot_write_is_written_in_other_words(
    shell: Shell, proxy: Unreliable
) -> None:
    receipt = {"status": "OK", "msg": "Gr\u00fcn \u2192 a", "job_id": 1}
    receipt |= {"requests": [], "buildset_ids": []}
    proxy.faults = [Fault(202, {}, json.dumps(receipt).encode())]
    ascii_only = {"PYTHONIOENCODING": "ascii:strict", "SELFSERVE_URL": proxy.url}
    ran = shell("build", "main", revision("e"), **ascii_only)
    assert (ran.status, ran.out) == (DONE, "Gr\\xfcn \\u2192 a (job 1)\n")
    proxy.faults = [Fault(400, {}, '{"msg": "Grün"}'.encode())]
    ran = shell("build", "main", revision("e"), **ascii_only)
    assert (ran.status, ran.err) == (NOT_FOUND, "selfserve: Gr\\xfcn\n")


def test_a_terminal_gets_colours_and_no_orders_from_others(shell: Shell, proxy: Unreliable) -> None:
    shell.build("fast", revision("3"))
    (row,) = shell.settled(revision("3"))
    row["buildername"] = "\x1b[31mred\x07\u202e"
    proxy.always = Fault(200, {}, json.dumps([row]).encode())
    rev = ("--url", proxy.url, "rev", "main", revision("3"))
    assert "\x1b" not in shell(*rev).out
    assert " \ufffd[31mred\ufffd\ufffd " in shell(*rev).out
    shown = in_terminal(shell, *rev)
    assert "\x1b[32mpassed\x1b[0m" in shown
    assert "\x1b[31m" not in shown
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", in_terminal(shell, *rev, NO_COLOR="1"))


NAME = "linux-x86_64-clang-19-release-and-some-more-words-of-its-name"
OWNER = "ada.lovelace.countess.of.the.engine@example.org"


@pytest.mark.parametrize("columns", [80, 100])
def test_tables_fit_the_terminal_and_break_no_word(
    shell: Shell, proxy: Unreliable, columns: int
) -> None:
    at = f"{columns:040}"  # built by no other test
    shell.build("fast", at)
    (row,) = shell.settled(at)
    request = {**row["requests"][0], "owner": OWNER}
    row.update(buildername=NAME, revision="テスト" * 20, requests=[request])
    proxy.always = Fault(200, {}, json.dumps([row]).encode())
    rev = ("--url", proxy.url, "rev", "main", at)
    head, line = terminal_lines(shell, *rev, columns=columns)
    assert cell_len(head) <= columns
    assert cell_len(line) <= columns
    words = line.split()
    assert words[:2] == [str(row["build_id"]), str(row["requests"][0]["request_id"])]
    assert re.fullmatch("linux-.*…", words[2])
    assert "passed" in words
    # whole where it is asked for, and where nobody reads it on a screen
    in_colours = shell(*rev, FORCE_COLOR="1").out
    for whole in (in_terminal(shell, *rev, "--wide"), shell(*rev).out, in_colours):
        assert NAME in whole
        assert OWNER in whole


def test_long_lines_are_broken_between_words(shell: Shell, proxy: Unreliable) -> None:
    outcome = {
        "request_id": 1,
        "buildername": NAME,
        "outcome": "already_complete",
        "build_ids": [1],
        "url": "https://ci.example.org/#/buildrequests/1",
        "msg": f"scheduler {NAME} failed",
    }
    receipt = {"status": "OK", "msg": "so it was " * 12, "request_id": 1, "job_id": 1}
    receipt |= {"requests": [outcome], "buildset_ids": [1]}
    proxy.always = Fault(202, {}, json.dumps(receipt).encode())
    lines = terminal_lines(shell, "--url", proxy.url, "build", "main", revision("e"), columns=80)
    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[0].endswith(("so", "it", "was"))
    assert "URL" not in " ".join(lines)
    job = {
        "job_id": 1,
        "when": 1764300000,
        "who": OWNER,
        "via": "basic",
        "remote": "",
        "action": "new_build_at_revision",
        "branch": NAME,
        "what": {},
        "status": "ok",
        "completed_at": 1764300000,
        "complete_data": {"body": {"errors": False, "msg": "a b " * 40}, "request_id": 1},
    }
    proxy.always = Fault(200, {}, json.dumps([job]).encode())
    lines = terminal_lines(shell, "--url", proxy.url, "jobs", columns=80)
    assert [cell_len(line) <= 80 for line in lines] == [True, True]


def terminal_lines(shell: Shell, *arguments: str, columns: int) -> list[str]:
    """Return the lines that a terminal of so many *columns* shows, without their colours."""
    shown = in_terminal(shell, *arguments, COLUMNS=str(columns))
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines()]


def in_terminal(shell: Shell, *arguments: str, **environment: str) -> str:
    """Run the command in a terminal of 120 columns; return what that was sent."""
    ours, theirs = pty.openpty()
    process = zygote.Popen(
        [SELFSERVE, *arguments],
        env={**shell.environment, "TERM": "xterm", "COLUMNS": "120", **environment},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the last of its ends is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    process.wait(PATIENCE)
    return shown.decode()


# -- what is done


def test_rebuild_cancel_and_the_journal(shell: Shell) -> None:
    build_id = shell.build("slow", revision("4"))
    receipt = shell.ok("cancel", "main", "--build", str(build_id))
    assert [one["outcome"] for one in receipt["requests"]] == ["stopped"]
    receipt = shell.ok("rebuild", "main", "--build", str(build_id), "--count", "2")
    made = [str(one["request_id"]) for one in receipt["requests"]]
    assert len(made) == 2
    ran = shell("cancel", "main", "--request", made[1])
    assert ran.status == DONE
    assert re.search(rf"^{made[1]} +slow +(cancelled|stopped)", ran.out, re.MULTILINE)
    shell.ok("rebuild", "main", "--request", made[0], "--priority", "-3", "--same-revision")
    receipt = shell.ok("cancel", "main", "--revision", revision("4"))
    assert len(receipt["requests"]) == 2
    journal = shell.ok("jobs", "--who", USER, "--num", "2", "--since", "2026-01-01")
    assert [job["action"] for job in journal] == ["cancel_revision", "rebuild_request"]
    assert journal[1]["what"]["priority"] == -3
    assert journal[1]["what"]["same_revision"] is True
    assert shell.ok("jobs", "--until", "1") == []
    ran = shell("job", str(journal[1]["job_id"]))
    assert (ran.status, ran.err) == (DONE, "")
    assert f"Rebuild a request, by {USER} (basic)" in ran.out
    assert "  Cancel everything  " in shell("jobs", "--action", "cancel", "--num", "1").out
    assert shell.ok("jobs", "--action", "Cancel every", "--num", "1") == journal[:1]
    assert "  Priority: -3" in ran.out


def test_a_day_of_the_journal_is_a_whole_day_of_the_server(shell: Shell, proxy: Unreliable) -> None:
    shell("jobs", "--since=2026-11-24", "--until=2026-11-24", SELFSERVE_URL=proxy.url)
    shell("jobs", "--since=2026-11-24T10:30+00:00", "--until=5", SELFSERVE_URL=proxy.url)
    days, times = (parse_qs(urlsplit(one.path).query) for one in proxy.seen)
    assert (days["since"], days["until"]) == (["2026-11-24"], ["2026-11-24"])
    assert (times["since"], times["until"]) == (["1795516200"], ["5"])


def test_reprioritize_takes_a_negative_priority(shell: Shell) -> None:
    running_id = shell.build("slow", revision("5"))
    receipt = shell.ok("build", "main", revision("5"), "--builder", "slow")
    (waiting,) = receipt["requests"]
    request_id = str(waiting["request_id"])
    receipt = shell.ok("reprioritize", "main", "--request", request_id, "-7")
    assert [one["outcome"] for one in receipt["requests"]] == ["reprioritized"]
    why = shell.ok("why", "main", request_id)
    assert why["reasons"][0]["code"] == "workers_busy"
    told = shell("why", "main", request_id).out
    assert told.startswith(f"Request {request_id}: waiting, number 1 of its builder\nWorker")
    for branch in ((), ("main",)):
        waiting = shell.ok("queue", *branch, "--builders", "sl*")
        assert [str(one["request_id"]) for one in waiting["requests"]] == [request_id]
        told = shell("queue", *branch, "--builders", "sl*").out
        assert told.startswith("1 waiting, the oldest for ")
        assert f"\n{request_id} " in told
    assert shell("queue", "--exclude", "slow").out == "Nothing waits.\n"
    rows = shell.ok("rev", "main", revision("5"))
    assert [row["priority"] for row in rows if "build_id" not in row] == [-7]
    receipt = shell.ok("reprioritize", "main", "--request", request_id, "next")
    assert receipt["msg"] == f"Request {request_id} has priority -6"
    receipt = shell.ok("reprioritize", "main", "--revision", revision("5"), "-5", "--builders", "*")
    assert request_id in [str(one["request_id"]) for one in receipt["requests"]]
    ran = shell("reprioritize", "main", "--request", request_id, "last")
    assert (ran.status, "must be a whole number or next" in ran.err) == (USAGE, True)
    shell.ok("cancel", "main", "--revision", revision("5"))
    ran = shell("reprioritize", "main", "--request", request_id, "1")
    assert (ran.status, ran.err) == (NOT_FOUND, "selfserve: Request already complete\n")
    assert running_id


def test_properties_and_files_reach_the_build(shell: Shell, running: ProcessMaster) -> None:
    receipt = shell.ok(
        "build", "main", revision("6"), "--builder", "fast", "--property", "mode=a=b c",
        "--property", 'level:={"n": [1]}', "--file", "a.c", "--file", "dir/ü.c", "--priority", "2",
    )  # fmt: skip
    (one,) = receipt["requests"]
    job = shell.ok("job", str(receipt["job_id"]))
    assert job["what"]["files"] == ["a.c", "dir/ü.c"]
    request = running.get(f"/main/request/{one['request_id']}")
    assert request["priority"] == 2
    assert request["properties"]["mode"] == "a=b c"
    assert request["properties"]["level"] == {"n": [1]}


@pytest.mark.parametrize(
    ("arguments", "builders"),
    [
        (("nightly", "main"), {"fast", "broken"}),
        (("set", "main", "weekly"), {"fast"}),
        (("build", "main"), {"fast"}),
    ],
)
def test_sets_and_what_a_push_would_build(
    shell: Shell, arguments: tuple[str, ...], builders: set[str]
) -> None:
    name, branch, *more = arguments
    receipt = shell.ok(name, branch, revision("7"), *more)
    assert {one["buildername"] for one in receipt["requests"]} == builders


def test_what_failed_is_rerun_after_a_look_at_the_plan(
    shell: Shell, running: ProcessMaster
) -> None:
    at = "12" * 20
    for builder in ("broken", "fast"):
        shell.build(builder, at)
    shell.settled(at)
    before = shell.ok("jobs", "--num", "1")
    ran = shell("rerun", "main", at, "--dry-run")
    assert (ran.status, ran.err) == (DONE, "")
    first, head, *lines = ran.out.splitlines()
    told = re.fullmatch(r"1 build would be requested; nothing was done \(plan ([0-9a-f]+)\)", first)
    assert told is not None
    assert head.split() == ["OUTCOME", "BUILDER", "REQUEST", "REVISION", "PRIORITY", "NOTE"]
    assert [line.split() for line in lines] == [["would", "be", "built", "broken", at[:12], "0"]]
    assert shell.ok("jobs", "--num", "1") == before
    # no line breaks on a small terminal
    narrow = terminal_lines(shell, "rerun", "main", at, "--dry-run", columns=80)
    assert all(cell_len(line) <= 80 for line in narrow)
    changed = shell("rerun", "main", at, "--if-plan", "another")
    assert (changed.status, "The plan has changed" in changed.err) == (FAILED, True)
    receipt = shell.ok("rerun", "main", at, "--if-plan", told[1])
    assert [one["buildername"] for one in receipt["requests"]] == ["broken"]
    shell.settled(at)
    options = ("--builders", "b*", "--builders", "fast", "--exclude", "fast", "--count", "2")
    more = ("--property", "level:=3", "--priority", "5", "--states", "failure,warnings")
    plan = shell.ok("rerun", "main", at, *options, *more, "--dry-run")
    assert (plan["status"], [one["priority"] for one in plan["requests"]]) == ("PLANNED", [5, 5])
    receipt = shell.ok("rerun", "main", at, *options, *more)
    assert [one["buildername"] for one in receipt["requests"]] == ["broken"] * 2
    request = running.get(f"/main/request/{receipt['requests'][0]['request_id']}")
    assert (request["properties"]["level"], request["priority"]) == (3, 5)
    shell.settled(at)
    for arguments in (("--states", "cancelled"), ("--builders", "fast")):
        nothing = shell("rerun", "main", at, *arguments)
        assert (nothing.status, nothing.out.startswith("Nothing failed")) == (DONE, True)
    wrong = shell("rerun", "main", at, "--states", "red")
    assert (wrong.status, "--states must be one" in wrong.err) == (NOT_FOUND, True)
    wrong = shell("rerun", "main", at, "--builders", "brokn")
    assert (wrong.status, "similar names: broken" in wrong.err) == (NOT_FOUND, True)


def test_what_is_pending_anyway_is_no_failure_of_a_rerun(shell: Shell) -> None:
    at = "34" * 20
    build_id = shell.build("slow", at)
    shell.ok("cancel", "main", "--build", str(build_id))
    states = ("--states", "cancelled")
    assert shell("rerun", "main", at, *states).status == DONE
    again = shell("rerun", "main", at, *states)
    assert (again.status, "left out" in again.out) == (DONE, True)
    assert shell("cancel", "main", "--revision", at, "--builders", "s*").status == DONE


def test_what_is_missing_is_filled_in(shell: Shell) -> None:
    at = "56" * 20
    shell.build("broken", at)
    shell.settled(at)
    plan = shell.ok("fill", "main", at, "--dry-run")
    assert [one["buildername"] for one in plan["requests"]] == ["fast"]
    assert shell.ok("fill", "main", at, "--exclude", "fast")["requests"] == []
    receipt = shell.ok("fill", "main", at, "--builders", "fast", "--priority", "1")
    assert [one["outcome"] for one in receipt["requests"]] == ["created"]
    shell.settled(at)
    assert shell.ok("fill", "main", at)["requests"] == []


def test_a_backfill_builds_what_is_missing(shell: Shell) -> None:
    for digits in ("91", "92", "93"):
        shell.ok("build", "main", digits * 20)  # with a change, so that it is one of the pushes
        shell.settled(digits * 20)
    bad = ("--revision", "93" * 20, "--force", "--max", "2")
    plan = shell.ok("backfill", "main", "broken", *bad, "--order=newest", "--dry-run")
    assert [one["outcome"] for one in plan["requests"]] == ["would_create"] * 2
    receipt = shell.ok("backfill", "main", "broken", *bad, "--priority=0", "--times", "1")
    assert [one["outcome"] for one in receipt["requests"]] == ["created"] * 2
    twice = shell("backfill", "main", "broken", "--revision", "93" * 20, "--good", "91" * 20)
    assert (twice.status, twice.out.count("  left out  ")) == (DONE, 1)
    assert "REVISION" in twice.out


def test_a_bisection_is_begun_followed_and_stopped(shell: Shell) -> None:
    good, bad = "81" * 20, "83" * 20
    for digits in (good, "82" * 20, bad):
        shell.ok("build", "main", digits)
        shell.settled(digits)
    ends = ("main", "slow", "--revision", bad, "--good", good)
    plan = shell.ok("bisect", *ends, "--confirm=0", "--dry-run")
    assert [one["outcome"] for one in plan["requests"]] == ["would_create"]
    job = shell.ok("bisect", *ends, "--confirm=0", "--property=mode=full", "--max", "5")["job_id"]
    shown = shell("bisection", "main", str(job))
    assert (shown.status, shown.out.startswith("looking for it: ")) == (TIMED_OUT, True)
    assert "82828282" in shown.out
    waited = shell("bisect", *ends, "--confirm=0", "--property=mode=full", "--max=5", "--wait=1")
    assert (waited.status, f"(job {job})" in waited.out) == (TIMED_OUT, True)
    assert shell("bisection", "main", str(job), "--dry-run").status == USAGE
    shell.ok("bisection", "main", str(job), "--stop")
    shown = shell("bisection", "main", str(job), "--wait=5")
    assert (shown.status, shown.out.startswith("cancelled: ")) == (FAILED, True)


def test_a_rebuild_changes_properties(shell: Shell, running: ProcessMaster) -> None:
    receipt = shell.ok(
        "build", "main", "78" * 20, "--builder=fast", "--property=mode=quick", "--property=gone=1"
    )
    (made,) = receipt["requests"]
    request_id = str(made["request_id"])
    plan = shell.ok("rebuild", "main", "--request", request_id, "--without", "gone", "--dry-run")
    assert [one["outcome"] for one in plan["requests"]] == ["would_create"]
    receipt = shell.ok(
        "rebuild", "main", "--request", request_id, "--property", "mode=full", "--without", "gone"
    )
    request = running.get(f"/main/request/{receipt['requests'][0]['request_id']}")
    assert (request["properties"]["mode"], "gone" in request["properties"]) == ("full", False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("rebuild", "main", "--build", "1"),
        ("cancel", "main", "--build", "1"),
        ("cancel", "main", "--revision", REVISION, "--builders", "*"),
        ("build", "main", REVISION),
        ("build", "main", REVISION, "--builders", "f*", "--property", "a=b", "--file", "a.c"),
        ("build", "main", REVISION, "--builder", "broken"),
        ("nightly", "main", REVISION, "--exclude", "broken"),
        ("set", "main", REVISION, "weekly"),
        ("fill", "main", REVISION),
        ("backfill", "main", "fast", "--revision", REVISION, "--force"),
        ("rerun", "main", REVISION),
    ],
)
def test_a_dry_run_does_nothing(shell: Shell, arguments: tuple[str, ...]) -> None:
    running = shell.ok("jobs", "--num", "1")
    rows = shell.ok("rev", "main", REVISION)
    plan = shell.ok(*arguments, "--dry-run")
    assert plan["status"] == "PLANNED"
    assert all(
        one["outcome"].startswith("would_") for one in plan["requests"] if arguments[0] != "cancel"
    )
    assert shell.ok(*arguments, "--dry-run")["plan"] == plan["plan"]
    assert shell.ok("jobs", "--num", "1") == running
    assert shell.ok("rev", "main", REVISION) == rows
    # in a table, too
    assert shell(*arguments, "--dry-run").status == DONE


# -- exit statuses


def test_0_and_1_tell_whether_builds_passed(shell: Shell) -> None:
    wait = ("--stable-delay", "0", "--wait", "20")
    shell.build("fast", revision("8"))
    passed = shell("is-done", "main", revision("8"), *wait)
    assert (passed.status, passed.out) == (
        DONE,
        f"main {revision('8')}: passed (0 waiting, 0 running, 1 ended, 0 failed, 0 cancelled)\n",
    )
    shell.build("broken", revision("8"))
    # it is said once how it ended
    assert "1 ended" not in passed.err
    failed = shell("is-done", "main", revision("8"), *wait)
    assert (failed.status, failed.out) == (
        FAILED,
        f"main {revision('8')}: failed (0 waiting, 0 running, 2 ended, 1 failed, 0 cancelled)\n"
        "failing: broken\n",
    )
    # nobody waits, and by the default of the server it is not done yet
    assert shell("is-done", "main", revision("8")).status == TIMED_OUT


def test_status_tells_builder_by_builder_whether_a_revision_is_good(shell: Shell) -> None:
    at = "71" * 20
    build_id = shell.build("fast", at)
    shell.settled(at)
    passed = shell("status", "main", at)
    assert passed.status == DONE
    assert passed.out.startswith(f"main {at}: passed (1 passed")
    broken_id = shell.build("broken", at)
    shell.settled(at)
    failed = shell("status", "main", at[:8])
    assert failed.status == FAILED
    first, head, *lines = failed.out.splitlines()
    assert first.startswith(f"main {at}: failed (1 failed, ")
    assert head.split() == ["BUILDER", "STATE", "CHANGE", "BUILDS", "BUILD", "FAILED", "IN", *END]
    # what needs attention comes first
    assert lines[0].split()[:2] == ["broken", "failed"]
    assert str(broken_id) in lines[0].split()
    assert str(build_id) in next(line for line in lines if line.startswith("fast")).split()
    found = shell("status", "main", at, "--base", at, "--json")
    assert (found.status, found.json["base"]) == (FAILED, at)
    assert found.json["counts"]["failed"] == 1
    running = shell.build("slow", at)
    waiting = shell("status", "main", at)
    assert (waiting.status, "running" in waiting.out) == (TIMED_OUT, True)
    shell.ok("cancel", "main", "--build", str(running))
    assert shell("status", "main", revision("0")).status == NOT_FOUND
    assert shell("status", "main", at, "--base", "nothing").status == NOT_FOUND
    newest = shell.ok("pushes", "main", "--limit", "1")[0]["revision"]
    assert shell("status", "main", "--json").json["revision"] == newest


def test_pushes_and_the_last_green_one(shell: Shell) -> None:
    good, bad = "51" * 20, "61" * 20
    for at, builder in ((good, "fast"), (bad, "broken")):
        shell.build(builder, at)
        shell.settled(at)
    found = shell.ok("pushes", "main", "--limit", "2")
    assert [(one["revision"], one["verdict"]) for one in found] == [
        (bad, "failed"),
        (good, "passed"),
    ]
    head, *lines = shell("pushes", "main", "--limit", "2").out.splitlines()
    assert head.split() == ["REVISION", "WHEN", "VERDICT", "FAILING", "AUTHOR", "SUBJECT"]
    assert lines[0].split()[0] == bad[:12]
    assert lines[0].split()[-2:] == ["failed", "broken"]
    assert len(lines) == 2
    assert shell.ok("pushes", "main", "--author", "nobody") == []
    assert shell.ok("pushes", "--author", "nobody") == []
    assert shell("last-green", "main").out == f"{good}\n"
    assert shell("last-green", "main", "--builders", "fast").out == f"{good}\n"
    assert shell.ok("last-green", "main", "--builders", "f*", "--max", "7")["distance"] == 1
    none = shell("last-green", "main", "--builders", "broken")
    assert (none.status, none.out) == (NOT_FOUND, "")
    assert "No green revision on branch main" in none.err


def test_without_a_branch_it_is_the_commit_that_is_checked_out(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("status", "pushes"):
        nowhere = shell(command)
        assert (nowhere.status, "Give a BRANCH" in nowhere.err) == (USAGE, True)

    def git(*arguments: str) -> str:
        ran = zygote.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
        return ran.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("commit", "--quiet", "--allow-empty", "--message=one")
    at = git("rev-parse", "HEAD")
    shell.build("fast", at)
    shell.settled(at)
    found = shell("status", "--json")
    assert (found.status, found.json["revision"]) == (DONE, at)
    assert shell.ok("pushes", "--limit", "1")[0]["revision"] == at
    git("checkout", "--quiet", "--detach")
    detached = shell("status")
    assert (detached.status, "Give a BRANCH" in detached.err) == (USAGE, True)


def test_3_tells_that_the_wait_timed_out_and_where_it_stood(shell: Shell) -> None:
    shell.build("slow", revision("9"))
    begun = time.monotonic()
    ran = shell("is-done", "main", revision("9"), "--wait", "2", "--stable-delay", "0")
    took = time.monotonic() - begun
    assert ran.status == TIMED_OUT
    assert 2 <= took < 30
    assert "not done, running (0 waiting, 1 running, 0 ended, 0 failed, 0 cancelled)" in ran.out
    assert ran.err.splitlines() == [
        "selfserve: 0 waiting, 1 running, 0 ended, 0 failed, 0 cancelled",
        "selfserve: Not done after 2 seconds",
    ]
    in_json = shell("is-done", "main", revision("9"), "--wait", "1", "--json")
    assert (in_json.status, in_json.json["running"]) == (TIMED_OUT, 1)
    shown = in_terminal(shell, "is-done", "main", revision("9"), "--wait", "1")
    assert "0 waiting, 1 running, 0 ended" in shown
    shell.ok("cancel", "main", "--revision", revision("9"))


def test_a_wait_ends_when_the_builds_do(shell: Shell) -> None:
    shell.build("slow", revision("a"))
    command = [SELFSERVE, "is-done", "main", revision("a"), "--wait=60", "--stable-delay=0"]
    process = zygote.Popen(
        command, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "1 running" in process.stderr.readline()
    shell.ok("cancel", "main", "--revision", revision("a"))
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == FAILED
    assert "0 waiting, 0 running, 1 ended, 0 failed, 1 cancelled" in out + err


def test_a_revision_that_was_just_pushed_may_appear(shell: Shell) -> None:
    unknown = shell("is-done", "main", revision("b"), "--wait", "20")
    assert (unknown.status, unknown.err) == (
        NOT_FOUND,
        f"selfserve: Revision {revision('b')} not found on branch main\n",
    )
    command = [
        SELFSERVE, "is-done", "main", revision("b"),
        "--wait=30", "--appear=20", "--stable-delay=0",
    ]  # fmt: skip
    process = zygote.Popen(
        command, env=shell.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "not known yet" in process.stderr.readline()
    time.sleep(3)
    shell.build("fast", revision("b"))
    out, err = process.communicate(timeout=PATIENCE * 2)
    assert process.returncode == DONE
    assert "passed" in out
    # said once, however often it looked
    assert "not known yet" not in err
    late = shell("is-done", "main", revision("0"), "--wait", "20", "--appear", "1")
    assert late.status == NOT_FOUND


HOLD = ("hold", "main", "--reason", "a move")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Usage: selfserve"),
        (("rebuild", "main"), "one of --build, --request"),
        (("rebuild", "main", "--build", "1", "--request", "2"), "one of --build, --request"),
        (("cancel", "main"), "one of --build, --request, --revision"),
        (("rebuild", "main", "--build", "x"), "'x' is not a valid integer"),
        (("cancel", "main", "--build", "1", "--tags", "a"), "need --revision"),
        (("build", "main", "r", "--builder=b", "--builders=c*"), "goes without --builders"),
        (("rebuild", "main", "--build=1", "--property=a=1", "--without=a"), "twice"),
        (("build", "main", "r", "--builder", "b", "--property", "a"), "NAME=TEXT"),
        (("build", "main", "r", "--builder", "b", "--property", "a:=b"), "not JSON"),
        (("build", "main", "r", "--builder=b", f"--property=a:={'[' * 50_000}"), "not JSON"),
        (("build", "main", "r", "--builder=b", "--property=a=1", "--property=a=2"), "twice"),
        (("jobs", "--since", "yesterday"), "must be epoch seconds, or like"),
        (("reprioritize", "main", "--request", "1"), "PRIORITY"),
        (("fly",), "No such command"),
        ((*HOLD, "--for", "60d"), "Invalid value for '--for': '60d' is too long: at most 30d"),
        ((*HOLD, "--until", "2020-01-01T00:00"), "must be in the future, at most 30 days from"),
        ((*HOLD, "--until", "2999-01-01T00:00"), "'--until': '2999-01-01T00:00' must be in the"),
    ],
)
def test_2_tells_of_wrong_usage(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    ran = shell(*arguments)
    assert ran.status == USAGE
    assert said in ran.err


def test_2_tells_of_wrong_settings(shell: Shell) -> None:
    ran = shell("branches", SELFSERVE_URL=None)
    assert ran.status == USAGE
    assert "SELFSERVE_URL" in ran.err
    assert shell("branches", SELFSERVE_PASSWORD=None).status == USAGE
    # where others would show a traceback
    ran = shell("branches", SELFSERVE_URL="https://127.0.0.1/", REQUESTS_CA_BUNDLE="/nowhere")
    assert ran.status == USAGE
    assert "/nowhere" in ran.err
    assert len(ran.err.splitlines()) == 1
    ran = shell("branches", HTTP_PROXY="ftp://proxy.invalid")
    assert (ran.status, "proxy" in ran.err) == (USAGE, True)


def test_4_tells_of_a_refusal(shell: Shell) -> None:
    build_id = str(shell.build("slow", revision("c") + "4"))
    cancel = ("cancel", "main", "--build", build_id)
    wrong = shell(*cancel, SELFSERVE_PASSWORD="wrong-password")
    assert (wrong.status, wrong.err) == (
        REFUSED,
        "selfserve: Wrong user name or password (the credentials are those of SELFSERVE_USER)\n",
    )
    nobody = shell(*cancel, SELFSERVE_USER=None, SELFSERVE_PASSWORD=None)
    assert nobody.status == REFUSED
    assert "(run selfserve login, or set SELFSERVE_TOKEN)" in nobody.err
    denied = shell(*cancel, SELFSERVE_USER="bob", SELFSERVE_PASSWORD="builder")
    assert denied.status == REFUSED
    assert "builder" not in denied.err.replace("builders", "")
    assert shell(*cancel).status == DONE


def test_5_tells_that_nobody_answers(shell: Shell) -> None:
    begun = time.monotonic()
    ran = shell("branches", SELFSERVE_URL=f"http://127.0.0.1:{free_port()}")
    assert ran.status == NOT_NOW
    assert "cannot be reached: Connection refused" in ran.err
    # a wrong URL is not tried for as long as a master that restarts
    assert time.monotonic() - begun < 30


def test_5_tells_that_what_answers_speaks_no_tls(shell: Shell, proxy: Unreliable) -> None:
    begun = time.monotonic()
    ran = shell("rebuild", "main", "--build=1", SELFSERVE_URL=proxy.url.replace("http:", "https:"))
    assert ran.status == NOT_NOW
    assert time.monotonic() - begun < 30
    # nothing was sent
    assert "done anyway" not in ran.err


def test_5_tells_that_a_master_takes_no_more(tmp_path: Path) -> None:
    (tmp_path / "master").mkdir()
    limits = "util.SelfServe(limits=util.SelfServeLimits(builds_per_hour=2))"
    more = f'c["www"]["plugins"]["selfserve"] = {limits}\n'
    master = ProcessMaster(tmp_path / "master", more=more)
    master.start()
    try:
        shell = Shell(master, tmp_path)
        master.force("fast")
        shell.build("slow", revision("d"))
        # it says to come back in an hour, which is more than our patience
        too_many = shell("rebuild", "main", "--build", "1", "--count", "2")
        assert (too_many.status, "trying again" in too_many.err) == (NOT_NOW, False)
        assert re.search(r"send it again in \d+ min", too_many.err)
        os.kill(master.pid, signal.SIGUSR1)  # the running build is waited for
        master.until(
            lambda: shell("--patience=0", "build", "main", revision("d")).status == NOT_NOW,
            "it takes no more",
        )
        ran = shell("--patience", "0", "build", "main", revision("d"))
        assert "shutting down" in ran.err
    finally:
        master.kill()


@pytest.mark.heavy
def test_a_wait_goes_on_while_the_master_is_restarted(tmp_path: Path) -> None:
    (tmp_path / "master").mkdir()
    master = ProcessMaster(tmp_path / "master")
    master.start()
    try:
        shell = Shell(master, tmp_path)
        master.force("fast")
        shell.build("slow", revision("d"))
        process = zygote.Popen(
            [SELFSERVE, "is-done", "main", revision("d"), "--wait=90", "--stable-delay=0"],
            env=shell.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        assert "1 running" in process.stderr.readline()
        master.kill()
        time.sleep(5)  # longer than an unknown server is tried for
        assert process.poll() is None
        master.start()
        assert shell("cancel", "main", "--revision", revision("d")).status == DONE
        out, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == FAILED
        assert "0 waiting, 0 running" in out
    finally:
        master.kill()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rev", "nowhere", REVISION), "Branch nowhere not found"),
        (("rev", "main", "fedcba98"), "not found on branch main"),
        (("rebuild", "main", "--build", "99999"), "Build 99999 not found on branch main"),
        (("job", "99999"), "Job 99999 not found"),
        (("builds", "main", "--date", "tomorrow"), "--date must be a day as YYYY-MM-DD"),
        (("build", "main", REVISION, "--builder", "nobody"), "not found on branch main"),
        (("builders", ".."), "cannot be used in a URL"),
    ],
)
def test_6_tells_what_is_not_there_or_not_right(
    shell: Shell, arguments: tuple[str, ...], said: str
) -> None:
    ran = shell(*arguments)
    assert ran.status == NOT_FOUND
    assert said in ran.err
    assert ran.out == ""


#: Arguments, and the beginning of what is said.
MISTAKES = [
    (("rebuild", "main", "--build", "1", "--count", "101"), "--count must be a whole number from"),
    (("rebuild", "main", "--build", "1", "--priority", f"{2**40}"), "--priority must be a whole"),
    (
        ("rebuild", "main", "--build", "1", "--property", "scheduler=x"),
        "--property must give properties without 'scheduler', which is reserved",
    ),
    (("rebuild", "main", "--build", "1", "--key", "ä"), "--key must be visible ASCII"),
    (("rebuild", "main", "--build", "1", "--key", "k" * 300), "--key must be at most 256"),
    (("rebuild", "main", "--build", "1", "--if-plan", ""), "--if-plan must be left out or not"),
    (("reprioritize", "main", "--request", "1", f"{2**40}"), "PRIORITY must be a whole number"),
    (("cancel", "main", "--revision", REVISION, "--builders", "x"), "--builders must be names or"),
    (("queue", "main", "--exclude", "nobody"), "--exclude must be names or patterns"),
    (("rerun", "main", REVISION, "--states", "broken"), "--states must be one or more of failure"),
    (("build", "main", REVISION, "--file", ""), "--file must be at most 1000 strings, each"),
    ((*HOLD, "--for", "1h", "--above", f"{2**40}"), "--above must be a whole number"),
    ((*HOLD[:3], "x" * 300, "--for", "1h"), "--reason must be at most 256 characters long"),
    (("is-done", "main", REVISION, "--stable-delay", f"{2**40}"), "--stable-delay must be a"),
    (("jobs", "--num", "99999"), "--num must be a whole number from 1 to 10000"),
    (("jobs", "--since", "99999999999999"), "--since must be a time in epoch seconds"),
    (("last-green", "main", "--max", "9999"), "--max must be a whole number from 1 to 1000"),
    (("status", "main", REVISION, "--base", "fedcba98"), "--base must be a revision on branch"),
    (("backfill", "main", "fast", "--max", "101"), "--max must be a whole number from 1 to 100"),
    (("backfill", "main", "fast"), "No failed revision within"),
    (("backfill", "main", "fast", "--revision", REVISION), "No good revision within 19"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTAKES)
def test_an_error_names_what_was_typed(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    ran = shell(*arguments)
    assert ran.status == NOT_FOUND
    assert ran.err.startswith(f"selfserve: {said}"), ran.err
    # as the API has them
    assert not re.search(r"force=1|exclude_builders|ISO 8601|raise max|with revision$", ran.err)


def test_6_tells_that_the_url_is_that_of_something_else(shell: Shell) -> None:
    origin = shell.environment["SELFSERVE_URL"].removesuffix("/self-serve")
    ran = shell("branches", SELFSERVE_URL=f"{origin}/api/v2")
    assert ran.status == NOT_FOUND
    assert "is not self-serve" in ran.err


#: Answers of something else, none of which any command can use.
STRANGE = (
    b"",
    b"<html>Welcome</html>",
    b"null",
    b"1",
    b'"text"',
    b"[1]",
    b"[[]]",
    b'[{"a": "b"}]',
    b'{"a": "b"}',
    b'{"status": "ok", "a": {"b": []}}',
    b'{"branch": {"repo": 1}, "revision": 1, "msg": []}',
    b'[{"build_id": 1, "requests": {}, "revision": 1, "builders": {}}]',
)


@pytest.mark.parametrize("name", sorted(selfserve.commands))
def test_6_tells_that_something_else_answers(
    shell: Shell, proxy: Unreliable, tmp_path: Path, name: str
) -> None:
    command: Any = selfserve.commands[name]
    arguments = shlex.split(command.example)[1:]
    if name == "login":
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login ada password secret\n")
        arguments = ["login", proxy.url, "--netrc"]
    for at, body in enumerate(STRANGE):
        kind, more = ("application/json", ["--json"]) if at % 2 else ("text/html", [])
        proxy.always = Fault(200, {"Content-Type": kind}, body)
        ran = shell(*arguments, *more, SELFSERVE_URL=proxy.url)
        assert ran.status == NOT_FOUND, (body, ran)
        assert "not self-serve" in ran.err, body
        assert ran.out == "", body


@pytest.mark.parametrize(
    ("arguments", "lacks"),
    [
        (["is-done", "main", REVISION], "job_complete"),
        (["builds", "main"], "buildername"),
        (["job", "1"], "who"),
        (["pushes", "main"], "revision"),
        (["rebuild", "main", "--build", "1"], "msg"),
    ],
)
def test_6_tells_what_an_answer_lacks(
    shell: Shell, proxy: Unreliable, arguments: list[str], lacks: str
) -> None:
    shell.ok("rebuild", "main", "--build", "1", "--count", "1")
    found = shell(*arguments, "--json").json
    for one in found if isinstance(found, list) else [found]:
        del one[lacks]
    proxy.always = Fault(200, {}, json.dumps(found).encode())
    ran = shell(*arguments, SELFSERVE_URL=proxy.url)
    assert (ran.status, ran.out) == (NOT_FOUND, "")
    assert f"no '{lacks}'" in ran.err


def test_6_tells_that_a_build_has_no_request(shell: Shell, proxy: Unreliable) -> None:
    row = next(one for one in shell.ok("builds", "main") if "build_id" in one)
    proxy.always = Fault(200, {}, json.dumps([{**row, "requests": []}]).encode())
    ran = shell("builds", "main", SELFSERVE_URL=proxy.url)
    assert (ran.status, ran.out) == (NOT_FOUND, "")
    assert "no 'request_id'" in ran.err


def test_a_time_that_is_none_is_shown_as_it_is(shell: Shell, proxy: Unreliable) -> None:
    row = next(one for one in shell.ok("builds", "main") if "build_id" in one)
    proxy.always = Fault(200, {}, json.dumps([{**row, "starttime": 10**30}]).encode())
    ran = shell("builds", "main", SELFSERVE_URL=proxy.url)
    assert (ran.status, str(10**30) in ran.out) == (DONE, True)


# -- times


def test_all_times_are_of_one_zone_which_is_named(shell: Shell) -> None:
    bob = {"SELFSERVE_USER": "bob", "SELFSERVE_PASSWORD": "builder"}
    there = {**bob, "TZ": "America/New_York"}
    # the next full hour, which is told of to the minute
    ends = (int(time.time()) // 3600 + 2) * 3600
    local = datetime.datetime.fromtimestamp(ends, zoneinfo.ZoneInfo("America/New_York"))
    minute, zone = local.strftime("%Y-%m-%d %H:%M"), local.tzname()
    assert zone in ("EST", "EDT")
    held = (*HOLD, "--builders", "broken", "--until", local.strftime("%Y-%m-%dT%H:%M"))
    planned = shell(*held, "--dry-run", **there)
    assert f"held until {minute} {zone}, 0 pending" in planned.out
    ran = shell(*held, **there)
    assert ran.out.startswith(f"Branch main is held until {minute} {zone}, 0 pending")
    try:
        holds = shell("holds", "main", **there)
        assert f"\n{minute}:00 {zone}  0 " in holds.out
        jobs = shell("jobs", "--num", "1", **there).out
        job = shell("job", jobs.splitlines()[1].split()[0], **there).out
        assert f"  Until: {minute}:00 {zone}\n" in job
        for text in (jobs, job):
            assert f"held until {minute} {zone}" in text
            assert "UTC" not in text
        # as the server has them
        (hold,) = shell.ok("holds", "main")
        assert hold["expires"] == ends
        assert "UTC" in shell("jobs", "--num", "1", "--json", **there).out
        narrow = in_terminal(shell, "holds", "main", COLUMNS="80", TZ="America/New_York")
        assert f"\n{minute[5:]} {zone}  " in narrow
    finally:
        assert shell("release", "main", **bob).status == DONE


# -- again


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(503, {"Retry-After": "1"}, b'{"status": "FAILED", "msg": "not now"}')],
        [Fault(429, {"Retry-After": "1"}, b'{"status": "FAILED", "msg": "too many"}')],
        [Fault(502, {}, b"<h1>Bad gateway</h1>")],
        [LOST],
        [DONE_BUT_LOST],
        [LOST, DONE_BUT_LOST, Fault(503)],
    ],
)
def test_what_failed_is_sent_again_with_one_key_and_done_once(
    shell: Shell, proxy: Unreliable, faults: list[Any]
) -> None:
    before = len(shell.ok("jobs"))
    proxy.faults = list(faults)
    begun = time.monotonic()
    ran = shell("build", "main", revision("e"), "--builder", "fast", SELFSERVE_URL=proxy.url)
    assert ran.status == DONE
    assert "trying again in" in ran.err
    assert len(shell.ok("jobs")) == before + 1
    assert len(proxy.seen) == len(faults) + 1
    assert len({one.headers["idempotency-key"] for one in proxy.seen}) == 1
    if isinstance(faults[0], Fault) and "Retry-After" in faults[0].headers:
        assert time.monotonic() - begun >= 1


def test_another_job_request_has_another_key(shell: Shell, proxy: Unreliable) -> None:
    for _ in range(2):
        shell("build", "main", revision("e"), SELFSERVE_URL=proxy.url)
    assert len({one.headers["idempotency-key"] for one in proxy.seen}) == 2


def test_patience_ends(shell: Shell, proxy: Unreliable) -> None:
    proxy.always = Fault(503, {"Retry-After": "1"}, b'{"status": "FAILED", "msg": "not now"}')
    begun = time.monotonic()
    ran = shell("--patience", "3", "branches", SELFSERVE_URL=proxy.url)
    assert ran.status == NOT_NOW
    assert ran.err.splitlines()[-1] == "selfserve: not now"
    assert 2 <= time.monotonic() - begun < 30
    assert 2 <= len(proxy.seen) <= 4


def test_a_server_that_says_to_come_back_much_later_is_taken_at_its_word(
    shell: Shell, proxy: Unreliable
) -> None:
    proxy.always = Fault(429, {"Retry-After": "1800"}, b'{"status": "FAILED", "msg": "limit"}')
    ran = shell("branches", SELFSERVE_URL=proxy.url)
    assert (ran.status, len(proxy.seen)) == (NOT_NOW, 1)


def test_a_job_whose_end_is_unknown_is_named(shell: Shell, proxy: Unreliable) -> None:
    body = b'{"status": "FAILED", "msg": "Job 7 was begun", "detail": "look", "job_id": 7}'
    proxy.always = Fault(503, {"Retry-After": "9"}, body)
    ran = shell("--patience=1", "build", "main", revision("e"), SELFSERVE_URL=proxy.url)
    assert ran.status == NOT_NOW
    assert "run selfserve job 7 to see how it ends" in ran.err
    # also when nobody answers the last attempt
    proxy.faults, proxy.always = [Fault(503, {"Retry-After": "1"}, body)], LOST
    ran = shell("--patience=2", "build", "main", revision("e"), SELFSERVE_URL=proxy.url)
    assert ran.status == NOT_NOW
    assert "run selfserve job 7 to see how it ends" in ran.err


@pytest.mark.parametrize("fault", [DONE_BUT_LOST, Fault(504)])
def test_what_may_have_been_done_is_said_so_and_not_done_again_with_its_key(
    shell: Shell, proxy: Unreliable, fault: Fault | str
) -> None:
    before = len(shell.ok("jobs"))
    build = ("build", "main", revision("e") + "7", "--builder=fast", "--key", f"deploy {fault}")
    proxy.always = fault
    ran = shell("--patience=0", *build, SELFSERVE_URL=proxy.url)
    assert ran.status == NOT_NOW
    assert "it may have been done anyway" in ran.err
    # a question has no effect that could be lost
    asked = shell("--patience=0", "branches", SELFSERVE_URL=proxy.url)
    assert "may have been done" not in asked.err
    receipts = [shell.ok(*build) for _ in range(2)]
    assert receipts[0] == receipts[1]
    assert len(shell.ok("jobs")) == before + 1
    other = shell("build", "main", revision("e") + "8", "--builder=fast", *build[-2:])
    assert other.status == NOT_FOUND
    assert "key" in other.err.lower()


# -- redirects


def test_credentials_do_not_follow_to_another_host(shell: Shell, proxy: Unreliable) -> None:
    with unreliable(proxy.upstream) as other:
        elsewhere = f"http://localhost:{other.server_port}/self-serve/branches"
        proxy.faults = [Fault(301, {"Location": elsewhere})]
        ran = shell("branches", SELFSERVE_URL=proxy.url)
        assert ran.status == USAGE
        assert f"redirects to http://localhost:{other.server_port}" in ran.err
        assert other.seen == []
        # who is nobody has nothing to lose
        proxy.faults = [Fault(301, {"Location": elsewhere})]
        nobody = {"SELFSERVE_USER": None, "SELFSERVE_PASSWORD": None}
        assert shell("branches", SELFSERVE_URL=proxy.url, **nobody).status == DONE
        assert "authorization" not in other.seen[0].headers


def test_a_redirect_that_stays_is_followed(shell: Shell, proxy: Unreliable) -> None:
    proxy.faults = [Fault(302, {"Location": "/self-serve/branches?again=1"})]
    ran = shell("branches", SELFSERVE_URL=proxy.url)
    assert (ran.status, len(proxy.seen)) == (DONE, 2)
    for endless in ("/self-serve/branches", "http://[", "file:///etc/passwd"):
        proxy.always = Fault(302, {"Location": endless})
        assert shell("branches", SELFSERVE_URL=proxy.url).status == NOT_FOUND


def test_a_job_request_does_not_become_a_get(shell: Shell, proxy: Unreliable) -> None:
    proxy.faults = [Fault(302, {"Location": "/self-serve/jobs"})]
    ran = shell("build", "main", revision("e"), SELFSERVE_URL=proxy.url)
    assert (ran.status, len(proxy.seen)) == (USAGE, 1)
    proxy.faults = [Fault(308, {"Location": proxy.seen[0].path + "?x=1"})]
    assert shell("build", "main", revision("e"), SELFSERVE_URL=proxy.url).status == DONE


# -- where and who


def test_behind_a_proxy_with_a_prefix(shell: Shell, running: ProcessMaster) -> None:
    with unreliable(running.port, prefix="/ci/buildbot") as proxy:
        ran = shell("builds", "feature/x", SELFSERVE_URL=f"{proxy.url}/")
        assert ran.status == DONE
        assert proxy.seen[0].path == "/ci/buildbot/self-serve/feature%2Fx"


def test_netrc_and_the_file_say_who(shell: Shell, tmp_path: Path) -> None:
    nobody = {"SELFSERVE_USER": None, "SELFSERVE_PASSWORD": None}
    build = ("build", "main", revision("f"), "--builder", "fast")
    assert shell(*build, **nobody).status == REFUSED
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login bob password builder\n")
    netrc.chmod(0o600)
    assert shell(*build, **nobody).status == DONE
    assert shell.ok("jobs", "--num", "1")[0]["who"] == "bob"
    # what the environment says is not replaced by the netrc
    assert shell(*build).status == DONE
    assert shell.ok("jobs", "--num", "1")[0]["who"] == USER
    url = shell.environment["SELFSERVE_URL"]
    file = tmp_path / "selfserve.ini"
    file.write_text(f"[selfserve]\nurl = {url}\nuser = {USER}\npassword = {PASSWORD}\n")
    file.chmod(0o644)
    ran = shell(*build, "--config", str(file), SELFSERVE_URL=None, **nobody)
    assert ran.status == DONE
    assert f"{file} contains a secret" in ran.err
    assert shell.ok("jobs", "--num", "1")[0]["who"] == USER


def test_a_token_says_who_and_may_what_it_is_for(shell: Shell) -> None:
    by_token = {"SELFSERVE_TOKEN": TOKEN}  # a user and a password are there, too
    ran = shell("build", "main", revision("f"), "--builder", "fast", **by_token)
    assert ran.status == DONE
    (job,) = shell.ok("jobs", "--num", "1")
    assert (job["who"], job["via"]) == ("ci", "token:ci")
    assert shell("build", "main", revision("f"), **by_token).status == REFUSED
    wrong = shell("branches", SELFSERVE_TOKEN="some-other-token")
    assert (wrong.status, "some-other-token" in wrong.err) == (REFUSED, False)


@pytest.mark.parametrize("secret", ["SELFSERVE_TOKEN", "SELFSERVE_PASSWORD"])
def test_no_error_shows_a_secret(shell: Shell, proxy: Unreliable, secret: str) -> None:
    for fault in (LOST, Fault(500), Fault(401), Fault(302, {"Location": "http://localhost:1/"})):
        proxy.always = fault
        ran = shell(
            "--patience=0", "cancel", "main", "--build=1",
            SELFSERVE_URL=proxy.url, **{secret: "geheim"},
        )  # fmt: skip
        assert ran.status not in (DONE, FAILED)
        assert "geheim" not in ran.out + ran.err


# -- waiting


def looks(proxy: Unreliable) -> list[str]:
    return [one.path for one in proxy.seen if "is_done" in one.path]


def test_a_server_that_knows_no_wait_is_polled_gently(shell: Shell, proxy: Unreliable) -> None:
    shell.build("slow", revision("0") + "1")
    proxy.faults = [Fault(400, {}, b'{"status": "FAILED", "msg": "Bad wait"}')]
    ran = shell("is-done", "main", revision("0") + "1", "--wait", "5", SELFSERVE_URL=proxy.url)
    assert ran.status == TIMED_OUT
    first, *others = looks(proxy)
    assert "wait=" in first
    assert 2 <= len(others) <= 6
    assert not [path for path in others if "wait=" in path]
    shell.ok("cancel", "main", "--revision", revision("0") + "1")


def test_a_server_that_holds_its_answers_is_not_polled(shell: Shell, proxy: Unreliable) -> None:
    shell.build("slow", revision("0") + "4")
    ran = shell("is-done", "main", revision("0") + "4", "--wait", "7", SELFSERVE_URL=proxy.url)
    assert ran.status == TIMED_OUT
    first, *others = looks(proxy)
    assert "wait=5" in first
    assert 1 <= len(others) <= 3
    shell.ok("cancel", "main", "--revision", revision("0") + "4")


def test_a_wait_outlives_a_master_that_is_away(shell: Shell, proxy: Unreliable) -> None:
    shell.build("fast", revision("0") + "2")
    proxy.faults = [Fault(502), LOST, Fault(503, {"Retry-After": "1"})]
    ran = shell(
        "--patience=0", "is-done", "main", revision("0") + "2",
        "--wait=30", "--stable-delay=0", SELFSERVE_URL=proxy.url,
    )  # fmt: skip
    assert ran.status == DONE


def test_ctrl_c_says_nothing_of_builds(shell: Shell) -> None:
    shell.build("slow", revision("0") + "3")
    process = zygote.Popen(
        [SELFSERVE, "is-done", "main", revision("0") + "3", "--wait=60"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "1 running" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    shell.ok("cancel", "main", "--revision", revision("0") + "3")


#: A command that is in the middle of what drops an exception when Ctrl-C comes.
DROPS = """
import time
from buildbot_selfserve.client.command.group import Group, command, run_group

class Dropping:
    def __del__(self):
        print("now", flush=True)
        time.sleep(60)

@command("drop", example="selfserve drop")
def drop(**common):
    Dropping()
    time.sleep(60)

raise SystemExit(run_group(Group("selfserve", [drop], "")))
"""


def test_ctrl_c_that_python_drops_ends_it_too() -> None:
    process = zygote.Popen(
        [sys.executable, "-c", DROPS, "drop"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


@pytest.mark.parametrize("arguments", [("branches",), ("branches", "--json"), ("builders", "main")])
def test_output_that_nobody_reads_says_nothing_of_builds(
    shell: Shell, arguments: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    assert shell.into(writing, *arguments) == (141, "")
    os.close(writing)


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&-"])
def test_what_the_shell_has_closed_makes_no_traceback(shell: Shell, closed: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'"$0" "$@" {closed}', SELFSERVE, "login", "--with-token"],
        env=shell.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )
    assert (ran.returncode, "Traceback" in ran.stderr) == (USAGE, False)
    ran = subprocess.run(
        ["sh", "-c", f'"$0" branches {closed}', SELFSERVE],
        env=shell.environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )
    assert (ran.returncode, ran.stderr) == (DONE, "")


@pytest.mark.parametrize("command", [["branches"], ["branches", "--json"], ["--help"]])
def test_output_without_room_makes_no_traceback(shell: Shell, command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        code, err = shell.into(full.fileno(), *command)
    assert err.endswith("The output cannot be written: No space left on device\n")
    assert (code, "Traceback" in err) == (74, False)


# -- help and completion


def test_help_lists_every_command_in_whole_sentences(shell: Shell) -> None:
    told = shell("--help").out
    listed = told.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(selfserve.commands)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)
    assert "Exit status:\n    0   done, or the builds passed\n" in told


def test_the_command_has_what_was_promised() -> None:
    promised = (
        "branches builds rev is-done rebuild cancel reprioritize build nightly pgo jobs job set"
    )
    assert set(promised.split()) <= set(selfserve.commands)


@pytest.mark.parametrize("name", selfserve.commands)
def test_help_ends_in_an_example_that_may_be_typed_as_it_is(shell: Shell, name: str) -> None:
    told = selfserve.commands[name].get_help(click.Context(selfserve.commands[name]))
    (example,) = re.findall(r"^Example:\n  selfserve (.*)$", told, re.MULTILINE)
    assert example.split()[0] == name
    # what is wrong with it, only the server can say; a login wants a secret, too
    fine: tuple[int, ...] = (USAGE,) if name == "login" else (DONE, TIMED_OUT, NOT_FOUND)
    # this user may not
    fine += (REFUSED,) if name in ("hold", "release") else ()
    assert shell(*shlex.split(example)).status in fine


def test_options_may_stand_before_and_after_the_command(shell: Shell) -> None:
    url = shell.environment["SELFSERVE_URL"]
    before = shell("--url", url, "--json", "branches", SELFSERVE_URL=None)
    after = shell("branches", "--json", "--url", url, SELFSERVE_URL=None)
    assert before.json == after.json


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: Shell, kind: str) -> None:
    ran = shell(_SELFSERVE_COMPLETE=f"{kind}_source")
    assert (ran.status, "selfserve" in ran.out) == (0, True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("selfserve re", ["rev", "rebuild", "rerun", "reprioritize", "release"]),
        ("selfserve rev fea", ["feature/x"]),
        ("selfserve build main abc --builder bro", ["broken"]),
    ],
)
def test_completion_knows_commands_branches_and_builders(
    shell: Shell, words: str, offered: list[str]
) -> None:
    position = str(len(words.split()) - 1)
    ran = shell(_SELFSERVE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position)
    assert [line.partition(",")[2] for line in ran.out.splitlines()] == offered


def test_completion_is_silent_when_nobody_answers(shell: Shell) -> None:
    ran = shell(
        _SELFSERVE_COMPLETE="bash_complete",
        COMP_WORDS="selfserve rev m",
        COMP_CWORD="2",
        SELFSERVE_URL=f"http://127.0.0.1:{free_port()}",
    )
    assert (ran.out.strip(), ran.err) == ("", "")


def test_it_is_a_module_too_and_says_what_is_missing(shell: Shell, tmp_path: Path) -> None:
    module = [sys.executable, "-m", "buildbot_selfserve"]
    done = zygote.run([*module, "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("selfserve ")
    # a stranger's environment, in which the extra is not installed
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError(name='click')\n")
    done = zygote.run(module, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == USAGE
    assert "pip install '.[cli]'" in done.stderr
