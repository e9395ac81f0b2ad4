"""Measures how answers grow with the history: ``python -m benchmarks.growth``.

Two masters run side by side, on a history each, and are asked the same by turns; so what else goes
on counts for both. Of each it is measured how long after its start the first answer comes, and how
much memory its reader takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import floor
from benchmarks import markdown
from benchmarks import master
from benchmarks import ours
from benchmarks import pushes
from benchmarks import report
from benchmarks import runs
from benchmarks import wire
from benchmarks.history import keep
from benchmarks.history.cases import Case
from benchmarks.history.plan import Sizes
from benchmarks.reads import Sample
from benchmarks.wanted import Check

#: What grows at most so many times from a million builds to five.
QUESTIONS = ("revision", "is_done", "build", "pushes")
GROWTH = 1.3
#: Seconds in which the first answer comes.
FIRST = 15.0


@dataclass
class Measured:
    """What was measured on one history.

    :param first: seconds from the start of the master's process to the first answer
    :param megabytes: of the readers
    :param took: the medians of the quietest round, in milliseconds, by case and question
    """

    builds: int
    first: float
    megabytes: float
    took: dict[str, dict[str, float]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what *arguments* ask for; the exit status is 1 if a bound is not held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    sizes = (1_000_000, 5_000_000)
    parser.add_argument("--builds", type=int, nargs=2, default=sizes, help="%(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the histories (%(default)s)")
    parser.add_argument("--database", default="sqlite", choices=keep.DATABASES)
    parser.add_argument("--rounds", type=int, default=9, help="the quietest counts (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".bench-data"), help="(%(default)s)")
    parser.add_argument("--json", type=Path, default=runs.RESULTS / runs.GROWTH)
    options = parser.parse_args(arguments)
    measured = measure(options)
    options.json.write_text(json.dumps([asdict(one) for one in measured], indent=1) + "\n")
    print(table(measured))
    short = misses(measured)
    print("\n".join(short))
    sys.exit(1 if short else 0)


def measure(options: argparse.Namespace) -> list[Measured]:
    """Return what was measured on the smaller history, and on the larger one."""
    with contextlib.ExitStack() as stack:
        started = [
            stack.enter_context(_started(options, builds)) for builds in sorted(options.builds)
        ]
        asked = [_samples(connection, cases) for _, connection, cases in started]
        for _ in range(options.rounds):
            for case in asked[0]:
                for question in QUESTIONS:
                    for samples in asked:
                        samples[case][question].round()
        for (measured, _, _), samples in zip(started, asked, strict=True):
            measured.took = {
                case: {question: one.quietest for question, one in its.items()}
                for case, its in samples.items()
            }
        return [measured for measured, _, _ in started]


@contextlib.contextmanager
def _started(
    options: argparse.Namespace, builds: int
) -> Iterator[tuple[Measured, wire.Connection, Sequence[Case]]]:
    """Start a master, and yield what is measured by then, a connection to it, and its cases."""
    sizes = Sizes(builds, options.seed)
    with (
        keep.lend(options.folder, options.database, sizes, _say) as lent,
        master.running(lent.url) as running,
    ):
        floor.settle(running.process.pid)
        connection = wire.Connection(running.port)
        megabytes = running.megabytes()["readers"]
        measured = Measured(builds, round(running.started_in, 1), megabytes, {})
        yield measured, connection, lent.cases.cases
        connection.close()


def _samples(connection: wire.Connection, cases: Sequence[Case]) -> dict[str, dict[str, Sample]]:
    return {
        case.name: {
            question: Sample(partial(connection.get, path, attempts=2))
            for question, path in _paths(case).items()
        }
        for case in cases
    }


def _paths(case: Case) -> dict[str, str]:
    paths = {name: ours.PATHS[name](case) for name in QUESTIONS[:-1]}
    return {**paths, "pushes": pushes.path_of(case)}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def growth(measured: Sequence[Measured]) -> Mapping[str, float]:
    """Return how many times longer each question takes on the larger history, in the worst case."""
    smaller, larger = measured
    return {
        question: max(
            its[question] / smaller.took[case][question] for case, its in larger.took.items()
        )
        for question in QUESTIONS
    }


def misses(measured: Sequence[Measured]) -> list[str]:
    """Return a line for each bound that is not held."""
    return report.short(_checks(measured))


def _checks(measured: Sequence[Measured]) -> Iterator[Check]:
    for question, times in growth(measured).items():
        yield Check(f"{question}: growth", f"≤ {GROWTH}×", f"{times:.2f}×", times <= GROWTH)
    for one in measured:
        what = f"{one.builds:,} builds: first answer"
        yield Check(what, f"≤ {FIRST} s", f"{one.first} s", one.first <= FIRST)


def table(measured: Sequence[Measured]) -> str:
    """Return the figures as a Markdown table."""
    head = ["builds", "first answer", "memory of readers", *QUESTIONS]
    rows = []
    for one in measured:
        took = [max(case[question] for case in one.took.values()) for question in QUESTIONS]
        rows.append(
            [
                f"{one.builds:,}",
                f"{one.first} s",
                f"{one.megabytes:,.0f} MB",
                *(f"{ms:.2f} ms" for ms in took),
            ]
        )
    times = growth(measured)
    rows.append(["growth, worst case", "", "", *(f"**{times[one]:.2f}**" for one in QUESTIONS)])
    return markdown.table(head, rows)


if __name__ == "__main__":
    main()
