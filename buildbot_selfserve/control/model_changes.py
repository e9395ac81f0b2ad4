"""Makes the changes to ask change filters with.

Schedulers decide by the change of a revision. If Buildbot has no such change, one is modelled on
the branch's newest one, because filters also use project, repository, category and properties. It
is never modelled on one that self-serve has recorded for another revision: what one user has given
for that is not for others.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot.changes.changes import Change
from buildbot.db.changes import ChangeModel

from buildbot_selfserve.control import changes
from buildbot_selfserve.control.planners.revision_sourcestamps import possible_places
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp


class InventedChange(Change):  # type: ignore[misc]
    """A made-up change of a branch without changes, with values from the configuration alone."""


@dataclass(frozen=True)
class _Given:
    """The values that replace those of the model; ``None`` keeps the model's value."""

    revision: str | None
    author: str | None
    comments: str | None
    category: str | None
    project: str | None
    files: Sequence[str] | None

    @property
    def changes_nothing(self) -> bool:
        """Return whether no value but the revision is replaced."""
        replaced = (self.author, self.comments, self.category, self.project)
        return replaced == (None,) * 4 and self.files is None


async def model_changes(
    master: Any,
    branch: Branch,
    change_ids: Iterable[int],
    *,
    schedulers: Iterable[Any],
    places: Sequence[Sourcestamp] = (),
    revision: str | None = None,
    author: str | None = None,
    comments: str | None = None,
    category: str | None = None,
    project: str | None = None,
    files: Sequence[str] | None = None,
) -> list[Change]:
    """Return the changes to ask change filters with: one for each place, or for each model.

    Buildbot's own change of the revision is returned unchanged, unless any of its values are
    replaced. Other changes are modelled on the change in the same place, else in the same codebase,
    else on the first model. Without models, they are ``InventedChange``.

    :param change_ids: the ids of the models, newest first (``AnyRevision.models``)
    :param schedulers: the schedulers that may build the revision; they determine the possible
        places of an unknown branch
    :param places: the places of the revision, ``()`` if it may be anywhere on the branch
    :param revision: the revision as its change spells it; ``None`` keeps each model's revision
    """
    given = _Given(revision, author, comments, category, project, files)
    models = [await _model(master, change_id, revision) for change_id in change_ids]
    models = [one for one in models if one is not None]
    if not models:
        places = places or possible_places(branch, schedulers)
        return [_invented(place, given) for place in places]
    if not places:
        return [await _of(master, one, _place_of(one), given) for one in models]
    return [await _of(master, _model_for(place, models), place, given) for place in places]


async def _model(master: Any, change_id: int, revision: str | None) -> ChangeModel | None:
    found: ChangeModel | None = await master.db.changes.getChange(change_id)
    if found is not None and changes.is_requested(found) and found.revision != revision:
        pushed: ChangeModel | None = await changes.pushed_before(master, found)
        return pushed
    return found


def _place_of(model: ChangeModel) -> Sourcestamp:
    return Sourcestamp(model.branch, model.codebase, model.repository, model.project)


def _model_for(place: Sourcestamp, models: Sequence[ChangeModel]) -> ChangeModel:
    there = [one for one in models if _place_of(one).where == place.where]
    same_codebase = [one for one in models if one.codebase == place.codebase]
    return (there or same_codebase or models)[0]


async def _of(master: Any, model: ChangeModel, place: Sourcestamp, given: _Given) -> Change:
    """Return the change of the revision in *place*: the *model* itself, or one modelled on it.

    Link and time belong to a commit, and are not copied.
    """
    same_place = _place_of(model).where == place.where
    if same_place and given.changes_nothing and given.revision in (None, model.revision):
        return await Change.fromChdict(master, model)
    project = model.project if same_place else place.project or model.project
    change = Change(
        who=_first(given.author, model.author),
        committer=model.committer,
        files=list(_first(given.files, model.files)),
        comments=_first(given.comments, model.comments),
        revision=_first(given.revision, model.revision),
        branch=place.branch,
        category=_first(given.category, model.category),
        codebase=place.codebase,
        repository=place.repository,
        project=_first(given.project, project),
    )
    for name, (value, source) in model.properties.items():
        change.properties.setProperty(name, value, source)
    return change


def _invented(place: Sourcestamp, given: _Given) -> InventedChange:
    return InventedChange(
        who=given.author or "",
        files=list(given.files or ()),
        comments=given.comments or "",
        revision=given.revision,
        branch=place.branch,
        category=given.category,
        codebase=place.codebase,
        repository=place.repository,
        project=_first(given.project, place.project),
    )


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given
