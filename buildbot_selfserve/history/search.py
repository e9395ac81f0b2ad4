"""Finds what a text may mean, and on which branch what Buildbot's pages show is."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history import branches
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history import sourcestamps
from buildbot_selfserve.history.context import History
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import page_of_revision
from buildbot_selfserve.model import user_keys

#: So many of each kind are named.
MOST = 20
#: So many authors with a text in their names are looked at for one with it as a word.
MOST_LIKE = 1000
#: So many of the newest requests of a builder tell on which branch it is.
NEWEST = 50

_requests, _builds, _builders = Model.buildrequests, Model.builds, Model.builders
_changes = Model.changes


def search_results(history: History, text: str, branch: Branch | None) -> SearchResults:
    """Return what *text* may mean: a revision, or part of the name of a builder, author or branch.

    :param branch: where a revision is looked for first
    """
    named = branches.listed_branches(history, text)[:MOST]
    return SearchResults(
        text,
        revisions=tuple(_revisions(history, text, branch)[:MOST]),
        builders=tuple(_builders_like(history, text)[:MOST]),
        authors=tuple(history.facts.authors_like(text, MOST)),
        branches=tuple(one.branch for one in named),
    )


def similar_authors(history: History, users: tuple[str, ...]) -> tuple[str, ...]:
    """Return authors who are none of *users*, with a word in common that may be their name.

    That is one of these names, or what is before the @ of an address.
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


def _builders_like(history: History, text: str) -> list[Builder]:
    """Return the builders with *text* in their names, whole names first."""
    sought = text.casefold()
    every = history.connection.execute(sa.select(_builders.c.id, _builders.c.name)).all()
    found = [Builder(*one) for one in every if sought in one.name.casefold()]
    return sorted(found, key=lambda one: (one.name.casefold() != sought, one.name))


# -- what Buildbot's pages show


def page_of_build(history: History, build_id: int) -> Destination | None:
    """Return our page of a build; ``None`` if it does not exist or is on none of our branches."""
    query = sa.select(_builds.c.buildrequestid).where(_builds.c.id == build_id)
    request_id = history.connection.execute(query).scalar()
    branch = _branch_of(history, [request_id] if request_id is not None else [])
    return None if branch is None else Destination((branch.name, "build", str(build_id)))


def page_of_numbered_build(history: History, builder: str, number: int) -> Destination | None:
    """Return the same of the build that has a *number* at a *builder*, as in Buildbot's URLs."""
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
    """Return our page of the revision of a change, or of its branch if it has none; or ``None``."""
    query = sa.select(
        _changes.c.revision,
        _changes.c.branch,
        _changes.c.codebase,
        _changes.c.repository,
        _changes.c.project,
    ).where(_changes.c.changeid == change_id)
    found = history.connection.execute(query).first()
    if found is None:
        return None
    revision, *place = found
    for branch in branches.branches_of(history.site, [Sourcestamp(*place)]):
        its = revisions.candidates(history, (branch,), revision or "")
        return page_of_revision(its[0]) if len(its) == 1 else Destination((branch.name,))
    return None


def page_of_builder(history: History, builder: str) -> Destination | None:
    """Return our page of a builder, on the branch where it was last requested; or ``None``.

    :param builder: its id, or its name
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
        # the builds of a virtual builder were requested of another one
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


#: Our page of what Buildbot shows, by kind.
PAGES: Mapping[str, Callable[[History, Any], Destination | None]] = {
    "build": page_of_build,
    "request": page_of_request,
    "change": page_of_change,
    "builder": page_of_builder,
}


def _builder_id(history: History, builder: str) -> int | None:
    """Return the id of a builder that is named by its id or its name."""
    ways = [binary_collation(_builders.c.name, builder)]
    if builder.isascii() and builder.isdigit() and len(builder) < 10:
        ways.insert(0, _builders.c.id == int(builder))
    found = (
        history.connection.execute(sa.select(_builders.c.id).where(way)).scalar() for way in ways
    )
    return next((one for one in found if one is not None), None)


def _branch_of(history: History, request_ids: Sequence[int]) -> Branch | None:
    """Return the branch of the first of the requests that is on one of ours."""
    places = sourcestamps.of_requests(history, request_ids)
    its: Iterable[Branch] = (
        branch
        for one in request_ids
        for branch in branches.branches_of(history.site, places.get(one, ()))
    )
    return next(iter(its), None)
