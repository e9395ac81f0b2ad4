"""Builds a revision at once as the schedulers that watch its branch would."""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.process.properties import Properties
from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger
from twisted.python import failure

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.control import changes
from buildbot_selfserve.control import create_buildsets
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control import revision_sourcestamps
from buildbot_selfserve.control.branch_setup import builds_changes
from buildbot_selfserve.control.branch_setup import takes
from buildbot_selfserve.control.rights_and_budgets import Admission
from buildbot_selfserve.control.rights_and_budgets import NewBuildset
from buildbot_selfserve.control.rights_and_budgets import NothingAdmitted
from buildbot_selfserve.control.scheduler_gate import Gate
from buildbot_selfserve.control.scheduler_gate import out_of_sight
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import plural

_log = Logger()

#: What may not happen again when the same is asked for later.
LATER = (NotNow, sa.exc.OperationalError, sa.exc.InterfaceError)


#: Seconds that schedulers have to build after they have returned, and looks meanwhile.
LATENESS, LATENESS_CHECKS = 1.0, 10


async def new_builds(
    master: Any, order: Order, revision: AnyRevision, *, priority: int | None
) -> Effect:
    """Build *revision* with the schedulers that watch the branch, and their properties.

    The change that Buildbot has of the revision is used, or one is recorded. The schedulers are
    asked directly: a change that is announced would make them build later, and nothing would tell
    that none did.

    :param priority: ``None`` for what each scheduler gives
    :raises Refused: no scheduler would build it, or each that would has failed
    :raises Forbidden: the user may build with none of the builders
    :raises TooMany: the user has not so many builds left
    """
    begun = int(time.time())
    admission = Admission(master, order)
    takers = await _takers(master, order, revision)
    admission.expect(revision.branch, {place.codebase for place in takers.models})
    await _reserve(master, admission, takers.schedulers)
    change_ids_of = await takers.change_ids(master, order, revision.revision)
    failures = await _asked(master, admission, change_ids_of, priority)
    if failures:  # one that failed may have written before (buildbot/data/buildsets.py)
        states = await current_state.made_by(master, order.job_id, begun - current_state.SET_BACK)
    else:
        states = await current_state.request_states(master, admission.made)
    if not states:
        raise _why_nothing(revision, failures, admission)
    found = create_buildsets.created(states, admission=admission)
    if not failures:
        return found
    number = f"{len(failures)} {plural(len(failures), 'scheduler')}"
    failed = [RequestOutcome(None, "", "failed", (), failure.msg) for failure in failures]
    return Effect(
        f"{found.msg}, {number} failed",
        (*found.requests, *failed),
        found.buildset_ids,
        errors=True,
    )


async def _reserve(master: Any, admission: Admission, schedulers: Iterable[Any]) -> None:
    """Take the builds that *schedulers* will make from the user's budget, before anything else.

    What one works out when it builds cannot be known here; it is taken when it is.

    :raises Forbidden: none of the builders may be used
    :raises TooMany: the user has not so many builds left
    """
    ids = {row["name"]: row["builderid"] for row in await master.data.get(("builders",))}
    shares = {}
    known = True
    for scheduler in schedulers:
        if not _is_known(scheduler):
            known = False
            continue
        wanted = [ids[name] for name in scheduler.builderNames if name in ids]
        properties = {name: value for name, (value, _) in scheduler.properties.asDict().items()}
        shares[scheduler.name] = len(await admission.usable(wanted, properties))
    if known and not any(shares.values()) and admission.denied:
        raise Forbidden("You may not build with any of the builders")
    await admission.reserve(shares)


#: What adds the buildsets of a scheduler, from the outside in (buildbot/schedulers/base.py).
_ADDING = (
    "addBuildsetForChanges",
    "addBuildsetForSourceStamps",
)


def _is_known(scheduler: Any) -> bool:
    """Whether a scheduler builds what stands in its configuration, and works out nothing later."""
    names = scheduler.builderNames
    return (
        isinstance(names, list | tuple)
        and all(isinstance(name, str) for name in names)
        and all(getattr(scheduler, one).__module__.startswith("buildbot.") for one in _ADDING)
    )


