"""Reads pushes: the revisions of a branch or of a user, newest first, with their health."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from collections.abc import Set

from buildbot_selfserve.history.branches import branches_of
from buildbot_selfserve.history.built_with import passed_over
from buildbot_selfserve.history.change_info import change_infos
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.health import compared
from buildbot_selfserve.history.health import health_of_each
from buildbot_selfserve.history.health import health_of_line
from buildbot_selfserve.history.health import revision_of
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import OwnPush
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.history.states import AtRevision
from buildbot_selfserve.history.states import results_at
from buildbot_selfserve.history.states import states_at
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import Health
from buildbot_selfserve.model.pushes import LastGreen
from buildbot_selfserve.model.pushes import Pushes

#: The number of revisions in the first search for a green one, and the growth of each next search.
_FIRST_LOOK, _MORE = 5, 4
#: A pattern selects among the builders requested at this many of the branch's newest revisions.
MOST_RECENT = 20
#: The largest number of places to search for a revision of a user.
MOST_PLACES = 1000


def pushes_of_branch(
    history: History,
    branch: Branch,
    limit: int,
    before: Revision | None = None,
    author: str | None = None,
) -> Pushes:
    """Return the newest *limit* pushes of *branch*.

    :param before: only pushes older than this revision
    :param author: only pushes with a change of this author: a full name or the address in it
    """
    facts = history.facts
    load_found(history.connection, facts, (branch,))
    than = None if before is None else facts.in_line(branch, before.revision)
    if author is None:
        line = facts.line(branch, limit + 1, None if than is None else than.position)
        found = health_of_line(history, branch, line[:limit])
    else:
        own = _own_pushes_before(facts, branch, author, than)
        line = [one.pushed for one in itertools.islice(own, limit + 1)]
        found = health_of_each(history, [(branch, one) for one in line[:limit]])
    older = line[limit - 1].revision if len(line) > limit else None
    return Pushes(branch, found, older, author)


def _own_pushes_before(
    facts: Facts, branch: Branch, user: str, than: Pushed | None
) -> Iterator[OwnPush]:
    """Yield the pushes of *user* on *branch*, newest first.

    :param than: yield only pushes older than this one, which may be of any user
    """
    own = None if than is None else facts.own_change(than, (user,))
    below = than.change_ids[0] if than is not None and than.change_ids else None
    for one in facts.pushed_by((user,), lambda place: _on(place, branch), own or below):
        # pushes of one user are ordered by the user's own changes
        if own is not None or than is None or one.pushed.position < than.position:
            yield one


def _on(place: Sourcestamp, branch: Branch) -> list[Branch]:
    return [branch] if place.belongs(branch) else []


def pushes_of_user(
    history: History, users: tuple[str, ...], limit: int, before: Revision | None = None
) -> Pushes:
    """Return the newest *limit* pushes of a user on all branches.

    :param users: the user's names: full authors of changes, or the addresses in them
    :param before: only pushes older than this one, which is of the same user
    """
    own = _own_pushes(history, users, before)
    found = list(itertools.islice(own, limit + 1))
    load_found(history.connection, history.facts, list({one.branch for one in found}))
    pushed = ((one.branch, one.pushed.revision) for one in found[:limit])
    each = ((branch, history.facts.in_line(branch, revision)) for branch, revision in pushed)
    shown = health_of_each(history, [(branch, one) for branch, one in each if one is not None])
    last = shown[-1].revision if len(found) > limit and shown else None
    if last is None:
        return Pushes(None, shown, None, users[0], also=users[1:])
    return Pushes(None, shown, last.revision, users[0], last.branch.name, users[1:])


def _own_pushes(
    history: History, users: tuple[str, ...], before: Revision | None
) -> Iterator[OwnPush]:
    facts, site = history.facts, history.site
    than = None if before is None else facts.in_line(before.branch, before.revision)
    own = None if than is None else facts.own_change(than, users)
    found = facts.pushed_by(
        users, lambda place: branches_of(site, [place]), None if own is None else own + 1
    )
    if before is None:
        return found
    # skip to this branch: a change on several branches comes once for each
    newer = itertools.takewhile(lambda one: one.branch.name != before.branch.name, found)
    collections.deque(newer, maxlen=0)
    return found


def pushes_named(history: History, users: tuple[str, ...], text: str) -> list[Revision]:
    """Return the pushes of *users* on all branches that *text* names, newest first."""
    facts = history.facts
    places = facts.places_of(text, MOST_PLACES)
    on = (branch for place in places for branch in branches_of(history.site, [place]))
    branches = list({branch.name: branch for branch in on}.values())
    found: list[tuple[int, int, Revision]] = []
    for number, revision in enumerate(candidates(history, branches, text)):
        pushed = facts.in_line(revision.branch, revision.revision)
        own = None if pushed is None else facts.own_change(pushed, users)
        if own is not None:
            found.append((-own, number, revision))
    return [revision for _, _, revision in sorted(found, key=lambda one: one[:2])]


def newest_pushes(history: History, branches: Sequence[Branch]) -> dict[str, Health]:
    """Return the newest push of each of *branches* that has one, by branch name."""
    load_found(history.connection, history.facts, branches)
    found: dict[str, Health] = {}
    pushed = [(branch, one) for branch in branches for one in history.facts.line(branch, 1)]
    at = states_at(history, [one for _, one in pushed])
    infos = change_infos(history.connection, [one for _, one in pushed])
    for (branch, one), its, info in zip(pushed, at, infos, strict=True):
        when = its.asked_at if info is None else info.when
        builders = compared(its.states.values(), {}, "unknown")
        found[branch.name] = Health(
            revision_of(branch, one), None, its.verdict, builders, info, when
        )
    return found


def find_last_green(
    history: History, branch: Branch, selection: Selection, most: int
) -> LastGreen | int:
    """Return the newest revision at which all selected builders passed.

    If there is none, return the number of revisions searched. Builders that are selected by a
    pattern count only if they were requested at one of the newest revisions; builders that are
    selected by name always count.

    :param most: the largest number of revisions to search
    """
    facts = history.facts
    load_found(history.connection, facts, (branch,))
    wanted = None if selection.names is None else selection.exact
    if wanted != selection.names:
        recent = states_at(history, facts.line(branch, MOST_RECENT))
        asked_for = {name for at in recent for name in at.states if selection.takes(name)}
        wanted = selection.exact | asked_for
    distance, count, than = 0, _FIRST_LOOK, None
    while distance < most:
        line = facts.line(branch, min(count, most - distance), than)
        for number, at in _perhaps_green(history, line, wanted):
            if _is_green(history, line[number], at, wanted):
                (info,) = change_infos(history.connection, [line[number]])
                when = at.asked_at if info is None else info.when
                return LastGreen(revision_of(branch, line[number]), when, distance + number)
        distance += len(line)
        if len(line) < count:
            break
        than, count = line[-1].position, count * _MORE
    return distance


def _perhaps_green(
    history: History, line: Sequence[Pushed], wanted: Set[str] | None
) -> Iterator[tuple[int, AtRevision]]:
    """Yield the index in *line* of each revision that may be green, with its builders' states.

    Latest results alone are read much faster than full states.
    """
    perhaps = [
        number
        for number, results in enumerate(results_at(history, line))
        if all(
            one in PASSED_STATES
            for one in (results.values() if wanted is None else map(results.get, wanted))
        )
    ]
    return zip(perhaps, states_at(history, [line[one] for one in perhaps]), strict=True)


def _is_green(history: History, pushed: Pushed, at: AtRevision, wanted: Set[str] | None) -> bool:
    if wanted is None:
        return at.verdict == "passed" and not passed_over(history, [pushed])
    states = at.states
    return bool(wanted) and all(
        one in states and states[one].state in PASSED_STATES for one in wanted
    )
