"""Reads the builders and the builder sets of a branch."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Set

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import builders_on
from buildbot_selfserve.history.index import chosen_lately
from buildbot_selfserve.history.index import load_names
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderEntry
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import SetPart
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import SetupBasis
from buildbot_selfserve.permissions import NIGHTLY
from buildbot_selfserve.permissions import USUAL_SETS
from buildbot_selfserve.statements import Statement

_builders, _on_masters, _masters = Model.builders, Model.builder_masters, Model.masters
_tags, _tagged = Model.tags, Model.builders_tags
_builds = Model.builds
_schedulers = Model.schedulers
_ON_MASTERS = Statement(
    sa.select(_on_masters.c.builderid)
    .select_from(_on_masters.join(_masters, _masters.c.id == _on_masters.c.masterid))
    .where(_masters.c.active == 1),
    _on_masters.c.builderid,
)
_DISABLED = Statement(sa.select(_schedulers.c.name).where(_schedulers.c.enabled == 0))

#: The prefix of Buildbot's own builders, such as ``__Janitor``; no other builder may have it
#: (buildbot/config/builder.py, BuilderConfig).
BUILDBOTS_OWN = "__"
#: A builder has built a branch lately if it was requested within this many seconds.
LATELY = 30 * 86_400
TAG = "tag:"
SCHEDULER = "scheduler:"


def builders_of(history: History, branch: Branch) -> Builders:
    """Return the builders of *branch* that an active master has.

    The builders configured for the branch. Without that configuration, the first of these that is
    not empty: builders whose property ``branch`` is this branch; builders that its schedulers reach
    or that have built it lately; builders that have ever built it.
    """
    existing = _existing(history.connection)
    if branch.builders is not None:
        named = _named(history, existing, branch.builders)
    else:
        named = (
            {name for name, value in history.setup.builder_branches if value in branch.branches}
            & set(existing)
            or _of_branch(history, branch, existing)
            or _names_of(existing, builders_on(history.connection, history.facts, branch))
        )
    return Builders(branch, _sorted(existing, named))


def _of_other_branches(
    history: History, existing: Mapping[str, Builder], named: Set[str]
) -> set[str]:
    """Return the *named* builders that belong to other branches.

    No scheduler of the branch reaches them, and either another scheduler does or they have built
    something lately.
    """
    unreached = named - set(history.setup.reachable)
    since = int(time.time()) - LATELY
    newest = sa.select(_builds.c.started_at).order_by(_builds.c.number.desc()).limit(1)
    return {
        name
        for name in unreached
        if name in history.setup.elsewhere
        or (
            history.connection.execute(
                newest.where(_builds.c.builderid == existing[name].builder_id)
            ).scalar()
            or 0
        )
        >= since
    }


def _of_branch(history: History, branch: Branch, existing: Mapping[str, Builder]) -> set[str]:
    """Return the builders that *branch*'s schedulers reach, and those that have built it lately.

    Only the latter include builders that a scheduler chooses when it creates a buildset, and
    builders behind triggers that compute the names of their schedulers.
    """
    lately = builders_on(history.connection, history.facts, branch, int(time.time()) - LATELY)
    return set(history.setup.reachable) & set(existing) | _names_of(existing, lately)


def chosen_by(
    history: History, branch: Branch, schedulers: Iterable[str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the builders that each of *schedulers* chose in its last buildsets on *branch*."""
    chosen = chosen_lately(history.connection, history.facts, branch, schedulers)
    existing = _existing(history.connection) if chosen else {}
    return tuple(
        (name, tuple(sorted(_names_of(existing, chosen[name])))) for name in sorted(chosen)
    )


def allowed(history: History, branch: Branch) -> tuple[Builder, ...]:
    """Return the builders that users may request on *branch*, sorted by name.

    These are the branch's configured builders, or else all but the builders of other branches.
    """
    existing = _existing(history.connection)
    if branch.builders is not None:
        named = _named(history, existing, branch.builders)
    else:
        named = set(existing) - _of_others(history.setup, branch)
    return _sorted(existing, named)


