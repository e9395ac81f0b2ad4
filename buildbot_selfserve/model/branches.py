"""Branches, and what is on one: revisions, sourcestamps, builders and sets of them."""

from __future__ import annotations

import fnmatch
import pickle
import re
import sys
import traceback
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
from typing import Any
from typing import ClassVar
from typing import NamedTuple
from urllib.parse import quote

from buildbot_selfserve.model.identifiers import one_spelling

#: A builder's name, a regular expression, ``tag:NAME`` or ``scheduler:NAME``.
BuilderEntry = str | re.Pattern[str]


DAY = 86_400
#: Seconds after which a branch on which nothing has moved is folded away.
QUIET_AFTER = 30 * DAY

_WILDCARD = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Branch:
    """A branch as it stands in URLs, and the sourcestamps that belong to it.

    :param name: the name in URLs and in rows, or a shell pattern for the names of many branches
    :param branches: the values of ``sourcestamps.branch`` that match
    :param codebases: only these codebases, or ``None`` for any; likewise projects and repositories
    :param revlink: ``str.format`` template with ``{revision}``, or a pickled callable, or ``None``
    :param builders: names, regular expressions and ``tag:NAME`` of its builders; ``None``: those
        are worked out
    :param sets: named groups of builders; an entry may also be ``scheduler:NAME``
    """

    name: str
    branches: tuple[str | None, ...]
    codebases: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    repositories: tuple[str, ...] | None = None
    repo: str = ""
    repo_type: str = "git"
    revlink: str | bytes | None = None
    builders: tuple[BuilderEntry, ...] | None = None
    sets: tuple[tuple[str, tuple[BuilderEntry, ...]], ...] = ()

    @property
    def is_pattern(self) -> bool:
        """Return whether it stands for every branch whose name fits its own."""
        return is_pattern(self.name)

    @property
    def is_narrowed(self) -> bool:
        """Return whether sourcestamps of its branches may belong elsewhere."""
        return (self.codebases, self.projects, self.repositories) != (None, None, None)

    def fits(self, name: str) -> bool:
        """Return whether the pattern that it is stands for the branch *name*."""
        # itself, too: brackets may belong to a name
        return name == self.name or fnmatch.fnmatchcase(name, self.name)

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"branch": self.name}

    def named(self, name: str) -> Branch:
        """Return the branch *name* with all that this pattern says of it."""
        return _named(self, name)

    def link(self, revision: str | None) -> str | None:
        """Return the URL of *revision* in the repository's own browser, if one is configured.

        A callable that fails makes no link; its traceback goes into the log.
        """
        if not revision or self.revlink is None:
            return None
        if isinstance(self.revlink, bytes):
            return _called(self.revlink, revision)
        # a tag may have characters that mean something else in a URL
        return self.revlink.format(revision=quote(revision, safe="/", errors="replace"))


@lru_cache(maxsize=1000)
def _named(pattern: Branch, name: str) -> Branch:
    return replace(pattern, name=name, branches=(name,))


def is_pattern(name: str) -> bool:
    """Return whether *name* is a shell pattern, as ``fnmatch`` knows them."""
    return _WILDCARD.search(name) is not None


#: The callables that have failed, of which the log tells once.
_failed: set[bytes] = set()


def _called(function: bytes, revision: str) -> str | None:
    try:
        link = _unpickled(function)(revision)
    except Exception:
        if function not in _failed:
            _failed.add(function)
            sys.stderr.write("selfserve: the revlink of a branch failed\n")
            traceback.print_exc()
        return None
    return link if isinstance(link, str) else None


@lru_cache(maxsize=100)
def _unpickled(function: bytes) -> Callable[[str], str]:
    unpickled: Callable[[str], str] = pickle.loads(function)
    return unpickled


@dataclass(frozen=True)
class ListedBranch:
    """A branch, and when something last moved on it, in epoch seconds, where that is known."""

    branch: Branch
    moved: int | None = None

    def is_quiet(self, now: int) -> bool:
        """Whether nothing has moved on it for long.

        What moved in the future did so before the clock was set back, nobody knows when.
        """
        return self.moved is not None and not now - QUIET_AFTER <= self.moved <= now + DAY


@dataclass(frozen=True)
class Branches:
    """The branches of this master, the one on which something last moved first.

    :param revision: only those on which it is known, or a hash that begins so; ``None`` for all
    :param found: the revisions that were meant
    :param search: only those with this text in their names
    """

    #: Rows of an answer whose client does not say how many, by form: scripts expect all.
    DEFAULT_ROWS: ClassVar[Mapping[str, int | None]] = {"json": None, "html": 100}

    rows: Sequence[ListedBranch]
    revision: str | None = None
    found: tuple[Revision, ...] = ()
    search: str | None = None

    @property
    def only(self) -> Revision | None:
        """Return the revision that was looked for, if it is found once."""
        return self.found[0] if self.revision is not None and len(self.found) == 1 else None


@dataclass(frozen=True)
class Revision:
    """A revision that is known on a branch.

    :param revision: the whole revision, a hash in small letters
    :param sourcestamps: ids of the sourcestamps that have it on this branch, in any spelling
    :param builds: ids of builds that found it, though their sourcestamp does not name all of it
    :param others: ids of builds of *sourcestamps* that found another one
    """

    branch: Branch
    revision: str
    sourcestamps: tuple[int, ...]
    builds: tuple[int, ...] = ()
    others: tuple[int, ...] = ()

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"branch": self.branch.name, "revision": self.revision}


