"""The benchmarks run, with tiny numbers, and say what they are asked."""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import floor
from benchmarks import growth
from benchmarks import inside
from benchmarks import plots
from benchmarks import reads
from benchmarks import report
from benchmarks import runs
from benchmarks import waiting
from benchmarks import wanted
from benchmarks import wire
from benchmarks.history.cases import pick
from benchmarks.history.plan import BRANCHES
from benchmarks.history.plan import Sizes
from benchmarks.history.plan import plan
from benchmarks.history.tables import tables
from benchmarks.soak import verdict
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED

ROOT = Path(__file__).parent.parent


@pytest.mark.heavy
def test_bulk_job_requests_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = "--pending 30 0 --count 3 --at-revision 30 --stock 1 --rounds 1 --database sqlite"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.writes", *arguments.split(), "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(figures.read_text())
    assert (first["pending"], second["pending"]) == (30, 0)
    for act, count in (("rebuild", 3), ("cancel", 30), ("stock", 1)):
        assert first[act]["requests"] == count
        assert first[act]["seconds"] > 0
    assert second["stock"] is None
    head, _, *rows = done.stdout.splitlines()
    assert [row.split("|")[1:3] for row in rows] == [[" sqlite ", " 30 "], [" sqlite ", " 0 "]]
    assert "**" in rows[0]
    assert len({line.count("|") for line in (head, *rows)}) == 1


@pytest.mark.heavy
def test_plans_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    done = _run("benchmarks.plans", f"--database sqlite --rounds 1 --json {figures}", 200)
    measured = json.loads(figures.read_text())
    assert [one["what"] for one in measured] == [
        "rerun 50 failed builders",
        "plan new builds of 10 schedulers",
        "plan a backfill of 50 pushes",
        "insert 600 requests",
    ]
    assert all(one["ours"] > 0 and one["other"] > 0 for one in measured)
    assert done.stdout.count("\n| ") == 5


@pytest.mark.heavy
def test_pushes_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "pushes.json"
    arguments = f"--builds 2000 --database sqlite --rounds 1 --folder {tmp_path} --json {figures}"
    _run("benchmarks.pushes", arguments, 300)
    measured = json.loads(figures.read_text())
    assert len(measured) == 4
    assert all(one["rows"] > 0 and one["stock"] > one["pushes"] > 0 for one in measured)
    text = report.text([], [], [], "", "", measured)
    assert "| pushes: worst case (ms) | ≤ 20 |" in text
    assert "| health: over a revision, worst case | ≤ 3× |" in text


@pytest.mark.heavy
def test_an_answer_is_measured_beside_bare_twisted(tmp_path: Path) -> None:
    figures = tmp_path / "floor.json"
    arguments = f"--builds 1000 --database sqlite --folder {tmp_path} --json {figures}"
    done = _run("benchmarks.floor", f"{arguments} --rounds 2 --windows 1 --seconds 0.5", 300)
    found = json.loads(figures.read_text())["sqlite"]
    assert list(found["one"]) == list(floor.QUESTIONS)
    for one in found["one"].values():
        assert 0 < one["twisted"]["cpu"] < one["master"]["cpu"]
        assert all(one[name]["switches"] > 0 for name in ("twisted", "klein", "master"))
        # on SQLite, the master knows what it has just answered
        assert one["reader"]["cpu"] < one["master"]["cpu"]
    assert min(found["many"].values()) > 0
    assert done.stdout.count("\n| sqlite |") == len(floor.QUESTIONS)


@pytest.mark.heavy
def test_what_waits_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "waiting.json"
    arguments = f"--builds 1000 --database sqlite --rounds 1 --folder {tmp_path}"
    done = _run("benchmarks.waiting", f"{arguments} --json {figures}", 300)
    (one,) = json.loads(figures.read_text())
    assert one["waiting"] > 0
    for name in ("why", "pending", "tail, long", "tail, short"):
        assert one[name]["took"] > 0
        assert f"| {name} |" in done.stdout
    assert len(list(waiting.checks([one]))) == 5