async def _something_decided(master: Any, admission: Admission, late: Sequence[_Adding]) -> None:
    """Wait a little for schedulers that build after they have returned, unless something was built.

    Nothing tells that one will. What is being built then is waited for.
    """
    for _ in range(LATENESS_CHECKS):
        if admission.made or admission.denied or any(adding.refusal for adding in late):
            break
        await task.deferLater(monotonic(master.reactor), LATENESS / LATENESS_CHECKS)
    for adding in late:
        await adding.gate.idle()


@dataclass(frozen=True)
class _Failure:
    """A scheduler that could not build."""

    msg: str
    error: Exception


async def _asked(
    master: Any,
    admission: Admission,
    change_ids_of: Iterable[tuple[Any, list[int]]],
    priority: int | None,
) -> list[_Failure]:
    """Let each scheduler build its changes; return which failed.

    Return values of schedulers are ignored, and so is how they handle our own errors.
    """
    failures = []
    late = []
    for scheduler, change_ids in change_ids_of:
        if time.monotonic() > admission.order.deadline:
            raise Unavailable("Timed out before every scheduler was asked")
        admission.begin(scheduler.name)
        adding = _Adding(master, admission, priority)
        error = await adding.ask(scheduler, change_ids)
        if error is not None:
            failures.append(_failure(scheduler, error))
        else:
            late.append((scheduler, adding))
    if not failures:
        await _something_decided(master, admission, [adding for _, adding in late])
    failures += [_failure(one, adding.refusal) for one, adding in late if adding.refusal]
    return failures


def _failure(scheduler: Any, error: Exception) -> _Failure:
    if isinstance(error, TooMany | CustomCodeFailed):
        return _Failure(error.msg, error)
    # one scheduler's mistake, in a function of the operator's perhaps, is not the others'
    text = "selfserve: scheduler {name} could not build"
    _log.failure(text, failure.Failure(error), name=scheduler.name)
    return _Failure(f"scheduler {scheduler.name} failed, see the master's log", error)


class _Adding:
    """Lets one scheduler build, and adds the buildsets that it makes.

    :param priority: of all that it makes; ``None`` for what it gives
    :ivar gate: through which it builds
    :ivar refusal: why something that it would build was refused
    """

    def __init__(self, master: Any, admission: Admission, priority: int | None) -> None:
        self._master = master
        self._admission = admission
        self._priority = priority
        self._marks = self._next_marks()
        self._added = 0
        self._turned_away = False
        self.gate = Gate(master, self.add_buildset)
        self.refusal: SelfServeError | None = None

    def _next_marks(self) -> dict[str, tuple[Any, str]]:
        return create_buildsets.new_marks(self._admission.order, next(self._admission.numbers))

    async def ask(self, scheduler: Any, change_ids: list[int]) -> Exception | None:
        """Make *scheduler* build the changes, as if they had reached it; return why it failed."""
        gate = self.gate
        name, source = self._marks[KEY_PROPERTY]
        key = (gate.key(name), source)
        try:
            with revision_sourcestamps.noted_anew(scheduler):
                await gate.call(
                    gate.gated(scheduler).addBuildsetForChanges,
                    reason=create_buildsets.requested_by(self._admission.order),
                    changeids=change_ids,
                    properties=Properties.fromDict({**self._marks, KEY_PROPERTY: key}),
                    priority=self._priority,
                )
                await gate.idle()
        except Exception as error:
            # what came of no buildset in the operator's code is no mistake of it
            if not (self._turned_away and not self._added):
                return self.refusal or error
        return self.refusal

    def add_buildset(
        self, waited_for: bool = False, scheduler: str | None = None, **asked: Any
    ) -> defer.Deferred[tuple[int | None, dict[int, int]]]:
        """Add a buildset; take and return what ``data.updates.addBuildset`` does.

        Where nothing of it may be made, there is no id and no request.
        """
        return defer.Deferred.fromCoroutine(self._add(scheduler or mq_producer.SCHEDULER, **asked))

    async def _add(
        self,
        scheduler: str,
        sourcestamps: Sequence[int | Mapping[str, Any]] = (),
        reason: str = "",
        properties: Mapping[str, tuple[Any, str]] | None = None,
        builderids: Sequence[int] = (),
        priority: int = 0,
        **more: Any,
    ) -> tuple[int | None, dict[int, int]]:
        """Add it as a job request does, whatever *reason* and properties the scheduler gives it."""
        out_of_sight()  # what hears of it, such as a builder that starts
        buildset = NewBuildset(
            sourcestamps,
            builderids,
            {**(properties or {}), **self._marks},
            create_buildsets.requested_by(self._admission.order),
            priority if self._priority is None else self._priority,
            more,
        )
        self._marks = self._next_marks()
        try:
            made = await create_buildsets.insert(self._master, self._admission, buildset)
        except (NothingAdmitted, TooMany, CustomCodeFailed) as refusal:
            # not raised in the scheduler: it has done nothing wrong, and may not wait for us
            self._turned_away = True
            self.refusal = self.refusal if isinstance(refusal, NothingAdmitted) else refusal
            return None, {}
        self._added += 1
        buildset_id, by_builder = made
        await create_buildsets.announce(
            self._master, {buildset_id: list(by_builder.values())}, scheduler
        )
        return made


