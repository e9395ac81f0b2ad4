"""Compares the results of builders at a revision with their results at earlier revisions."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from types import MappingProxyType
from typing import NamedTuple

from buildbot_selfserve.answers import BuilderChange
from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.history.ancestry import MOST_BACK
from buildbot_selfserve.history.ancestry import Ancestry
from buildbot_selfserve.history.built_with import built_with
from buildbot_selfserve.history.change_info import change_info
from buildbot_selfserve.history.change_info import change_infos
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.states import AtRevision
from buildbot_selfserve.history.states import Results
from buildbot_selfserve.history.states import results_at
from buildbot_selfserve.history.states import states_at
from buildbot_selfserve.history.steps import failed_step_names
from buildbot_selfserve.model import FAILING
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model.pushes import FAILED_STATES
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import BuilderHealth
from buildbot_selfserve.model.pushes import BuilderState
from buildbot_selfserve.model.pushes import Health
from buildbot_selfserve.model.pushes import by_need

#: The number of earlier revisions to search for results of all builders, and then for results of
#: those builders that had none among the first.
_FIRST_LOOK, _LAST_LOOK = 4, MOST_BACK
_NO_NAMES: Mapping[int, str] = MappingProxyType({})


class Base(NamedTuple):
    """A builder's result at an earlier revision."""

    result: str
    revision: str
    distance: int | None


class Comparison:
    """Compares revisions with earlier revisions of their branches.

    :param pushed: the revisions, each with its branch
    """

    def __init__(self, history: History, pushed: Sequence[tuple[Branch, Pushed]]) -> None:
        self._history = history
        self._pushed = pushed
        on: dict[Branch, list[Pushed]] = {}
        for branch, one in pushed:
            on.setdefault(branch, []).append(one)
        self.ancestry = {branch: Ancestry(history, branch, its) for branch, its in on.items()}
        each = list(dict.fromkeys(one for _, one in pushed))
        self._at = dict(zip(each, states_at(history, each), strict=True))
        self._results: dict[Pushed, Results] = {
            one: {name: state.result for name, state in at.states.items() if state.result}
            for one, at in self._at.items()
        }

    def _load(self, pushed: Iterable[Pushed], builder_ids: Sequence[int] | None = None) -> None:
        """Read the results at revisions whose results were not read before.

        :param builder_ids: read the results of these builders only
        """
        new = list(dict.fromkeys(one for one in pushed if one not in self._results))
        found = results_at(self._history, new, builder_ids)
        self._results.update(zip(new, found, strict=True))

    def at(self, pushed: Pushed) -> AtRevision:
        """Return the builders' states at a revision that is being compared."""
        return self._at[pushed]

    def nearest(self, branch: Branch, pushed: Pushed) -> str | None:
        """Return the nearest revision before *pushed*, ``None`` if there is none."""
        before = self.ancestry[branch].before(pushed, 1)
        return before[0].revision if before else None

    def bases(self) -> list[dict[str, Base]]:
        """Return for each revision the earlier result of each builder that has a result."""
        found: list[dict[str, Base]] = [{} for _ in self._pushed]
        for look in (_FIRST_LOOK, _LAST_LOOK):
            missing = {
                number: names
                for number, (_, one) in enumerate(self._pushed)
                if (names := self._results[one].keys() - found[number].keys())
            }
            before = {number: self._before(number, look) for number in missing}
            wanted = None if look == _FIRST_LOOK else self._builder_ids(missing)
            self._load([it for its in before.values() for it in its], wanted)
            for number, names in missing.items():
                self._look(before[number], found[number], names)
        return found

    def _before(self, number: int, count: int) -> list[Pushed]:
        branch, pushed = self._pushed[number]
        return self.ancestry[branch].before(pushed, count)

    def _builder_ids(self, missing: Mapping[int, Set[str]]) -> list[int]:
        """Return the ids of builders without a base.

        :param missing: builder names by the index of the revision in ``_pushed``
        """
        at = {number: self._at[self._pushed[number][1]].states for number in missing}
        return sorted({at[it][name].builder_id for it, names in missing.items() for name in names})

    def _look(self, before: Sequence[Pushed], bases: dict[str, Base], missing: set[str]) -> None:
        for distance, pushed in enumerate(before, 1):
            results = self._results[pushed]
            for name in missing & results.keys():
                bases[name] = Base(results[name], pushed.revision, distance)
            missing -= results.keys()
            if not missing:
                return

    def bases_at(self, branch: Branch, pushed: Pushed, base: Pushed) -> dict[str, Base]:
        """Return each builder's result at *base*, to compare *pushed* with."""
        self._load([base])
        before = [one.revision for one in self.ancestry[branch].before(pushed)]
        distance = before.index(base.revision) + 1 if base.revision in before else None
        results = self._results[base].items()
        return {name: Base(one, base.revision, distance) for name, one in results}


def change_of(state: BuilderState, base: Base | None, otherwise: BuilderChange) -> BuilderChange:
    """Return how *state* compares with *base*, or *otherwise* if there is no base."""
    if not state.result:
        return "unknown"
    if state.flaky:
        return "flaky"
    if base is None:
        return otherwise
    passed = base.result in PASSED_STATES
    if state.result in FAILED_STATES:
        return "regressed" if passed else "still_failing"
    return "passing" if passed else "fixed"


