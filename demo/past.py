"""A past for the master of the pictures: two days of pushes and builds, written into its database.

A master that has just been made has nothing to show, and two days of real builds take two days.
The last pushes show what pages say of regressions, of flaky and fixed builders and of what was
never built; those before them are random.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa
from buildbot.db.model import Model

SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)
REPOSITORY = "https://git.example.org/widgets.git"
BRANCHES = ("main", "main", "main", "release/4.2", "feature/fast-start")
#: The branch that every builder of the fleet builds.
FLEET_BRANCH = "engine"
ADA, GRACE, ANNIE, MARY = AUTHORS = (
    "Ada Byron <ada@example.org>",
    "Grace Hopper <grace@example.org>",
    "Annie Easley <annie@example.org>",
    "Mary Jackson <mary@example.org>",
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
    "linux-asan": 250,
    "linux-debug": 300,
    "linux-release": 420,
    "macos-arm64": 600,
    "windows-arm64": 840,
    "windows-x64": 780,
    "fuzz": 1500,
}
#: More builders than can be seen by their names.
FLEET = tuple(
    f"{system}-{kind}-{part}"
    for system in ("linux", "windows", "macos", "android", "ios")
    for kind in ("debug", "release", "asan")
    for part in ("core", "net", "media", "ui", "tools", "e2e", "perf", "docs")
)
#: So many builds of each at once.
WORKERS = 2
HOUR = 3600
#: The past is always the same.
SEED = 11

#: What each failing builder prints last.
LOGS = {
    "linux-asan": """\
