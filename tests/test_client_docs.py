"""Every example in the documents of the command and of the client is run, one after the other."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildbot_selfserve.client import Client
from buildbot_selfserve.client import Credentials
from buildbot_selfserve.client import errors
from buildbot_selfserve.client import load
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import ProcessMaster

DOCS = Path(__file__).parent.parent / "docs"
BIN = Path(sys.executable).parent
URL = "https://ci.example.org"
REVISION = "9d92304fc3a8a2d6a2b8a70bbd13d2a1d9b7a0c4"

#: The master that the documents tell of; it builds one thing at a time.
MORE = """
from tests.harness import builder
from buildbot.plugins import schedulers, util
c["workers"][0].max_builds = 1
c["builders"] = [builder("tests"), builder("long-tests", "sleep 60")]
c["schedulers"] = [
    schedulers.AnyBranchScheduler(name="any", builderNames=["tests"]),
    schedulers.Triggerable(name="rest", builderNames=["long-tests"])]
where = {"repo": "https://git.example.org/adder", "builders": ["tests", "long-tests"]}
c["www"]["plugins"]["selfserve"] = util.SelfServe(branches=[
    util.SelfServeBranch("main", sets={"nightly": ["tests", "long-tests"]}, **where),
    util.SelfServeBranch("feature/x", **where)])
c["www"]["authz"] = util.Authz(
    allowRules=[util.SelfServeEndpointMatcher(role="holders", action="hold")],
    roleMatchers=[util.RolesFromUsername(roles=["holders"], usernames=["ada"])])
"""


class Documented:
    """The master of a document, and a place to run its examples in."""

    def __init__(self, master: ProcessMaster, home: Path) -> None:
        self.master = master
        self.environment = {
            "PATH": f"{BIN}:/usr/bin:/bin",
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "SELFSERVE_URL": f"http://127.0.0.1:{master.port}",
            "SELFSERVE_USER": USER,
            "SELFSERVE_PASSWORD": PASSWORD,
            "revision": REVISION,
        }
        self.status = 0

    def run(self, *command: str) -> str:
        """Run a command; return what it writes, to the standard error too."""
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        self.status = done.returncode
        assert "Traceback" not in done.stdout, done.stdout
        return done.stdout

    def build(self, builder: str) -> None:
        """Have the revision built."""
        path = f"/self-serve/main/builders/{builder}/{REVISION}"
        _, receipt = self.master.send("POST", path)
        request = f"/main/request/{receipt['requests'][0]['request_id']}"
        self.master.until(lambda: self.master.get(request)["build_ids"], "it is built")

    def built_by_job(self, job_id: int) -> None:
        """Wait until what a job request has made is built."""

        def built() -> bool:
            end = self.master.get(f"/jobs/{job_id}")["complete_data"]
            return all(one["state"] == "success" for one in end["body"]["requests"])

        self.master.until(built, "it is built")

    def settled(self) -> None:
        """Wait until the revision is done."""
        done = f"/main/rev/{REVISION}/is_done?stableDelay=0"
        self.master.until(lambda: self.master.get(done)["job_complete"], "it is done")


@pytest.fixture
def documented(tmp_path: Path) -> Iterator[Documented]:
    (tmp_path / "master").mkdir()
    (tmp_path / "home").mkdir()
    master = ProcessMaster(tmp_path / "master", more=MORE)
    master.start()
    yield Documented(master, tmp_path / "home")
    master.stop()


def blocks(name: str, language: str) -> list[str]:
    """Return the fenced blocks of one language in a document."""
    text = (DOCS / name).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def dialogue(name: str) -> list[tuple[str, list[str]]]:
    """Return each command of the console blocks, with the lines that it writes."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(name, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def shape(line: str) -> str:
    """Return *line* without what differs from run to run."""
    line = re.sub(r"http://127\.0\.0\.1:[0-9]+", URL, line)
    line = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8} UTC", "TIME", line)
    line = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{5} UTC", "TIME", line)
    line = re.sub(r" [0-9]+:[0-9]{2}(?= |$)", " SPAN", line)
    line = re.sub(r" passed +[0-9]+ ", " passed BUILD ", line)
    line = re.sub(r"\(plan [0-9a-f]{32}\)", "(plan PLAN)", line)
    # Buildbot goes through sets of names, so that the ids of builders differ
    line = re.sub(r"#/builders/[0-9]+/", "#/builders/N/", line)
    return " ".join(line.split())


