"""Measures a master with a long history: ``python -m benchmarks``, or ``make bench``.

For each database a history is made up (or taken from an earlier run), a master runs on a copy of
it, and questions are asked of self-serve, of Buildbot's own REST API and of the database alone;
then its reactor is watched while crowds of clients ask. What an answer costs is measured beside
bare twisted.web. At the end tables say what was measured, beside what is wanted, and a line each
what is not held; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import floor
from benchmarks import master
from benchmarks import ours
from benchmarks import pushes
from benchmarks import reactor
from benchmarks import reads
from benchmarks import report
from benchmarks import runs
from benchmarks import waiting
from benchmarks import wanted
from benchmarks.history import keep
from benchmarks.history.plan import Sizes
from benchmarks.progress import Progress

ROOT = Path(__file__).parent.parent
PARTS = ("memory", "floor", "reads", "again", "reactor", "pushes", "waiting", "writes", "plans")
#: Those that are modules with masters of their own.
_APART = {"pushes", "waiting", "writes", "plans"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what *arguments* ask for."""
    options = _parser().parse_args(arguments)
    sizes = Sizes(options.builds, options.seed)
    measured = []
    if not _APART.issuperset(options.parts):
        measured = [_measure(options, sizes, database) for database in options.database]
    _measure_apart(options)
    known, writes = runs.load(options.results), runs.load_writes(options.results)
    short = []
    for run in measured:
        print(report.summary(run, known, writes))
        checks = wanted.checks(run, known, writes)
        short += [f"{run.database}: {line}" for line in report.short(checks)]
    if "pushes" in options.parts:
        of_pushes = pushes.checks(runs.load_pushes(options.results))
        short += report.short(wanted.below(*one) for one in of_pushes)
    if "waiting" in options.parts:
        of_waiting = waiting.checks(runs.load_waiting(options.results))
        short += report.short(wanted.below(*one) for one in of_waiting)
    if "plans" in options.parts:
        short += report.short(wanted.of_plans(runs.load_plans(options.results)))
    print("\n".join(short))
    if short:
        sys.exit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)

    def add(name: str, default: Any, text: str, **more: Any) -> None:
        kind = more.pop("type", type(default))
        parser.add_argument(name, default=default, type=kind, help=f"{text} (%(default)s)", **more)

    add("--builds", 100_000, "builds in the history")
    add("--seed", 1, "of the history")
    add("--database", keep.DATABASES, "", type=str, choices=keep.DATABASES, nargs="+")
    add("--parts", PARTS, "what is measured", type=str, choices=PARTS, nargs="+")
    add("--rounds", 3, "of each question; the quietest counts")
    add("--stock-seconds", 10.0, "after so many seconds a question is asked of REST no more")
    add("--windows", 3, "in which the reactor is watched; the quietest counts")
    add("--seconds", 12.0, "of each window")
    add("--floor-seconds", floor.SECONDS, "of each window beside bare twisted.web")
    add("--folder", ROOT / ".bench-data", "where histories are kept")
    add("--results", runs.RESULTS, "where results are written")
    return parser


def _measure(options: argparse.Namespace, sizes: Sizes, database: str) -> runs.Run:
    cells = 4 * len(ours.PATHS) if "reads" in options.parts else 0
    scenes = reactor.SCENES if "reactor" in options.parts else 0
    progress = Progress(2 + cells + scenes)
    progress.what = f"{database}, {options.builds:,} builds: "
    run = runs.Run(database, options.builds, runs.machine())
    known = runs.of(runs.load(options.results), database, options.builds)
    if known is not None:
        # parts that are not measured now stay as they were
        run.megabytes, run.reads, run.reactor = known.megabytes, known.reads, known.reactor
        run.floor, run.again = known.floor, known.again
    if "memory" in options.parts:
        progress.say("a master without a history")
        with (
            keep.lend_empty(options.folder, database) as url,
            master.running(url, f"{ours.ROOT}/branches") as empty,
        ):
            run.megabytes["empty"] = empty.megabytes()
    progress.done += 1
    with keep.lend(options.folder, database, sizes, progress.say) as lent:
        run.counts, run.size, run.made_in = lent.counts, lent.size, lent.made_in
        progress.say("starting a master")
        warm = ours.PATHS["is_done"](lent.cases.cases[0])
        with master.running(lent.url, warm) as measured:
            progress.done += 1
            _measure_master(options, run, lent, measured, progress)
        if not {"again", "floor"}.isdisjoint(options.parts):
            # as a master answers that is not told to make each answer anew
            with master.running(lent.url, warm, repeats=True) as measured:
                _measure_again(options, run, lent, measured)
    run.save(options.results)
    return run


def _measure_master(
    options: argparse.Namespace,
    run: runs.Run,
    lent: keep.Lent,
    measured: master.Master,
    progress: Progress,
) -> None:
    run.megabytes["loaded"] = measured.megabytes()
    if "reads" in options.parts:
        run.reads = reads.measure(
            measured, lent.url, lent.cases.cases, options.rounds, options.stock_seconds, progress
        )
    if "reactor" in options.parts:
        run.reactor = reactor.measure(
            measured, lent.cases, options.seconds, options.windows, progress
        )


def _measure_again(
    options: argparse.Namespace, run: runs.Run, lent: keep.Lent, measured: master.Master
) -> None:
    if "floor" in options.parts:
        how = floor.Options(windows=options.windows, seconds=options.floor_seconds)
        run.floor = floor.measure(measured, lent.cases, how)
    if "again" in options.parts:
        run.again = reads.measure_again(
            measured, lent.url, lent.cases.cases, wanted.SMALL, options.rounds
        )


def _measure_apart(options: argparse.Namespace) -> None:
    """Measure pushes, what waits, bulk job requests and plans, each in a process of its own.

    The clients of the last two live in their masters.
    """
    options.results.mkdir(parents=True, exist_ok=True)
    history = ["--builds", options.builds, "--seed", options.seed, "--folder", options.folder]
    apart: dict[str, tuple[str, list[Any]]] = {
        "pushes": (runs.PUSHES, history),
        "waiting": (runs.WAITING, history),
        "writes": (runs.WRITES, []),
        "plans": (runs.PLANS, []),
    }
    for part, (file, more) in apart.items():
        if part in options.parts:
            command = [sys.executable, "-W", "ignore", "-m", f"benchmarks.{part}", *map(str, more)]
            sizes = ["--json", str(options.results / file), "--database", *options.database]
            subprocess.run([*command, *sizes], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