def _why_nothing(
    revision: AnyRevision, failures: Sequence[_Failure], admission: Admission
) -> Exception:
    """Return the error that says why no scheduler has built *revision*."""
    where = f"revision {revision.revision} on branch {revision.branch.name}"
    for failed in failures:
        if isinstance(failed.error, (*LATER, CustomCodeFailed)):
            return failed.error
    if failures:
        # all of it stands in the journal
        why = "; ".join(failed.msg for failed in failures)
        return Refused(f"No scheduler could build {where}: {why}")
    if admission.denied:
        return Forbidden("You may not build with any of the builders")
    return Refused(
        f"No scheduler builds {where}", "the schedulers that accept it chose no builders"
    )


@dataclass(frozen=True)
class _Takers:
    """The schedulers that would take changes of a revision.

    :param schedulers: in the order of the configuration; *places* says where each takes it from
    :param models: the change that Buildbot has there, ``None`` without one
    """

    schedulers: list[Any]
    places: Mapping[str, list[Sourcestamp]]
    models: Mapping[Sourcestamp, Any]

    async def change_ids(
        self, master: Any, order: Order, revision: str
    ) -> list[tuple[Any, list[int]]]:
        """Return the schedulers with the ids of their changes; record those that are missing."""
        ids: dict[Sourcestamp, int] = {}
        for place in {place for taken in self.places.values() for place in taken}:
            model = self.models[place]
            ids[place] = (
                await changes.record(master, order, revision, place)
                if model is None
                else model.changeid
            )
        return [
            (scheduler, [ids[place] for place in self.places[scheduler.name]])
            for scheduler in self.schedulers
        ]


async def _takers(master: Any, order: Order, revision: AnyRevision) -> _Takers:
    """Return the schedulers that would take a change of *revision*.

    :raises Refused: no scheduler would
    """
    text = revision.revision
    watching = await _watching(master)
    takers: dict[str, list[Sourcestamp]] = {}
    models: dict[Sourcestamp, Any] = {}
    for place in revision_sourcestamps.of(revision, watching):
        models[place] = await changes.newest(master, text, place)
        change = await changes.as_change(master, order, models[place], text, place)
        for scheduler in watching:
            if takes(scheduler, change):
                takers.setdefault(scheduler.name, []).append(place)
    if not takers:
        raise Refused(
            f"No scheduler builds revision {text} on branch {revision.branch.name}",
            "no enabled scheduler has a change filter that accepts it",
        )
    return _Takers([one for one in watching if one.name in takers], takers, models)


async def _watching(master: Any) -> list[Any]:
    """Return the schedulers that changes make build, and that are enabled.

    The database knows: an instance learns of it only in the master where it is active.
    """
    disabled = {row["name"] for row in await master.data.get(("schedulers",)) if not row["enabled"]}
    return [
        scheduler
        for scheduler in master.allSchedulers()
        if builds_changes(scheduler) and scheduler.name not in disabled
    ]
