"""Makes tables of runs: all of the kept ones, and a few for ``docs/performance.md``.

``python -m benchmarks.report`` writes ``benchmarks/results/tables.md`` from what is kept beside it,
the figures in ``docs/performance.md``, which stand between comments, and its plots.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

from benchmarks import floor
from benchmarks import markdown
from benchmarks import plots
from benchmarks import pushes
from benchmarks import runs
from benchmarks import wanted
from benchmarks.runs import Figures
from benchmarks.runs import Run

ROOT = Path(__file__).parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
#: All tables, beside the results that they are made from.
TABLES = "tables.md"
#: How databases are called in tables.
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the tables, and the figures and plots of the document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=runs.RESULTS, help="(%(default)s)")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="(%(default)s)")
    options = parser.parse_args(arguments)
    write(options.results, options.document)


def write(results: Path, document: Path) -> None:
    """Write all tables of the kept *results* beside them, and the figures in *document*.

    Its plots are written beside it, into ``images/``. A new document has the text of the usual one.
    """
    known = runs.load(results)
    writes, plans = runs.load_writes(results), runs.load_plans(results)
    notes, forecasts = runs.load_notes(results), runs.load_forecasts(results)
    pushed = runs.load_pushes(results)
    (results / TABLES).write_text(text(known, writes, plans, notes, forecasts, pushed))
    before = document if document.exists() else DOCUMENT
    document.write_text(page(before.read_text(), known, writes))
    images = document.parent / "images"
    images.mkdir(exist_ok=True)
    plots.draw(known, images)


def summary(run: Run, known: Iterable[Run], writes: Sequence[Figures], least: int = 0) -> str:
    """Return all tables of a run, as Markdown.

    :param least: with fewer builds it is not compared with what is wanted of a million
    """
    checks = wanted.checks(run, known, writes) if run.builds >= least else []
    parts = [
        f"## {NAMES[run.database]}, {run.builds:,} builds",
        _table_of_reads(run),
        _table_of_again(run),
        _table_of_reactor(run),
        floor.table(run.database, run.floor) if run.floor else "",
        _memory(run),
        _table_of_checks(checks),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table_of_reads(run: Run) -> str:
    if not run.reads:
        return ""
    head = ["question", "rows", "SQL alone", "self-serve", "×", "REST", "its requests"]
    rows = []
    for question in next(iter(run.reads.values())):
        cells = [case[question] for case in run.reads.values()]
        worst = min(cells, key=lambda one: one["stock"] / one["ours"])
        rows.append(
            [
                question,
                _span([one["rows"] for one in cells]),
                _ms(worst["raw"]),
                _ms(worst["ours"]),
                f"{worst['ours'] / worst['raw']:.1f}",
                _ms(worst["stock"]),
                f"{worst['stock_requests']} ({worst['stock_queries']:,} queries)",
                f"**{worst['stock'] / worst['ours']:,.0f}**",
            ]
        )
    return markdown.table([*head, "× REST, worst of four"], rows)


def _table_of_again(run: Run) -> str:
    head = ["asked again", "SQL alone", "bare HTTP", "self-serve", "× both, worst of four"]
    rows = []
    for question in next(iter(run.again.values()), ()):
        cells = [case[question] for case in run.again.values()]
        worst = max(cells, key=runs.times_over_bare)
        figures = [_ms(worst[who]) for who in ("raw", "bare", "ours")]
        rows.append([question, *figures, f"**{runs.times_over_bare(worst):.2f}**"])
    return markdown.table(head, rows) if rows else ""


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _ms(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _table_of_reactor(run: Run) -> str:
    head = [
        *("meanwhile", "answers a second", "median"),
        *("stalls p50", "p99", "worst", "p99 but for waits for a core"),
        *("pool p50", "p99", "CPU of the master", "memory", "is_done of one more"),
    ]
    rows = []
    for scene in run.reactor:
        figures = run.quietest(scene)
        assert figures is not None
        crowd, alone = figures["crowd"], figures["alone"]
        rows.append(
            [
                scene,
                f"{crowd['answers_s']:,}" if crowd else "",
                _ms(crowd.get("p50")),
                *(
                    _ms(figures.get(key))
                    for key in ("late_p50", "late_p99", "late_max", "awake_p99")
                ),
                *(_ms(figures[key]) for key in ("pool_p50", "pool_p99")),
                f"{figures['cores']:.2f} cores",
                f"{figures['megabytes']['master']:.0f} MB",
                _ms(alone.get("p50")),
            ]
        )
    return markdown.table(head, rows) if rows else ""


def _memory(run: Run) -> str:
    per_million = {whose: run.per_million(whose) for whose in ("master", "readers")}
    rows = []
    for whose, grown in per_million.items():
        if grown is not None:
            megabytes = (run.megabytes[state][whose] for state in ("empty", "loaded"))
            rows.append([whose, *(f"{one:.0f} MB" for one in megabytes), f"{grown:.0f} MB"])
    head = ["memory of", "without a history", "with it", "for a million builds"]
    return markdown.table(head, rows) if rows else ""


def _table_of_checks(checks: Iterable[wanted.Check]) -> str:
    rows = [
        [one.what, one.wanted, one.measured, "yes" if one.met else "**falls short**"]
        for one in checks
    ]
    head = [f"at {wanted.BUILDS:,} builds", "wanted", "measured", "met"]
    return markdown.table(head, rows) if rows else ""


def short(checks: Iterable[wanted.Check]) -> list[str]:
    """Return a line for each bound that is not held."""
    return [
        f"falls short: {one.what}: {one.measured}, wanted {one.wanted}"
        for one in checks
        if not one.met
    ]


# -- all tables

_HEAD = """\
# Measurements

