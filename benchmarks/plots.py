"""Draws runs: what questions take as the history grows, and how late the reactor is."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.inside import BARS
from benchmarks.runs import Run

#: The questions that are drawn.
QUESTIONS = ("revision", "is_done", "day", "user", "build", "pending")
#: Who is drawn, in words and colours that stay apart for everybody.
_WHO = (
    ("stock", "Buildbot's REST API", "#d55e00"),
    ("ours", "self-serve", "#0072b2"),
    ("raw", "SQL alone", "#777777"),
)
_SCENES = (
    ("8 clients of REST, revisions", "8 clients of REST, revisions", "#d55e00"),
    ("8 clients, days as pages", "8 clients, days as pages", "#cc79a7"),
    ("8 clients, revisions", "8 clients, revisions", "#0072b2"),
    ("50 revisions a second", "50 revisions a second", "#009e73"),
    ("idle", "idle", "#777777"),
)
_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
# the same bytes for the same figures; text stays text
_STYLE: Any = {"svg.hashsalt": "selfserve", "svg.fonttype": "none", "font.size": 9}


def titles(runs: Sequence[Run]) -> Iterator[tuple[str, str]]:
    """Yield the file and the title of each plot of *runs*."""
    for database in _databases(runs):
        name = _DATABASES[database]
        yield f"reads-{database}.svg", f"What questions take on {name} as the history grows"
        if _watched(runs, database):
            yield f"stalls-{database}.svg", f"How late the reactor is on {name}"


def draw(runs: Sequence[Run], folder: Path) -> None:
    """Draw all plots into *folder*."""
    with mpl.rc_context(_STYLE):
        for database in _databases(runs):
            of_database = [one for one in runs if one.database == database]
            _save(_reads(of_database), folder / f"reads-{database}.svg")
            if watched := _watched(runs, database):
                _save(_stalls(watched[-1]), folder / f"stalls-{database}.svg")


def _watched(runs: Sequence[Run], database: str) -> list[Run]:
    """Return the runs in which the reactor was watched."""
    return [one for one in runs if one.database == database and one.reactor]


def _databases(runs: Sequence[Run]) -> list[str]:
    return list(dict.fromkeys(one.database for one in runs))


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _reads(runs: Sequence[Run]) -> Figure:
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    every = figure.subplots(2, 3, sharex=True, sharey=True)
    for axes, question in zip(every.flat, QUESTIONS, strict=True):
        _question(axes, [one for one in runs if one.reads], question)
    figure.supylabel("milliseconds, mean of the four cases")
    figure.supxlabel("builds in the database")
    handles, labels = every.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(_WHO), frameon=False)
    return figure


def _question(axes: Axes, runs: Sequence[Run], question: str) -> None:
    for who, label, colour in _WHO:
        times = [run.times(question, who) for run in runs]
        axes.plot(
            [run.builds for run in runs],
            [sum(one) / len(one) for one in times],
            "o-",
            color=colour,
            label=label,
        )
    axes.set(title=question, xscale="log", yscale="log")
    axes.minorticks_off()
    axes.grid(visible=True, color="#dddddd")


def _stalls(run: Run) -> Figure:
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    edges = [*BARS, BARS[-1] * 2]
    for scene, label, colour in _SCENES:
        quietest = run.quietest(scene)
        if quietest is None:
            continue
        bars = quietest["late_bars"]
        later = [sum(bars[place + 1 :]) / sum(bars) for place in range(len(bars))]
        axes.step(edges, later, where="post", color=colour, label=label)
    axes.set(
        title=f"{run.builds:,} builds on {_DATABASES[run.database]}",
        xlabel="later than so many milliseconds",
        ylabel="share of ticks",
        xscale="log",
        yscale="log",
        ylim=(1e-4, 1.2),
    )
    axes.grid(visible=True, color="#dddddd")
    axes.legend(frameon=False)
    return figure