def test_what_costs_too_much_beside_bare_twisted_is_told() -> None:
    one = {
        name: {"over": over} for name, over in (("twisted", 1.0), ("master", 2.1), ("reader", 0.9))
    }
    figures = {"one": {"build": one}, "many": {"twisted": 1000.0, "ours": 450.0}}
    for database, short in (("sqlite", 2), ("postgresql", 1)):
        told = [wanted.below(*check) for check in floor.checks(database, figures)]
        assert len(told) == 3
        assert sum(not check.met for check in told) == short
        assert not told[0].met


def test_a_history_is_made_up_as_said() -> None:
    history = plan(Sizes(20_000))
    assert len(history.builds) == pytest.approx(20_000, rel=0.05)
    requests = Counter(
        one.buildset.got.revision
        for one in history.requests
        if one.buildset.scheduler not in ("nightly", "rebuild")
    )
    late = {one.got.revision for one in history.buildsets[-500:]}  # what they trigger may miss
    assert {count for revision, count in requests.items() if revision not in late} == set(
        range(15, 26)
    )
    pushes = Counter(
        BRANCHES[one.branch] for one in history.buildsets if one.scheduler.startswith("push-")
    )
    assert [name for name, _ in pushes.most_common(2)] == ["main", "try"]
    pending = [one for one in history.requests if not one.claimed]
    running = [one for one in history.builds if one.ended is None]
    assert (len(pending), len(running)) == (1000, 100)
    assert min(one.request_id for one in pending) > len(history.requests) * 0.8
    assert {RETRY} < {one.results for one in history.builds}
    assert SKIPPED in {one.results for one in history.requests}


def test_a_history_is_the_same_for_everybody() -> None:
    one, same, other = (plan(Sizes(1000, seed)) for seed in (1, 1, 2))
    assert _rows(one) == _rows(same)
    assert _rows(one) != _rows(other)
    assert pick(one) == pick(same)


def _rows(history: Any) -> dict[str, list[Any]]:
    return {rows.table.name: list(rows.rows()) for rows in tables(history)}


@pytest.mark.heavy
def test_reads_and_the_reactor_are_measured(tmp_path: Path) -> None:
    results, document = tmp_path / "results", tmp_path / "performance.md"
    arguments = "--builds 1000 --database sqlite --parts reads again reactor --rounds 1 --windows 1"
    limits = f"--stock-seconds 0 --seconds 0.5 --folder {tmp_path} --results {results}"
    measured = _run("benchmarks", f"{arguments} {limits}", timeout=600, status=1)
    last = measured.stdout.splitlines()[-1]
    assert last.startswith("sqlite: falls short: ")
    for figures in (
        "**falls short**",
        "| revision |",
        "| asked again |",
        "| 8 clients, revisions |",
    ):
        assert figures in measured.stdout
    assert re.search(r"^\[ 9\d% +\d+:\d\d\] sqlite, 1,000 builds: ", measured.stderr, re.MULTILINE)
    (run,) = runs.load(results)
    assert run.counts["buildrequests"] >= 1000
    for cells in run.reads.values():
        assert all(cell["rows"] > 0 for cell in cells.values())
    for cells in run.again.values():
        assert list(cells) == list(wanted.SMALL)
        assert all(one["ours"] > 0 for one in cells.values())
    for one in run.reactor.values():
        assert sum(one[0]["late_bars"]) > 0
        assert 0 <= one[0]["awake_p99"] <= one[0]["late_p99"]
    _run("benchmarks.report", f"--results {results} --document {document}")
    assert "## SQLite, 1,000 builds" in (results / report.TABLES).read_text()
    assert "| builds of a revision | " in document.read_text()
    plots = {path.name for path in (tmp_path / "images").iterdir()}
    assert plots == {"reads-sqlite.svg", "stalls-sqlite.svg"}


def test_lost_answers_of_the_rest_api_are_forgiven_and_no_others() -> None:
    """The server closes the first connection without an answer, and answers on the second."""

    def serve(server: socket.socket) -> None:
        for answer in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"):
            peer, _ = server.accept()
            with peer:
                peer.recv(1000)
                time.sleep(0 if answer else 0.4)
                peer.sendall(answer)

    took = {}
    for forgives in (True, False):
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=serve, args=(server,))
            thread.start()
            connection = wire.Connection(server.getsockname()[1])
            forgiven = connection if forgives else None
            ask = functools.partial(connection.get, "/", attempts=2)
            sample = reads.Sample(ask, 1, forgiven)
            sample.round()
            connection.close()
            thread.join()
        assert sample.answer == b"{}"
        took[forgives] = sample.quietest
    assert took[True] < 400 <= took[False]