<!-- Made by `python -m benchmarks.report` from what lies here: measure again, then run it. -->

What self-serve costs a master with a long history, measured by `make bench BUILDS=1000000`
([benchmarks](../README.md) says how). [Performance](../../docs/performance.md) has what matters to
operators. Seconds depend on the machine, and other work on it only adds to them; what counts are
ratios between things that were measured in the same run.

- **SQL alone** is the same answer on a bare database driver, with the ids of its buildsets known
  beforehand, encoded as JSON.
- **Self-serve** is its answer over HTTP as JSON, from inside a running master.
- **Asked again** is an answer that the master knows, or a reader, as nothing was written since the
  last one; in all other tables, each is made anew.
- **REST** is the best that a client could do with Buildbot's own REST API. It has to send several
  requests for most questions, and the master many queries to its database for each of those.

Of the four cases (a busy and a quiet branch, a revision two days old and one forty days old) the
tables show the one in which self-serve gains least. Stalls are how late a tick of the master's
reactor was that should come every 5 ms. The pool is the one of the master's own database
connections, asked for one row every 50 ms. The windows are the quietest of several.
"""


def text(
    known: Sequence[Run],
    writes: Sequence[Figures],
    plans: Sequence[Figures],
    notes: str,
    forecasts: str,
    measured_pushes: Sequence[Figures] = (),
) -> str:
    """Return all tables.

    :param notes: what somebody has to say of these results
    :param forecasts: what is said of the error of forecasts
    """
    largest = _largest(known)
    parts = [_HEAD, notes]
    parts += [summary(run, known, writes, wanted.BUILDS) for run in largest]
    parts += ["## Smaller histories\n", *_smaller(known, largest)]
    parts += [_writes_text(writes), _plans_text(plans), _pushes_text(measured_pushes)]
    parts += [forecasts, _machine_text(largest)]
    return "\n".join(part for part in parts if part)


def _largest(known: Iterable[Run]) -> list[Run]:
    """Return the largest run on each database."""
    # the largest comes last
    return list({run.database: run for run in known}.values())


def _smaller(known: Iterable[Run], largest: Iterable[Run]) -> Iterator[str]:
    biggest = list(largest)
    for run in known:
        if run not in biggest:
            yield f"### {NAMES[run.database]}, {run.builds:,} builds\n\n{_table_of_reads(run)}\n"


def _writes_text(writes: Sequence[Figures]) -> str:
    if not writes:
        return ""
    head = ["database", "pending", "rebuild ×100", "cancel 1,000", "`addBuildset`, for each"]
    rows = [
        [
            NAMES[one["database"]],
            f"{one['pending']:,}",
            _act(one, "rebuild"),
            _act(one, "cancel"),
            _ms(_each(one["stock"]) * 1000) if one["stock"] else "",
        ]
        for one in writes
    ]
    intro = (
        "## Bulk job requests\n\n"
        "Over HTTP, with so many requests pending for the builder, beside Buildbot's own\n"
        "`data.updates.addBuildset` on the same backlog. Every event was seen.\n"
    )
    return f"{intro}\n{markdown.table(head, rows)}\n"


def _plans_text(plans: Sequence[Figures]) -> str:
    if not plans:
        return ""
    head = ["what", "database", "self-serve", "the other way", "×"]
    rows = [
        [
            one["what"],
            NAMES[one["database"]],
            _ms(one["ours"] * 1000),
            _ms(one["other"] * 1000),
            f"**{one['other'] / one['ours']:,.1f}×**",
        ]
        for one in plans
    ]
    intro = (
        "## Plans\n\n"
        "A rerun of what failed beside the best that a client of Buildbot's REST API can do: one\n"
        "read, and a rebuild for each build. A dry run beside its act. Inserts in transactions of\n"
        "200 requests beside one transaction for each.\n"
    )
    return f"{intro}\n{markdown.table(head, rows)}\n"


def _pushes_text(measured: Sequence[Figures]) -> str:
    if not measured:
        return ""
    intro = (
        f"## Pushes, at {measured[0]['builds']:,} builds\n\n"
        f"The newest {pushes.PUSHES} pushes of a branch, beside the best that a client of\n"
        "Buildbot's REST API can do for the same builders and states, and beside the requests\n"
        "that Buildbot's console view sends for its page.\n"
    )
    bounds = [wanted.below(*one) for one in pushes.checks(measured)]
    return f"{intro}\n{pushes.table(measured)}\n\n{_table_of_checks(bounds)}\n"


def _act(one: Figures, act: str) -> str:
    each = _each(one[act])
    ratio = f", **{_each(one['stock']) / each:,.0f}×**" if one["stock"] else ""
    return f"{one[act]['seconds']:.2f} s{ratio}"


def _each(act: Figures) -> float:
    return float(act["seconds"]) / float(act["requests"])


def _machine_text(measured: Iterable[Run]) -> str:
    lines = []
    for run in measured:
        machine = dict(run.machine)
        load = machine.pop("load")
        versions = ", ".join(
            f"{name} {machine[name]}" for name in ("python", "buildbot", "twisted", "sqlalchemy")
        )
        lines.append(
            f"- {NAMES[run.database]}: {machine['cores']} cores; {versions}; a database of"
            f" {run.size / 1e9:.1f} GB, made in {run.made_in:.0f} s; load of the machine when it"
            f" began: {load}"
        )
    return "## Where it was measured\n\n" + "\n".join(lines) + "\n"


# -- the document

#: What questions ask, for operators.
_ASKED = {
    "revision": "builds of a revision",
    "is_done": "is a revision done?",
    "day": "builds of a day",
    "user": "builds of a user",
    "build": "a build",
    "request": "a build request",
    "pending": "what waits",
    "builders": "builders of a branch",
}


def page(before: str, known: Sequence[Run], writes: Sequence[Figures]) -> str:
    """Return the text of the document with the figures of these runs.

    :param before: its text, which has a comment before and after each part that is made
    :raises ValueError: a comment is missing
    """
    largest = _largest(known)
    parts = {
        "reads": _reads_of(largest),
        "clients": _clients_of(largest),
        "job requests": _job_requests_of(writes),
        "plots": "\n\n".join(f"![{title}](images/{name})" for name, title in plots.titles(known)),
        "goals": _missed(known, writes),
    }
    for name, made in parts.items():
        begin, end = f"<!-- made by make bench-report: {name} -->", f"<!-- end of {name} -->"
        if before.count(begin) != 1 or before.count(end) != 1:
            raise ValueError(f"the document has no part {name!r} between comments")
        head, _, rest = before.partition(begin)
        before = f"{head}{begin}\n\n{made}\n\n{end}{rest.partition(end)[2]}"
    return before


def _reads_of(largest: Sequence[Run]) -> str:
    measured = [run for run in largest if run.reads]
    head = ["Question"]
    for run in measured:
        head += [NAMES[run.database], "REST API"]
    rows = []
    for question, asked in _ASKED.items():
        row = [asked]
        for run in measured:
            worst = min(
                (case[question] for case in run.reads.values()),
                key=lambda one: one["stock"] / one["ours"],
            )
            row += [_ms(worst["ours"]), _ms(worst["stock"])]
        rows.append(row)
    return "\n\n".join(filter(None, (markdown.table(head, rows), _again_of(largest))))


def _again_of(largest: Sequence[Run]) -> str:
    """Return what small answers take that are given again, in a sentence."""
    took = {
        NAMES[run.database]: max(
            one["ours"] for case in run.again.values() for one in case.values()
        )
        for run in largest
        if run.again
    }
    if not took:
        return ""
    longest = " and ".join(f"{_ms(one)} on {name}" for name, one in took.items())
    return f"Asked for again while nothing was written, small ones take at most {longest}."


def _clients_of(largest: Sequence[Run]) -> str:
    measured = [run for run in largest if run.reactor]
    head = ["Clients"]
    for run in measured:
        head += [f"{NAMES[run.database]}: answers a second", "delay", "cores"]
    rows = []
    for scene in dict.fromkeys(scene for run in measured for scene in run.reactor):
        row = [scene]
        for run in measured:
            figures = run.quietest(scene)
            answers = (figures["crowd"].get("answers_s") if figures else None) or 0
            row += [
                (f"{answers:.3g}" if answers < 100 else f"{answers:,.0f}") if answers else "",
                _ms(figures["late_p99"]) if figures else "",
                f"{figures['cores']:.2f}" if figures else "",
            ]
        rows.append(row)
    return markdown.table(head, rows)


def _job_requests_of(writes: Sequence[Figures]) -> str:
    head = ["Requests that wait", "Database", "rebuild 100 times", "cancel 1,000"]
    rows = [
        [
            f"{one['pending']:,}",
            NAMES[one["database"]],
            *(f"{one[act]['seconds']:.2f} s" for act in ("rebuild", "cancel")),
        ]
        for one in writes
        if one["pending"] > 100
    ]
    return markdown.table(head, rows)


def _missed(known: Sequence[Run], writes: Sequence[Figures]) -> str:
    lines = [
        f"- {NAMES[run.database]}, {one.what}: {one.measured}, wanted {one.wanted}"
        for run in _largest(known)
        if run.builds >= wanted.BUILDS
        for one in wanted.checks(run, known, writes)
        if not one.met
    ]
    return "\n".join(lines) or "None."


if __name__ == "__main__":
    main()
