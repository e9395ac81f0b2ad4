"""Draws the rooms of the package from their imports: docs/images/house.svg.

A room is a module of the package, or a folder of it. Each stands above all that it imports. A line
leads to what it imports, unless another room on the way does so, too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from collections.abc import Mapping
from graphlib import TopologicalSorter
from html import escape
from pathlib import Path

PACKAGE = "buildbot_selfserve"
#: What a room imports tells where it runs.
REACTOR, READERS = frozenset({"twisted", "klein"}), frozenset({"sqlalchemy", "jinja2", "orjson"})
WIDTH, BOX, ROW, GAP = 900, 26, 74, 12
#: Pixels of a letter, at most, in the size of the text.
LETTER = 7.4
STYLE = """
text { font: 13px sans-serif; text-anchor: middle; fill: #1b1f24; }
rect { stroke: #57606a; fill: #ffffff; }
rect.reactor { fill: #fde8c8; } rect.readers { fill: #d5e8fb; } rect.both { fill: #dcf1dc; }
path { stroke: #8c959f; fill: none; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } rect { stroke: #8b949e; fill: #161b22; } path { stroke: #6e7681; }
rect.reactor { fill: #5a3a10; } rect.readers { fill: #123a63; } rect.both { fill: #173f22; }
}
"""

#: Rooms, with what each imports: rooms, and packages of others.
Imports = Mapping[str, frozenset[str]]


def drawn(root: Path) -> str:
    """Return the picture of the package in the checkout *root*, as SVG."""
    imports = _imports(root / PACKAGE)
    rooms = {room: its & imports.keys() for room, its in imports.items()}
    places = dict(_places(_floors(rooms)))
    height = max(y for _, y in places.values()) + BOX + 40
    lines = (
        _line(places[room], places[other])
        for room, its in sorted(rooms.items())
        for other in sorted(its - _further(rooms, its))
    )
    boxes = (_box(room, *places[room], _runs_in(imports[room])) for room in sorted(rooms))
    told = "orange: Twisted, in the reactor · blue: SQL or templates, in readers · green: both"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' aria-label="The rooms of the package, each above what it imports">'
        f"<style>{STYLE}</style>\n"
        + "\n".join((*lines, *boxes))
        + f'\n<text x="{WIDTH // 2}" y="{height - 10}">{told}</text>\n</svg>\n'
    )


def _imports(package: Path) -> Imports:
    found: dict[str, set[str]] = {}
    for path in sorted(package.rglob("*.py")):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room not in ("__init__", "client", "__main__"):
            its = found.setdefault(room, set())
            its.update(_names(path.read_text("utf-8")))
            its.discard(room)
    return {room: frozenset(its) for room, its in found.items()}


def _names(source: str) -> Iterator[str]:
    """Yield the rooms and the packages that a module imports."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            # "from package import room", or "from package.room import name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            yield rest.partition(".")[0] if first == PACKAGE else first


def _floors(rooms: Imports) -> list[list[str]]:
    """Return the rooms by floor, the lowest first."""
    floor: dict[str, int] = {}
    for room in TopologicalSorter(rooms).static_order():
        floor[room] = max((floor[other] + 1 for other in rooms[room]), default=0)
    return [
        sorted(room for room, number in floor.items() if number == level)
        for level in range(max(floor.values()) + 1)
    ]


def _further(rooms: Imports, some: frozenset[str]) -> frozenset[str]:
    """Return all that *some* rooms import, directly or not."""
    found: set[str] = set()
    left = [other for room in some for other in rooms[room]]
    while left:
        room = left.pop()
        if room not in found:
            found.add(room)
            left += rooms[room]
    return frozenset(found)


def _places(floors: list[list[str]]) -> Iterator[tuple[str, tuple[float, int]]]:
    """Yield the middle of the upper edge of each room's box."""
    for level, rooms in enumerate(reversed(floors)):
        total = sum(_width(room) + GAP for room in rooms) - GAP
        left = (WIDTH - total) / 2
        for room in rooms:
            yield room, (left + _width(room) / 2, 10 + level * ROW)
            left += _width(room) + GAP


def _width(room: str) -> float:
    return LETTER * len(room) + 14


def _line(upper: tuple[float, int], lower: tuple[float, int]) -> str:
    begin, end = upper[1] + BOX, lower[1]
    middle = (begin + end) / 2
    return (
        f'<path d="M{upper[0]:.0f} {begin} C{upper[0]:.0f} {middle:.0f}'
        f' {lower[0]:.0f} {middle:.0f} {lower[0]:.0f} {end}"/>'
    )


def _box(room: str, x: float, y: int, runs_in: str) -> str:
    width = _width(room)
    return (
        f'<rect class="{runs_in}" x="{x - width / 2:.0f}" y="{y}" width="{width:.0f}"'
        f' height="{BOX}" rx="4"/><text x="{x:.0f}" y="{y + 18}">{escape(room)}</text>'
    )


def _runs_in(its: frozenset[str]) -> str:
    reactor, readers = bool(its & REACTOR), bool(its & READERS)
    if reactor and readers:
        return "both"
    return "reactor" if reactor else "readers" if readers else "neither"