def _run(module: str, arguments: str, timeout: float = 100, status: int = 0) -> Any:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", module, *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_waiting_for_a_core_is_counted() -> None:
    """Two threads that want the same core have it in turns."""
    core = min(os.sched_getaffinity(0))
    busy = f"import os; os.sched_setaffinity(0, [{core}]); print(flush=True)\nwhile True: pass"
    counted: list[float] = []

    def count() -> None:
        os.sched_setaffinity(0, {core})
        queue = inside.CoreQueue()
        ends = time.thread_time() + 0.2
        while time.thread_time() < ends:
            pass
        counted.append(queue.waited())
        queue.close()

    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
        other.kill()
    assert counted[0] > 0.05


@pytest.mark.heavy
def test_growth_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "growth.json"
    arguments = f"--builds 2000 1000 --rounds 1 --folder {tmp_path} --json {figures}"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *arguments.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    measured = [growth.Measured(**one) for one in json.loads(figures.read_text())]
    assert [one.builds for one in measured] == [1000, 2000]
    assert all(one.first > 0 and one.megabytes > 0 for one in measured)
    assert done.returncode == (1 if list(growth.misses(measured)) else 0), done.stderr
    assert done.stdout.count("\n| ") == 4


def test_growth_that_falls_short_has_a_line() -> None:
    took = dict.fromkeys(growth.QUESTIONS, 1.0)
    smaller = growth.Measured(1, 2.0, 50.0, {"a": took, "b": took})
    larger = growth.Measured(5, 16.0, 90.0, {"a": took, "b": {**took, "pushes": 1.4}})
    assert list(growth.misses([smaller, larger])) == [
        "falls short: pushes: growth: 1.40×, wanted ≤ 1.3×",
        "falls short: 5 builds: first answer: 16.0 s, wanted ≤ 15.0 s",
    ]


def test_a_line_tells_each_bound_that_is_not_held() -> None:
    measured = [
        {"what": "rerun 50 failed builders", "database": "sqlite", "ours": 1.0, "other": 19.0},
        {"what": "plan new builds", "database": "sqlite", "ours": 1.0, "other": 0.9},
    ]
    told = "falls short: sqlite: rerun 50 failed builders: quicker than the other way: 19×"
    assert report.short(wanted.of_plans(measured)) == [f"{told}, wanted ≥ 20×"]


def test_what_falls_short_is_marked() -> None:
    cell = {"rows": 1, "raw": 1.0, "bare": 0.5, "ours": 2.0, "stock": 3000.0}
    questions = (*wanted.RATIOS["postgresql"], "request", "pending", "builders")
    figures = {"late_p99": 1.0, "late_max": 9.0, "pool_p50": 1.0, "pool_p99": 13.0, "cores": 0.5}
    window = {**figures, "crowd": {"answers_s": 999.0}, "alone": {"p50": 9.9}}
    run = runs.Run(
        "postgresql",
        wanted.BUILDS,
        {},
        reads={"a case": {question: dict(cell) for question in questions}},
        again={"a case": {question: dict(cell) for question in wanted.SMALL}},
        reactor={"idle": [window], **{scene: [window] for scene in wanted.BOUNDS}},
    )
    smaller = runs.Run("postgresql", wanted.SMALLER, {}, reads={"a case": {}})
    smaller.reads["a case"] = {question: {**cell, "ours": 1.9} for question in questions}
    run.reads["a case"]["revision"]["ours"] = 3.0
    run.reads["a case"]["is_done"]["ours"] = 10.0
    run.again["a case"]["build"]["ours"] = 3.0
    act, stock = {"requests": 100, "seconds": 1.0}, {"requests": 2, "seconds": 1.0}
    writes = [
        {
            "database": "postgresql",
            "rebuild": act,
            "cancel": {**act, "requests": 10},
            "stock": stock,
        }
    ]
    short = {one.what for one in wanted.checks(run, [smaller], writes) if not one.met}
    assert short == {
        "is_done: quicker than REST, worst case",
        "revision: over SQL alone, worst case",
        "is_done: over bare HTTP and SQL, worst case",
        "build, asked again: over bare HTTP and SQL, worst case",
        "revision: growth from 100k builds, worst case",
        "is_done: growth from 100k builds, worst case",
        "50 revisions a second: stalls, worst (ms)",
        "8 clients, revisions: answers a second",
        *(
            f"8 clients, {what}: database pool, p99 (ms)"
            for what in ("revisions", "days as JSON", "days as pages")
        ),
        "cancel in bulk: quicker than Buildbot's own way",
    }


