"""Reads ranges: for one builder, the revisions between a good and a bad one."""

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
from buildbot_selfserve.history.index import got_revision
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.index.queries import GOT_REVISIONS
from buildbot_selfserve.history.revisions import known_revisions
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
from buildbot_selfserve.statements import Statement

#: The number of newest revisions to search for a failed one.
MOST_RECENT = 100
#: The number of earlier revisions to search in each step, earlier steps included.
_LOOKS = (5, 25, LONGEST_RANGE + 1)
#: Results that count, and those of them that say something about the revision's code.
_COUNTED = PASSED_STATES | FAILED_STATES
_TESTED = _COUNTED - {"exception"}
_GOT_REVISION = Statement(GOT_REVISIONS, rows.properties.c.buildid)


def find_range(
    history: History, wanted: WantedRange, most: int, force: bool | None = None
) -> Range:
    """Return the revisions from a good to a bad one, with one builder's results at each.

    ``ancestry`` defines the order of revisions. The time this takes depends on *most* and on the
    builds at these revisions, not on the size of the history.

    :param wanted: only the name of its builder is used; the latest result decides whether a
        revision is good or bad
    :param most: the largest number of revisions between the two, at most ``LONGEST_RANGE``
    :param force: if none of the *most* revisions before the bad one passed, return them all;
        ``None`` if the user cannot ask for that
    :raises Refused: the bad or the good revision does not exist
    :raises BadParameter: the good revision is not before the bad one, or too far before it
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
                f" {end.revision}: {_ways_out(most, force)}",
            )
        line = line if has_good else line[:most]
    found = _described(history, branch, buildername, [*reversed(line), end])
    if has_good:
        return Range(buildername, found[0], found[-1], tuple(found[1:-1]))
    return Range(buildername, None, found[-1], tuple(found[:-1]))


def _ways_out(most: int, force: bool | None) -> str:
    """Return what to do if no revision within *most* passed."""
    ways = ["raise max"] if most < LONGEST_RANGE else []
    ways += ["name a good one"]
    ways += [] if force is None else ["take them all with force=1"]
    return ", or ".join(filter(None, [", ".join(ways[:-1]), ways[-1]]))


def at_revisions(
    history: History, branch_name: str, buildername: str, texts: Sequence[str]
) -> dict[str, RangeRevision]:
    """Return the results of a builder at each revision of *texts* that exists.

    :param texts: full revisions
    """
    branch = branches.branch(history, branch_name)
    if branch is None:
        return {}
    load_found(history.connection, history.facts, (branch,))
    there = {one: its for one in texts if (its := history.facts.in_line(branch, one)) is not None}
    found = _described(history, branch, buildername, list(there.values()))
    return dict(zip(there, found, strict=True))


def _at(facts: Facts, revision: Revision) -> Pushed:
    """Return the *revision* with its position on its branch.

    :raises Refused: the revision was never pushed or built
    """
    found = facts.in_line(revision.branch, revision.revision)
    if found is None:
        raise Refused(
            f"Nothing was ever to be built at revision {revision.revision}",
            f"it has no change on branch {revision.branch.name}",
        )
    return found


def _newest_failed(history: History, branch: Branch, buildername: str) -> Pushed:
    """Return the newest revision of *branch* at which a builder failed.

    A revision without a change is positioned by the time of its first request, which says nothing
    about its ancestors. On a branch that has changes, such revisions are skipped.

    :raises Refused: there is no such revision
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
    """Check that *begin* is before *end*, with at most *most* revisions between them.

    :param before: the revisions before *end*, the nearest first
    :raises BadParameter: *begin* is not before *end*, or too far before it
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
    """Return the revisions before *end* back to the nearest one at which a builder passed.

    Also return whether any did, within *most* + 1 revisions. The nearest revision comes first.
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
    """Return each revision of *line* with a builder's results, in the same order."""
    requests = requests_at(history, line)
    records = [its[0] for one in requests for its in one.whole]
    virtual = rows.virtual_builders(history.connection, sorted({record[1] for record in records}))
    builders = {record[2] for record in records}
    builders.update(record[8] for one in requests for record in one.builds)
    names = names_of(history, builders)

    def is_asked(its: Sequence[Any]) -> bool:
        """Return whether a request is for this builder: by its builds, or else by its buildset."""
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
    sourceless = _without_sources(history.connection, line, its_own)
    return [_one(*each, sourceless) for each in zip(revisions, infos, its_own, strict=True)]


def _without_sources(
    connection: sa.Connection, line: Sequence[Pushed], of_all: Sequence[Requests]
) -> set[int]:
    """Return the failed builds that never fetched the revision that they were to test.

    The revision was removed by a force push, say, or the repository was unreachable, so a step
    before the tests failed. Buildbot's source steps record the revision that they fetched
    (buildbot/steps/source, ``got_revision``). Its absence counts only if every build that passed
    has it. What was fetched in other codebases than the revision's does not count.

    :param line: the revisions of *of_all*
    """
    ended = [one for its in of_all for one in _ended(its)]
    failed = {build_id for build_id, state in ended if state == "failed"}
    passed = {build_id for build_id, state in ended if state in PASSED_STATES}
    if not failed or not passed:
        return set()
    codebases = {
        record[6]: one.codebases
        for one, its in zip(line, of_all, strict=True)
        for record in its.builds
    }
    got = {
        build_id
        for build_id, value in _GOT_REVISION.of(connection, sorted(failed | passed))
        if any(got_revision(value, one) for one in codebases[build_id])
    }
    return failed - got if passed <= got else set()


def _one(
    revision: AnyRevision, info: ChangeInfo | None, requests: Requests, sourceless: Set[int]
) -> RangeRevision:
    """Return a revision with the results of one builder's *requests*.

    :param sourceless: failed builds that never fetched the revision; they count as exceptions
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
    """Return the ids and end states of the builds that have ended."""
    # what has no result that is known counts as in ``states``
    return [
        (one[6], ENDS.get(one[11], "cancelled")) for one in requests.builds if one[10] is not None
    ]


def _is_open(its: Sequence[Any]) -> bool:
    """Return whether a request is pending or running.

    :param its: the records of the request
    """
    return is_open(its[0][3], (one[11] for one in its if one[10] is not None))


def _latest(ended: Sequence[tuple[int, str]], states: Set[str]) -> tuple[str, int | None]:
    """Return state and id of the last build that *ended* in one of *states*."""
    return next(
        ((state, build_id) for build_id, state in reversed(ended) if state in states), ("", None)
    )