def test_the_dialogues_of_the_command(documented: Documented) -> None:
    documented.build("tests")
    documented.settled()
    documented.build("long-tests")
    for command, expected in dialogue("cli.md"):
        if command == "echo $?":
            assert expected == [str(documented.status)]
            continue
        if command.startswith("selfserve job "):
            documented.built_by_job(int(command.split()[-1]))
        written = documented.run(*shlex.split(command)).splitlines()
        # what goes to the standard error has no place among the rest
        assert sorted(map(shape, written)) == sorted(map(shape, expected)), command


def test_the_scripts_of_the_command(documented: Documented) -> None:
    documented.build("tests")
    documented.settled()
    said = [documented.run("bash", "-euc", block) for block in blocks("cli.md", "bash")]
    assert documented.status == 0
    assert said[0].splitlines()[-1] == f"deploying {REVISION}"
    assert said[1] == "tests 0\n"
    assert "1 build requested (job " in said[2]
    assert said[3:] == [""]


def test_the_files_of_the_command(tmp_path: Path) -> None:
    (config,) = blocks("cli.md", "ini")
    (netrc,) = blocks("cli.md", "netrc")
    environ = {"HOME": str(tmp_path)}
    for path, text in ((".config/selfserve/config.ini", config), (".netrc", netrc)):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o600)
    assert load(environ=environ).credentials == Credentials(token="put-your-token-here")
    (tmp_path / ".config/selfserve/config.ini").unlink()
    assert load(f"{URL}/self-serve", environ=environ).credentials == Credentials(
        user="ada", password="put-your-password-here"
    )


def test_the_programs_of_the_client(documented: Documented) -> None:
    documented.build("tests")
    documented.settled()
    said = []
    for block in blocks("client.md", "python"):
        said.append(documented.run(sys.executable, "-W", "ignore", "-c", block).splitlines())
        assert documented.status == 0, said[-1]
    assert said == [
        ["tests success", "2 builds requested [2, 3]", "passed"],
        [],
        ["1 build would be requested ['tests']", "1 build requested"],
        ["Request 99999 not found on branch main"],
        ["main feature/x"],
    ]


def test_every_method_and_every_exception_is_documented() -> None:
    text = (DOCS / "client.md").read_text()
    methods = {
        name
        for name, value in vars(Client).items()
        if callable(value) and not name.startswith("_") and name != "pause"
    }
    assert set(re.findall(r"^- `([a-z_]+)\(", text, re.MULTILINE)) == methods
    named = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert {name for name in named - {"Done", "Outcome"} if f"`{name}`" not in text} == set()


def test_examples_of_other_shells_differ_from_the_one_that_is_run() -> None:
    """Neither zsh nor fish can be expected here; test_command has their scripts written."""
    (bash,) = [block for block in blocks("cli.md", "bash") if "COMPLETE" in block]
    (zsh,) = blocks("cli.md", "zsh")
    assert zsh == bash.replace("bash", "zsh")
    assert "fish_source" in blocks("cli.md", "fish")[0]


def link_targets(name: str) -> list[Any]:
    return re.findall(r"\]\(([^)#:]+)\)", (DOCS / name).read_text())


@pytest.mark.parametrize("name", ["cli.md", "client.md"])
def test_links_lead_somewhere(name: str) -> None:
    assert [one for one in link_targets(name) if not (DOCS / one).exists()] == []