@pytest.mark.heavy
def test_soak(tmp_path: Path) -> None:
    """Half a minute of everything at once; ``make soak`` takes twenty."""
    counts = tmp_path / "counts.json"
    done = _run("benchmarks.soak", f"--seconds 30 --json {counts}", timeout=600)
    assert "WRONG" not in done.stdout
    counted = json.loads(counts.read_text())
    assert counted["faults"] == []
    kinds = {kind.partition(":")[0] for kind in counted["answers"]}
    assert {"read", "read a page", "build a builder", "hang up", "reconfig", "wait"} <= kinds
    assert any(kind.startswith("change ") and ": 202" in kind for kind in counted["answers"])


CENSUS: dict[str, Any] = {
    **dict.fromkeys(verdict.SLACK, 10),
    "megabytes": {"master": 100.0, "readers": 60.0},
}


@pytest.mark.parametrize("name", verdict.SLACK)
def test_soak_sees_a_leak(name: str) -> None:
    grown = {**CENSUS, name: CENSUS[name] + verdict.SLACK[name]}
    assert list(verdict.leaks(CENSUS, grown)) == []
    grown[name] += 1
    (fault,) = verdict.leaks(CENSUS, grown)
    assert fault.startswith(f"{name}: 10 before")


@pytest.mark.parametrize(
    ("most", "flat", "grown"), [(verdict.GROWTH, 120.0, 120.1), (verdict.STANDSTILL, 107.0, 107.1)]
)
def test_soak_sees_that_memory_grows(most: Any, flat: float, grown: float) -> None:
    after = {**CENSUS, "megabytes": {"master": flat, "readers": 60.0}}
    assert list(verdict.growth(CENSUS, after, most)) == []
    after = {**CENSUS, "megabytes": {"master": grown, "readers": 60.0}}
    (fault,) = verdict.growth(CENSUS, after, most)
    assert f"{grown} MB" in fault


def test_a_document_without_a_place_for_its_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="no part 'reads'"):
        report.page("# Performance\n", [], [])


def test_soak_sees_a_traceback_of_ours_only() -> None:
    log = """\
2026-01-01 10:00:00+0000 [-] Unhandled Error
\tTraceback (most recent call last):
\t  File "/x/{}/thing.py", line 1, in f
\tValueError: no
2026-01-01 10:00:01+0000 [-] /buildbot_selfserve/ is well
"""
    assert list(verdict.tracebacks(log.format("buildbot"))) == []
    (fault,) = verdict.tracebacks(log.format("buildbot_selfserve"))
    assert fault.endswith("ValueError: no")


def test_the_documents_are_made_from_the_results() -> None:
    known = runs.load(runs.RESULTS)
    writes, plans = runs.load_writes(runs.RESULTS), runs.load_plans(runs.RESULTS)
    notes, forecasts = runs.load_notes(runs.RESULTS), runs.load_forecasts(runs.RESULTS)
    pushed = runs.load_pushes(runs.RESULTS)
    made = report.text(known, writes, plans, notes, forecasts, pushed)
    assert (runs.RESULTS / report.TABLES).read_text() == made, "run make bench-report"
    page = report.DOCUMENT.read_text()
    assert report.page(page, known, writes) == page, "run make bench-report"
    for name, _ in plots.titles(known):
        assert (report.DOCUMENT.parent / "images" / name).exists()
