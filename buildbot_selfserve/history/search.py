"""Finds what a text may mean, and our pages for what Buildbot's pages show."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history import branches
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history import sourcestamps
from buildbot_selfserve.history.builders import BUILDBOTS_OWN
from buildbot_selfserve.history.change_info import SUBJECT
from buildbot_selfserve.history.change_info import subject_of
from buildbot_selfserve.history.context import History
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import FoundNumber
from buildbot_selfserve.model import FoundSubject
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import page_of_revision
from buildbot_selfserve.model import user_keys

#: The largest number of authors to suggest.
MOST = 20
#: The number of newest changes to search by subject. The index has no subjects, and reading those
#: of all changes would take long.
NEWEST_CHANGES = 1000
#: The largest number of authors containing a text to search for that text as a whole word.
MOST_LIKE = 1000
#: The number of newest requests of a builder to search for one on a branch.
NEWEST = 50

_requests, _builds, _builders = Model.buildrequests, Model.builds, Model.builders
_changes = Model.changes
_PLACED = sa.select(
    _changes.c.revision,
    _changes.c.branch,
    _changes.c.codebase,
    _changes.c.repository,
    _changes.c.project,
)
_NEWEST_PLACED = (
    _PLACED.add_columns(sa.func.substr(_changes.c.comments, 1, SUBJECT))
    .order_by(_changes.c.changeid.desc())
    .limit(NEWEST_CHANGES)
)
#: An id, as people write it.
_NUMBER = re.compile(r"(?:(build|request)\s*)?#?\s*([0-9]{1,9})", re.IGNORECASE | re.ASCII)


def search_results(history: History, text: str, branch: Branch | None, limit: int) -> SearchResults:
    """Return matches of *text*: revisions, ids, subjects, and names of builders, authors, branches.

    :param branch: the branch to search for a revision first
    :param limit: the largest number of matches of each kind
    """
    most = limit + 1  # one more says that there are more
    found: dict[str, Sequence[Any]] = {
        "revisions": _revisions(history, text, branch)[:most],
        "builders": _builders_like(history, text)[:most],
        "authors": history.facts.authors_like(text, most),
        "branches": [one.branch for one in branches.listed_branches(history, text)[:most]],
        "builds": _numbered(history, "build", text),
        "requests": _numbered(history, "request", text),
        "pushes": _subjects_like(history, text, most),
    }
    more = tuple(kind for kind, every in found.items() if len(every) > limit)
    shown = {kind: tuple(every[:limit]) for kind, every in found.items()}
    return SearchResults(text, **shown, limit=limit, more=more)


def similar_authors(history: History, users: tuple[str, ...]) -> tuple[str, ...]:
    """Return other authors than *users* whose names contain one of the *users*' names as a word.

    Of an address, the part before the @ is used.
    """
    keys = set[str]().union(*map(user_keys, users))
    words = {one.partition("@")[0] for one in users} - {""}
    found: dict[str, None] = {}
    for word in sorted(words):
        whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)
        for author in history.facts.authors_like(word, MOST_LIKE):
            if whole.search(author) and keys.isdisjoint(user_keys(author)):
                found[author] = None
    return tuple(found)[:MOST]


def _revisions(history: History, text: str, branch: Branch | None) -> list[Revision]:
    here = revisions.candidates(history, (branch,), text) if branch else []
    return here or revisions.elsewhere(history, branch, one_spelling(text))


def _numbered(history: History, kind: str, text: str) -> list[FoundNumber]:
    """Return the build or request, as *kind* says, whose id *text* is: ``25`` or ``build 25``."""
    named = _NUMBER.fullmatch(text)
    if named is None or (named[1] or kind).lower() != kind:
        return []
    number = int(named[2])
    page = PAGES[kind](history, number)
    if page is None:
        return []
    table = _builds if kind == "build" else _requests
    query = sa.select(_builders.c.name).join(table, table.c.builderid == _builders.c.id)
    name = history.connection.execute(query.where(table.c.id == number)).scalar()
    return [FoundNumber(number, name or "", page)]


def _subjects_like(history: History, text: str, count: int) -> list[FoundSubject]:
    """Return up to *count* recent pushes with *text* in their subjects, the newest first."""
    sought = text.casefold()
    found: dict[tuple[str, str], FoundSubject] = {}
    for *placed, comments in history.connection.execute(_NEWEST_PLACED).all():
        subject = subject_of(comments)
        if sought not in subject.casefold():
            continue
        revision = _revision_of(history, placed)
        if revision is not None:
            name = revision.branch.name, revision.revision
            found.setdefault(name, FoundSubject(revision, subject))
        if len(found) == count:
            break
    return list(found.values())


def _builders_like(history: History, text: str) -> list[Builder]:
    """Return the builders whose names contain *text*, exact matches first; case is ignored.

    Buildbot's own builders are left out.
    """
    sought = text.casefold()
    every = history.connection.execute(sa.select(_builders.c.id, _builders.c.name)).all()
    found = [
        Builder(*one)
        for one in every
        if sought in one.name.casefold() and not one.name.startswith(BUILDBOTS_OWN)
    ]
    return sorted(found, key=lambda one: (one.name.casefold() != sought, one.name))


# -- our pages for Buildbot's pages


def page_of_build(history: History, build_id: int) -> Destination | None:
    """Return our page of a build; ``None`` if it does not exist or is on no branch of ours."""
    query = sa.select(_builds.c.buildrequestid).where(_builds.c.id == build_id)
    request_id = history.connection.execute(query).scalar()
    branch = _branch_of(history, [request_id] if request_id is not None else [])
    return None if branch is None else Destination((branch.name, "build", str(build_id)))


def page_of_numbered_build(history: History, builder: str, number: int) -> Destination | None:
    """Return our page of a builder's build *number*, as in Buildbot's URLs; or ``None``."""
    query = sa.select(_builds.c.id).where(
        _builds.c.builderid == _builder_id(history, builder), _builds.c.number == number
    )
    build_id = history.connection.execute(query).scalar()
    return None if build_id is None else page_of_build(history, build_id)


def page_of_request(history: History, request_id: int) -> Destination | None:
    """Return our page of a build request, or ``None``."""
    branch = _branch_of(history, [request_id])
    return None if branch is None else Destination((branch.name, "request", str(request_id)))


def page_of_change(history: History, change_id: int) -> Destination | None:
    """Return our page of a change's revision, or else of its branch; or ``None``."""
    its = _PLACED.where(_changes.c.changeid == change_id)
    for placed in history.connection.execute(its).all():
        for branch, named in _named_by(history, placed):
            return page_of_revision(named[0]) if len(named) == 1 else Destination((branch.name,))
    return None


