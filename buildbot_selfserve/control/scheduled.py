"""New builds at a revision: what the schedulers that watch its branch would build, at once."""

from __future__ import annotations

import time
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.interfaces import IRenderable
from buildbot.process.properties import Properties
from twisted.internet import defer
from twisted.logger import Logger
from zope.interface import implementer

from buildbot_selfserve.control import changes
from buildbot_selfserve.control import create
from buildbot_selfserve.control import look
from buildbot_selfserve.control import places
from buildbot_selfserve.control.configured import builds_changes
from buildbot_selfserve.control.configured import takes
from buildbot_selfserve.control.uncollapsed import uncollapsed
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import plural

_log = Logger()

#: What may not happen again when the same is asked for later.
LATER = (NotNow, sa.exc.OperationalError, sa.exc.InterfaceError)


async def new_builds(
    master: Any, order: Order, revision: AnyRevision, *, priority: int | None
) -> Effect:
    """Let the schedulers that watch the branch build *revision*, with their properties.

    The change that Buildbot has of the revision is used, or one is recorded. The schedulers are
    asked directly: a change that is announced would make them build later, and nothing would tell
    that none did.

    :param priority: ``None`` for what each scheduler gives
    :raises Refused: no scheduler would build it, or each that would has failed
    :raises Forbidden: the asker may build with none of the builders
    :raises TooMany: the asker has not so many builds left
    """
    begun = int(time.time())
    allowed = _Allowed(order, await _builder_ids(master))
    takers = await _takers(master, order, revision)
    await allowed.prepare(scheduler.builderNames for scheduler in takers.schedulers)
    change_ids_of = await takers.change_ids(master, order, revision.revision)
    made, failures = await _asked(master, order, change_ids_of, allowed, priority)
    if failures:  # one that failed may have written before (buildbot/data/buildsets.py)
        states = await look.made_by(master, order.job_id, begun - look.SET_BACK)
    else:
        states = await look.request_states(master, made)
    if not states:
        raise _why_nothing(revision, failures, allowed)
    found = create.created(states, denied=allowed.denied.values())
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


@dataclass(frozen=True)
class _Failure:
    """A scheduler that could not build."""

    msg: str
    error: Exception


async def _asked(
    master: Any,
    order: Order,
    change_ids_of: Iterable[tuple[Any, list[int]]],
    allowed: _Allowed,
    priority: int | None,
) -> tuple[list[int], list[_Failure]]:
    """Let each scheduler build its changes; return the ids of the requests, and who failed."""
    made: list[int] = []
    failures: list[_Failure] = []
    for number, (scheduler, change_ids) in enumerate(change_ids_of):
        if time.monotonic() > order.deadline:
            raise Unavailable("The time was over before every scheduler was asked")
        marks = create.new_marks(order, number)
        properties = Properties()
        for name, (value, source) in marks.items():
            properties.setProperty(name, value, source)
        try:
            with places.noted_anew(scheduler):
                _, by_builder = await uncollapsed(scheduler).addBuildsetForChanges(
                    reason=create.requested_by(order),
                    changeids=change_ids,
                    builderNames=_BuilderNames(scheduler.builderNames, allowed, marks),
                    properties=properties,
                    priority=priority,
                )
            made += by_builder.values()
        except _NothingAllowed:
            continue
        except TooMany as error:
            failures.append(_Failure(error.msg, error))
        except Exception as error:
            # one scheduler's mistake, in a function of the operator's perhaps, is not the others'
            _log.failure("selfserve: scheduler {name} could not build", name=scheduler.name)
            msg = f"scheduler {scheduler.name} failed, see the master's log"
            failures.append(_Failure(msg, error))
    return made, failures


