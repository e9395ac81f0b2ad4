"""What a run has measured, as it is kept in ``results/``, and what is made of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import buildbot
import psutil
import sqlalchemy as sa
import twisted

from buildbot_selfserve import __version__

#: Where results are kept that the documents are made from.
RESULTS = Path(__file__).parent / "results"
WRITES = "writes.json"
PLANS = "plans.json"
PUSHES = "pushes.json"
WAITING = "waiting.json"
GROWTH = "growth.json"
#: What is to be said of them.
NOTES = "notes.md"
#: The same of the error of forecasts, which a test prints.
FORECASTS = "forecasts.md"

Figures = dict[str, Any]


@dataclass
class Run:
    """What was measured on one database.

    :ivar counts: rows by table
    :ivar megabytes: memory of the master and of its readers, on an empty database and on this one
    :ivar reads: ``reads.Cell`` by case and question
    :ivar again: ``reads.Small`` by case and question, where nothing is written in between
    :ivar reactor: windows by scene, the quietest first
    :ivar floor: what answers cost beside bare twisted.web (``floor.measure``)
    """

    database: str
    builds: int
    machine: Figures
    counts: dict[str, int] = field(default_factory=dict)
    size: int = 0
    made_in: float = 0.0
    megabytes: dict[str, dict[str, float]] = field(default_factory=dict)
    reads: dict[str, dict[str, Figures]] = field(default_factory=dict)
    again: dict[str, dict[str, Figures]] = field(default_factory=dict)
    reactor: dict[str, list[Figures]] = field(default_factory=dict)
    floor: Figures = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write it where ``load`` finds it."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.database}-{self.builds}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")

    def times(self, question: str, who: str) -> list[float]:
        """Return what *question* took in each case, in milliseconds.

        :param who: ``ours``, ``stock``, ``raw`` or ``bare``
        """
        return [float(cells[question][who]) for cells in self.reads.values()]

    def ratios(self, question: str, slow: str = "stock", quick: str = "ours") -> list[float]:
        """Return how many times longer *slow* took than *quick*, in each case."""
        pairs = zip(self.times(question, slow), self.times(question, quick), strict=True)
        return [one / other for one, other in pairs]

    def quietest(self, scene: str) -> Figures | None:
        """Return the figures of the quietest window of *scene*."""
        windows = self.reactor.get(scene)
        return windows[0] if windows else None

    def per_million(self, whose: str) -> float | None:
        """Return the megabytes that a million builds take."""
        if not {"empty", "loaded"} <= set(self.megabytes):
            return None
        grown = self.megabytes["loaded"][whose] - self.megabytes["empty"][whose]
        return grown * 1e6 / self.builds


def over_bare(cells: Iterable[dict[str, Figures]], question: str) -> list[float]:
    """Return how many times longer we took than bare HTTP and SQL alone, in each case.

    Earlier runs have not measured bare HTTP.

    :param cells: by question, of each case
    """
    its = [one[question] for one in cells]
    return [times_over_bare(one) for one in its if "bare" in one]


def times_over_bare(cell: Figures) -> float:
    """Return how many times longer we took in one case."""
    return float(cell["ours"] / (cell["raw"] + cell["bare"]))


def load(folder: Path) -> list[Run]:
    """Return all runs that are kept in *folder*: by database, the smallest first."""
    runs = [
        Run(**json.loads(path.read_text()))
        for path in folder.glob("*-*.json")
        if path.name not in (WRITES, PLANS, PUSHES, WAITING, GROWTH)
    ]
    order = ["sqlite", "postgresql"]
    return sorted(runs, key=lambda one: (order.index(one.database), one.builds))


def load_writes(folder: Path) -> list[Figures]:
    """Return what ``benchmarks.writes`` has measured, if it has."""
    path = folder / WRITES
    found: list[Figures] = json.loads(path.read_text()) if path.exists() else []
    return found


def load_plans(folder: Path) -> list[Figures]:
    """Return what ``benchmarks.plans`` has measured, if it has."""
    path = folder / PLANS
    found: list[Figures] = json.loads(path.read_text()) if path.exists() else []
    return found


def load_pushes(folder: Path) -> list[Figures]:
    """Return what ``benchmarks.pushes`` has measured, if it has."""
    path = folder / PUSHES
    found: list[Figures] = json.loads(path.read_text()) if path.exists() else []
    return found


def load_waiting(folder: Path) -> list[Figures]:
    """Return what ``benchmarks.waiting`` has measured, if it has."""
    path = folder / WAITING
    found: list[Figures] = json.loads(path.read_text()) if path.exists() else []
    return found


def load_notes(folder: Path) -> str:
    """Return what somebody has written of the results, if anything."""
    path = folder / NOTES
    return path.read_text() if path.exists() else ""


def load_forecasts(folder: Path) -> str:
    """Return what is written of the error of forecasts, if anything."""
    path = folder / FORECASTS
    return path.read_text() if path.exists() else ""


def of(runs: Iterable[Run], database: str, builds: int) -> Run | None:
    """Return the run on this database and size."""
    return next((one for one in runs if (one.database, one.builds) == (database, builds)), None)


def machine() -> Figures:
    """Return what it is measured on, and how busy that is with other things."""
    return {
        "cores": psutil.cpu_count(),
        "python": platform.python_version(),
        "buildbot": buildbot.version,
        "twisted": twisted.__version__,
        "sqlalchemy": sa.__version__,
        "selfserve": __version__,
        "load": round(os.getloadavg()[0], 1),
    }
