"""Plans: what a job request would do. A planner makes one, and the executor does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.branches import Sourcestamp
from buildbot_selfserve.model.holds import HeldRequest
from buildbot_selfserve.model.holds import Hold
from buildbot_selfserve.model.holds import hold_from_json
from buildbot_selfserve.model.holds import hold_to_json
from buildbot_selfserve.model.jobs import RequestOutcome
from buildbot_selfserve.model.jobs import Target
from buildbot_selfserve.model.jobs import outcome_from_json
from buildbot_selfserve.model.kept_fields import known_fields
from buildbot_selfserve.model.ongoing import RUNNING
from buildbot_selfserve.model.ongoing import Ongoing
from buildbot_selfserve.model.ongoing import ongoing_as_json
from buildbot_selfserve.model.ongoing import ongoing_from_json

#: Properties as a buildset has them: values and their sources, by name.
Properties = Mapping[str, tuple[Any, str]]
#: A sourcestamp: its id, or what ``db.sourcestamps.findSourceStampId`` takes.
Stamp = int | Mapping[str, Any]

#: What of a buildset the journal does not keep.
_UNKEPT = frozenset({"copied", "fixed"})
#: The name in the place of a scheduler's where none makes a buildset; subscribers may look for it.
SCHEDULER = "selfserve"


@dataclass(frozen=True)
class NewChange:
    """A change to record, so that builds of its revision find what it says.

    :param when: epoch seconds; ``None`` for when it is recorded
    :param like: the id of the change whose users it gets
    """

    revision: str
    sourcestamp: Sourcestamp
    author: str
    comments: str
    committer: str | None = None
    category: str | None = None
    revlink: str | None = ""
    when: int | None = None
    files: tuple[str, ...] = ()
    properties: Properties = field(default_factory=dict)
    like: int | None = None


@dataclass(frozen=True)
class NewBuildset:
    """A buildset to create, with one build request for each of its builders.

    :param sourcestamps: one for each codebase
    :param properties: without those that mark it as made by a job request
    :param scheduler: the name of the scheduler that makes it
    :param revision: what it builds, as people see it
    :param count: how many such buildsets to create
    :param more: further columns, as ``db.buildsets.addBuildset`` takes them
    :param is_copy: it keeps the ids of the original API that it was given once
    :param looks_back: it is built only to look back over a range of revisions, and marked as such
    :param copied: the build or request that it copies; whoever may rebuild that may create it
    :param fixed: names of the properties whose values belong to the plan; of others, an operator's
        code may return another value each time. ``None`` for all
    """

    sourcestamps: tuple[Stamp, ...]
    builders: tuple[Builder, ...]
    properties: Properties
    reason: str
    priority: int = 0
    scheduler: str = SCHEDULER
    revision: str | None = None
    count: int = 1
    more: Mapping[str, Any] = field(default_factory=dict)
    is_copy: bool = False
    looks_back: bool = False
    copied: Target | None = field(default=None, compare=False)
    fixed: frozenset[str] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Ending:
    """A build request to end: cancelled while it is pending, stopped while it is running."""

    request_id: int
    buildername: str
    running: bool
    build_ids: tuple[int, ...] = ()


#: In place of a priority: one more than the highest that waits for the builder.
NEXT = "next"


@dataclass(frozen=True)
class NewPriority:
    """A pending build request to reprioritize.

    :param is_next: it gets one more than the highest that waits for its builder when it is written;
        *priority* is what that was when it was planned
    """

    request_id: int
    buildername: str
    priority: int
    is_next: bool = False


@dataclass(frozen=True)
class HoldChange:
    """Holds to make or to end.

    :param hold: to make; ``None`` to end some
    :param ended: the holds to end, or the one in whose place *hold* comes
    :param waiting: the pending requests that are held by it, or that are released; of which the
        plan is the same, since a hold is about those that come later, too
    """

    hold: Hold | None = None
    ended: tuple[Hold, ...] = ()
    waiting: tuple[HeldRequest, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What a job request would do.

    :param untouched: the builders and requests that it leaves alone, and why
    :param nothing: what to say where there is nothing to do
    :param writes: what schedulers would write otherwise, such as their state; done after all else,
        and dropped if the master is killed before
    :param ongoing: the job request goes on after this, until that has ended
    :param begun: what a receipt says of that
    :param first_number: that of the first buildset; those before it were created by earlier plans
    :param joins: the job request that does the same already, in whose place nothing is begun
    :param stops: the job request that goes on no more from then on
    :param found: what the user has not named and was found for them; the journal names it
    """

    changes: tuple[NewChange, ...] = ()
    buildsets: tuple[NewBuildset, ...] = ()
    endings: tuple[Ending, ...] = ()
    priorities: tuple[NewPriority, ...] = ()
    holding: HoldChange | None = None
    untouched: tuple[RequestOutcome, ...] = ()
    nothing: str = ""
    writes: tuple[Callable[[], Any], ...] = field(default=(), compare=False)
    ongoing: Ongoing | None = None
    begun: str = ""
    first_number: int = 0
    joins: int | None = None
    stops: int | None = None
    found: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def builds(self) -> int:
        """Return the number of build requests that it creates."""
        return sum(one.count * len(one.builders) for one in self.buildsets)

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return not (self.buildsets or self.endings or self.priorities or self.holding)

    @property
    def is_ended(self) -> bool:
        """Whether what would go on has its end already."""
        return self.ongoing is not None and self.ongoing.status != RUNNING

    @property
    def text(self) -> str:
        """Return a short text that is the same as long as the plan is."""
        told = {**_as_json(self), "buildsets": [_comparable(one) for one in self.buildsets]}
        if self.holding is not None:
            told["holding"] = _comparable_holds(self.holding)
        text = json.dumps(told, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def each_buildset(self) -> Iterator[tuple[int, NewBuildset]]:
        """Yield each buildset to create, with its number in the plan."""
        number = self.first_number
        for buildset in self.buildsets:
            for _ in range(buildset.count):
                yield number, buildset
                number += 1

    def outcomes(self) -> tuple[RequestOutcome, ...]:
        """Return what would happen to each request."""
        return (
            *self._created(),
            *self._ended(),
            *self._reprioritized(),
            *self._held(),
            *self._left_alone(),
        )

    def _created(self) -> Iterator[RequestOutcome]:
        for _, one in self.each_buildset():
            for builder in one.builders:
                yield RequestOutcome(
                    None,
                    builder.name,
                    "would_create",
                    revision=one.revision,
                    priority=one.priority,
                )

    def _ended(self) -> Iterator[RequestOutcome]:
        for one in self.endings:
            word: Outcome = "would_stop" if one.running else "would_cancel"
            yield RequestOutcome(one.request_id, one.buildername, word, one.build_ids)

    def _reprioritized(self) -> Iterator[RequestOutcome]:
        for one in self.priorities:
            yield RequestOutcome(
                one.request_id, one.buildername, "would_reprioritize", priority=one.priority
            )

    def _held(self) -> Iterator[RequestOutcome]:
        if self.holding is not None:
            word: Outcome = "would_release" if self.holding.hold is None else "would_hold"
            for one in self.holding.waiting:
                yield RequestOutcome(one.request_id, one.buildername, word)

    def _left_alone(self) -> Iterator[RequestOutcome]:
        for one in self.untouched:
            yield one if one.outcome == "denied" else replace(one, outcome="left_out")


@dataclass(frozen=True)
class OngoingStep:
    """What a job request that goes on does next.

    :param plan: what it requests
    :param ongoing: how far it has come
    :param drop: the requests of its own that are of no use any more
    :param requests: what became of what it has requested so far; *buildset_ids* likewise
    :param end: what is to be said of its end; ``None`` while it goes on
    :param errors: it ends because something failed
    """

    plan: Plan
    ongoing: Ongoing
    drop: tuple[Ending, ...] = ()
    requests: tuple[RequestOutcome, ...] = ()
    buildset_ids: tuple[int, ...] = ()
    end: str | None = None
    errors: bool = False


def _comparable(buildset: NewBuildset) -> dict[str, Any]:
    """Return what of *buildset* is the same whenever it is planned."""
    fixed = buildset.fixed
    values = {
        name: pair if fixed is None or name in fixed else None
        for name, pair in buildset.properties.items()
    }
    return {**_buildset_as_json(buildset), "properties": values}


def _comparable_holds(change: HoldChange) -> dict[str, Any]:
    """Return what of *change* is the same whenever it is planned."""
    told = _holds_as_json(change)
    made = {name: value for name, value in (told["hold"] or {}).items() if name != "since"}
    return {"hold": made, "ended": told["ended"]}


def _holds_as_json(change: HoldChange) -> dict[str, Any]:
    return {
        "hold": None if change.hold is None else hold_to_json(change.hold),
        "ended": [hold_to_json(one) for one in change.ended],
        "waiting": list(change.waiting),
    }


def _holds_from_json(read: Mapping[str, Any]) -> HoldChange:
    return HoldChange(
        None if read["hold"] is None else hold_from_json(read["hold"]),
        tuple(hold_from_json(one) for one in read["ended"]),
        tuple(HeldRequest(*one) for one in read["waiting"]),
    )


def _as_json(plan: Plan) -> dict[str, Any]:
    """Return what JSON is made of; ``dataclasses.asdict`` takes ten times as long."""
    return {
        "changes": [vars(one) for one in plan.changes],
        "buildsets": [_buildset_as_json(one) for one in plan.buildsets],
        "endings": [vars(one) for one in plan.endings],
        "priorities": [vars(one) for one in plan.priorities],
        "holding": None if plan.holding is None else _holds_as_json(plan.holding),
        "untouched": [vars(one) for one in plan.untouched],
        "nothing": plan.nothing,
        "ongoing": ongoing_as_json(plan.ongoing),
        "begun": plan.begun,
        "first_number": plan.first_number,
        "joins": plan.joins,
        "stops": plan.stops,
    }


def _buildset_as_json(buildset: NewBuildset) -> dict[str, Any]:
    told = {name: value for name, value in vars(buildset).items() if name not in _UNKEPT}
    return {**told, "builders": [vars(one) for one in buildset.builders]}


def plan_to_json(plan: Plan) -> str:
    """Return *plan* as the journal keeps it: what an executor needs to go on with it."""
    return json.dumps(_as_json(plan))


def plan_from_json(text: str) -> Plan:
    """Return the plan that :func:`plan_to_json` made *text* of."""
    read = json.loads(text)
    holding = read.get("holding")  # plans of earlier versions have none
    return Plan(
        holding=None if holding is None else _holds_from_json(holding),
        changes=tuple(_change(one) for one in read["changes"]),
        buildsets=tuple(_buildset(one) for one in read["buildsets"]),
        endings=tuple(_ending(one) for one in read["endings"]),
        priorities=tuple(
            NewPriority(**known_fields(NewPriority, one)) for one in read["priorities"]
        ),
        untouched=tuple(outcome_from_json(one) for one in read["untouched"]),
        nothing=read["nothing"],
        # an older release has written a plan without the rest
        ongoing=ongoing_from_json(read.get("ongoing")),
        begun=read.get("begun", ""),
        first_number=read.get("first_number", 0),
        joins=read.get("joins"),
        stops=read.get("stops"),
    )


def _ending(read: dict[str, Any]) -> Ending:
    return Ending(**{**known_fields(Ending, read), "build_ids": tuple(read["build_ids"])})


def _change(read: dict[str, Any]) -> NewChange:
    return NewChange(
        **{
            **known_fields(NewChange, read),
            "sourcestamp": Sourcestamp(*read["sourcestamp"]),
            "files": tuple(read["files"]),
            "properties": _pairs(read["properties"]),
        }
    )


def _buildset(read: dict[str, Any]) -> NewBuildset:
    return NewBuildset(
        **{
            **known_fields(NewBuildset, read),
            "sourcestamps": tuple(read["sourcestamps"]),
            "builders": tuple(Builder(**known_fields(Builder, one)) for one in read["builders"]),
            "properties": _pairs(read["properties"]),
        }
    )


def _pairs(read: Mapping[str, Any]) -> Properties:
    return {name: (value, source) for name, (value, source) in read.items()}
