"""Measures pushes, health and the last green revision: ``python -m benchmarks.pushes``.

Beside them the best that a client of stock REST can do for the same content, which must come to the
same builders and states, and the requests that Buildbot's console view sends for its page.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from benchmarks import markdown
from benchmarks import master
from benchmarks import ours
from benchmarks import runs
from benchmarks import wire
from benchmarks.history import keep
from benchmarks.history.cases import Case
from benchmarks.history.plan import Sizes
from benchmarks.reads import STOCK_TIMEOUT
from benchmarks.reads import Differs
from benchmarks.reads import Sample
from benchmarks.stock import Item
from benchmarks.stock import Stock

#: What is wanted of a million builds: milliseconds, and times what a revision takes.
BOUNDS = {"pushes": 20.0, "page": 40.0}
RATIOS = {"health": 3.0, "last_green": 5.0}
#: So many pushes are asked for.
PUSHES = 20
_STATES = {0: "passed", 1: "warnings", 2: "failed", 4: "exception"}
_OTHERS = {3: "skipped", 6: "cancelled"}
#: What the console view asks for (www/console_view/src/views/ConsoleView/ConsoleView.tsx).
CONSOLE = (
    "/api/v2/buildsets?limit=200&order=-submitted_at",
    "/api/v2/changes?limit=30&order=-changeid",
    "/api/v2/builders",
    "/api/v2/buildrequests?limit=200&order=-submitted_at",
    "/api/v2/builds?limit=200&order=-started_at&property=got_revision",
)

Figures = dict[str, Any]
#: The states of builders by revision; and the builds that were found.
Found = tuple[dict[str, dict[str, str]], set[int]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what *arguments* ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pushes", description=__doc__)
    parser.add_argument("--builds", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the history (%(default)s)")
    parser.add_argument("--database", nargs="+", default=keep.DATABASES, choices=keep.DATABASES)
    parser.add_argument("--rounds", type=int, default=3, help="the quietest counts (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".bench-data"), help="(%(default)s)")
    parser.add_argument("--json", type=Path, default=runs.RESULTS / runs.PUSHES)
    options = parser.parse_args(arguments)
    measured: list[Figures] = []
    for database in options.database:
        sizes = Sizes(options.builds, options.seed)
        with (
            keep.lend(options.folder, database, sizes, lambda text: None) as lent,
            master.running(lent.url, ours.PATHS["is_done"](lent.cases.cases[0])) as measuring,
        ):
            measured += measure(measuring.port, database, options.builds, lent.cases.cases, options)
    options.json.write_text(json.dumps(measured, indent=1) + "\n")
    print(table(measured))


def measure(
    port: int, database: str, builds: int, cases: Sequence[Case], options: argparse.Namespace
) -> Iterator[Figures]:
    """Yield what each of *cases* took, in milliseconds."""
    connection = wire.Connection(port)
    stock = Stock(wire.Connection(port, STOCK_TIMEOUT))
    for case in cases:
        paths = _paths(case)
        samples = {
            name: Sample(_asks(connection, path, wire.HTML if name == "page" else wire.JSON))
            for name, path in paths.items()
        }
        by_stock = Sample(partial(stock_pushes, stock, case), 1, stock.connection)
        console = Sample(partial(_console, stock.connection), 1, stock.connection)
        sent = stock.requests
        for number in range(options.rounds):
            for sample in samples.values():
                sample.round()
            if not number:
                by_stock.round()
                sent = (stock.requests - sent) // by_stock.asked
            console.round()
        rows = compare(orjson.loads(samples["pushes"].answer), by_stock.answer)
        yield {
            "database": database,
            "builds": builds,
            "case": case.name,
            "rows": rows,
            **{name: sample.quietest for name, sample in samples.items()},
            "stock": by_stock.quietest,
            "stock_requests": sent,
            "console": console.quietest,
        }
    connection.close()
    stock.connection.close()


def path_of(case: Case) -> str:
    """Return the path of the newest pushes of a branch."""
    return f"{ours.branch(case.branch, 'pushes')}?limit={PUSHES}"


def _paths(case: Case) -> dict[str, str]:
    pushes = path_of(case)
    return {
        "revision": ours.PATHS["revision"](case),
        "pushes": pushes,
        "page": pushes,
        "health": ours.branch(case.branch, "rev", case.revision, "health"),
        # nothing has passed so many builders: all that may be looked at is
        "last_green": ours.branch(case.branch, "last_green"),
    }


def _asks(connection: wire.Connection, path: str, accept: str) -> Any:
    if path.endswith("/last_green"):
        # 404 says how far it has looked, and takes longest
        return lambda: connection.get(path, accept, attempts=2, statuses=(200, 404))
    return lambda: connection.get(path, accept, attempts=2)


def _console(connection: wire.Connection) -> None:
    for path in CONSOLE:
        connection.get(path, attempts=5)


def stock_pushes(stock: Stock, case: Case) -> Found:
    """Return what a client of stock REST finds out of the newest pushes of a branch."""
    query = [("branch", case.branch), ("order", "-changeid"), ("limit", PUSHES)]
    changes = stock.get("changes", query)
    states: dict[str, dict[str, str]] = {}
    ids: set[int] = set()
    is_open = stock.get("buildsets", [("complete", "false")])
    for change in changes:
        stamp_id = change["sourcestamp"]["ssid"]
        builds = stock.get(f"changes/{change['changeid']}/builds")
        request_ids = {one["buildrequestid"] for one in builds}
        known = stock.by_ids("buildrequests", "buildrequestid", request_ids)
        buildsets = {one["buildsetid"] for one in known}
        buildsets.update(
            one["bsid"]
            for one in is_open
            if any(stamp["ssid"] == stamp_id for stamp in one["sourcestamps"])
        )
        requests = stock.by_ids("buildrequests", "buildsetid", buildsets)
        states[change["revision"]] = _states(stock, requests, builds)
        ids.update(one["buildid"] for one in builds)
    return states, ids


def _states(stock: Stock, requests: Sequence[Item], builds: Sequence[Item]) -> dict[str, str]:
    by_request: dict[int, list[Item]] = {}
    for build in builds:
        by_request.setdefault(build["buildrequestid"], []).append(build)
    every: dict[str, list[tuple[int, str]]] = {}
    for request in requests:
        its = by_request.get(request["buildrequestid"], [])
        found = [(one["buildid"], _state(one)) for one in its if one["results"] != 5]
        if not request["complete"] and all(state != "running" for _, state in found):
            found.append((0, "running" if request["claimed"] else "pending"))
        if request["complete"] and not found:
            found.append((0, _OTHERS.get(request["results"], "cancelled")))
        every.setdefault(stock.names[request["builderid"]], []).extend(found)
    return {name: _latest(found) for name, found in every.items() if found}


def _state(build: Item) -> str:
    if not build["complete"]:
        return "running"
    return _STATES.get(build["results"]) or _OTHERS.get(build["results"], "cancelled")


def _latest(found: Sequence[tuple[int, str]]) -> str:
    for some in (("running",), ("pending",), tuple(_STATES.values())):
        fitting = [one for one in found if one[1] in some]
        if fitting:
            return max(fitting)[1]
    return max(found)[1]


def compare(by_ours: Sequence[Item], by_stock: Found) -> int:
    """Return how many builders both have found.

    A build of the newest commit that says itself which that was is not found by stock REST.

    :raises Differs: they are in other states
    """
    states, build_ids = by_stock
    count = 0
    for push in by_ours:
        its = states.get(push["revision"])
        for one in push["builders"] if its is not None else ():
            if one["build_id"] is None or one["build_id"] in build_ids:
                count += 1
                told = None if its is None else its.get(one["buildername"])
                if told != one["state"]:
                    raise Differs(f"{push['revision']}, {one}: {told}")
    return count


def table(measured: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table."""
    head = ["database", "case", "builders", "pushes", "page", "revision", "health", "last green"]
    head += ["REST", "its requests", "x REST", "console view"]
    rows = []
    for one in measured:
        times = ("pushes", "page", "revision", "health", "last_green", "stock")
        rows.append(
            [
                *(one["database"], one["case"], str(one["rows"])),
                *(f"{one[name]:.3g} ms" for name in times),
                str(one["stock_requests"]),
                f"**{one['stock'] / one['pushes']:,.0f}**",
                f"{one['console']:.3g} ms",
            ]
        )
    return markdown.table(head, rows)


def checks(measured: Sequence[Figures]) -> Iterator[tuple[str, float, float, str]]:
    """Yield what is wanted, what was measured in the worst case, and in which unit."""
    for name, most in BOUNDS.items():
        yield f"{name}: worst case (ms)", most, max(one[name] for one in measured), ""
    for name, most in RATIOS.items():
        worst = max(one[name] / one["revision"] for one in measured)
        yield f"{name}: over a revision, worst case", most, worst, "×"


if __name__ == "__main__":
    main()
