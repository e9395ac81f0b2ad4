"""Every example of the documents is run, or says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.buildmaster import Buildmaster
from demo.client import Client
from demo.repository import Repository
from demo.walk import walk
from tests import PATIENCE
from tests import examples
from tests.examples import Example
from tests.ports import free_port

BIN = Path(sys.executable).parent
DOCUMENTS = {
    path.relative_to(examples.ROOT).as_posix(): examples.examples(path)
    for path in examples.documents()
}
#: What an operator has before the lines of an example.
MASTER_CFG = """
from buildbot.plugins import *
my_rule = lambda master, builder, one, other: True
c = BuildmasterConfig = {
    "protocols": {"null": {}},
    "workers": [worker.LocalWorker("worker")],
    "builders": [util.BuilderConfig(name=name, workernames=["worker"], factory=util.BuildFactory())
                 for name in ("tests", "long-tests")],
    "schedulers": [schedulers.AnyBranchScheduler(name="any", builderNames=["tests", "long-tests"])],
    "secretsProviders": [],
    "buildbotNetUsageData": None,
    "www": {"port": "tcp:0:interface=127.0.0.1", "plugins": {"grid_view": {}}},
}
"""
#: What comes behind the lines: what the operator had must still be there.
UNHARMED = """
assert "grid_view" in c["www"]["plugins"], "the lines delete other plugins"
"""
#: Where the documents keep secrets.
SECRETS = "/srv/buildbot/secrets"


def of_kind(*kinds: str) -> list[Example]:
    return [one for found in DOCUMENTS.values() for one in found if one.kind in kinds]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[str]:
    """Run the demo's master after its walk, as ``make demo`` leaves it; give its URL."""
    (tmp_path / "master").mkdir()
    repository = Repository(tmp_path)
    # not the usual port: several may start at once
    master = Buildmaster(tmp_path / "master", repository.bare, port=free_port())
    try:
        master.start()
        walk(Client(master.url), repository)
        yield master.url
    finally:
        master.stop()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_that_could_be_run_says_what_is_done_with_it(document: str) -> None:
    kinds = ("demo", "python", "master.cfg")
    for example in DOCUMENTS[document]:
        if example.language in examples.RUNNABLE:
            run = example.kind in kinds or example.mark.startswith("run by tests/")
            assert run or example.mark.startswith("not run: "), example.place


def test_the_files_that_are_said_to_run_an_example_exist() -> None:
    for found in DOCUMENTS.values():
        for example in found:
            if example.mark.startswith("run by "):
                assert (examples.ROOT / example.mark.removeprefix("run by ")).exists()


def pasted() -> Iterator[Any]:
    """Give the documents with examples to paste; those with several take long, and are heavy."""
    for name, found in DOCUMENTS.items():
        some = [one for one in found if one.kind in ("demo", "python")]
        if some:
            yield pytest.param(name, marks=[pytest.mark.heavy] if len(some) > 1 else [])


@pytest.mark.parametrize("document", pasted())
def test_a_reader_can_paste_the_examples_of_a_page(
    document: str, demo: str, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": f"{BIN}{os.pathsep}/usr/bin:/bin",
        "TERM": "dumb",
        "COLUMNS": "120",
        "SELFSERVE_URL": demo,
        "SELFSERVE_USER": "demo",
        "SELFSERVE_PASSWORD": "demo",
    }
    wrong = []
    for example in DOCUMENTS[document]:
        if example.kind == "python":
            examples.run_python(example.code, demo, environment, home)
        for command, expected, status in example.runs() if example.kind == "demo" else ():
            printed = examples.run_command(command, demo, environment, home, status)
            refused = '"FAILED"' in printed and '"FAILED"' not in expected
            found = examples.differences(expected, printed) if expected else []
            if refused or found:
                wrong.append((example.place, command, found, printed[:2000]))
    assert wrong == []


@pytest.mark.parametrize("example", of_kind("master.cfg"), ids=lambda example: example.place)
def test_buildbot_takes_the_lines_for_a_master_cfg(example: Example, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir(mode=0o700)
    code = example.code.replace(SECRETS, str(tmp_path / "secrets"))
    (tmp_path / "master.cfg").write_text(MASTER_CFG + code + UNHARMED)
    done = subprocess.run(
        [str(BIN / "buildbot"), "checkconfig", "master.cfg"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{example.place}\n{done.stdout}{done.stderr}"


# -- the judge itself


@pytest.mark.parametrize(
    ("expected", "printed", "right"),
    [
        ('{"a": 1, "b": "x", ...}', '{"a":2,"b":"y","c":[]}', True),
        ('{"a": 1}', '{"a":"1"}', False),
        ('{"a": 1}', '{"a":null}', True),
        ('{"a": 1, "z": ...}', '{"a":1}', False),
        ('[{"a": 1}]', '{"a":1}', False),
        ("{", "no JSON", False),
        ("Job 3 ... ok", "Job 12 by ada: ok\n", True),
        ("Job 3 ... ok", "Job 12 by ada: failed\n", False),
    ],
)
def test_what_counts_of_an_output(expected: str, printed: str, right: bool) -> None:
    assert (examples.differences(expected, printed) == []) is right


def test_what_is_found_in_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Text\n\n<!-- example: demo -->\n```console\n"
        "$ one \\\n  more\nout\n$ two\n$ echo $?\n4\n```\n"
        "\n```python\nthree\n```\n"
    )
    first, second = examples.examples(page)
    assert (first.place, first.kind, first.language) == ("page.md:4", "demo", "console")
    assert list(first.commands()) == [("one \\\n  more", "out"), ("two", ""), ("echo $?", "4")]
    assert list(first.runs()) == [("one \\\n  more", "out", 0), ("two", "", 4)]
    assert (second.mark, second.kind) == ("", "")