def builder_sets(history: History, branch: Branch) -> tuple[BuilderSet, ...]:
    """Return the builder sets of *branch*, sorted by name.

    A set that is not configured has the builders with its name as a tag, without those that only
    schedulers of other branches reach and that have not built this branch lately. ``nightly`` also
    has the ``Nightly`` schedulers of the branch. Either may be empty.
    """
    configured = dict(branch.sets)
    existing, setup = _existing(history.connection), history.setup
    others = _of_others(setup, branch)
    found = []
    for name in sorted({*USUAL_SETS, *configured}):
        if name in configured:
            entries = configured[name]
            schedulers = [
                entry.removeprefix(SCHEDULER)
                for entry in entries
                if isinstance(entry, str) and entry.startswith(SCHEDULER)
            ]
            parts = _parts(setup, existing, schedulers, set())
            named = _named(history, existing, entries)
        else:
            parts = _parts(setup, existing, setup.nightly if name == NIGHTLY else (), others)
            named = _named(history, existing, (f"{TAG}{name}",)) - others
            others_own = _of_other_branches(history, existing, named)
            if others_own:
                named -= others_own - _of_branch(history, branch, existing)
        # a scheduler's builders are built with the properties of that scheduler
        named -= {builder.name for part in parts for builder in part.builders}
        parts += [SetPart(None, _sorted(existing, named))] if named else []
        found.append(BuilderSet(branch, name, tuple(parts)))
    return tuple(found)


def _parts(
    setup: Setup, existing: Mapping[str, Builder], schedulers: Iterable[str], others: Set[str]
) -> list[SetPart]:
    """Return one part for each of *schedulers* that has builders or chooses them when it builds.

    :param others: builders to leave out
    """
    names = dict(setup.schedulers)
    parts = []
    for scheduler in dict.fromkeys(schedulers):
        named = (set(names.get(scheduler, ())) & set(existing)) - others
        undecided = scheduler in setup.deciding
        if named or undecided:
            parts.append(SetPart(scheduler, _sorted(existing, named), undecided))
    return parts


def possible(history: History, revision: AnyRevision) -> Possible:
    """Return what users can build at *revision*: builders, builder sets and schedulers."""
    branch, setup = revision.branch, history.setup
    sets = builder_sets(history, branch)
    deciding = {*setup.undecided, *(name for one in sets for name in one.undecided)}
    elsewhere = [] if revision.known else revisions.elsewhere(history, branch, revision.revision)
    return Possible(
        revision,
        setup.reacting,
        sets,
        allowed(history, branch),
        undecided=setup.undecided,
        failing=setup.failing,
        unclear=setup.unclear,
        lately=chosen_by(history, branch, deciding),
        elsewhere=tuple(elsewhere),
    )


def setup_basis(history: History, branch: Branch, revision: AnyRevision | None) -> SetupBasis:
    """Return what to ask the schedulers about: *revision*, or *branch* if that is ``None``."""
    disabled = tuple(sorted(name for (name,) in _DISABLED.all(history.connection)))
    if revision is not None:
        # functions in master.cfg must not get arbitrary texts
        text = revision.revision if revision.known else None
        return SetupBasis(branch, text, revision.models, revision.sourcestamps, disabled)
    models = revisions.newest_changes(history.facts, branch)
    places = () if models else tuple(history.facts.places_on(branch, revisions.MOST_PLACES))
    return SetupBasis(branch, None, models, places, disabled)


def reacting(history: History) -> list[tuple[str, int]]:
    """Return name and id of each builder that schedulers would start and an active master has."""
    names = history.setup.reacting
    wanted = {one for one in names if not one.startswith(BUILDBOTS_OWN)}
    known = history.facts.names("builders")
    if not wanted.issubset(known.values()):
        load_names(history.connection, history.facts)
        known = history.facts.names("builders")
    ids = {name: builder_id for builder_id, name in known.items() if name in wanted}
    existing = {one for (one,) in _ON_MASTERS.of(history.connection, sorted(ids.values()))}
    return [(name, ids[name]) for name in names if ids.get(name) in existing]


def builder(history: History, branch: Branch, name: str) -> Builder | None:
    """Return the builder called *name* if users may request it on *branch*, else ``None``."""
    every = allowed(history, branch)
    return next((one for one in every if one.name == name), None)


