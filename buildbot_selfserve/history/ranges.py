"""Reads ranges: the revisions between one that passes and one that fails, of one builder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.history import branches
from buildbot_selfserve.history import rows
from buildbot_selfserve.history.ancestry import Ancestry
from buildbot_selfserve.history.change_info import change_infos
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.health import revision_of
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.revisions import known_revisions
from buildbot_selfserve.history.sql import Statement
from buildbot_selfserve.history.states import ENDS
from buildbot_selfserve.history.states import Requests
from buildbot_selfserve.history.states import names_of
from buildbot_selfserve.history.states import requests_at
from buildbot_selfserve.history.states import results_at
from buildbot_selfserve.history.states import stands_for
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import is_open
from buildbot_selfserve.model.pushes import FAILED_STATES
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import ChangeInfo
from buildbot_selfserve.model.ranges import LONGEST_RANGE
from buildbot_selfserve.model.ranges import Range
from buildbot_selfserve.model.ranges import RangeRevision
from buildbot_selfserve.model.ranges import WantedRange

#: How many of the newest revisions to search for a failing one.
MOST_RECENT = 100
#: How many revisions to search at a time, until one passes or fails.
_LOOKS = (5, 25, LONGEST_RANGE + 1)
#: Results that count, and those of them that say something of the revision.
_COUNTED = PASSED_STATES | FAILED_STATES
_TESTED = _COUNTED - {"exception"}
#: Which builds have got the sources of a revision.
_GOT_REVISION = Statement(
    sa.select(rows.properties.c.buildid).where(rows.properties.c.name == "got_revision"),
    rows.properties.c.buildid,
)


def find_range(history: History, wanted: WantedRange, most: int, force: bool = False) -> Range:
    """Return the revisions between a good and a bad one, and what one builder has made of each.

    Which revisions are before another one, ``ancestry`` says. How much is read depends on *most*
    and on what was built at those revisions, and not on the history.

    :param wanted: of its builder the name counts; a revision passes or fails by its latest result
    :param most: so many revisions may lie between the two, at most ``LONGEST_RANGE``
    :param force: where none of *most* revisions before the bad one passes, the range is all of them
    :raises Refused: there is no such bad or good revision
    :raises BadParameter: the good one is not before the bad one, or too far away
    """
    branch, buildername, bad, good = wanted.branch, wanted.builder.name, wanted.bad, wanted.good
    load_found(history.connection, history.facts, (branch,))
    end = _newest_failed(history, branch, buildername) if bad is None else _at(history.facts, bad)
    ancestry = Ancestry(history, branch, [end])
    if good is not None:
        begin = _at(history.facts, good)
        before = ancestry.before(end, LONGEST_RANGE + 1)
        _require_before(begin, before, end, most)
        line = before[: before.index(begin) + 1]
        has_good = True
    else:
        line, has_good = _back_to_good(history, ancestry, end, buildername, most)
        if not has_good and not force:
            raise Refused(
                f"No good revision within {most}",
                f"{buildername} passed at none of {min(len(line), most)} revisions before"
                f" {end.revision}: raise max, name a good one, or take them all with force=1",
            )
        line = line if has_good else line[:most]
    found = _described(history, branch, buildername, [*reversed(line), end])
    if has_good:
        return Range(buildername, found[0], found[-1], tuple(found[1:-1]))
    return Range(buildername, None, found[-1], tuple(found[:-1]))


def at_revisions(
    history: History, branch_name: str, buildername: str, texts: Sequence[str]
) -> dict[str, RangeRevision]:
    """Return the results of a builder at those of the whole revisions *texts* that exist."""
    branch = branches.branch(history, branch_name)
    if branch is None:
        return {}
    load_found(history.connection, history.facts, (branch,))
    there = {one: its for one in texts if (its := history.facts.in_line(branch, one)) is not None}
    found = _described(history, branch, buildername, list(there.values()))
    return dict(zip(there, found, strict=True))


def _at(facts: Facts, revision: Revision) -> Pushed:
    """Return where a *revision* stands.

    :raises Refused: nothing was pushed or built there
    """
    found = facts.in_line(revision.branch, revision.revision)
    if found is None:
        raise Refused(
            f"Nothing was ever to be built at revision {revision.revision}",
            f"it has no change on branch {revision.branch.name}",
        )
    return found


def _newest_failed(history: History, branch: Branch, buildername: str) -> Pushed:
    """Return the newest revision of *branch* at which a builder fails.

    What was only built by hand stands where somebody asked for it, which says nothing of what is
    before it, so that it is left out where Buildbot hears of changes.

    :raises Refused: there is none
    """
    by_hand = not history.facts.newest_changes(branch, 1)
    than, count, looked_at = None, _LOOKS[0], 0
    while looked_at < MOST_RECENT:
        line = history.facts.line(branch, count, than)
        results = results_at(history, line)
        for one, its in zip(line, results, strict=True):
            if its.get(buildername) in FAILED_STATES and (by_hand or not one.by_hand):
                return one
        looked_at += len(line)
        if len(line) < count:
            break
        than, count = line[-1].position, min(count * 4, MOST_RECENT - looked_at)
    raise Refused(
        f"No failed revision within {looked_at}",
        f"{buildername} fails at none of the newest {looked_at} revisions of branch {branch.name}:"
        " name one with revision",
    )


def _require_before(begin: Pushed, before: Sequence[Pushed], end: Pushed, most: int) -> None:
    """Check that *begin* is before *end*, with at most so many revisions between them.

    :param before: what is before *end*, the nearest first
    :raises BadParameter: it is not
    """
    if begin in before[: most + 1]:
        return
    if begin in before:
        raise BadParameter(
            "good",
            f"at most {most} revisions before {end.revision}: {before.index(begin)} lie between"
            " them; raise max, or name a nearer one",
        )
    if len(before) > LONGEST_RANGE and begin.position < end.position:
        raise BadParameter(
            "good", f"one of the {LONGEST_RANGE + 1} revisions before {end.revision}"
        )
    raise BadParameter("good", f"a revision before {end.revision}: {begin.revision} is not")


def _back_to_good(
    history: History, ancestry: Ancestry, end: Pushed, buildername: str, most: int
) -> tuple[list[Pushed], bool]:
    """Return what is before *end* back to where a builder passes, the nearest first.

    And whether it does within *most* revisions and one.
    """
    looked_at = 0
    for look in _LOOKS:
        before = ancestry.before(end, min(look, most + 1))
        results = results_at(history, before[looked_at:])
        for distance, its in enumerate(results, looked_at):
            if its.get(buildername) in PASSED_STATES:
                return before[: distance + 1], True
        looked_at = len(before)
    return before, False


def _described(
    history: History, branch: Branch, buildername: str, line: Sequence[Pushed]
) -> list[RangeRevision]:
    """Return the revisions of *line* with what a builder has made of them, in their order."""
    requests = requests_at(history, line)
    records = [its[0] for one in requests for its in one.whole]
    virtual = rows.virtual_builders(history.connection, sorted({record[1] for record in records}))
    builders = {record[2] for record in records}
    builders.update(record[8] for one in requests for record in one.builds)
    names = names_of(history, builders)

    def is_asked(its: Sequence[Any]) -> bool:
        """Whether a request is one of the builder, by its builds or else as it will be built."""
        built = {names.get(record[8]) for record in its if record[8] is not None}
        return buildername in (built or (virtual.get(its[0][1]) or names[its[0][2]],))

    its_own = [
        Requests(
            [its for its in one.whole if is_asked(its)],
            [record for record in one.builds if names[record[8]] == buildername],
        )
        for one in requests
    ]
    revisions = known_revisions(history, [revision_of(branch, one) for one in line])
    infos = change_infos(history.connection, line)
    sourceless = _without_sources(history.connection, its_own)
    return [_one(*each, sourceless) for each in zip(revisions, infos, its_own, strict=True)]


def _without_sources(connection: sa.Connection, of_all: Sequence[Requests]) -> set[int]:
    """Return the failed builds that never got the revision that they were to test.

    It was pushed away, say, or the repository was out of reach, so that a step before the tests
    failed. Buildbot's source steps note what they have got; unless each build that passes has such
    a note, it says nothing that others have none (buildbot/steps/source, ``got_revision``).
    """
    ended = [one for its in of_all for one in _ended(its)]
    failed = {build_id for build_id, state in ended if state == "failed"}
    passed = {build_id for build_id, state in ended if state in PASSED_STATES}
    if not failed or not passed:
        return set()
    got = {build_id for (build_id,) in _GOT_REVISION.of(connection, sorted(failed | passed))}
    return failed - got if passed <= got else set()


def _one(
    revision: AnyRevision, info: ChangeInfo | None, requests: Requests, sourceless: Set[int]
) -> RangeRevision:
    """Return a revision with what the *requests* of one builder have made of it.

    :param sourceless: failed builds that say nothing of it
    """
    ended = sorted(
        (build_id, "exception" if build_id in sourceless else state)
        for build_id, state in _ended(requests)
    )
    state, build_id = _latest(ended, _COUNTED)
    tested, tested_build_id = _latest(ended, _TESTED)
    unbuilt = [its[0] for its in requests.whole if its[0][3] and not stands_for(its)]
    ends = [state for _, state in ended]
    ends += ["skipped" if one[4] == SKIPPED else "cancelled" for one in unbuilt]
    return RangeRevision(
        revision,
        None if info is None else info.author,
        "" if info is None else info.subject,
        None if info is None else info.when,
        state,
        build_id,
        tested,
        tested_build_id,
        dict(Counter(ends)),
        tuple(sorted(its[0][0] for its in requests.whole if _is_open(its))),
        min((its[0][0] for its in requests.whole), default=None),
        frozenset(build_id for build_id, _ in ended if build_id in sourceless),
    )


def _ended(requests: Requests) -> list[tuple[int, str]]:
    """Return the builds that have ended, and how."""
    return [(one[6], ENDS[one[11]]) for one in requests.builds if one[10] is not None]


def _is_open(its: Sequence[Any]) -> bool:
    """Whether a request, which is *its* records, waits or runs."""
    return is_open(its[0][3], (one[11] for one in its if one[10] is not None))


def _latest(ended: Sequence[tuple[int, str]], states: Set[str]) -> tuple[str, int | None]:
    """Return the last of the builds that *ended* in one of some *states*."""
    return next(
        ((state, build_id) for build_id, state in reversed(ended) if state in states), ("", None)
    )
