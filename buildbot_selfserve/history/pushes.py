"""Reads pushes: the revisions of a branch or of a user, the newest first, with their health."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence

import sqlalchemy as sa

from buildbot_selfserve.history.change_info import change_infos
from buildbot_selfserve.history.health import compared
from buildbot_selfserve.history.health import health_of_line
from buildbot_selfserve.history.health import revision_of
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.states import AtRevision
from buildbot_selfserve.history.states import states_at
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import Health
from buildbot_selfserve.model.pushes import LastGreen
from buildbot_selfserve.model.pushes import Pushes

#: So many revisions are looked at, and then so many more, until one is green.
_FIRST_LOOK, _MORE = 5, 4
#: The builders that count as those of a branch are those of so many of its newest revisions.
MOST_RECENT = 20


def pushes(
    connection: sa.Connection,
    facts: Facts,
    branch: Branch,
    limit: int,
    before: Revision | None = None,
    author: str | None = None,
) -> Pushes:
    """Return the newest pushes of *branch*.

    :param before: only those that are older than this one
    :param author: only those with a change of this author, a whole name or the address in it
    """
    load_found(connection, facts, (branch,))
    than = None if before is None else facts.in_line(branch, before.revision)
    if author is None:
        line = facts.line(branch, limit + 1, None if than is None else than.position)
        found = health_of_line(connection, facts, branch, line[:limit])
    else:
        newer = None if than is None or not than.change_ids else than.change_ids[0]
        line = facts.pushed_by(branch, author, limit + 1, newer)
        found = _each(connection, facts, [(branch, one) for one in line[:limit]])
    older = line[limit - 1].revision if len(line) > limit else None
    return Pushes(branch, found, older, author, limit)


def _each(
    connection: sa.Connection, facts: Facts, pushed: Sequence[tuple[Branch, Pushed]]
) -> tuple[Health, ...]:
    """Return the health of pushes between which there are others."""
    return tuple(
        one for branch, its in pushed for one in health_of_line(connection, facts, branch, [its])
    )


def pushes_of_user(
    connection: sa.Connection,
    facts: Facts,
    site: Site,
    user: str,
    limit: int,
    before: str | None = None,
) -> Pushes:
    """Return the newest pushes of *user* on all branches.

    :param before: only those that are older than this revision of theirs
    """
    found: list[tuple[Branch, Pushed]] = []
    skipping = before is not None
    more = False
    for branch, pushed in _of_user(facts, site, user):
        if skipping:
            skipping = pushed.revision != before
        elif len(found) == limit:
            more = True
            break
        else:
            found.append((branch, pushed))
    older = found[-1][1].revision if more else None
    return Pushes(None, _each(connection, facts, found), older, user, limit)


def _of_user(facts: Facts, site: Site, user: str) -> Iterator[tuple[Branch, Pushed]]:
    told: set[tuple[str, str]] = set()
    for change_id, revision, place in facts.changes_by(user):
        for branch in _branches_of(site, place):
            pushed = facts.in_line(branch, revision)
            if pushed is None or change_id not in pushed.change_ids:
                continue
            if (branch.name, pushed.revision) not in told:
                told.add((branch.name, pushed.revision))
                yield branch, pushed


def _branches_of(site: Site, place: Sourcestamp) -> list[Branch]:
    """Return the branches that a place is on."""
    found = [one for one in site.named_branches.values() if place.belongs(one)]
    if place.branch and place.branch not in site.named_branches:
        other = site.branch(place.branch)
        if other is not None and place.belongs(other):
            found.append(other)
    return found


def newest_pushes(
    connection: sa.Connection, facts: Facts, branches: Sequence[Branch]
) -> dict[str, Health]:
    """Return the newest push of each of *branches* that has one, by the names of the branches."""
    found: dict[str, Health] = {}
    pushed = [(branch, one) for branch in branches for one in facts.line(branch, 1)]
    at = states_at(connection, facts, [one for _, one in pushed])
    infos = change_infos(connection, [one for _, one in pushed])
    for (branch, one), its, info in zip(pushed, at, infos, strict=True):
        when = its.asked_at if info is None else info.when
        builders = compared(its.states.values(), {}, "unknown")
        found[branch.name] = Health(
            revision_of(branch, one), None, its.verdict, builders, info, when
        )
    return found


def last_green(
    connection: sa.Connection, facts: Facts, branch: Branch, selection: Selection, most: int
) -> LastGreen | None:
    """Return the newest revision at which all selected builders passed.

    Those that are selected by a pattern count if they were asked for at the revisions that are
    looked at, or at newer ones; those that are named always do.

    :param most: so many revisions are looked at
    """
    load_found(connection, facts, (branch,))
    wanted = set(selection.exact)
    distance, count, than = 0, _FIRST_LOOK, None
    while distance < most:
        line = facts.line(branch, min(count, most - distance), than)
        states = states_at(connection, facts, line)
        for at in states if distance < MOST_RECENT else ():
            wanted.update(name for name in at.states if selection.takes(name))
        for pushed, at in zip(line, states, strict=True):
            if _is_green(at, selection, wanted):
                (info,) = change_infos(connection, [pushed])
                when = at.asked_at if info is None else info.when
                return LastGreen(revision_of(branch, pushed), when, distance)
            distance += 1
        if not line:
            return None
        than, count = line[-1].position, count * _MORE
    return None


def _is_green(at: AtRevision, selection: Selection, wanted: set[str]) -> bool:
    if selection.names is None:
        return at.verdict == "passed"
    states = at.states
    return bool(wanted) and all(
        name in states and states[name].state in PASSED_STATES for name in wanted
    )
