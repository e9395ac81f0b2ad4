"""A past for the master of the pictures: two days of pushes and builds, written into its database.

A master that has just been made has nothing to show, and two days of real builds take two days.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)
REPOSITORY = "https://git.example.org/widgets.git"
BRANCHES = ("main", "main", "main", "release/4.2", "feature/fast-start")
AUTHORS = (
    "Ada Byron <ada@example.org>",
    "Grace Hopper <grace@example.org>",
    "Annie Easley <annie@example.org>",
)
SUBJECTS = (
    "Start faster when there is no cache",
    "Say which file cannot be read",
    "Do not ask the server twice",
    "Keep the order of what was dropped",
    "Spell it as the standard does",
)
#: Builders, with the usual seconds of a build.
BUILDERS = {
    "lint": 45,
    "docs": 120,
    "linux-debug": 900,
    "linux-release": 1500,
    "macos": 2100,
    "windows": 2700,
    "fuzz": 3600,
}
#: So many builds of each at once.
WORKERS = 2
HOUR = 3600
#: The past is always the same.
SEED = 11


class Past:
    """Writes into the database at *path*, which ``buildbot create-master`` made."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}")
        self._random = random.Random(SEED)
        self._now = int(time.time())
        self._free = {name: [0] * WORKERS for name in BUILDERS}
        self._numbers = dict.fromkeys(BUILDERS, 0)

    def write(self) -> list[str]:
        """Write it; return the revisions of main, the newest last."""
        with self._engine.begin() as self._to:
            self._master = self._add(
                "masters",
                name="ci-1:/srv/buildbot",
                **_hash("ci-1"),
                active=0,
                last_active=self._now,
            )
            self._builders = {
                name: self._add("builders", name=name, **_hash(name)) for name in BUILDERS
            }
            self._workers = {
                name: [
                    self._add("workers", name=f"{name}-{number + 1}", info={})
                    for number in range(WORKERS)
                ]
                for name in BUILDERS
            }
            revisions = []
            for at in sorted(self._moments()):
                branch = self._random.choice(BRANCHES)
                revision = self._push(branch, at)
                if branch == "main":
                    revisions.append(revision)
            return revisions

    def _moments(self) -> list[int]:
        """Return when somebody pushed: mostly by day, and some minutes ago for the last time."""
        found = [self._now - 50 * 60]
        while len(found) < 40:
            ago = self._random.randrange(70 * 60, 44 * HOUR)
            hour = (self._now - ago) // HOUR % 24
            if self._random.random() < (1 if 8 <= hour <= 18 else 0.15):
                found.append(self._now - ago)
        return found

    def _push(self, branch: str, at: int) -> str:
        revision = hashlib.sha1(f"{SEED} {branch} {at - self._now}".encode()).hexdigest()
        author = self._random.choice(AUTHORS)
        stamp = self._add(
            "sourcestamps",
            ss_hash=revision,
            branch=branch,
            revision=revision,
            repository=REPOSITORY,
            created_at=at,
        )
        self._add(
            "changes",
            author=author,
            comments=self._random.choice(SUBJECTS),
            branch=branch,
            revision=revision,
            when_timestamp=at,
            repository=REPOSITORY,
            sourcestampid=stamp,
        )
        for name in BUILDERS:
            if name != "fuzz" or self._random.random() < 0.2:
                self._build(stamp, branch, name, at)
        return revision

    def _build(self, stamp: int, branch: str, name: str, at: int) -> None:
        usual = BUILDERS[name]
        result = self._random.choices(
            (SUCCESS, WARNINGS, FAILURE, EXCEPTION, CANCELLED), (82, 4, 10, 2, 2)
        )[0]
        seconds = int(
            usual * self._random.uniform(0.8, 1.3) * (0.4 if result in (FAILURE, CANCELLED) else 1)
        )
        worker = min(range(WORKERS), key=lambda number: self._free[name][number])
        started = max(at + 3, self._free[name][worker])
        ended = started + seconds
        if ended >= self._now - 60:
            return  # the present is for real builds
        self._free[name][worker] = ended
        buildset = self._add(
            "buildsets",
            reason=f"The SingleBranchScheduler scheduler named '{branch}' triggered this build",
            submitted_at=at,
            complete=1,
            complete_at=ended,
            results=result,
        )
        self._add("buildset_sourcestamps", buildsetid=buildset, sourcestampid=stamp)
        self._add(
            "buildset_properties",
            buildsetid=buildset,
            property_name="branch",
            property_value=json.dumps([branch, "Change"]),
        )
        request = self._add(
            "buildrequests",
            buildsetid=buildset,
            builderid=self._builders[name],
            submitted_at=at,
            complete=1,
            complete_at=ended,
            results=result,
        )
        self._add("buildrequest_claims", brid=request, masterid=self._master, claimed_at=started)
        self._numbers[name] += 1
        self._add(
            "builds",
            number=self._numbers[name],
            builderid=self._builders[name],
            buildrequestid=request,
            workerid=self._workers[name][worker],
            masterid=self._master,
            started_at=started,
            complete_at=ended,
            locks_duration_s=0,
            state_string="build successful" if result == SUCCESS else "failed test",
            results=result,
        )

    def _add(self, table: str, **values: Any) -> int:
        added = self._to.execute(sa.insert(getattr(Model, table)).values(**values))
        keys = added.inserted_primary_key
        return int(keys[0]) if keys else 0


def _hash(name: str) -> dict[str, str]:
    return {"name_hash": hashlib.sha1(name.encode()).hexdigest()}
