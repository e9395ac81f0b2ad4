"""Makes up what happened on a busy master: pushes, buildsets, build requests, builds.

The same for the same sizes and seed, so that everybody measures the same history. It ends at a
fixed moment in the past: what is asked of a day then has the same answer whenever it is asked, and
the page of today holds just what waits and runs.
"""

from __future__ import annotations

import bisect
import datetime
import math
import random
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED

#: When the history ends, in epoch seconds.
END = int(datetime.datetime(2025, 12, 19, 18, tzinfo=datetime.timezone.utc).timestamp())
DAY = 86_400
DAYS = 60

#: By popularity: the second has half as many pushes as the first, the third a third.
BRANCHES = (
    *("main", "try", "autoland", "beta", "release"),
    *(f"feature/team{number // 5}-{number:02d}" for number in range(35)),
)
PLATFORMS = ("linux64", "win64", "macos", "android", "asan")
KINDS = ("build", "unit", "perf", "lint", "e2e", "l10n")
BUILDERS = tuple(
    f"{PLATFORMS[number % 5]}-{KINDS[number // 5 % 6]}-{number:03d}" for number in range(300)
)
#: What a push builds at once; the rest is triggered by those.
_FIRST = tuple(n for n, name in enumerate(BUILDERS) if name.split("-")[1] in ("build", "lint"))
_TRIGGERED = tuple(n for n in range(len(BUILDERS)) if n not in set(_FIRST))
WORKERS = tuple(f"worker-{number:03d}" for number in range(100))
USERS = tuple(f"User {number:03d} <user{number:03d}@example.com>" for number in range(500))
#: Revisions of a second repository, which one push in twenty also checks out.
TOOLS = 200

#: How builds end, and how often, in percent.
_RESULTS, _RESULT_WEIGHTS = (0, 1, 2, 4, 6), (80, 5, 12, 1.5, 1.5)
#: Requests for each push: what it builds at once, what that triggers, a few rebuilds, nightlies.
_REQUESTS_OF_A_PUSH = 20.0
_NIGHTLY_BRANCHES, _NIGHTLY_BUILDERS = (2, 3, 4), 12