def virtual_builder(history: History, branch: Branch, name: str) -> Builder | None:
    """Return the virtual builder called *name* if users may request it on *branch*, else ``None``.

    They may if they may request the builder whose request became its newest build. No master's
    configuration has a virtual builder: a build of another builder's request takes its name.
    """
    lenders = {one.builder_id for one in allowed(history, branch)}
    requests = Model.buildrequests
    query = (
        sa.select(_builders.c.id, requests.c.builderid)
        .join_from(_builds, requests, requests.c.id == _builds.c.buildrequestid)
        .join(_builders, _builders.c.id == _builds.c.builderid)
        .where(binary_collation(_builders.c.name, name))
        .order_by(_builds.c.number.desc())
        .limit(1)
    )
    for builder_id, lender_id in history.connection.execute(query):
        if builder_id != lender_id and lender_id in lenders:
            return Builder(builder_id, name)
    return None


def builder_names(history: History) -> list[str]:
    """Return the sorted names of all builders, removed ones included.

    Buildbot's own builders are left out.
    """
    every = history.connection.execute(sa.select(_builders.c.name)).scalars()
    return sorted(name for name in every if not name.startswith(BUILDBOTS_OWN))


def names_by_tag(history: History) -> dict[str, set[str]]:
    """Return the builder names of each tag, without Buildbot's own builders."""
    query = sa.select(_tags.c.name, _builders.c.name).select_from(
        _tags.join(_tagged, _tagged.c.tagid == _tags.c.id).join(
            _builders, _builders.c.id == _tagged.c.builderid
        )
    )
    found: dict[str, set[str]] = {}
    for tag, name in history.connection.execute(query):
        if not name.startswith(BUILDBOTS_OWN):
            found.setdefault(tag, set()).add(name)
    return found


def only_tags(history: History) -> dict[str, str]:
    """Return the tag of each builder that has just one tag, which another builder has too."""
    tags = names_by_tag(history)
    times = Counter(name for names in tags.values() for name in names)
    return {
        name: tag
        for tag, names in tags.items()
        if len(names) > 1
        for name in names
        if times[name] == 1
    }


def is_built(history: History, builder_id: int) -> bool:
    """Return whether any master has this builder in its configuration."""
    query = sa.select(_on_masters.c.id).where(_on_masters.c.builderid == builder_id).limit(1)
    return history.connection.execute(query).first() is not None


def _of_others(setup: Setup, branch: Branch) -> set[str]:
    return {name for name, value in setup.builder_branches if value not in branch.branches}


def _names_of(existing: Mapping[str, Builder], builder_ids: Set[int]) -> set[str]:
    return {name for name, builder in existing.items() if builder.builder_id in builder_ids}


def _sorted(existing: Mapping[str, Builder], named: Iterable[str]) -> tuple[Builder, ...]:
    return tuple(existing[name] for name in sorted(named))


def _existing(connection: sa.Connection) -> dict[str, Builder]:
    """Return the builders of active masters by name, without Buildbot's own builders."""
    query = (
        sa.select(_builders.c.id, _builders.c.name)
        .select_from(
            _builders.join(_on_masters, _on_masters.c.builderid == _builders.c.id).join(
                _masters, _masters.c.id == _on_masters.c.masterid
            )
        )
        .where(_masters.c.active == 1)
        .distinct()
    )
    return {
        name: Builder(builder_id, name)
        for builder_id, name in connection.execute(query)
        if not name.startswith(BUILDBOTS_OWN)
    }


def _named(history: History, existing: Iterable[str], entries: Iterable[BuilderEntry]) -> set[str]:
    """Return the existing builders that configured *entries* name; ignore scheduler entries."""
    tagged = names_by_tag(history)
    named: set[str] = set()
    for entry in entries:
        if isinstance(entry, re.Pattern):
            named.update(name for name in existing if entry.search(name))
        elif entry.startswith(TAG):
            named.update(tagged.get(entry.removeprefix(TAG), ()))
        elif not entry.startswith(SCHEDULER):
            named.add(entry)
    return named & set(existing)
