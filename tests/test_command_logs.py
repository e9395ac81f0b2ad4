"""``selfserve log``: why builds failed, what steps printed, what they print now."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import zygote
from tests.process_master import ProcessMaster
from tests.test_command import DONE
from tests.test_command import NOT_FOUND
from tests.test_command import USAGE
from tests.test_command import Shell
from tests.test_command import in_terminal
from tests.zygote import SELFSERVE

REVISIONS = {name: letter * 40 for name, letter in (("one", "a"), ("two", "b"))}
#: Builders that fail, one that waits for a file, and a step that prints what a terminal would obey.
MORE = r"""
from tests.harness import builder
from buildbot.plugins import schedulers, steps, util
printed = r"printf 'fine\n\033[31mred\033[0m \033]0;title\007\033[2K\001end\n'"
printed += "; echo oops >&2; exit 1"
c["builders"] += [
    builder("failing", printed),
    builder("waiting", "echo begun; while [ ! -e {gate} ]; do sleep 0.1; done; echo over"),
]
c["schedulers"].append(
    schedulers.Triggerable(name="others", builderNames=["failing", "waiting"]))
c["www"]["plugins"]["selfserve"] = util.SelfServe(branches=[
    util.SelfServeBranch("main", builders=["fast", "failing", "waiting"])])
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("gate")
    return folder / "open"


@pytest.fixture(scope="module")
def running(tmp_path_factory: Any, gate: Path) -> Iterator[ProcessMaster]:
    running = ProcessMaster(
        tmp_path_factory.mktemp("master"), more=MORE.replace("{gate}", str(gate))
    )
    running.start()
    running.force("fast")
    yield running
    gate.touch()
    running.stop()


@pytest.fixture
def shell(running: ProcessMaster, tmp_path: Path) -> Shell:
    return Shell(running, tmp_path)


def built(shell: Shell, builder: str, revision: str) -> str:
    """Return the id of a build of *builder* that has ended."""
    build_id = shell.build(builder, revision)
    shell.settled(revision)
    return str(build_id)


def test_why_builds_failed(shell: Shell) -> None:
    revision = REVISIONS["one"]
    first, passed = built(shell, "failing", revision), built(shell, "fast", revision)
    second = built(shell, "failing", revision)
    told = shell("log", "main", first, "--failed")
    assert told.status == DONE
    head, _, *lines = told.out.splitlines()
    assert head == f"==> failing, build {first}, step shell <=="
    assert sorted(lines) == ["fine", "oops", "red \ufffdend"]
    both = shell("log", "main", revision[:8], "--failed").out
    assert [int(one) for one in re.findall("==> failing, build ([0-9]+),", both)] == [
        int(second),
        int(first),
    ]
    (as_json,) = shell.ok("log", "main", first, "--failed")
    assert as_json["build_id"] == int(first)
    assert as_json["failed_step"]["name"] == "shell"
    assert len(shell.ok("log", "main", revision, "--failed")) == 2
    none = shell("log", "main", passed, "--failed")
    assert (none.status, none.out) == (DONE, "")
    assert "no step has failed" in none.err
    # with so many lines of the log as it is, the last of which are Buildbot's own
    longer = shell("log", "main", first, "--failed", "--tail", "500").out
    assert "program finished with exit code 1" in longer
    # what failed is what is shown if nothing else is asked for
    assert shell("log", "main", first).out == longer.split("\n", 2)[2]
    whole = shell.ok("log", "main", first, "--step", "shell", "--log", "stdio")
    assert (whole["step"], whole["log"]) == ("shell", "stdio")
    assert "\x1b[31mred\x1b[0m \x1b]0;title" in whole["text"]
    assert shell("log", "main", first, "--step", "1", "--tail", "1").out.startswith("elapsedTime")
    assert "program finished" in shell("log", "main", passed).out


def test_a_terminal_gets_colours_and_nothing_else_that_it_would_obey(shell: Shell) -> None:
    build_id = built(shell, "failing", REVISIONS["two"])
    shown = in_terminal(shell, "log", "main", build_id)
    assert "\x1b[31mred\x1b[0m \ufffdend" in shown
    assert not [order for order in ("\x1b]", "\x1b[2K", "\x01", "\x07") if order in shown]
    assert "\x1b[31moops" in in_terminal(shell, "log", "main", build_id, "--failed")
    assert "\x1b" not in in_terminal(shell, "log", "main", build_id, NO_COLOR="1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("main", "abcdef"), "use the id of a build"),
        (("main", "1", "--failed", "--follow"), "takes only --tail"),
        (("main", "1", "--failed", "--step", "x"), "takes only --tail"),
        (("main", "1", "--follow", "--json"), "leave out --json"),
        (("main", "1", "--tail", "0"), "--tail"),
    ],
)
def test_wrong_usage(shell: Shell, arguments: tuple[str, ...], said: str) -> None:
    told = shell("log", *arguments)
    assert told.status == USAGE
    assert said in told.err


def test_what_is_not_there(shell: Shell) -> None:
    for arguments in (
        ("4711",),
        ("4711", "--failed"),
        ("1", "--step", "nope"),
        ("1", "--log", "x"),
    ):
        assert shell("log", "main", *arguments).status == NOT_FOUND


def test_a_log_is_followed_until_the_build_ends(shell: Shell, gate: Path) -> None:
    build_id = shell.build("waiting", "c" * 40)
    with zygote.Popen(
        [SELFSERVE, "log", "main", str(build_id), "--follow"],
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout is not None
        seen = []
        while "begun\n" not in seen:
            seen.append(following.stdout.readline())
            assert seen[-1], "it ended before the build"
        gate.touch()
        seen += following.stdout.readlines()
        assert following.wait(60) == DONE
    assert seen[0] == "==> shell: stdio <==\n"
    assert [seen.count(line) for line in ("begun\n", "over\n", seen[0])] == [1, 1, 1]
