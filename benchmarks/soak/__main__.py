"""Uses one master for a long time, in all ways at once, and looks for what is left behind.

Clients read pages and JSON, ask for builds that are really built, cancel and reprioritize them,
hang up in the middle and wait, while the master reads its configuration again and again. After a
first while and at the end of that the master comes to rest and is counted: threads, files,
connections, Deferreds, timers, processes, memory. Then clients only read, and memory is counted
once more: with the history it may grow, with the questions it may not. Every row of the journal
must be closed, and every builder must build.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks import master
from benchmarks.history.keep import DATABASES
from benchmarks.history.keep import create_schema
from benchmarks.progress import Progress
from benchmarks.soak import verdict
from benchmarks.soak.clients import BRANCHES
from benchmarks.soak.clients import Clients
from tests import databases

#: The first part of the time, after which the master is counted for the first time, and the last
#: part, in which nothing is built.
WARM_UP, READING = 0.25, 0.2
#: The master reads its configuration so often, but no more often than every few seconds.
RECONFIGS, LEAST_PAUSE = 60, 3.0

_FURNISHED = """
from benchmarks.soak.builders import furnish
furnish(c, probe_port={port})
"""
_SELFSERVE = f"util.SelfServe(branches=[util.SelfServeBranch(name) for name in {BRANCHES!r}])"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak; return the exit code, which is 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1200.0, help="(%(default)s)")
    parser.add_argument("--database", choices=DATABASES, default="sqlite", help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the clients (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for what was counted")
    options = parser.parse_args(arguments)
    with (
        _database(options.database) as url,
        master.running(url, more=_FURNISHED, selfserve=_SELFSERVE) as measured,
    ):
        counted = soak(measured, options.seconds, options.seed)
    if options.json is not None:
        options.json.write_text(json.dumps(counted, indent=1) + "\n")
    print(_table(counted))
    for fault in counted["faults"]:
        print(f"WRONG: {fault}")
    return 1 if counted["faults"] else 0


@contextlib.contextmanager
def _database(name: str) -> Iterator[sa.URL]:
    if name == "postgresql":
        with databases.postgresql() as server:
            url = sa.engine.make_url(databases.fresh_database(server))
            create_schema(url)
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        url = sa.engine.make_url(f"sqlite:///{folder}/state.sqlite")
        create_schema(url)
        yield url


def soak(measured: master.Master, seconds: float, seed: int) -> dict[str, Any]:
    """Use a master for *seconds*; return what was counted, and what is wrong."""
    progress = Progress(100)
    clients = Clients(measured, seed)
    reconfig_every = max(LEAST_PAUSE, seconds / RECONFIGS)
    parts = (
        ("first", WARM_UP, clients.at_work(reconfig_every)),
        ("last", 1 - WARM_UP - READING, clients.at_work(reconfig_every)),
        ("read", READING, clients.reading()),
    )
    counts = {}
    for name, share, at_work in parts:
        with at_work:
            _watch(measured, clients, progress, seconds * share, seconds)
        progress.say("comes to rest")
        counts[name] = verdict.rest(measured)
    return {
        "seconds": seconds,
        **counts,
        "answers": dict(sorted(clients.answers.items())),
        "faults": [*clients.wrong[:20], *verdict.faults(measured, **counts)],
    }


def _watch(
    measured: master.Master, clients: Clients, progress: Progress, share: float, seconds: float
) -> None:
    """Say how it goes from time to time."""
    begun, done = time.monotonic(), progress.done
    pause = max(1.0, seconds / 20)
    while (left := begun + share - time.monotonic()) > 0:
        time.sleep(min(pause, left))
        progress.done = done + int(100 * (time.monotonic() - begun) / seconds)
        megabytes = measured.megabytes()
        progress.say(
            f"{clients.answers.total():,} things done, {len(clients.wrong)} wrong;"
            f" master {megabytes['master']} MB, readers {megabytes['readers']} MB"
        )


def _table(counted: dict[str, Any]) -> str:
    lines = ["| counted | at first | in the end | after reading alone |", "| --- |" + " --- |" * 3]
    for name in (*verdict.SLACK, "megabytes"):
        cells = (str(counted[when][name]) for when in ("first", "last", "read"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| done | times |", "| --- | --- |"]
    lines += [f"| {name} | {times:,} |" for name, times in counted["answers"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