def _revision_of(history: History, placed: Sequence[Any]) -> Revision | None:
    """Return a change's revision on its first branch, or ``None``."""
    for _, named in _named_by(history, placed):
        return named[0] if len(named) == 1 else None
    return None


def _named_by(history: History, placed: Sequence[Any]) -> Iterator[tuple[Branch, list[Revision]]]:
    """Yield the branches of a change, each with what its revision may be there.

    :param placed: the change's revision and place, in the order of ``_PLACED``
    """
    revision, *place = placed
    for branch in branches.branches_of(history.site, [Sourcestamp(*place)]):
        yield branch, revisions.candidates(history, (branch,), revision or "")


def page_of_builder(history: History, builder: str) -> Destination | None:
    """Return our page of a builder on the branch of its newest request; or ``None``.

    :param builder: the builder's id or name
    """
    builder_id = _builder_id(history, builder)
    if builder_id is None:
        return None
    newest = sa.select(_requests.c.id).where(_requests.c.builderid == builder_id)
    ids = (
        history.connection.execute(newest.order_by(_requests.c.id.desc()).limit(NEWEST))
        .scalars()
        .all()
    )
    if not ids:
        # builds of a virtual builder belong to requests of another builder
        built = sa.select(_builds.c.buildrequestid).where(_builds.c.builderid == builder_id)
        ids = (
            history.connection.execute(built.order_by(_builds.c.number.desc()).limit(NEWEST))
            .scalars()
            .all()
        )
    branch = _branch_of(history, ids)
    if branch is None:
        return None
    return Destination((branch.name, "builders"), fragment=f"builder-{builder_id}")


#: The functions that return our page, by the kind of Buildbot's page.
PAGES: Mapping[str, Callable[[History, Any], Destination | None]] = {
    "build": page_of_build,
    "request": page_of_request,
    "change": page_of_change,
    "builder": page_of_builder,
}


def _builder_id(history: History, builder: str) -> int | None:
    """Return the id of the builder with this id or name, ``None`` if there is none."""
    ways = [binary_collation(_builders.c.name, builder)]
    if builder.isascii() and builder.isdigit() and len(builder) < 10:
        ways.insert(0, _builders.c.id == int(builder))
    found = (
        history.connection.execute(sa.select(_builders.c.id).where(way)).scalar() for way in ways
    )
    return next((one for one in found if one is not None), None)


def _branch_of(history: History, request_ids: Sequence[int]) -> Branch | None:
    """Return the branch of the first request that belongs to one of our branches."""
    places = sourcestamps.of_requests(history, request_ids)
    its: Iterable[Branch] = (
        branch
        for one in request_ids
        for branch in branches.branches_of(history.site, places.get(one, ()))
    )
    return next(iter(its), None)
