"""A room imports only from the floors below it, plus what stands in its brackets."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Set
from graphlib import CycleError
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = "buildbot_selfserve"
ROOT = Path(__file__).parent.parent / PACKAGE

#: Each room's floor, and the third-party packages that it may import. The package's own
#: ``__init__`` is the ground, with no name and no brackets.
ROOMS: dict[str, tuple[int, frozenset[str]]] = {
    "": (0, frozenset()),
    "answers": (0, frozenset()),
    "state_words": (0, frozenset()),
    "errors": (1, frozenset()),
    "model": (1, frozenset()),
    "permissions": (1, frozenset()),
    "binary_collation": (1, frozenset({"sqlalchemy"})),
    "statements": (1, frozenset({"sqlalchemy"})),
    "clock": (1, frozenset({"twisted", "zope"})),
    "collapse": (2, frozenset({"buildbot", "twisted"})),
    "deferreds": (1, frozenset({"twisted"})),
    "buildbot_private": (1, frozenset({"buildbot", "twisted"})),
    "gc_freeze": (1, frozenset()),
    "mq_subscriptions": (1, frozenset({"twisted"})),
    "outages": (2, frozenset({"sqlalchemy", "twisted"})),
    "override": (1, frozenset()),
    "audit_log": (2, frozenset()),
    "metrics": (2, frozenset({"prometheus_client"})),
    "params": (2, frozenset()),
    "config": (3, frozenset({"buildbot", "cloudpickle", "sqlalchemy", "twisted", "zope"})),
    "routes": (3, frozenset()),
    "secrets": (3, frozenset({"buildbot", "twisted"})),
    "new_token": (8, frozenset({"buildbot"})),
    "history": (4, frozenset({"sqlalchemy", "buildbot"})),
    "control": (5, frozenset({"buildbot", "twisted", "sqlalchemy", "zope"})),
    "journal": (4, frozenset({"sqlalchemy", "alembic"})),
    "resources": (7, frozenset()),
    "jobs": (6, frozenset({"twisted"})),
    "live": (5, frozenset({"twisted"})),
    "readers": (5, frozenset({"twisted"})),
    "versions": (5, frozenset({"sqlalchemy", "twisted", "zope"})),
    "auth": (7, frozenset({"buildbot", "jwt", "twisted", "zope"})),
    "views": (8, frozenset({"jinja2", "orjson", "sqlalchemy"})),
    "databases": (9, frozenset({"twisted", "sqlalchemy"})),
    "web": (10, frozenset({"klein", "multipart", "twisted", "werkzeug", "zope"})),
    "plugin": (11, frozenset({"buildbot", "twisted"})),
    # outside the house: it talks with it over HTTP only, and shares the types of what comes back
    "client": (
        1,
        frozenset({"click", "requests", "rich", "treq", "twisted", "typing_extensions", "urllib3"}),
    ),
    "__main__": (2, frozenset()),
}

#: Import something under a name that this file cannot see.
_HIDDEN = frozenset({"__import__", "import_module"})


# -- the checker


def module_name(path: Path) -> str:
    """Return the dotted name of the module at *path*, a package's without ``__init__``."""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> dict[str, str]:
    """Return the text of every module, by its dotted name."""
    return {module_name(path): path.read_text("utf-8") for path in sorted(ROOT.rglob("*.py"))}


def room_of(module: str) -> str:
    """Return the room that *module* of this package belongs to."""
    return module.split(".")[1] if "." in module else ""