tests/test_wire.py::test_new_header_is_read ... ok
tests/test_wire.py::test_old_header_is_refused ... ok
tests/test_wire.py::test_header_is_cached ... \x1b[31mFAIL\x1b[0m

\x1b[31mAssertionError: 2 != 1: the header was parsed twice
  at tests/test_wire.py:118\x1b[0m

Ran 214 tests in 31.2 s: \x1b[31m1 failed\x1b[0m
""",
    "fuzz": """\
corpus: 4118 inputs, seed 20
input 2907: timeout after 1200 s
SUMMARY: libFuzzer: timeout
""",
}
OTHER_LOG = """\
running 1 of 3 ... ok
running 2 of 3 ... ok
running 3 of 3 ... failed
make: *** [test] Error 1
"""


class Push(NamedTuple):
    """A push to main, as it ended.

    :param minutes: so long ago
    :param results: those of each builder that has not just one SUCCESS: one for each attempt
    """

    minutes: int
    author: str
    subject: str
    files: Sequence[str]
    results: Mapping[str, Sequence[int]]
    body: str = ""


#: The oldest first. The newest one, which comes after these, is built by the master itself.
TOLD = (
    Push(
        560,
        ANNIE,
        "Read the table of headers from a file",
        ("wire/headers.py", "wire/headers.json"),
        {"windows-x64": (FAILURE,)},
    ),
    Push(
        470,
        ADA,
        "Close the file of headers on Windows, too",
        ("wire/headers.py",),
        {},
        "It was left open when the table was empty, and could not be replaced.",
    ),
    Push(
        380,
        MARY,
        "Collect the corpus of every parser in one place",
        tuple(f"corpus/{number:04}.bin" for number in range(41)),
        {"fuzz": (FAILURE,)},
    ),
    Push(
        280,
        GRACE,
        "Merge branch 'docs'",
        ("docs/wire.md",),
        {
            "fuzz": (FAILURE,),
            "linux-asan": (SKIPPED,),
            "linux-release": (SKIPPED,),
            "windows-x64": (SKIPPED,),
            "windows-arm64": (SKIPPED,),
            "macos-arm64": (CANCELLED,),
        },
    ),
    Push(
        190,
        ADA,
        "Make the scheduler's clock injectable",
        ("scheduler/clock.py", "tests/test_clock.py"),
        {"fuzz": (FAILURE, SUCCESS)},
    ),
    Push(
        160,
        MARY,
        "Undo the merge of 'docs'",
        ("docs/wire.md",),
        dict.fromkeys(
            ("linux-asan", "linux-release", "windows-x64", "windows-arm64", "fuzz"), (SKIPPED,)
        ),
    ),
    Push(
        120,
        ANNIE,
        "Stop a build whose worker has gone",
        ("scheduler/stop.py", "tests/test_stop.py"),
        {"fuzz": (FAILURE,), "docs": (WARNINGS,)},
    ),
    Push(
        75,
        ANNIE,
        "Drop support for the old wire format",
        (
            "wire/__init__.py",
            "wire/headers.py",
            *(f"wire/old/part{number}.py" for number in range(9)),
            "tests/test_wire.py",
        ),
        {"linux-asan": (FAILURE, FAILURE), "fuzz": (FAILURE,)},
        "Nobody has sent it since 3.9.\n\nThe table of headers is read once, and kept.",
    ),
)
NEWEST = Push(
    4, GRACE, "Cache the parsed header between requests", ("wire/headers.py", "wire/cache.py"), {}
)


class Past:
    """Writes into the database at *path*, which ``buildbot create-master`` made."""

    def __init__(self, path: Path) -> None:
        self._engine = sa.create_engine(f"sqlite:///{path}")
        self._random = random.Random(SEED)
        self._now = int(time.time())
        names = [*BUILDERS, *FLEET]
        self._free = {name: [0] * WORKERS for name in names}
        self._numbers = dict.fromkeys(names, 0)

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
            names = [*BUILDERS, *FLEET]
            self._builders = {
                name: self._add("builders", name=name, **_hash(name)) for name in names
            }
            self._workers = {
                name: [
                    self._add("workers", name=f"{name}-{number + 1}", info={})
                    for number in range(WORKERS)
                ]
                for name in names
            }
            revisions = []
            for at in sorted(self._moments()):
                branch = self._random.choice(BRANCHES)
                revision = self._random_push(branch, at)
                if branch == "main":
                    revisions.append(revision)
            revisions += [self._told_push(push) for push in TOLD]
            self._fleet_push()
            revisions.append(self._change("main", self._now - NEWEST.minutes * 60, NEWEST)[0])
            return revisions

    def _moments(self) -> list[int]:
        """Return when somebody pushed before the pushes that are told of: mostly by day."""
        found: list[int] = []
        newest = (TOLD[0].minutes + 20) * 60
        while len(found) < 32:
            ago = self._random.randrange(newest, 44 * HOUR)
            hour = (self._now - ago) // HOUR % 24
            if self._random.random() < (1 if 8 <= hour <= 18 else 0.15):
                found.append(self._now - ago)
        return found

    def _random_push(self, branch: str, at: int) -> str:
        push = Push(
            (self._now - at) // 60,
            self._random.choice(AUTHORS),
            self._random.choice(SUBJECTS),
            ("widgets/start.py",),
            {},
        )
        revision, stamp = self._change(branch, at, push)
        for name in BUILDERS:
            if name != "fuzz" or self._random.random() < 0.2:
                result = self._random.choices(
                    (SUCCESS, WARNINGS, FAILURE, EXCEPTION, CANCELLED), (90, 3, 4, 1, 2)
                )[0]
                self._build(stamp, branch, name, at, result)
        return revision

    def _told_push(self, push: Push) -> str:
        at = self._now - push.minutes * 60
        revision, stamp = self._change("main", at, push)
        for name in BUILDERS:
            asked = at
            for result in push.results.get(name, (SUCCESS,)):
                if result == SKIPPED:
                    self._request(stamp, "main", name, asked, at + 60, SKIPPED)
                else:
                    asked = self._build(stamp, "main", name, asked, result) + 90
        return revision

    def _fleet_push(self) -> None:
        """Write two pushes that the whole fleet has built."""
        for minutes, author, subject, failing in (
            (1500, ADA, "Let the engine allocate in arenas", ()),
            (
                170,
                MARY,
                "Rework the allocator's slow path",
                ("android-asan-media", "windows-release-e2e"),
            ),
        ):
            at = self._now - minutes * 60
            push = Push(minutes, author, subject, ("engine/alloc.cc", "engine/alloc.h"), {})
            _, stamp = self._change(FLEET_BRANCH, at, push)
            for name in FLEET:
                result = FAILURE if name in failing else SUCCESS
                if self._random.random() < 0.02:
                    result = WARNINGS
                self._build(stamp, FLEET_BRANCH, name, at, result)

    def _change(self, branch: str, at: int, push: Push) -> tuple[str, int]:
        """Write a push; return its revision, and the id of its sourcestamp."""
        revision = hashlib.sha1(f"{SEED} {branch} {push.minutes}".encode()).hexdigest()
        stamp = self._add(
            "sourcestamps",
            ss_hash=revision,
            branch=branch,
            revision=revision,
            repository=REPOSITORY,
            created_at=at,
        )
        change = self._add(
            "changes",
            author=push.author,
            comments=f"{push.subject}\n\n{push.body}" if push.body else push.subject,
            branch=branch,
            revision=revision,
            when_timestamp=at,
            repository=REPOSITORY,
            sourcestampid=stamp,
        )
        for name in push.files:
            self._add("change_files", changeid=change, filename=name)
        return revision, stamp

    def _build(self, stamp: int, branch: str, name: str, at: int, result: int) -> int:
        """Write a build that was requested at that time; return when it ended."""
        usual = BUILDERS.get(name, 500)
        seconds = int(
            usual * self._random.uniform(0.8, 1.3) * (0.6 if result in (FAILURE, CANCELLED) else 1)
        )
        worker = min(range(WORKERS), key=lambda number: self._free[name][number])
        started = max(at + 3, self._free[name][worker])
        ended = min(started + seconds, self._now - 90)
        self._free[name][worker] = ended
        request = self._request(stamp, branch, name, at, ended, result)
        self._add("buildrequest_claims", brid=request, masterid=self._master, claimed_at=started)
        self._numbers[name] += 1
        build = self._add(
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
        self._steps(build, name, started, ended, result)
        return ended

    def _request(self, stamp: int, branch: str, name: str, at: int, ended: int, result: int) -> int:
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
        return self._add(
            "buildrequests",
            buildsetid=buildset,
            builderid=self._builders[name],
            submitted_at=at,
            complete=1,
            complete_at=ended,
            results=result,
        )

    def _steps(self, build: int, name: str, started: int, ended: int, result: int) -> None:
        """Write the steps of a build, with a log of the one that failed."""
        last = "corpus" if name == "fuzz" else "test"
        between = started + (ended - started) // 3
        for number, (step, begin, end) in enumerate(
            (("compile", started, between), (last, between, ended))
        ):
            result_of_step = result if step == last else SUCCESS
            step_id = self._add(
                "steps",
                number=number,
                name=step,
                buildid=build,
                started_at=begin,
                locks_acquired_at=begin,
                complete_at=end,
                state_string=f"{step} done" if result_of_step == SUCCESS else f"{step} failed",
                results=result_of_step,
                urls_json="[]",
            )
            if step == last and result in (FAILURE, EXCEPTION):
                self._log(step_id, LOGS.get(name, OTHER_LOG))

    def _log(self, step_id: int, text: str) -> None:
        lines = text.splitlines()
        log = self._add(
            "logs",
            name="stdio",
            slug="stdio",
            stepid=step_id,
            complete=1,
            num_lines=len(lines),
            type="s",
        )
        self._add(
            "logchunks",
            logid=log,
            first_line=0,
            last_line=len(lines) - 1,
            content="\n".join(f"o{line}" for line in lines).encode(),
            compressed=0,
        )

    def _add(self, table: str, **values: Any) -> int:
        added = self._to.execute(sa.insert(getattr(Model, table)).values(**values))
        keys = added.inserted_primary_key
        return int(keys[0]) if keys else 0


def _hash(name: str) -> dict[str, str]:
    return {"name_hash": hashlib.sha1(name.encode()).hexdigest()}