class Sourcestamp(NamedTuple):
    """Where the source of a revision is, as Buildbot's sourcestamps say it."""

    branch: str | None
    codebase: str
    repository: str
    project: str

    @property
    def columns(self) -> dict[str, Any]:
        """Return what Buildbot's tables have of it, by column."""
        return {
            "branch": self.branch,
            "codebase": self.codebase,
            "repository": self.repository,
            "project": self.project,
        }

    def at(self, revision: str | None) -> dict[str, Any]:
        """Return *revision* here, as ``db.sourcestamps.findSourceStampId`` takes it."""
        return {**self.columns, "revision": revision}

    def belongs(self, branch: Branch) -> bool:
        """Return whether it is on *branch*."""
        return self.branch in branch.branches and self.is_within(branch)

    def is_within(self, branch: Branch) -> bool:
        """Return whether its codebase, project and repository are among those of *branch*."""
        return (
            (branch.codebases is None or self.codebase in branch.codebases)
            and (branch.projects is None or self.project in branch.projects)
            and (branch.repositories is None or self.repository in branch.repositories)
        )

    @property
    def where(self) -> tuple[str, str]:
        """Return what tells it from other places: codebase and repository.

        Not the project, which some change sources set for each commit.
        """
        return self.codebase, self.repository

    def may_be(self, other: Sourcestamp) -> bool:
        """Return whether both may be the same source: builds by hand often leave out parts."""
        return (
            self.codebase == other.codebase
            and (self.branch == other.branch or not (self.branch and other.branch))
            and (self.repository == other.repository or not (self.repository and other.repository))
        )


@dataclass(frozen=True)
class AnyRevision:
    """A revision to build at, whether anything was asked for at it before or not.

    :param revision: the whole revision of one that is known, as its change spells it, or else the
        text as it was given
    :param sourcestamps: where it is, one a codebase; of a revision that is not known, where this
        branch is: none when nobody knows, several when it can be any of them
    :param models: ids of the changes that a change of it is like, one a codebase and repository:
        its own, or else the newest of the branch
    """

    branch: Branch
    revision: str
    known: bool
    sourcestamps: tuple[Sourcestamp, ...]
    models: tuple[int, ...] = ()

    @property
    def shown(self) -> str:
        """Return the revision in the spelling of rows."""
        return one_spelling(self.revision)

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"branch": self.branch.name, "revision": self.shown}


@dataclass(frozen=True)
class Builder:
    """A builder that some master builds for now."""

    builder_id: int
    name: str

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"builder_name": self.name}


@dataclass(frozen=True)
class SetPart:
    """What a set has of one scheduler, or of none.

    :param scheduler: the name of the scheduler whose properties and codebases its builds get;
        ``None`` for builders that are named, tagged or matched
    :param builders: by name, as far as they are known before they build
    :param undecided: the scheduler decides on its builders when it builds
    """

    scheduler: str | None
    builders: tuple[Builder, ...]
    undecided: bool = False


@dataclass(frozen=True)
class BuilderSet:
    """A named group of builders of a branch, such as ``nightly``.

    :param parts: one for each scheduler, and one for the builders that are in it by themselves
    """

    branch: Branch
    name: str
    parts: tuple[SetPart, ...]

    @property
    def builders(self) -> tuple[Builder, ...]:
        """Return the builders of all parts, by name."""
        every = {builder.name: builder for part in self.parts for builder in part.builders}
        return tuple(every[name] for name in sorted(every))

    @property
    def schedulers(self) -> tuple[str, ...]:
        """Return the names of the schedulers that it is taken from."""
        return tuple(part.scheduler for part in self.parts if part.scheduler is not None)

    @property
    def is_usable(self) -> bool:
        """Return whether it may have anything to build."""
        return bool(self.builders or self.undecided)

    @property
    def undecided(self) -> tuple[str, ...]:
        """Return the names of the schedulers that decide on their builders when they build."""
        return tuple(part.scheduler for part in self.parts if part.undecided and part.scheduler)

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target: the action does."""
        return {}


@dataclass(frozen=True)
class Possible:
    """What can be built at a revision.

    :param reacting: names of the builders that are configured in the schedulers which would build
        it as on a push
    :param undecided: names of those of these schedulers that decide on their builders when they
        build
    :param failing: names of the schedulers whose change filters fail
    :param unclear: names of the schedulers whose change filters ask for more than is known where
        there is no change
    :param lately: builders that schedulers which decide later have chosen in their last builds here
    :param elsewhere: what a revision that is not known here means on other branches
    """

    revision: AnyRevision
    reacting: tuple[str, ...]
    sets: tuple[BuilderSet, ...]
    builders: tuple[Builder, ...]
    undecided: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    lately: tuple[tuple[str, tuple[str, ...]], ...] = ()
    elsewhere: tuple[Revision, ...] = ()


@dataclass(frozen=True)
class Builders:
    """The builders of a branch, by name."""

    branch: Branch
    builders: tuple[Builder, ...]