def _why_nothing(
    revision: AnyRevision, failures: Sequence[_Failure], allowed: _Allowed
) -> Exception:
    """Return what says why no scheduler has built *revision*."""
    where = f"revision {revision.revision} on branch {revision.branch.name}"
    for failure in failures:
        if isinstance(failure.error, LATER):
            return failure.error
    if failures:
        # all of it stands in the journal
        why = "; ".join(failure.msg for failure in failures)
        return Refused(f"No scheduler could build {where}: {why}")
    if allowed.denied:
        return Forbidden("You may build with none of the builders")
    return Refused(f"No scheduler builds {where}", "those that take it name no builder")


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
    for place in places.of(revision, watching):
        models[place] = await changes.newest(master, text, place)
        change = await changes.as_change(master, order, models[place], text, place)
        for scheduler in watching:
            if takes(scheduler, change):
                takers.setdefault(scheduler.name, []).append(place)
    if not takers:
        raise Refused(
            f"No scheduler builds revision {text} on branch {revision.branch.name}",
            "none that is enabled has a change filter that takes it",
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


async def _builder_ids(master: Any) -> dict[str, int]:
    return {row["name"]: row["builderid"] for row in await master.data.get(("builders",))}


class _NothingAllowed(Exception):
    """None of a scheduler's builders may be used."""


class _Allowed:
    """Which builders the asker may build with.

    :param ids: the ids of all builders, by name
    """

    def __init__(self, order: Order, ids: Mapping[str, int]) -> None:
        self._order = order
        self._ids = ids
        self.denied: dict[str, Builder] = {}

    async def prepare(self, names_of: Iterable[Any]) -> None:
        """Take what the *names_of* schedulers will make from the asker's budget, before all else.

        Names that a scheduler works out when it builds cannot be known here; they take when they
        are.

        :raises Forbidden: none of the builders may be used
        :raises TooMany: the asker has not so many builds left
        """
        number = 0
        known = True
        for names in names_of:
            if _is_known(names):
                number += len(await self._usable(names))
            else:
                known = False
        if known and not number and self.denied:
            raise Forbidden("You may build with none of the builders")
        if number:
            await self._order.take_builds(number)

    async def of(self, names: Container[str], *, known: bool) -> list[str]:
        """Return those of *names* that may be used.

        :param known: :meth:`prepare` has taken them from the budget
        :raises _NothingAllowed: none of them; without builders, a buildset succeeds at once
        :raises TooMany: the asker has not so many builds left
        """
        usable = await self._usable(names)
        if not usable:
            raise _NothingAllowed()
        if not known:
            await self._order.take_builds(len(usable))
        return usable

    async def _usable(self, names: Container[str]) -> list[str]:
        usable = []
        # a name may stand there twice (buildbot/schedulers/base.py, addBuildsetForSourceStamps)
        for name in [name for name in self._ids if name in names]:
            builder = Builder(self._ids[name], name)
            if await self._order.may(builder):
                usable.append(name)
            else:
                self.denied[name] = builder
        return usable


def _is_known(names: Any) -> bool:
    """Whether a scheduler's builders stand in its configuration, and are not worked out later."""
    return isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)


@implementer(IRenderable)
class _BuilderNames(list[Any]):
    """The names of a scheduler's builders, less those that the asker may not build with.

    A scheduler renders it in place of its own names, with the properties of the buildset that it
    is about to add; whatever else has set them, our marks have the last word there
    (buildbot/schedulers/base.py, addBuildsetForSourceStamps). A priority that is a function of the
    names is given this, too, and must find the same list as always.
    """

    def __init__(self, names: Any, allowed: _Allowed, marks: create.Properties) -> None:
        super().__init__(names if isinstance(names, list | tuple) else ())
        self._names = names
        self._allowed = allowed
        self._marks = marks

    def __bool__(self) -> bool:
        # a scheduler takes its own names in place of none
        return True

    def getRenderingFor(self, properties: Any) -> defer.Deferred[list[str]]:
        """Return the names."""
        return defer.Deferred.fromCoroutine(self._rendered(properties))

    async def _rendered(self, properties: Any) -> list[str]:
        for name, (value, source) in self._marks.items():
            properties.setProperty(name, value, source)
        names = await properties.render(self._names)
        return await self._allowed.of(names, known=_is_known(self._names))
