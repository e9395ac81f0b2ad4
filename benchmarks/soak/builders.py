"""What the master of a soak has in its ``master.cfg``: workers that really build, and a probe."""

from __future__ import annotations

from typing import Any

from buildbot.plugins import schedulers
from buildbot.plugins import worker

from benchmarks.inside import add_probe
from tests.harness import builder

#: Seconds that a build of these builders takes; the last one is there to be cancelled.
SECONDS = {"quick-1": 0.0, "quick-2": 0.1, "middle-1": 0.5, "middle-2": 1.0, "slow": 20.0}
WORKERS = ("worker", "worker-2", "worker-3")


def furnish(config: dict[str, Any], probe_port: int) -> None:
    """Give *config* builders, workers of its own, schedulers and a probe."""
    config["workers"] = [worker.LocalWorker(name, max_builds=2) for name in WORKERS]
    config["builders"] = [
        builder(name, f"sleep {seconds}", tags=["nightly"] if seconds > 1 else [])
        for name, seconds in SECONDS.items()
    ]
    for one in config["builders"]:
        one.workernames = list(WORKERS)
    config["schedulers"] = [
        schedulers.AnyBranchScheduler(name="any", builderNames=["quick-1", "quick-2", "middle-1"]),
        schedulers.ForceScheduler(name="force", builderNames=list(SECONDS)),
    ]
    add_probe(config, probe_port)
