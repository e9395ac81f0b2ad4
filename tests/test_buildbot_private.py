"""Every private attribute of Buildbot's that self-serve touches is still there."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.changes.changes import Change
from buildbot.changes.filter import ChangeFilter
from buildbot.plugins import schedulers
from buildbot.secrets.providers.file import SecretInAFile
from buildbot.util.codebase import AbsoluteSourceStampsMixin
from buildbot.util.service import BuildbotService

import buildbot_selfserve
from buildbot_selfserve import buildbot_private

PACKAGE = Path(buildbot_selfserve.__file__).parent


@pytest_twisted.ensureDeferred
async def test_a_running_master_is_initialized(master: Any) -> None:
    assert buildbot_private.is_initialized(master.master) is True


def test_a_service_keeps_what_it_was_configured_with(tmp_path: Path) -> None:
    provider = SecretInAFile(str(tmp_path), strip=False)
    arguments, named = buildbot_private.config_arguments(provider)
    assert arguments == (str(tmp_path),)
    assert named == {"strip": False}


def test_a_scheduler_forgets_its_last_codebases() -> None:
    scheduler = schedulers.SingleBranchScheduler(
        "s", builderNames=["b"], change_filter=ChangeFilter(branch="main"), treeStableTimer=None
    )
    assert isinstance(scheduler, AbsoluteSourceStampsMixin)
    assert hasattr(scheduler, "_lastCodebases")
    scheduler._lastCodebases = {"app": {"revision": "old"}}
    buildbot_private.forget_last_codebases(scheduler)
    assert scheduler._lastCodebases is None


def test_a_scheduler_that_keeps_no_codebases_is_left_alone() -> None:
    kept = object()
    buildbot_private.forget_last_codebases(kept)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"branch": "main"}, {"main"}),
        ({"branch": ["main", "release"]}, {"main", "release"}),
        ({"branch": None}, set()),
        ({"branch_re": "rel.*"}, set()),
        ({"branch_fn": lambda name: True}, set()),
        ({"project": "main"}, set()),
    ],
)
def test_a_filter_tells_its_branches(given: dict[str, Any], named: set[str]) -> None:
    assert buildbot_private.branches_of_filter(ChangeFilter(**given)) == named


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"branch": "main"}, True),
        ({"branch_not_eq": "main"}, False),
        ({"branch_re": "ma"}, True),
        ({"branch": "other", "project": "p"}, False),
        ({"branch": "main", "project": "q", "filter_fn": lambda change: 1 / 0}, True),
        ({"codebase": "lib"}, False),
        ({"property_eq": {"branch": "x"}}, True),
        ({}, True),
    ],
)
def test_a_filter_takes_parts_of_a_change(given: dict[str, Any], taken: bool) -> None:
    change = Change(who="", files=[], comments="", branch="main", codebase="app", project="p")
    parts = ("branch", "codebase")
    assert buildbot_private.takes_parts(ChangeFilter(**given), change, parts) is taken
    assert buildbot_private.takes_parts(None, change, parts) is True


def test_no_filter_names_no_branch() -> None:
    assert buildbot_private.branches_of_filter(None) == set()


def test_a_service_can_have_another_master() -> None:
    service, master = BuildbotService(name="one"), object()
    same = buildbot_private.with_master(service, master)
    assert same.master is master
    assert isinstance(same, BuildbotService)
    same.mark = 1
    assert service.mark == 1  # it is the same object in all else


def private_attributes(tree: ast.Module) -> list[ast.Attribute]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr[:1] == "_" and node.attr[:2] != "__"
    ]


def private_of_others(tree: ast.Module) -> set[str]:
    """Return the private attributes that a module uses, but those of its own classes."""
    every = private_attributes(tree)
    own = {
        node.attr
        for node in every
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    }
    return {node.attr for node in every} - own


def test_private_attributes_of_others_are_touched_there_alone() -> None:
    found = {
        str(path.relative_to(PACKAGE)): private_of_others(ast.parse(path.read_text("utf-8")))
        for path in PACKAGE.rglob("*.py")
        # the client knows nothing of Buildbot
        if path.name != "buildbot_private.py" and "client" not in path.parts
    }
    of_python = {"_make", "_replace", "_exit"}  # of named tuples and of os
    assert {name: which - of_python for name, which in found.items() if which - of_python} == {}
