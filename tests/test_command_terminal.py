"""``selfserve`` at somebody's terminal: in a checkout, on a narrow screen, for the first time."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from rich.cells import cell_len

from buildbot_selfserve.client.command import selfserve
from tests import PATIENCE
from tests import zygote
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import ProcessMaster
from tests.test_command import DONE
from tests.test_command import FAILED
from tests.test_command import MORE
from tests.test_command import NOT_FOUND
from tests.test_command import NOT_NOW
from tests.test_command import REFUSED
from tests.test_command import TIMED_OUT
from tests.test_command import TOKEN
from tests.test_command import USAGE
from tests.test_command import Ran
from tests.test_command import Shell
from tests.test_command import in_terminal
from tests.test_command import terminal_lines
from tests.unreliable import Fault
from tests.unreliable import Unreliable
from tests.unreliable import unreliable
from tests.zygote import SELFSERVE

#: A builder that ends when a file is there, and one that is slow from then on.
GATED = r"""
c["builders"] += [
    builder("gated", "while [ ! -e {gate}/open ]; do sleep 0.1; done"),
    builder("slower", "if [ -e {gate}/slow ]; then sleep 60; else sleep 4; fi")]
c["schedulers"].append(schedulers.Triggerable(name="more", builderNames=["gated", "slower"]))
"""
NOBODY = {"SELFSERVE_USER": None, "SELFSERVE_PASSWORD": None}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("gate")
    return folder


@pytest.fixture(scope="module")
def running(tmp_path_factory: Any, gate: Path) -> Iterator[ProcessMaster]:
    more = MORE.replace('"broken"],', '"broken", "gated", "slower"],', 1)
    more += GATED.replace("{gate}", str(gate))
    running = ProcessMaster(tmp_path_factory.mktemp("master"), more=more)
    running.start()
    running.force("fast")
    yield running
    (gate / "open").touch()
    running.stop()


@pytest.fixture
def shell(running: ProcessMaster, tmp_path: Path) -> Shell:
    return Shell(running, tmp_path)


@pytest.fixture
def proxy(running: ProcessMaster) -> Iterator[Unreliable]:
    with unreliable(running.port) as one:
        yield one


class Checkout:
    """A git checkout, in which the commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "--quiet", "--initial-branch=main")
        self.first, self.head = self.commit(), self.commit()

    def git(self, *arguments: str | bytes) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        ran = zygote.run(
            ["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return ran.stdout.strip()

    def commit(self) -> str:
        # another hash each time
        self.git("commit", "--quiet", "--allow-empty", f"--message={time.monotonic_ns()}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    return Checkout(tmp_path / "checkout")


# -- what is checked out


def test_what_is_left_out_is_what_is_checked_out(shell: Shell, checkout: Checkout) -> None:
    head = checkout.head
    build_id = str(shell.build("broken", head))
    shell.settled(head)
    (row,) = shell.ok("rev")
    assert (row["revision"], str(row["build_id"])) == (head, build_id)
    # a hash may stand alone, and git knows what is before it
    for alone in (head, head[:8], "HEAD", "@"):
        assert shell.ok("rev", alone) == [row], alone
    assert shell("is-done", "--stable-delay=0").status == FAILED
    assert shell("rev", "HEAD~1").err == (
        f"selfserve: Revision {checkout.first} not found on branch main\n"
    )
    assert shell("status", "--json").json["revision"] == head
    for alone in (head[:8], "HEAD"):
        assert shell("status", alone, "--json").json["revision"] == head, alone
    # ids of builds and requests
    assert shell.ok("log", build_id)["build_id"] == int(build_id)
    assert [one["build_id"] for one in shell.ok("log", "--failed")] == [int(build_id)]
    assert shell.ok("log", head[:8], "--failed") == shell.ok("log", build_id, "--failed")
    assert shell.ok("why", str(row["requests"][0]["request_id"]))["state"] == "failure"
    assert "broken" in shell.ok("builders")
    assert shell.ok("user", USER)["builds"]
    assert shell.ok("permissions")["branch"] == "main"


def test_job_requests_say_what_was_checked_out(shell: Shell, checkout: Checkout) -> None:
    head = checkout.head
    for command, builders in (
        (("build", "--builder", "broken"), {"broken"}),
        (("nightly",), {"fast", "broken"}),
        (("set", "weekly"), {"fast"}),
    ):
        ran = shell(*command, "--json")
        assert {one["buildername"] for one in ran.json["requests"]} == builders, ran
        assert ran.err == f"selfserve: at main {head}, which is checked out here\n"
        shell.settled(head)
    assert shell("rerun", "--dry-run").out.startswith("1 build would be requested")
    ran = shell("set", checkout.first, "weekly", "--dry-run")
    assert ran.err == "selfserve: at main, which is checked out here\n"
    # all that is said is said to be so
    assert shell("rerun", "main", head, "--dry-run").err == ""
    assert shell("cancel", "--revision", "HEAD").status == DONE
    request = str(shell.ok("rev")[0]["requests"][0]["request_id"])
    assert "Request already complete" in shell("reprioritize", "--request", request, "5").err


def test_what_may_be_a_branch_is_no_revision(shell: Shell, checkout: Checkout) -> None:
    for command in ("build", "rerun", "nightly", "rev", "log", "is-done"):
        ran = shell(command, "main")
        assert (ran.status, "Missing argument" in ran.err) == (USAGE, True), command
    newest = shell.ok("pushes", "main", "--limit", "1")[0]["revision"]
    assert shell("status", "main", "--json").json["revision"] == newest


def test_where_nothing_is_checked_out_it_says_so(
    shell: Shell, checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str, **environment: str | None) -> str:
        ran = shell(*arguments, **environment)
        assert (ran.status, ran.out) == (USAGE, ""), ran
        return ran.err.splitlines()[-1]

    assert "git is not installed" in said("rev", PATH="/nowhere")
    checkout.git("checkout", "--quiet", "--detach")
    assert said("status") == "Error: Give a BRANCH: none is checked out here."
    # a branch without a commit
    checkout.git("checkout", "--quiet", "--orphan", "empty")
    assert said("rev") == "Error: Give a REVISION: there is no commit HEAD here."
    assert shell("builders").err == "selfserve: Branch empty not found\n"
    monkeypatch.chdir(tmp_path)
    for command in ("rev", "status", "watch", "why 1", "log --failed", "fill", "set weekly"):
        assert said(*command.split()) == "Error: Give a BRANCH: there is no git checkout here."
    # the help is there at all events
    assert shell("rev", "--help").status == DONE


def test_a_branch_whose_name_is_no_text(shell: Shell, checkout: Checkout) -> None:
    head = checkout.folder / ".git" / "HEAD"
    head.write_bytes(b"ref: refs/heads/\xff\xfe\n")
    ran = shell("builders")
    assert (ran.status, "not UTF-8" in ran.err) == (USAGE, True)


# -- watch


def test_watch_tells_what_begins_and_what_fails(shell: Shell, gate: Path) -> None:
    at = "ab" * 20
    broken = shell.build("broken", at)
    shell.settled(at)
    gated = shell.build("gated", at)
    process = zygote.Popen(
        [SELFSERVE, "watch", "main", at, "--stable-delay=0"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdout is not None
    first = [process.stdout.readline() for _ in range(3)]
    assert first[0].startswith(f"main {at}: failing (")
    at_once = rf"..:..:.. \w+  failed     broken: step shell, build {broken}.*\n"
    assert re.fullmatch(at_once, first[1])
    assert re.fullmatch(rf"..:..:.. \w+  running    gated: build {gated}\n", first[2])
    (gate / "open").touch()
    out, err = process.communicate(timeout=PATIENCE)
    (gate / "open").unlink()
    *_, ended, done, failing = out.splitlines()
    assert re.fullmatch(rf"..:..:.. \w+  passed     gated: build {gated}", ended)
    assert done.startswith(f"main {at}: failed (0 waiting, 0 running, 2 ended, 1 failed")
    assert failing == "failing: broken"
    assert (process.returncode, err) == (
        FAILED,
        f"selfserve: run selfserve log main {at[:12]} --failed to see why\n",
    )


def test_watch_ends_with_the_verdict(shell: Shell, checkout: Checkout) -> None:
    head = checkout.head
    shell.build("fast", head)
    ran = shell("watch", "--stable-delay=0")
    assert (ran.status, ran.out.splitlines()[-1]) == (
        DONE,
        f"main {head}: passed (0 waiting, 0 running, 1 ended, 0 failed, 0 cancelled)",
    )
    ran = shell("watch", "HEAD", "--stable-delay=0", "--json")
    assert (ran.status, ran.json) == (
        DONE,
        shell.ok("is-done", "main", head, "--stable-delay=0"),
    )
    shell.build("slow", head)
    ran = shell("watch", "main", head, "--timeout=1", "--json")
    assert (ran.status, ran.json["verdict"]) == (TIMED_OUT, "running")
    assert "running    slow: build" in ran.err
    shown = in_terminal(shell, "watch", "main", head, "--timeout=1", COLUMNS="80")
    assert "1 running, 0 waiting: slow" in shown
    shell.ok("cancel", "main", "--revision", head)
    ran = shell("watch", "main", checkout.first)
    assert (ran.status, ran.out) == (NOT_FOUND, "")


def test_watch_waits_for_what_was_just_pushed(shell: Shell, checkout: Checkout) -> None:
    process = zygote.Popen(
        [SELFSERVE, "watch", "--stable-delay=0"],
        env=shell.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "not known yet" in process.stderr.readline()
    shell.build("fast", checkout.head)
    out, _ = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out.startswith(f"main {checkout.head}: ")) == (DONE, True)


def test_watch_goes_on_while_the_master_is_away(shell: Shell, proxy: Unreliable) -> None:
    at = "bc" * 20
    shell.build("fast", at)
    shell.settled(at)
    proxy.faults = [Fault(502), Fault(503, {"Retry-After": "1"}), Fault(502)]
    ran = shell("watch", "main", at, "--stable-delay=0", SELFSERVE_URL=proxy.url)
    assert ran.status == DONE


# -- pages


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        ("branches", ""),
        ("builds feature/x --date 2026-11-24", "/feature%2Fx?date=2026-11-24"),
        ("builders main", "/main/builders"),
        ("rev main abcdef", "/main/rev/abcdef"),
        ("is-done main abcdef", "/main/rev/abcdef"),
        ("status main abcdef", "/main/rev/abcdef"),
        ("watch main abcdef", "/main/rev/abcdef"),
        ("log main 17", "/main/build/17"),
        ("log main abcdef --failed", "/main/rev/abcdef"),
        ("why main 8", "/main/request/8"),
        ("queue", "/pending"),
        ("queue main --builders a* --exclude b", "/main/pending?builders=a%2A&exclude_builders=b"),
        ("user main ada", "/main/user/ada"),
        ("permissions main", "/main/permissions"),
        ("pushes main --limit 5", "/main/pushes?limit=5"),
        ("pushes --author ada", "/user/ada/pushes"),
        ("jobs --who ada --build 5", "/jobs?who=ada&build_id=5"),
        ("job 6", "/jobs/6"),
    ],
)
def test_web_opens_the_page(shell: Shell, arguments: str, page: str) -> None:
    ran = shell(*arguments.split(), "--web", BROWSER="echo %s")
    url = f"{shell.environment['SELFSERVE_URL']}{page}"
    assert (ran.status, ran.out) == (DONE, f"{url}\n")
    assert ran.err == f"selfserve: opening {url}\n"


def test_without_a_browser_it_prints_the_url(shell: Shell) -> None:
    ran = shell("queue", "--web", BROWSER="/bin/false", PATH="/nowhere")
    assert (ran.status, ran.out) == (DONE, f"{shell.environment['SELFSERVE_URL']}/pending\n")
    assert ran.err.endswith("open it yourself\n")


# -- tables

LONG = "linux-x86_64-clang-19-release-and-some-more-words-of-its-name"


def widened(value: Any) -> Any:
    """Return JSON with long names, ids and texts in place of those that are there."""
    if isinstance(value, list):
        return [widened(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {name: widened(one) for name, one in value.items()}
    for name in ("buildername", "owner", "author", "subject", "failed_step", "branch", "who"):
        if name in made and isinstance(made[name], str | None):
            made[name] = LONG
    for name in ("build_id", "request_id", "job_id"):
        if isinstance(made.get(name), int):
            made[name] += 9_000_000
    if isinstance(made.get("msg"), str):
        made["msg"] = "it waits for something that takes long " * 5
    return made


def test_every_table_fits_the_terminal(shell: Shell, proxy: Unreliable) -> None:
    at, columns = "fa" * 20, 80
    for builder in ("broken", "fast"):
        shell.build(builder, at)
    shell.settled(at)
    shell.build("slow", at)
    shell.ok("build", "main", at, "--builder", "slow")
    for command in (
        ("status", "main", at),
        ("rev", "main", at),
        ("builds", "main"),
        ("pushes", "main"),
        ("pushes", "--author", "nobody"),
        ("queue",),
        ("permissions", "main"),
        ("jobs",),
        ("job", "1"),
        ("branches",),
        ("fill", "main", at, "--dry-run"),
        ("rerun", "main", at, "--dry-run"),
    ):
        # what the proxy answers is what the master does, of longer names
        told = shell(*command, "--json")
        proxy.always = Fault(200, {}, json.dumps(widened(told.json)).encode())
        through = (shell, "--url", proxy.url, *command)
        lines = terminal_lines(*through, columns=columns)
        assert lines, command
        for line in lines:
            assert cell_len(line) <= columns, (command, line)
        # ids, states and times are whole
        for word in ("running", "failed", "passed", "cancelled"):
            for line in lines:
                assert not re.search(rf" {word[:-2]}…", line), (command, line)
    # the last one, whole
    assert "…" not in "".join(terminal_lines(*through, "--wide", columns=columns))
    shell.ok("cancel", "main", "--revision", at)


def test_urls_are_shown_where_they_are_asked_for(shell: Shell) -> None:
    at = "cd" * 20
    shell.build("fast", at)
    (row,) = shell.settled(at)
    for command in (("rev", "main", at), ("status", "main", at), ("pushes", "main")):
        assert "http" not in shell(*command).out
        assert "http" not in in_terminal(shell, *command, "--wide")
        for shown in (shell(*command, "--urls").out, in_terminal(shell, *command, "--urls")):
            assert "http" in shown
    assert row["url"] in shell("rev", "main", at, "--urls").out
    made = shell("build", "main", at, "--builder=fast", "--urls").out
    assert re.search(r"/#/buildrequests/[0-9]+$", made, re.MULTILINE)


@pytest.mark.heavy
def test_why_tells_when_it_is_likely_done(shell: Shell, gate: Path) -> None:
    at = "de" * 20
    for number in range(3):
        shell.build("slower", f"{number}{at[1:]}")
        shell.settled(f"{number}{at[1:]}")
    (gate / "slow").touch()
    time_of_day = "[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC"
    wanted = f"Likely done between {time_of_day} and {time_of_day}."
    for number in range(5):  # on a busy machine it may run for longer than those before it
        at = f"{number + 3}{at[1:]}"
        build_id = shell.build("slower", at)
        request = shell.master.get(f"/main/build/{build_id}")["requests"][0]["request_id"]
        lines = shell("why", "main", str(request)).out.splitlines()
        if re.fullmatch(wanted, lines[-1]):
            break
        shell.ok("cancel", "main", "--revision", at)
    assert re.fullmatch(wanted, lines[-1])
    shell.ok("cancel", "main", "--revision", at)
    ended = shell("why", "main", str(request)).out
    assert "ikely" not in ended
    assert "not known" not in ended


# -- login


def login(shell: Shell, *arguments: str, data: bytes = b"", **environment: str | None) -> Ran:
    """Run ``selfserve login`` as somebody without settings, with *data* as its input."""
    merged = {**shell.environment, **NOBODY, "SELFSERVE_URL": None, **environment}
    done = zygote.run(
        [SELFSERVE, "login", *arguments],
        env={name: value for name, value in merged.items() if value is not None},
        input=data,
        capture_output=True,
        timeout=PATIENCE,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in err, err
    assert TOKEN not in out + err
    return Ran(done.returncode, out, err)


def config_of(home: Path) -> Path:
    return home / ".config" / "selfserve" / "config.ini"


@pytest.mark.parametrize(
    "data",
    [
        TOKEN.encode(),
        b"\xef\xbb\xbf" + TOKEN.encode() + b"\r\n",
        TOKEN.encode("utf-16"),
        b"\xfe\xff" + TOKEN.encode("utf-16-be"),
    ],
)
def test_login_writes_a_configuration_that_works(shell: Shell, tmp_path: Path, data: bytes) -> None:
    url = shell.environment["SELFSERVE_URL"]
    ran = login(shell, url.removesuffix("/self-serve"), "--with-token", data=data)
    file = config_of(tmp_path)
    assert (ran.status, ran.err) == (DONE, "")
    assert ran.out == f"Logged in to {url} as ci. The configuration is in {file}.\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert list(file.parent.iterdir()) == [file]
    found = shell("permissions", "main", "--json", SELFSERVE_URL=None, **NOBODY)
    assert found.json["who"] == "ci"
    # once more, as somebody else: the URL is known, and a link is kept
    real = tmp_path / "dotfiles.ini"
    file.rename(real)
    file.symlink_to(real)
    ran = login(shell, "--user", USER, "--json", data=f"{PASSWORD}\n".encode())
    assert ran.json == {"url": url, "who": USER, "config": str(file)}
    assert file.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    found = shell("permissions", "main", "--json", SELFSERVE_URL=None, **NOBODY)
    assert found.json["who"] == USER


def test_login_with_netrc_writes_no_secret(shell: Shell, tmp_path: Path) -> None:
    url = shell.environment["SELFSERVE_URL"]
    none = login(shell, url, "--netrc")
    assert (none.status, "add a line machine 127.0.0.1" in none.err) == (USAGE, True)
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    netrc.chmod(0o600)
    assert login(shell, url, "--netrc").status == DONE
    assert PASSWORD not in config_of(tmp_path).read_text()
    found = shell("permissions", "main", "--json", SELFSERVE_URL=None, **NOBODY)
    assert found.json["who"] == USER


def test_login_asks_at_a_terminal(shell: Shell, tmp_path: Path) -> None:
    url = shell.environment["SELFSERVE_URL"]
    shell.environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    answers = {b"such as https://ci.example.org": url, b"API token": TOKEN}
    shown = typed_in_terminal(shell, answers, "login")
    assert f"Logged in to {url} as ci" in " ".join(shown.split())
    assert TOKEN not in shown
    assert stat.S_IMODE(config_of(tmp_path).stat().st_mode) == 0o600


def typed_in_terminal(shell: Shell, answers: dict[bytes, str], *arguments: str) -> str:
    """Run the command in a terminal and answer what it asks; return what is shown."""
    ours, theirs = pty.openpty()
    process = zygote.Popen(
        [SELFSERVE, *arguments],
        env={**shell.environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,  # a password is read from the terminal of the session
    )
    os.close(theirs)
    shown, waiting = b"", dict(answers)
    while True:
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the last of its ends is closed
            break
        for question in [one for one in waiting if one in shown]:
            os.write(ours, f"{waiting.pop(question)}\n".encode())
    os.close(ours)
    process.wait(PATIENCE)
    return shown.decode()


@pytest.mark.parametrize(
    ("arguments", "data", "status", "said"),
    [
        (("--with-token",), b"wrong-token", REFUSED, "selfserve: Wrong API token\n"),
        (("--user", USER), b"wrong", REFUSED, "selfserve: Wrong user name or password\n"),
        (("--with-token",), b"\xff\xfe\xfd", USAGE, "not UTF-8"),
        (("--with-token",), b"a\xffb", USAGE, "not UTF-8"),
        (("--with-token",), b"two words", USAGE, "visible ASCII"),
        (("--with-token",), b"", USAGE, "give it on the standard input"),
        (("--with-token", "--netrc"), b"", USAGE, "one of --with-token, --user, --netrc"),
        (("--user", "a:b"), b"x", USAGE, "cannot contain a colon"),
        (("--config", "/proc/nothing/here"), TOKEN.encode(), USAGE, "cannot be written"),
    ],
)
def test_login_writes_nothing_that_is_wrong(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...], data: bytes, status: int, said: str
) -> None:
    ran = login(shell, shell.environment["SELFSERVE_URL"], *arguments, data=data)
    assert (ran.status, said in ran.err) == (status, True), ran
    assert not config_of(tmp_path).exists()


def test_login_writes_over_no_other_file(shell: Shell, tmp_path: Path) -> None:
    url = shell.environment["SELFSERVE_URL"]
    for content in (b"export PATH=/bin\n", b"[other]\nname = value\n", b"\xff\xfe\xfd"):
        file = tmp_path / "other"
        file.write_bytes(content)
        ran = login(shell, url, "--with-token", "--config", str(file), data=TOKEN.encode())
        assert (ran.status, file.read_bytes()) == (USAGE, content)
    ran = login(shell, "--with-token", data=TOKEN.encode())
    assert (ran.status, "Give the URL" in ran.err) == (USAGE, True)
    ran = login(shell, "http://127.0.0.1:9", "--with-token", "--patience=0", data=TOKEN.encode())
    assert ran.status == NOT_NOW
    assert not config_of(tmp_path).exists()


def test_login_says_what_holds_in_place_of_the_file(shell: Shell) -> None:
    url = shell.environment["SELFSERVE_URL"]
    ran = login(shell, url, "--with-token", data=TOKEN.encode(), SELFSERVE_USER="bob")
    assert "SELFSERVE_USER is set, and is used in place" in ran.err
    assert "SELFSERVE_URL" not in ran.err


# -- files


def test_properties_come_from_a_file(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "properties.json"
    file.write_bytes(b"\xef\xbb\xbf" + '{"mode": "füll", "level": [1]}'.encode())
    given = ("--property-file", str(file))
    made = shell.ok("build", "main", "ef" * 20, "--builder=fast", *given, "--property=a=b")
    request = made["requests"][0]["request_id"]
    properties = shell.master.get(f"/main/request/{request}")["properties"]
    assert (properties["mode"], properties["level"], properties["a"]) == ("füll", [1], "b")
    plan = shell.ok("rebuild", "main", "--request", str(request), *given, "--dry-run")
    assert plan["status"] == "PLANNED"
    twice = shell("build", "main", "ef" * 20, "--builder=fast", *given, "--property=mode=b")
    assert (twice.status, "given twice" in twice.err) == (USAGE, True)
    for content, said in (
        (b'{"a": "\xff"}', "is not UTF-8 text"),
        (b"mode=full", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[1]", "must have a JSON object"),
    ):
        file.write_bytes(content)
        ran = shell("build", "main", "ef" * 20, "--builder=fast", *given)
        assert (ran.status, said in ran.err) == (USAGE, True), content[:20]
    ran = shell("build", "main", "ef" * 20, "--property-file", str(tmp_path))
    assert (ran.status, "cannot be read: Is a directory" in ran.err) == (USAGE, True)


CONFIG = "[selfserve]\r\nurl = URL\r\n"


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_configuration_file_of_another_editor(
    shell: Shell, tmp_path: Path, encoding: str, named: bool
) -> None:
    file = tmp_path / "named.ini" if named else config_of(tmp_path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(CONFIG.replace("URL", shell.environment["SELFSERVE_URL"]).encode(encoding))
    arguments = ("--config", str(file)) if named else ()
    assert shell("branches", *arguments, SELFSERVE_URL=None, **NOBODY).status == DONE
    # and one that is cut off, or was never text
    for content in (file.read_bytes() + b"\xff", b"\0\x01\xff", b"\xff\xfe["):
        file.write_bytes(content)
        ran = shell("branches", *arguments, SELFSERVE_URL=None, **NOBODY)
        assert (ran.status, "it is not UTF-8" in ran.err) == (USAGE, True), content


def test_homes_and_netrcs_of_any_kind(shell: Shell, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    for content in (b"\xff\xfe\0", b"\xef\xbb\xbfmachine 127.0.0.1 login a password b"):
        netrc.write_bytes(content)
        ran = shell("branches", **NOBODY)
        assert (ran.status, "is ignored because it cannot be read" in ran.err) == (DONE, True)
    netrc.unlink()
    for name in ("NETRC", "SELFSERVE_CONFIG"):
        ran = shell("branches", **NOBODY, **{name: "~nobody-of-this-name/file"})
        assert (ran.status, "There is no ~nobody" in ran.err) == (USAGE, True)


# -- completion


def completed(shell: Shell, words: str, **environment: str | None) -> list[str]:
    position = str(len(words.split()) - (not words.endswith(" ")))
    ran = shell(
        _SELFSERVE_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=position, **environment
    )
    assert ran.err == ""
    return [line.partition(",")[2] for line in ran.out.splitlines() if line]


def test_completion_knows_the_builders_of_what_is_checked_out(
    shell: Shell, checkout: Checkout
) -> None:
    assert completed(shell, "selfserve build --builder bro") == ["broken"]
    assert completed(shell, f"selfserve build {checkout.head} --builder bro") == ["broken"]
    assert completed(shell, "selfserve build main abc --builder bro") == ["broken"]
    assert completed(shell, "selfserve watch fea") == ["feature/x"]


def test_completion_offers_only_what_can_be_typed(shell: Shell, proxy: Unreliable) -> None:
    branches = {name: {"repo": "", "repo_type": ""} for name in ("main", "ma\nin", "ma\x1bin")}
    proxy.always = Fault(200, {}, json.dumps(branches).encode())
    assert completed(shell, "selfserve rev ma", SELFSERVE_URL=proxy.url) == ["main"]
    # one that cannot be understood
    for body in (b"[", b'["a"]', b'{"\\ud800": 1}'):
        proxy.always = Fault(200, {}, body)
        assert completed(shell, "selfserve rev ma", SELFSERVE_URL=proxy.url) == []


def test_completion_takes_a_second_at_most(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while True:
                    time.sleep(0.2)
                    try:
                        connection.sendall(b"X-Header: never the last\r\n")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        alone = time.monotonic()
        assert completed(shell, "selfserve qu") == ["queue"]
        alone = time.monotonic() - alone
        begun = time.monotonic()
        assert completed(shell, "selfserve rev m", SELFSERVE_URL=url) == []
        # what Python needs to start is not counted
        assert time.monotonic() - begun - alone < 20


@pytest.mark.parametrize("name", selfserve.commands)
def test_no_command_needs_a_branch_in_a_checkout(name: str) -> None:
    usage = selfserve.commands[name].get_usage(click.Context(selfserve.commands[name]))
    assert re.search(r"(?<!\[)BRANCH", usage) is None