def imports(source: str, module: str, modules: Set[str]) -> Iterator[str]:
    """Yield the dotted name of everything that *source* imports, wherever it does.

    What comes out of a package of ours is the module of that name, if it is one of *modules*.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = _origin(node, module, modules)
            for alias in node.names:
                inner = f"{origin}.{alias.name}"
                yield inner if inner in modules else origin
        elif isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            if name in _HIDDEN:
                yield name


def _origin(node: ast.ImportFrom, module: str, modules: Set[str]) -> str:
    if not node.level:
        return node.module or ""
    is_package = any(other.startswith(f"{module}.") for other in modules)
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + is_package]
    return ".".join([*parts, node.module] if node.module else parts)


def trespasses(source: str, module: str, modules: Set[str]) -> list[str]:
    """Return what *source*, the text of *module*, imports and may not."""
    room = room_of(module)
    floor, bracket = ROOMS[room]
    found = []
    for name in imports(source, module, modules):
        package = name.partition(".")[0]
        if package != PACKAGE:
            fine = package in bracket or package in sys.stdlib_module_names
        else:
            other = room_of(name)
            fine = other == room or (other in ROOMS and ROOMS[other][0] < floor)
        if not fine:
            found.append(f"{module} imports {name}")
    return found


def circle(texts: Mapping[str, str]) -> list[str]:
    """Return modules of *texts*, which is source by name, that import each other in a circle."""
    graph = {module: set(imports(text, module, texts.keys())) for module, text in texts.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        modules: list[str] = error.args[1]
        return modules
    return []


# -- the house

SOURCES = sources()


def test_every_room_is_in_the_table_and_the_table_has_no_other() -> None:
    assert {room_of(module) for module in SOURCES} == set(ROOMS)


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_only_from_the_floors_below(module: str) -> None:
    assert trespasses(SOURCES[module], module, SOURCES.keys()) == []


@pytest.mark.parametrize("room", ROOMS)
def test_imports_inside_a_room_form_no_circle(room: str) -> None:
    assert circle({name: text for name, text in SOURCES.items() if room_of(name) == room}) == []


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) == "resources"])
def test_resources_know_nothing_of_http_sql_and_the_master(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports(SOURCES[module], module, set(SOURCES))}
    assert packages.isdisjoint({"klein", "twisted", "sqlalchemy", "buildbot"})


@pytest.mark.parametrize("module", [name for name in SOURCES if room_of(name) != "client"])
def test_nothing_of_the_house_knows_the_client(module: str) -> None:
    rooms = {room_of(name) for name in imports(SOURCES[module], module, set(SOURCES))}
    assert "client" not in rooms or room_of(module) == "__main__"


# -- the checker itself

MODULES = frozenset(
    {
        PACKAGE,
        f"{PACKAGE}.errors",
        f"{PACKAGE}.model",
        f"{PACKAGE}.history",
        f"{PACKAGE}.history.rows",
        f"{PACKAGE}.web",
        f"{PACKAGE}.web.render",
        f"{PACKAGE}.plugin",
    }
)


@pytest.mark.parametrize(
    ("source", "module", "named"),
    [
        ("import twisted", "model", "twisted"),
        ("import sqlalchemy.orm as orm", "jobs", "sqlalchemy.orm"),
        ("from klein import Klein", "resources.builds", "klein"),
        ("import yaml", "", "yaml"),
        ("from buildbot_selfserve import web", "history.rows", f"{PACKAGE}.web"),
        ("from buildbot_selfserve.web import render", "jobs", f"{PACKAGE}.web.render"),
        ("import buildbot_selfserve.plugin", "web.render", f"{PACKAGE}.plugin"),
        ("from buildbot_selfserve import model", "errors", f"{PACKAGE}.model"),
        ("from buildbot_selfserve import model", "", f"{PACKAGE}.model"),
        ("from buildbot_selfserve.attic import old", "plugin", f"{PACKAGE}.attic"),
        ("from ..web import render", "history.rows", f"{PACKAGE}.web.render"),
        ("from .. import plugin", "web", f"{PACKAGE}.plugin"),
        ("def f():\n    import twisted", "model", "twisted"),
        ("if TYPE_CHECKING:\n    import klein", "resources.root", "klein"),
        ("try:\n    import orjson\nexcept ImportError:\n    pass", "model", "orjson"),
        ("import importlib\nimportlib.import_module(name)", "web", "import_module"),
        ("__import__('twisted')", "web", "__import__"),
    ],
)
def test_the_checker_sees_an_import_that_may_not_be(source: str, module: str, named: str) -> None:
    whole = f"{PACKAGE}.{module}" if module else PACKAGE
    assert trespasses(source, whole, MODULES) == [f"{whole} imports {named}"]


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import json\nfrom collections.abc import Mapping", "errors"),
        ("import sqlalchemy as sa\nfrom buildbot.db.model import Model", "history.rows"),
        ("from buildbot_selfserve.history import rows", "history"),
        ("from buildbot_selfserve.model import Branch", "history.rows"),
        ("from . import rows", "history"),
        ("from .rows import x", "history"),
        ("from ..errors import NotFound", "web.render"),
        ("import buildbot_selfserve", "web"),
    ],
)
def test_the_checker_lets_pass_what_may_be(source: str, module: str) -> None:
    assert trespasses(source, f"{PACKAGE}.{module}", MODULES) == []


def test_the_checker_sees_a_circle() -> None:
    texts = {
        f"{PACKAGE}.web": "",
        f"{PACKAGE}.web.a": f"from {PACKAGE}.web import b",
        f"{PACKAGE}.web.b": f"def f():\n    from {PACKAGE}.web.c import x",
        f"{PACKAGE}.web.c": f"import {PACKAGE}.web.a",
    }
    assert set(circle(texts)) == {f"{PACKAGE}.web.{name}" for name in "abc"}


def test_the_checker_sees_that_a_module_and_its_package_import_each_other() -> None:
    texts = {
        f"{PACKAGE}.web": f"from {PACKAGE}.web.a import x",
        f"{PACKAGE}.web.a": f"from {PACKAGE}.web import y",
    }
    assert set(circle(texts)) == set(texts)


def test_the_checker_takes_a_package_and_its_modules_for_no_circle() -> None:
    texts = {
        f"{PACKAGE}.web": f"from {PACKAGE}.web import a",
        f"{PACKAGE}.web.a": f"from {PACKAGE}.web import b",
        f"{PACKAGE}.web.b": f"from {PACKAGE}.model import x",
    }
    assert circle(texts) == []
