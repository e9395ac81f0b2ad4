"""What GETs ask of readers: remembered by their words, and shared by those that come together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.web.server import Request

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import SharedResult
from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.errors import OutdatedSetup
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.model import Site
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views import read_handler
from buildbot_selfserve.views import repeats
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.repeats import Moment
from buildbot_selfserve.views.repeats import Repeats
from buildbot_selfserve.web.backend import Backend
from buildbot_selfserve.web.backend import needs_setup

#: What a GET that is the same for everybody asks for depends on its URL, and on these headers. So
#: many are remembered, if all that is no longer than this, in bytes.
DECIDING = (b"accept", b"accept-encoding", b"if-none-match")
MOST_REMEMBERED = 1000
LONGEST_REMEMBERED = 600

#: The URL of a request, and those of its headers.
Words = tuple[bytes | None, ...]
#: What a reader answers: a response as a plain tuple, or one with a long body.
Answer = tuple[Any, ...] | Delivery


class _Shared(SharedResult):
    """The answer to a question that has not left yet.

    :param sent: how often questions had been sent when it was asked
    """

    def __init__(self, backend: Backend, sent: int, asked: defer.Deferred[Answer]) -> None:
        super().__init__(monotonic(backend.master.reactor), asked.cancel)
        self._sent = sent
        asked.addCallback(_short).addBoth(self.answered)

    def is_open(self, sent: int) -> bool:
        """Return whether it is an answer for those who ask now, too."""
        return self._sent == sent and not self.is_over


@dataclass
class Question:
    """What is asked of a reader, in the lane for large answers where it is known to be *large*.

    :param known: the short answers of the last moment, shared by all questions
    :ivar was_short: whether the last answer came whole, and did not depend on what builds a branch
    """

    backend: Backend
    route: Route
    texts: dict[str, str]
    read_request: ReadRequest
    large: bool
    known: Repeats
    was_short: bool = False
    _shared: _Shared | None = None
    #: whether the last one was asked for several: then the next one waits for the others
    _in_company: bool = False

    @cached_property
    def _packed(self) -> bytes:
        return self.read_request.packed()

    def again(self) -> Response | None:
        """Return the last answer, if the master can tell at once that nothing has changed since."""
        return self._known_at(self.backend.version) if self.read_request.repeats else None

    def ask_once(self) -> defer.Deferred[Answer]:
        """Return the last answer, or what a reader answers at once in the lane for small answers.

        Until it leaves for the reader, it is one question of all who come.
        """
        return self._unless_again(self._ask_together)

    def _unless_again(self, ask: Callable[[], defer.Deferred[Answer]]) -> defer.Deferred[Answer]:
        """Return the last answer if a server says that nothing has changed since, or *ask*."""
        may_find = self.read_request.repeats and self.known.may_find(
            self.backend.site, self._packed
        )
        asked = self.backend.ask_version() if may_find else None
        if asked is None:
            return ask()

        def told(version: Version) -> Answer | defer.Deferred[Answer]:
            return self._known_at(version) or ask()

        return asked.addCallback(told)

    def _known_at(self, version: Version) -> Response | None:
        """Return the answer that is known of a *version* of the database, and of now."""
        if version is None:
            return None
        return self.known.find(Moment(self.backend.site, version, repeats.now()), self._packed)

    def _ask_together(self) -> defer.Deferred[Answer]:
        readers = self.backend.readers
        sent = readers.sent
        if self._shared is not None and self._shared.is_open(sent):
            self._in_company = True
            return self._shared.join()
        asked = self._ask_small(True, self.backend.site, waits=self._in_company)
        self._shared, self._in_company = None, False
        if readers.sent != sent or asked.called:
            return asked
        self._shared = _Shared(self.backend, sent, asked)
        return self._shared.join()

    async def ask(self, in_pieces: bool = True) -> Response | Delivery:
        """Return the last answer, or that of a reader, which may know what builds the branch."""
        known = self.again()
        if known is not None:
            self.was_short = True
            return known
        # what is configured may be another after a wait
        if not needs_setup(self.route, self.read_request.form):
            return await self._ask(in_pieces, self.backend.site)
        likely = self.backend.likely_site(self.route, self.texts)
        if likely is not None:
            with suppress(OutdatedSetup):
                return await self._ask(in_pieces, likely)
        site = await self.backend.site_for(self.route, self.texts, self.read_request.form)
        return await self._ask(in_pieces, site)

    async def follow(self, asked: defer.Deferred[Answer]) -> Response | Delivery:
        """Return the answer to what was *asked* once, or that of the lane for large ones."""
        return await self._ask(True, self.backend.site, asked)

    async def _ask(
        self, in_pieces: bool, site: Site, asked: defer.Deferred[Answer] | None = None
    ) -> Response | Delivery:
        self.was_short = False
        if not self.large:
            with suppress(LargeAnswer):
                ask = partial(self._ask_small, in_pieces, site)
                found = await (asked or self._unless_again(ask))
                whole = not isinstance(found, Delivery)
                self.was_short = whole and site is self.backend.site
                return _unpacked(found)
        packed = self.read_request._replace(is_large=True).packed()
        answer = read_handler.answer_packed
        return _unpacked(
            await self.backend.readers.ask(answer, site, packed, in_pieces, False, large=True)
        )

    def _ask_small(
        self, in_pieces: bool, site: Site, waits: bool = False
    ) -> defer.Deferred[Answer]:
        answer, is_same = read_handler.answer_packed, self.read_request.repeats
        # whole, an answer may be too long to be sent at once
        is_kept = is_same and in_pieces and site is self.backend.site
        begun = Moment(site, self.backend.version, repeats.now()) if is_kept else None
        asked: defer.Deferred[Answer] = self.backend.readers.ask(
            answer, site, self._packed, in_pieces, is_same, waits=waits
        )
        return asked if begun is None else asked.addCallback(partial(self._keep, begun))

    def _keep(self, begun: Moment, found: Answer) -> Answer:
        """Keep an answer of the moment in which it was asked for, or of a version that it tells."""
        if isinstance(found, Delivery):
            return found
        response = Response(*found)
        if response.version is not None:
            begun = begun._replace(version=response.version)
            self.known.begin(begun)
            # two answers are the same although something else was written between them
            response = response._replace(version=None)
        if begun.version is not None:
            self.known.keep(begun, self._packed, response)
        return response


class RememberedQuestions:
    """What GETs in the same words have asked before, under the configuration of now."""

    def __init__(self) -> None:
        self._site: Site | None = None
        self._questions: dict[Words, Question] = {}

    def get(self, site: Site, words: Words | None) -> Question | None:
        """Return what they asked, if it is known."""
        return self._questions.get(words) if words is not None and site is self._site else None

    def keep(self, site: Site, words: Words | None, question: Question) -> None:
        """Remember what they ask, unless they are long, and forget the oldest of very many."""
        if words is None or sum(map(len, filter(None, words))) > LONGEST_REMEMBERED:
            return
        if site is not self._site:
            self._site = site
            self._questions = {}
        self._questions[words] = question
        if len(self._questions) > MOST_REMEMBERED:
            del self._questions[next(iter(self._questions))]


def words_of(request: Request) -> Words:
    """Return all that the answer to a GET depends on which is the same for everybody."""
    return (request.uri, *map(request.getHeader, DECIDING))


def _short(found: Answer) -> Answer:
    """Return an answer that several can have.

    :raises LargeAnswer: it is long, and its pieces can be taken once
    """
    if isinstance(found, Delivery):
        found.body.stop()
        raise LargeAnswer
    return found


def _unpacked(found: Answer) -> Response | Delivery:
    """Return the answer of which a reader has made plain data."""
    return found if isinstance(found, Delivery) else Response(*found)
