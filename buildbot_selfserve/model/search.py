"""What a search finds, and the pages that visitors are led to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.branches import Revision


@dataclass(frozen=True)
class Destination:
    """One of our pages, to which a visitor is led.

    :param segments: of its path under our root; a slash in one is data
    :param query: as it stands in the URL, without the question mark
    :param fragment: the part of the page that is meant
    """

    segments: tuple[str, ...]
    query: str = ""
    fragment: str = ""

    def url(self, root: str) -> str:
        """Return its URL, for our *root*."""
        path = "/".join([root, *(quote(one, safe="", errors="replace") for one in self.segments)])
        query = f"?{self.query}" if self.query else ""
        return f"{path}{query}#{self.fragment}" if self.fragment else path + query


def page_of_revision(revision: Revision) -> Destination:
    """Return the page of a revision."""
    return Destination((revision.branch.name, "rev", revision.revision))


def page_of_author(author: str) -> Destination:
    """Return the page of what somebody has pushed."""
    return Destination(("user", author, "pushes"))


def page_of_branch(name: str) -> Destination:
    """Return the page at which a branch opens."""
    return Destination((name, "pushes"))


def page_of_builder(builder: Builder) -> Destination:
    """Return what leads on to the builder on the branch where it was last requested."""
    return Destination(("goto",), query=f"builder={builder.builder_id}")


@dataclass(frozen=True)
class FoundNumber:
    """A build or request that was found by its id.

    :param number: the id
    :param page: its page
    """

    number: int
    buildername: str
    page: Destination

    @property
    def branch(self) -> str:
        """Return the name of its branch."""
        return self.page.segments[0]


@dataclass(frozen=True)
class FoundSubject:
    """A push that was found by its subject."""

    revision: Revision
    subject: str


@dataclass(frozen=True)
class SearchResults:
    """What a text may mean: at most some of each.

    :param text: what was searched for
    :param revisions: those that are or begin with it
    :param builders: those with it in their names; authors and branches likewise
    :param builds: the build whose id it is; requests likewise
    :param pushes: the recent ones with it in their subjects, newest first
    :param limit: the largest number of each kind
    :param more: the names of those kinds above of which there are more
    """

    text: str
    revisions: tuple[Revision, ...] = ()
    builders: tuple[Builder, ...] = ()
    authors: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    builds: tuple[FoundNumber, ...] = ()
    requests: tuple[FoundNumber, ...] = ()
    pushes: tuple[FoundSubject, ...] = ()
    limit: int = 20
    more: tuple[str, ...] = ()

    @property
    def only(self) -> Destination | None:
        """Return the page of what was found, if that is one thing.

        Who types a name does not mean the push that mentions it.
        """
        pages = [
            *map(page_of_revision, self.revisions),
            *map(page_of_builder, self.builders),
            *map(page_of_author, self.authors),
            *(page_of_branch(one.name) for one in self.branches),
            *(one.page for one in (*self.builds, *self.requests)),
        ]
        pages = pages or [page_of_revision(one.revision) for one in self.pushes]
        return pages[0] if len(pages) == 1 else None
