"""What is wanted of a master with a million builds, and whether a run has it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import floor
from benchmarks.runs import Figures
from benchmarks.runs import Run
from benchmarks.runs import of
from benchmarks.runs import over_bare

#: For this many builds.
BUILDS = 1_000_000
#: Growth is measured from so many.
SMALLER = 100_000

#: The best client of the REST API takes so many times longer, in each of the four cases.
RATIOS = {
    "sqlite": {"revision": 1100, "is_done": 1200, "day": 120, "user": 500, "build": 10},
    "postgresql": {"revision": 400, "is_done": 450, "day": 120, "user": 15, "build": 4},
}
PENDING_RATIO = 150
#: On PostgreSQL, HTTP and everything takes so many times longer than SQL alone, at most; small
#: answers so many times longer than bare HTTP and SQL one after the other.
OVER_SQL = 2.5
OVER_BARE, SMALL = 1.8, ("is_done", "build", "request")
#: From 100k to a million builds they take so many times longer, at most.
GROWTH = 1.5
GROWING = ("revision", "is_done", "build", "request")
#: Milliseconds that the builders of a branch take, at most.
BUILDERS = 10.0
#: Bulk job requests are so many times quicker than Buildbot's own way.
WRITES = 40
#: What ``benchmarks.plans`` measures is at least so many times as quick as the other way, by how
#: its name begins; a dry run takes little longer than its act.
PLANS = {"rerun": 20, "plan": 0.7, "insert": 10}

#: Bounds while clients ask: late ticks and the database pool in milliseconds, cores.
_BUSY = {"late_p99": 4.0, "late_max": 10.0, "pool_p99": 12.0, "cores": 0.8}
_CALM = {"late_p99": 3.0, "late_max": 8.0}
BOUNDS = {
    "50 revisions a second": _CALM,
    "8 clients, revisions": _BUSY,
    "8 clients, days as JSON": _BUSY,
    "8 clients, days as pages": _BUSY,
}
POOL_OVER_IDLE = 1.3
ANSWERS = {"sqlite": 2000.0, "postgresql": 1000.0}
#: Milliseconds that one more client waits for is_done meanwhile.
ALONE = 10.0

#: What figures are called in tables.
TITLES = {
    "late_p99": "stalls, p99 (ms)",
    "late_max": "stalls, worst (ms)",
    "pool_p99": "database pool, p99 (ms)",
    "cores": "CPU of the master (cores)",
}


@dataclass(frozen=True)
class Check:
    """A figure that is wanted, and what was measured."""

    what: str
    wanted: str
    measured: str
    met: bool


def checks(run: Run, runs: Iterable[Run], writes: Sequence[Figures]) -> list[Check]:
    """Return everything that is wanted of *run*.

    :param runs: others that it may be compared with
    """
    return [
        *_of_reads(run),
        *_of_growth(run, of(runs, run.database, SMALLER)),
        *_of_reactor(run),
        *_of_floor(run),
        *_of_writes(run, writes),
    ]


def _at_least(what: str, wanted: float, measured: float, unit: str = "×") -> Check:
    met = measured >= wanted
    return Check(what, f"≥ {wanted:,g}{unit}", f"{_short(measured)}{unit}", met)


def below(what: str, wanted: float, measured: float, unit: str = "") -> Check:
    """Return the check that *measured* is at most what is *wanted*."""
    return Check(what, f"≤ {wanted:g}{unit}", f"{_short(measured)}{unit}", measured <= wanted)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _of_reads(run: Run) -> Iterator[Check]:
    if not run.reads:
        return
    for question, ratio in (*RATIOS[run.database].items(), ("pending", PENDING_RATIO)):
        worst = min(run.ratios(question))
        yield _at_least(f"{question}: quicker than REST, worst case", ratio, worst)
    if run.database == "postgresql":
        for question in ("revision", "day", "user", "pending"):
            worst = max(run.ratios(question, "ours", "raw"))
            yield below(f"{question}: over SQL alone, worst case", OVER_SQL, worst, "×")
        for cells, how in ((run.reads, ""), (run.again, ", asked again")):
            for question in SMALL if cells else ():
                for worst in sorted(over_bare(cells.values(), question))[-1:]:
                    what = f"{question}{how}: over bare HTTP and SQL, worst case"
                    yield below(what, OVER_BARE, worst, "×")
    slowest = max(run.times("builders", "ours"))
    yield below("builders: worst case (ms)", BUILDERS, slowest)


def _of_growth(run: Run, smaller: Run | None) -> Iterator[Check]:
    if smaller is None or run.builds != BUILDS or not (run.reads and smaller.reads):
        return
    for question in GROWING:
        pairs = zip(run.times(question, "ours"), smaller.times(question, "ours"), strict=True)
        worst = max(one / other for one, other in pairs)
        yield below(f"{question}: growth from 100k builds, worst case", GROWTH, worst, "×")


def _of_reactor(run: Run) -> Iterator[Check]:
    idle = run.quietest("idle")
    for scene, bounds in BOUNDS.items():
        figures = run.quietest(scene)
        if figures is None:
            continue
        for key, most in bounds.items():
            yield below(f"{scene}: {TITLES[key]}", most, _number(figures[key]))
        if scene == "8 clients, revisions":
            answers = figures["crowd"]["answers_s"]
            yield _at_least(f"{scene}: answers a second", ANSWERS[run.database], answers, "")
        if scene == "50 revisions a second" and idle is not None:
            ratio = _number(figures["pool_p50"]) / _number(idle["pool_p50"])
            yield below(f"{scene}: database pool, median, over idle", POOL_OVER_IDLE, ratio, "×")
        else:
            what = f"{scene}: is_done of one more client, median (ms)"
            yield below(what, ALONE, _number(figures["alone"].get("p50")))


def _of_floor(run: Run) -> Iterator[Check]:
    if run.floor:
        for one in floor.checks(run.database, run.floor):
            yield below(*one)


def _number(figure: float | None) -> float:
    """Return a figure; one that could not be measured is worse than all."""
    return float("inf") if figure is None else figure


def _of_writes(run: Run, writes: Sequence[Figures]) -> Iterator[Check]:
    for one in writes:
        if one["database"] == run.database and one["stock"] is not None:
            for act in ("rebuild", "cancel"):
                ratio = _each(one["stock"]) / _each(one[act])
                what = f"{act} in bulk: quicker than Buildbot's own way"
                yield _at_least(what, WRITES, ratio)


def of_plans(measured: Iterable[Figures]) -> Iterator[Check]:
    """Yield what is wanted of reruns, dry runs and inserts."""
    for one in measured:
        ratio = PLANS[one["what"].partition(" ")[0]]
        what = f"{one['database']}: {one['what']}: quicker than the other way"
        yield _at_least(what, ratio, one["other"] / one["ours"])


def _each(act: Figures) -> float:
    return float(act["seconds"]) / float(act["requests"])
