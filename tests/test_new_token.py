"""``selfserve-token``, run as an operator runs it."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from http.server import HTTPServer
from pathlib import Path
from typing import Any

import pytest
from buildbot.plugins import secrets
from buildbot.plugins import util

from buildbot_selfserve import new_token
from buildbot_selfserve.config import SelfServe
from tests import PATIENCE

COMMAND = Path(sys.executable).with_name("selfserve-token")
SECRET = re.compile(r"selfserve_[A-Za-z0-9_-]{43}")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def into(output: int, *arguments: str) -> tuple[int, str]:
    """Run it with this file for its output; return its status and its errors."""
    done = subprocess.run(
        [COMMAND, *arguments], stdout=output, stderr=subprocess.PIPE, text=True, timeout=PATIENCE
    )
    return done.returncode, done.stderr


@contextmanager
def one_request() -> Iterator[tuple[str, list[tuple[str, str | None, str | None]]]]:
    """Answer what is sent to a URL; give the URL, and path and headers of what came."""
    sent = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = self.headers
            sent.append((self.path, headers["Authorization"], headers["Accept"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/self-serve", sent
    finally:
        server.shutdown()
        server.server_close()


def added(printed: str, name: str) -> Any:
    """Return what is printed to be added to a list in master.cfg, the object of class *name*."""
    (line,) = re.findall(rf"^    ([a-z]+\.{name}\(.*\)),$", printed, re.MULTILINE)
    return eval(line, {"util": util, "secrets": secrets})


def test_a_secret_is_written_for_its_owner_only(tmp_path: Path) -> None:
    done = run("ci", "--secrets-dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    (file,) = tmp_path.iterdir()
    assert file.name == "selfserve-ci"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    secret = file.read_text().removesuffix("\n")
    assert SECRET.fullmatch(secret)
    # not in the scrollback of a terminal, nor in the history of a shell
    assert secret not in done.stdout


@pytest.mark.parametrize("folder", ["secrets", "it's in here"])
def test_the_line_that_tries_a_token_sends_it(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    with one_request() as (url, sent):
        printed = run("ci", "--secrets-dir", str(tmp_path / folder), "--url", url).stdout
        line = printed[printed.index("    sed ") :]
        subprocess.run(["bash", "-euc", line], check=True, timeout=PATIENCE, capture_output=True)
    secret = (tmp_path / folder / "selfserve-ci").read_text().strip()
    assert sent == [("/self-serve/main/permissions", f"Bearer {secret}", "application/json")]


def test_what_it_prints_for_master_cfg_is_right(tmp_path: Path) -> None:
    done = run(
        "night ly/1",
        *("--secrets-dir", str(tmp_path)),
        *("--actions", "new_*", "rebuild_build"),
        *("--branches", "main"),
        *("--builders", "it's"),
        *("--expires", "2030-12-31"),
    )
    token = added(done.stdout, "SelfServeToken")
    assert token.name == "night ly/1"
    assert token.secret.secret_name == "selfserve-night-ly-1"
    assert (token.actions, token.branches) == (("new_*", "rebuild_build"), ("main",))
    assert token.builders == ("it's",)
    assert str(token.end("UTC")) == "2031-01-01 00:00:00+00:00"
    # and Buildbot's own provider finds the file
    provider = added(done.stdout, "SecretInAFile")
    provider.reconfigService(*provider._config_args, **provider._config_kwargs)
    assert SECRET.fullmatch(provider.get("selfserve-night-ly-1"))


def test_a_secret_is_not_written_over_by_mistake(tmp_path: Path) -> None:
    assert run("ci", "--secrets-dir", str(tmp_path)).returncode == 0
    file = tmp_path / "selfserve-ci"
    first = file.read_text()
    again = run("ci", "--secrets-dir", str(tmp_path))
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already; --replace writes over it" in again.stderr
    assert file.read_text() == first
    replaced = run("ci", "--secrets-dir", str(tmp_path), "--replace")
    assert replaced.returncode == 0
    assert "buildbot reconfig" in replaced.stdout
    assert file.read_text() != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_without_a_folder_it_says_what_to_do() -> None:
    first, second = run("ci").stdout, run("ci").stdout
    assert "install -m 600 /dev/stdin /path/to/secrets/selfserve-ci\n" in first
    assert "sed 's/^/Authorization: Bearer /' /path/to/secrets/selfserve-ci |" in first
    # shown once, and part of no command
    assert len(SECRET.findall(first)) == 1
    assert set(SECRET.findall(first)).isdisjoint(SECRET.findall(second))


RULED = """
from buildbot.plugins import schedulers, util, worker
c = BuildmasterConfig = {"protocols": {"null": {}}, "workers": [worker.LocalWorker("w")]}
c["buildbotNetUsageData"] = None
c["buildbotURL"] = "https://ci.example.org/bb/"
c["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=["b"])]
c["builders"] = [util.BuilderConfig("b", workernames=["w"], factory=util.BuildFactory())]
c["www"] = {"port": 0, "authz": util.Authz(
    allowRules=[
        util.SelfServeEndpointMatcher(role="lords", action="cancel_revision"),
        util.SelfServeEndpointMatcher(
            role="staff", action="new_weekly_at_revision", branch="release/*"),
        util.StopBuildEndpointMatcher(role="owner", defaultDeny=False),
        util.StopBuildEndpointMatcher(role="admins", builder="linux*"),
        util.RebuildBuildEndpointMatcher(role="devs"),
    ],
    roleMatchers=[util.RolesFromUsername(roles=["devs"], usernames=["dev"])])}
"""


MANUAL = (
    RULED[: RULED.index('c["www"]')]
    + """
c["www"] = {"port": 0, "authz": util.Authz(
    allowRules=[
        util.AnyEndpointMatcher(role="admins", defaultDeny=False),
        util.StopBuildEndpointMatcher(role="owner"),
        util.AnyControlEndpointMatcher(role="admins"),
    ],
    roleMatchers=[util.RolesFromOwner("owner")])}
"""
)


def test_it_advises_no_role_of_owners(tmp_path: Path) -> None:
    # who always has the role of owners may stop the builds of all
    (tmp_path / "master.cfg").write_text(MANUAL)
    told = run("ci", "--actions", "cancel_build", "rebuild_build", "--master", str(tmp_path))
    wanted = dict(re.findall(r"^    ([a-z_]+)  +(\S.*)$", told.stdout, re.MULTILINE))
    some = "role 'admins', for some builders, branches or owners"
    assert wanted == {"cancel_build": some, "rebuild_build": "role 'admins'"}
    assert "    util.RolesFromUsername(roles=['admins'], usernames=['ci'])\n" in told.stdout
    assert "'owner'" not in told.stdout


@pytest.mark.parametrize(
    "tac", ["", pytest.param('configfile = "ruled.cfg"\n', marks=pytest.mark.heavy)]
)
def test_it_tells_which_roles_the_rules_of_a_master_want(tmp_path: Path, tac: str) -> None:
    (tmp_path / ("ruled.cfg" if tac else "master.cfg")).write_text(RULED)
    if tac:
        (tmp_path / "buildbot.tac").write_text(tac)
    actions = ("--actions", "cancel_*", "rebuild_build", "new_weekly_at_revision", "reprioritize")
    ours = ("--master", str(tmp_path))
    told = run("ci", *actions, *ours)
    assert (told.returncode, told.stderr) == (0, "")
    wanted = dict(re.findall(r"^    ([a-z_]+)  +(\S.*)$", told.stdout, re.MULTILINE))
    some = "role 'admins', for some builders, branches or owners"
    assert wanted == {
        "rebuild_build": "role 'devs'",
        "cancel_build": some,
        "cancel_request": some,
        "cancel_revision": "role 'lords'",
        "reprioritize": "no role",
        "new_weekly_at_revision": "role 'staff', for some builders, branches or owners",
    }
    roles = "['devs', 'admins', 'lords', 'staff']"
    assert f"    util.RolesFromUsername(roles={roles}, usernames=['ci'])\n" in told.stdout
    assert "https://ci.example.org/bb/self-serve/main/permissions" in told.stdout
    # on its branches, and with what it has
    told = run("ci", *actions, *ours, "--branches", "main")
    assert "new_weekly_at_revision  no role\n" in told.stdout
    assert "want no role that it has not" in run("dev", "--actions", "rebuild_*", *ours).stdout
    assert "role" not in run("ci", "--actions", *ours).stdout


#: What a master.cfg has, and what of it is left when what was printed is added to it.
BEFORE = [
    ("", [], []),
    ('c["www"]["plugins"] = {"selfserve": True, "console_view": {}}', [], []),
    (
        'c["secretsProviders"] = [secrets.SecretInAFile("there")]\n'
        'c["www"]["plugins"] = {"selfserve": util.SelfServe(max_count=7)}',
        ["there"],
        [],
    ),
    (
        'c["secretsProviders"] = [secrets.SecretInAFile(dirname="here")]\n'
        'c["www"]["plugins"] = {"selfserve": util.SelfServe(\n'
        '    max_count=7, tokens=[util.SelfServeToken("first", "x" * 30)])}',
        ["here"],
        ["first"],
    ),
]


@pytest.mark.parametrize(("before", "folders", "tokens"), BEFORE)
def test_it_adds_to_what_a_master_has(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    folders: list[str],
    tokens: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    (tmp_path / "master.cfg").write_text(f"{RULED}from buildbot.plugins import secrets\n{before}\n")
    said = run("ci", "--master", ".", "--secrets-dir", "here")
    assert (said.returncode, said.stderr) == (0, "")
    config = pasted(tmp_path / "master.cfg", said.stdout)
    selfserve = config["www"]["plugins"]["selfserve"]
    assert {one.name for one in selfserve.tokens} == {*tokens, "ci"}
    assert selfserve.max_count == (7 if folders else SelfServe().max_count)
    assert ("console_view" in config["www"]["plugins"]) == ("console_view" in before)
    providers = config["secretsProviders"]
    found = [Path((*one._config_args, *one._config_kwargs.values())[0]) for one in providers]
    assert sorted(one.absolute() for one in found) == sorted(
        tmp_path / one for one in {*folders, "here"}
    )
    # of two with one name, Buildbot takes the last
    assert len({one.name for one in providers}) == len(providers)


def pasted(file: Path, printed: str) -> dict[str, Any]:
    """Return the configuration in *file* when what was *printed* has been added to it."""
    text = file.read_text()
    block = re.search(r"`buildbot reconfig`:\n((?:(?:    .*)?\n)*)", printed)
    assert block is not None
    for part in textwrap.dedent(block[1]).strip().split("\n\n"):
        if not part.startswith("# add to "):
            text += f"{part}\n"
            continue
        where, new = part.split("\n")
        old = next(old for key, old in LISTS.items() if key in where)
        assert text.count(old) == 1
        text = text.replace(old, f"{old}{new}")
    scope: dict[str, Any] = {}
    exec(text, scope)
    config: dict[str, Any] = scope["c"]
    return config


#: Where something is added to, by how it is called.
LISTS = {
    'the list c["secretsProviders"]': 'c["secretsProviders"] = [',
    "tokens=[...] of the": "tokens=[",
    "the util.SelfServe(...)": "util.SelfServe(",
}


def test_without_a_master_it_says_how_a_token_gets_a_role() -> None:
    assert "    util.RolesFromUsername(roles=['...'], usernames=[\"it's\"])\n" in run("it's").stdout
    assert "role" not in run("ci", "--actions").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("raise RuntimeError('no')", "RuntimeError"),
        ("(", "SyntaxError"),
        ("BuildmasterConfig = {'builder': []}", "Unknown BuildmasterConfig key builder"),
    ],
)
def test_a_wrong_master_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "master.cfg").write_text(text)
    done = run("ci", "--master", str(tmp_path), "--secrets-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path} has no valid configuration" in done.stderr
    assert said in done.stderr
    assert not (tmp_path / "selfserve-ci").exists()


def test_only_the_secret_goes_into_a_pipe() -> None:
    assert SECRET.fullmatch(run("ci", "--only-secret").stdout.removesuffix("\n"))


def test_help_tells_the_exit_codes() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "Exit status:" in done.stdout


@pytest.mark.parametrize("arguments", [("ci",), ("ci", "--only-secret"), ("--help",)])
def test_output_that_nobody_reads_makes_no_traceback(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    status, errors = into(writing, *arguments)
    # argparse of some Pythons takes a help that nobody reads for read
    assert status == 141 or (status == 0 and arguments == ("--help",))
    assert errors == ""
    os.close(writing)


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (">&-", "The output is closed"),
        ("> /dev/full", "The output cannot be written: No space left on device"),
    ],
)
def test_a_secret_that_cannot_be_shown_is_not_made_in_silence(output: str, said: str) -> None:
    line = f"exec {shlex.quote(str(COMMAND))} ci --only-secret {output}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (1, f"selfserve-token: {said}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: name"),
        ([""], "name='' must be a text of 1 to 100 characters"),
        (["ci", "--actions", "rebiuld"], "actions='rebiuld' must be names or patterns of rebuild"),
        (["ci", "--actions", "fill_missing"], "; new_build_at_revision includes fill_missing\n"),
        (["ci", "--expires", "soon"], "expires='soon' must be a date such as"),
        (["ci", "--expires", "2020-01-01"], "--expires: 2020-01-01 is over"),
        (["ci", "--replace"], "--replace needs --secrets-dir"),
        (["ci", "--color"], "unrecognized arguments: --color"),
    ],
)
def test_a_wrong_argument_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        new_token.main(arguments)
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert said in err


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "not there"
    done = run("ci", "--secrets-dir", str(folder))
    assert (done.returncode, done.stdout) == (1, "")
    made = f"mkdir -p -m 700 '{folder}'"
    assert done.stderr == f"selfserve-token: {folder} does not exist; make it with: {made}\n"
    subprocess.run(["sh", "-c", made], check=True)
    assert run("ci", "--secrets-dir", str(folder)).returncode == 0