def compared(
    states: Iterable[BuilderState],
    bases: dict[str, Base],
    otherwise: BuilderChange = "new",
    step_names: Mapping[int, str] = _NO_NAMES,
) -> tuple[BuilderHealth, ...]:
    """Return *states* compared with their *bases*; builders that need attention come first.

    :param step_names: the step that made each build fail, by build id
    """
    return by_need(
        _compared(
            one, bases.get(one.buildername), otherwise, step_names.get(one.result_build_id or 0)
        )
        for one in states
    )


def _compared(
    state: BuilderState, base: Base | None, otherwise: BuilderChange, failed_step: str | None
) -> BuilderHealth:
    change = change_of(state, base, otherwise)
    if base is None or change == "unknown":
        return BuilderHealth(state, change, None, None, None, failed_step)
    return BuilderHealth(state, change, base.result, base.revision, base.distance, failed_step)


def health_of_line(history: History, branch: Branch, line: Sequence[Pushed]) -> tuple[Health, ...]:
    """Return the health of consecutive revisions of *branch*."""
    pushed = [(branch, one) for one in line]
    comparison = Comparison(history, pushed)
    if line:
        comparison.ancestry[branch].add_line(line)
    return _health_of(history, comparison, pushed)


def health_of_each(history: History, pushed: Sequence[tuple[Branch, Pushed]]) -> tuple[Health, ...]:
    """Return the health of revisions that need not be consecutive, each with its branch."""
    return _health_of(history, Comparison(history, pushed), pushed)


def _health_of(
    history: History, comparison: Comparison, pushed: Sequence[tuple[Branch, Pushed]]
) -> tuple[Health, ...]:
    bases = comparison.bases()
    infos = change_infos(history.connection, [one for _, one in pushed])
    newer = built_with(history, pushed)
    return tuple(
        Health(
            revision_of(branch, one),
            comparison.nearest(branch, one),
            _verdict_at(comparison.at(one), newer.get((branch, one))),
            compared(comparison.at(one).states.values(), its_bases),
            info,
            info.when if info is not None else comparison.at(one).asked_at,
            newer.get((branch, one)),
        )
        for (branch, one), its_bases, info in zip(pushed, bases, infos, strict=True)
    )


def _verdict_at(at: AtRevision, newer: str | None) -> RevisionVerdict:
    """Return the verdict on a revision.

    :param newer: the push with which it was built: then nothing more comes for it alone
    """
    return at.verdict if at.states or newer is None else "incomplete"


def health_of_revision(
    history: History,
    revision: Revision,
    base: Revision | None = None,
    reacting: Sequence[tuple[str, int]] = (),
    with_change: bool = True,
) -> Health | None:
    """Return the health of one revision; ``None`` if it was never pushed or requested.

    :param base: compare with this revision instead of earlier ones
    :param reacting: builders that schedulers would start at the revision, with their ids
    :param with_change: include the details of its changes
    """
    branch = revision.branch
    load_found(history.connection, history.facts, (branch,))
    pushed = history.facts.in_line(branch, revision.revision)
    if pushed is None:
        return None
    comparison = Comparison(history, [(branch, pushed)])
    its_base = None if base is None else history.facts.in_line(branch, base.revision)
    if base is None:
        (bases,) = comparison.bases()
    else:
        bases = {} if its_base is None else comparison.bases_at(branch, pushed, its_base)
    at = comparison.at(pushed)
    missing = [
        _missing(name, number)
        for name, number in reacting
        if name not in at.states and number not in at.requested
    ]
    states = [*at.states.values(), *missing]
    failed = {one.result_build_id or 0 for one in states if one.result in FAILED_STATES}
    step_names = failed_step_names(history.connection, sorted(failed))
    info = change_info(history.connection, pushed) if with_change else None
    newer = built_with(history, [(branch, pushed)]).get((branch, pushed))
    return Health(
        revision,
        comparison.nearest(branch, pushed) if base is None else base.revision,
        _verdict_at(at, newer),
        compared(states, bases, "new" if base is None else "unknown", step_names),
        info,
        info.when if info is not None else at.asked_at,
        newer,
    )


def health_of_build(history: History, branch: Branch, build: BuildRow) -> BuilderHealth | None:
    """Return the health of a failed *build*'s builder at the build's revision.

    ``None`` if the build did not fail or has no revision.
    """
    if build.status not in FAILING or build.patched or build.revision is None:
        return None
    revision = Revision(branch, build.revision, (), ())
    found = health_of_revision(history, revision, with_change=False)
    its = () if found is None else found.builders
    return next((one for one in its if one.at.buildername == build.buildername), None)


def revision_of(branch: Branch, pushed: Pushed) -> Revision:
    """Return *pushed* as a ``Revision`` of *branch*."""
    return Revision(branch, pushed.revision, pushed.stamp_ids, pushed.build_ids)


def _missing(name: str, builder_id: int) -> BuilderState:
    return BuilderState(name, builder_id, "missing", 0, None, None, None, "", False, None, None)