@dataclass(frozen=True)
class Sizes:
    """How much happened.

    :param builds: about so many builds
    :param pending: build requests that wait at the end; fewer in a small history
    :param running: builds that run at the end; fewer in a small history
    """

    builds: int
    seed: int = 1
    pending: int = 2000
    running: int = 200

    @property
    def waiting(self) -> int:
        """Return how many requests wait at the end."""
        return min(self.pending, self.builds // 20)

    @property
    def busy(self) -> int:
        """Return how many builds run at the end."""
        return min(self.running, self.builds // 200)


@dataclass(slots=True)
class Commit:
    """A change of somebody, and its sourcestamp."""

    stamp_id: int
    branch: int
    author: int
    committer: int
    revision: str
    at: int


@dataclass(slots=True)
class Build:
    """A build, with times in epoch seconds; *ended* and *results* are ``None`` while it runs."""

    request: Request
    started: int
    ended: int | None
    results: int | None
    build_id: int = 0
    number: int = 0


@dataclass(slots=True)
class Request:
    """A build request, with the builds that it had."""

    request_id: int
    buildset: Buildset
    builder: int
    claimed: bool = False
    ended: int | None = None
    results: int = -1
    builds: list[Build] = field(default_factory=list)


@dataclass(slots=True)
class Buildset:
    """A buildset, with the request that triggered or was rebuilt by it, if any.

    :ivar tip: the commit that is built; ``None`` for a nightly, whose builds find one
    :ivar got: the commit that it finds or names
    """

    submitted: int
    scheduler: str
    branch: int
    tip: Commit | None
    got: Commit
    builders: Sequence[int]
    tools: int | None = None
    reason: str = "scheduler"
    parent: Buildset | None = None
    rebuilt: Buildset | None = None
    buildset_id: int = 0
    requests: list[Request] = field(default_factory=list)


@dataclass
class History:
    """Everything that happened, each in the order of its time."""

    sizes: Sizes
    commits: list[Commit]
    buildsets: list[Buildset]
    requests: list[Request]
    builds: list[Build]


def plan(sizes: Sizes) -> History:
    """Make up a history of these sizes."""
    rng = random.Random(sizes.seed)
    commits, tips = _commits(rng, sizes)
    nights = min(DAYS - 1, sizes.builds // 1000)
    buildsets = [*_pushed(rng, tips), *_nightlies(rng, tips, nights)]
    buildsets = sorted(
        (one for one in buildsets if one.submitted <= END), key=lambda one: one.submitted
    )
    requests: list[Request] = []
    for number, buildset in enumerate(buildsets, 1):
        buildset.buildset_id = number
        for builder in buildset.builders:
            request = Request(len(requests) + 1, buildset, builder)
            buildset.requests.append(request)
            requests.append(request)
    return History(sizes, commits, buildsets, requests, _built(rng, sizes, requests))


def _commits(rng: random.Random, sizes: Sizes) -> tuple[list[Commit], list[Commit]]:
    """Return all commits, and the last one of each push, which is what gets built."""
    pushes = max(1, round(sizes.builds / _REQUESTS_OF_A_PUSH))
    times = sorted(_busy_hour(rng) for _ in range(pushes))
    popular = [1 / (place + 1) for place in range(len(BRANCHES))]
    eager = [(place + 5) ** -0.8 for place in range(len(USERS))]
    branches = rng.choices(range(len(BRANCHES)), popular, k=pushes)
    pushers = rng.choices(range(len(USERS)), eager, k=pushes)
    commits: list[Commit] = []
    tips = []
    for at, branch, pusher in zip(times, branches, pushers, strict=True):
        for left in range(min(14, int(rng.expovariate(1 / 3.6))), -1, -1):
            theirs = left and rng.random() < 0.2
            author = rng.randrange(len(USERS)) if theirs else pusher
            revision = f"{rng.getrandbits(160):040x}"
            stamp_id = TOOLS + len(commits) + 1
            commits.append(Commit(stamp_id, branch, author, pusher, revision, at))
        tips.append(commits[-1])
    return commits, tips


def _busy_hour(rng: random.Random) -> int:
    """Return a moment, rather in the afternoon than at night or on a weekend."""
    while True:
        at = END - rng.random() * DAYS * DAY
        hour, weekday = at % DAY / 3600, int(at // DAY + 3) % 7
        busy = 0.35 + 0.65 * math.exp(-((hour - 15) ** 2) / 30)
        if rng.random() < busy * (0.35 if weekday >= 5 else 1):
            return int(at)


def _pushed(rng: random.Random, tips: Sequence[Commit]) -> Iterator[Buildset]:
    """Yield what each push has built: first builds, what they trigger, and rebuilds."""
    for tip in tips:
        tools = rng.randrange(TOOLS) + 1 if rng.random() < 0.05 else None
        begin = tip.at + rng.randrange(60, 300)
        first = rng.sample(_FIRST, rng.randrange(6, 10))
        name = f"push-{BRANCHES[tip.branch].replace('/', '-')}"
        pushed = Buildset(begin, name, tip.branch, tip, tip, first, tools)
        yield pushed
        left = rng.randrange(15, 26) - len(first)
        while left > 0:
            some = min(left, rng.randrange(3, 7))
            yield Buildset(
                begin + rng.randrange(900, 3600),
                "tests",
                tip.branch,
                tip,
                tip,
                rng.sample(_TRIGGERED, some),
                tools,
                parent=pushed,
            )
            left -= some
        if rng.random() < 0.06:
            for _ in range(rng.randrange(1, 4)):
                yield Buildset(
                    begin + rng.randrange(3600, DAY),
                    "rebuild",
                    tip.branch,
                    tip,
                    tip,
                    [rng.choice(first)],
                    tools,
                    reason="rebuild",
                    rebuilt=pushed,
                )


def _nightlies(rng: random.Random, tips: Sequence[Commit], nights: int) -> Iterator[Buildset]:
    """Yield what is built each night at whatever is newest, by sourcestamps without a revision."""
    for branch in _NIGHTLY_BRANCHES:
        of_branch = [tip for tip in tips if tip.branch == branch]
        times = [tip.at for tip in of_branch]
        for day in range(1, nights + 1):
            at = (END // DAY - day) * DAY + 4 * 3600
            place = bisect.bisect(times, at) - 1
            if place >= 0:
                builders = rng.sample(_FIRST, _NIGHTLY_BUILDERS)
                yield Buildset(at, "nightly", branch, None, of_branch[place], builders)


def _built(rng: random.Random, sizes: Sizes, requests: Sequence[Request]) -> list[Build]:
    """Let *requests* be built, skipped or cancelled, but for the newest; return the builds."""
    newest = requests[-3 * sizes.waiting :]
    waiting = {one.request_id for one in rng.sample(newest, sizes.waiting)}
    others = [one for one in newest if one.request_id not in waiting]
    running = {one.request_id for one in rng.sample(others, sizes.busy)}
    builds: list[Build] = []
    for request in requests:
        if request.request_id not in waiting:
            request.claimed = True
            request.builds = _builds_of(rng, request, request.request_id in running)
            builds += request.builds
    builds.sort(key=lambda one: one.started)
    numbers = [0] * len(BUILDERS)
    for build_id, build in enumerate(builds, 1):
        numbers[build.request.builder] += 1
        build.build_id, build.number = build_id, numbers[build.request.builder]
    return builds


def _builds_of(rng: random.Random, request: Request, runs: bool) -> list[Build]:
    submitted = request.buildset.submitted
    started = min(submitted + 5 + int(rng.expovariate(1 / 240)), END - 30)
    if runs:
        return [Build(request, started, None, None)]
    luck = rng.random()
    if luck < 0.02:
        request.results = CANCELLED if luck < 0.012 else SKIPPED
        request.ended = min(END, submitted + rng.randrange(1, 900))
        return []
    builds = []
    if rng.random() < 0.01:  # the worker was lost
        lost = min(END - 20, started + rng.randrange(10, 400))
        builds.append(Build(request, started, lost, RETRY))
        started = min(END - 10, lost + 20)
    took = int(min(4 * 3600, rng.lognormvariate(6.8, 0.8)))
    request.ended = min(END - 1, started + took)
    (request.results,) = rng.choices(_RESULTS, _RESULT_WEIGHTS)
    builds.append(Build(request, started, request.ended, request.results))
    return builds
