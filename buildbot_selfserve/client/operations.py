"""Everything that can be asked, each once, for every kind of client."""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from typing import TypeVar
from typing import cast

from buildbot_selfserve import __version__
from buildbot_selfserve.client import settings
from buildbot_selfserve.client.errors import BadRequest
from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.errors import WaitTimedOut
from buildbot_selfserve.client.exchange import Answer
from buildbot_selfserve.client.exchange import Pause
from buildbot_selfserve.client.exchange import Question
from buildbot_selfserve.client.exchange import Server
from buildbot_selfserve.client.exchange import Steps
from buildbot_selfserve.client.exchange import ask
from buildbot_selfserve.client.job_requests import JobRequests
from buildbot_selfserve.client.options import Patterns
from buildbot_selfserve.client.rows import Bisection
from buildbot_selfserve.client.rows import BranchInfo
from buildbot_selfserve.client.rows import BuildDetail
from buildbot_selfserve.client.rows import Done
from buildbot_selfserve.client.rows import Health
from buildbot_selfserve.client.rows import Hold
from buildbot_selfserve.client.rows import Job
from buildbot_selfserve.client.rows import JobDetail
from buildbot_selfserve.client.rows import LastGreen
from buildbot_selfserve.client.rows import Permissions
from buildbot_selfserve.client.rows import Possible
from buildbot_selfserve.client.rows import Push
from buildbot_selfserve.client.rows import Queue
from buildbot_selfserve.client.rows import RequestDetail
from buildbot_selfserve.client.rows import Row
from buildbot_selfserve.client.rows import UserRows
from buildbot_selfserve.client.rows import Why
from buildbot_selfserve.client.rows import is_passed_over

#: Seconds for which one question of a wait asks the server to hold its answer. Proxies often
#: hang up after a minute; and somebody who looks on wants to see what happens.
LONGEST_HOLD, WATCHED_HOLD = 20, 5
#: Seconds between two looks at a server that does not hold its answers: from, at most.
FIRST_LOOK, LONGEST_LOOK = 1.0, 10.0
#: So many pushes are sent at a time, at most.
MOST_PUSHES = 100

C = TypeVar("C", bound="Configured")


class Core(JobRequests):
    """The questions of the API, as steps. The arguments of each are those of both clients."""

    # -- reads

    def branches(self) -> Steps[dict[str, BranchInfo]]:
        """Return the branches, by name."""
        return self._get(dict[str, BranchInfo], "branches")

    def builds(
        self, branch: str, *, date: str | None = None, limit: int | None = None, offset: int = 0
    ) -> Steps[list[Row]]:
        """Return the rows of one day on a branch, the newest first.

        :param date: ``YYYY-MM-DD``; ``None`` for today, as the server sees it
        :param limit: at most so many rows; ``None`` for all
        :param offset: without so many of the newest
        """
        return self._rows((branch,), limit, offset, date=date)

    def builders(self, branch: str) -> Steps[list[str]]:
        """Return the names of the builders of a branch."""
        return self._get(list[str], branch, "builders")

    def build_row(self, branch: str, build_id: int) -> Steps[BuildDetail]:
        """Return one build; its request has properties."""
        return self._get(BuildDetail, branch, "build", str(build_id))

    def log(
        self,
        branch: str,
        build_id: int,
        step: int | str,
        log: str = "stdio",
        *,
        tail: int | None = None,
        offset: int = 0,
    ) -> Steps[str]:
        """Return a log of a step as text, as much of it as has been written.

        :param step: its number or its name
        :param log: the name of the log, or its slug
        :param tail: only so many of its last lines; ``None`` for all
        :param offset: without so many of its first lines
        """
        path = (branch, "build", str(build_id), "log", str(step), log)
        return self._get(str, *path, tail=tail, offset=offset or None)

    def request_row(self, branch: str, request_id: int) -> Steps[RequestDetail]:
        """Return one build request, with its properties and the ids of its builds."""
        return self._get(RequestDetail, branch, "request", str(request_id))

    def why(self, branch: str, request_id: int) -> Steps[Why]:
        """Return why a build request waits, what matters most first."""
        return self._get(Why, branch, "request", str(request_id), "why")

    def queue(
        self,
        branch: str | None = None,
        *,
        builders: Patterns | None = None,
        tags: Patterns | None = None,
        exclude_builders: Patterns | None = None,
    ) -> Steps[Queue]:
        """Return what waits, and why.

        :param branch: ``None`` for all branches
        :param builders: only of builders with these names; likewise of those with these *tags*, and
            of none of *exclude_builders*
        """
        return self._get(
            Queue,
            *(() if branch is None else (branch,)),
            "pending",
            builders=_as_text(builders),
            tags=_as_text(tags),
            exclude_builders=_as_text(exclude_builders),
        )

    def holds(self, branch: str) -> Steps[list[Hold]]:
        """Return the holds of a branch, the one that ends first first."""
        return self._get(list[Hold], branch, "hold")

    def revision(
        self,
        branch: str,
        revision: str,
        *,
        limit: int | None = None,
        offset: int = 0,
        patched: bool = False,
    ) -> Steps[list[Row]]:
        """Return the rows at a revision, the newest first.

        :param revision: the whole revision; of a hash, its first six or more digits will do
        :param limit: at most so many rows; ``None`` for all
        :param patched: also what was built with a patch on top of the revision
        """
        more = {"patched": 1} if patched else {}
        return self._rows((branch, "rev", revision), limit, offset, **more)

    def is_done(
        self, branch: str, revision: str, *, stable_delay: int | None = None
    ) -> Steps[Done]:
        """Return whether a revision is done, and how it went.

        :param stable_delay: seconds that must have passed since the last build ended; ``None`` for
            what is usual there
        """
        return self._get(Done, branch, "rev", revision, "is_done", stableDelay=stable_delay)

    def possible(self, branch: str, revision: str) -> Steps[Possible]:
        """Return what can be built at a revision: sets and builders."""
        return self._get(Possible, branch, "new", revision=revision)

    def permissions(
        self,
        branch: str,
        *,
        build_id: int | None = None,
        request_id: int | None = None,
        builder: str | None = None,
        builders: Patterns | None = None,
        tags: Patterns | None = None,
        exclude_builders: Patterns | None = None,
    ) -> Steps[Permissions]:
        """Return which job requests the user may send on a branch, and why not the others.

        :param build_id: answer for this build; *request_id* and *builder* likewise
        :param builders: answer for the builders that these shell patterns select, together with
            *tags* and *exclude_builders*
        """
        return self._get(
            Permissions,
            branch,
            "permissions",
            build_id=build_id,
            request_id=request_id,
            builder=builder,
            builders=_as_text(builders),
            tags=_as_text(tags),
            exclude_builders=_as_text(exclude_builders),
        )

    def user(self, branch: str, user: str) -> Steps[UserRows]:
        """Return what somebody has built, is building and waits for on a branch.

        :param user: the author of changes, or the address in it
        """
        return self._get(UserRows, branch, "user", user)

    def jobs(
        self,
        *,
        num: int | None = None,
        offset: int | None = None,
        who: str | None = None,
        action: str | None = None,
        branch: str | None = None,
        since: int | str | None = None,
        until: int | str | None = None,
        request_id: int | None = None,
        build_id: int | None = None,
        revision: str | None = None,
    ) -> Steps[list[Job]]:
        """Return job requests of the journal, the newest first.

        :param num: at most so many; ``None`` for as many as are usual there
        :param action: what the action is or begins with, such as ``cancel``
        :param since: epoch seconds, or a day of the server as ``YYYY-MM-DD``; ``until`` likewise,
            and both belong to what is asked for
        :param request_id: those that made, changed or ended this build request, or were about it;
            *build_id* likewise
        :param revision: those about this revision, or about a build or build request at it
        """
        return self._get(
            list[Job],
            "jobs",
            num=num,
            offset=offset,
            who=who,
            action=action,
            branch=branch,
            since=since,
            until=until,
            request_id=request_id,
            build_id=build_id,
            revision=revision,
        )

    def job(self, job_id: int) -> Steps[JobDetail]:
        """Return one job request, and what its build requests have come to by now."""
        return self._get(JobDetail, "jobs", str(job_id))

    # -- bisections

    def bisection(self, branch: str, job_id: int) -> Steps[Bisection]:
        """Return how far a bisection has come, or how it ended.

        :param job_id: as the receipt of ``bisect`` has it
        """
        return self._get(Bisection, branch, "bisect", str(job_id))

    def wait_for_bisection(
        self,
        branch: str,
        job_id: int,
        *,
        timeout: float,
        progress: Callable[[Bisection], object] | None = None,
    ) -> Steps[Bisection]:
        """Return how a bisection ended, as soon as it has; or how far it has come in time.

        :param timeout: seconds
        :param progress: called with each answer
        """
        begun, look = time.monotonic(), FIRST_LOOK
        while True:
            found = yield from self.bisection(branch, job_id)
            if progress is not None:
                progress(found)
            left = begun + timeout - time.monotonic()
            if found["status"] != "running" or left <= 0:
                return found
            yield Pause(min(look, left))
            look = min(look * 1.5, LONGEST_LOOK)

    # -- pushes

    def pushes(
        self,
        branch: str,
        *,
        limit: int | None = None,
        before: str | None = None,
        author: str | None = None,
    ) -> Steps[list[Push]]:
        """Return the pushes of a branch, newest first, with what each builder made of them.

        :param limit: at most so many; ``None`` for as many as are usual there
        :param before: only pushes that are older than this revision
        :param author: only those of this author: the whole name of a change, or the address in it
        """
        return self._pushes((branch, "pushes"), limit, before=before, author=author)

    def user_pushes(
        self,
        user: str,
        *,
        limit: int | None = None,
        before: str | None = None,
        before_branch: str | None = None,
        also: Patterns | None = None,
    ) -> Steps[list[Push]]:
        """Return the pushes of a user on all branches, newest first; each has its branch.

        :param user: the author of changes, or the address in it
        :param also: further names of the same user
        :param limit: at most so many; ``None`` for as many as are usual there
        :param before: only pushes that are older than this one, on *before_branch*
        """
        path = ("user", user, "pushes")
        query = {"before": before, "before_branch": before_branch, "also": _lines(also)}
        return self._pushes(path, limit, **query)

    def health(self, branch: str, revision: str, *, base: str | None = None) -> Steps[Health]:
        """Return whether a revision is good, and how each builder compares with what was before.

        :param base: compare with this revision; ``None``: with the nearest where a builder has a
            result
        """
        return self._get(Health, branch, "rev", revision, "health", base=base)

    def last_green(
        self,
        branch: str,
        *,
        builders: Patterns | None = None,
        tags: Patterns | None = None,
        exclude_builders: Patterns | None = None,
        max: int | None = None,
    ) -> Steps[LastGreen]:
        """Return the newest revision at which all the selected builders passed.

        :param builders: as for ``rerun_failed``, and *tags* and *exclude_builders*
        :param max: look at so many revisions; ``None`` for as many as are usual there
        :raises NotFound: there is none among them
        """
        return self._get(
            LastGreen,
            branch,
            "last_green",
            builders=_as_text(builders),
            tags=_as_text(tags),
            exclude_builders=_as_text(exclude_builders),
            max=max,
        )

    # -- waiting

    def wait(
        self,
        branch: str,
        revision: str,
        *,
        timeout: float,
        stable_delay: int | None = None,
        appear: float = 0,
        away: float | None = None,
        progress: Callable[[Done], object] | None = None,
    ) -> Steps[Done]:
        """Return how a revision went, as soon as it is done, or was built with a newer one.

        A server that can hold its answer is asked to; any other is asked again and again, ever
        more gently. One that goes away for a while is waited for.

        :param timeout: seconds
        :param stable_delay: as for ``is_done``
        :param appear: seconds in which the revision may become known
        :param away: seconds for which a server that does not answer is waited for; ``None`` for the
            whole of *timeout*
        :param progress: called with each answer
        :raises WaitTimedOut: it was not done when the time was over; the exception knows how far
        :raises NotFound: nobody knows the revision, or not in time
        """
        begun, met = time.monotonic(), False
        look, longest = FIRST_LOOK, LONGEST_HOLD if progress is None else WATCHED_HOLD
        while True:
            asked = time.monotonic()
            left = max(0.0, begun + timeout - asked)
            hold = min(int(left), longest)
            try:
                patience = left if away is None else min(left, away)
                question = self._held(branch, revision, stable_delay, hold, patience, met)
                value, _ = yield from ask(self.server, question, Done)
            except BadRequest as error:
                # an older server does not know this parameter
                if hold and error.msg == "Bad wait":
                    longest = 0
                    continue
                raise
            except NotFound:
                if asked - begun >= min(appear, timeout):
                    raise
                yield Pause(
                    min(look, begun + min(appear, timeout) - asked),
                    "" if met else "the revision is not known yet",
                )
                met = True
                look = min(look * 1.5, LONGEST_LOOK)
                continue
            met, done = True, cast("Done", value)
            if progress is not None:
                progress(done)
            if done["job_complete"] or is_passed_over(done):
                return done
            now = time.monotonic()
            if now - begun >= timeout:
                raise WaitTimedOut(f"Not done after {timeout:g} seconds", done)
            if now - asked < hold / 2 or not hold:
                # it did not hold its answer
                yield Pause(min(look, begun + timeout - now))
                look = min(look * 1.5, LONGEST_LOOK)

    def _held(
        self,
        branch: str,
        revision: str,
        stable_delay: int | None,
        hold: int,
        patience: float,
        met: bool,
    ) -> Question:
        return Question(
            "GET",
            (branch, "rev", revision, "is_done"),
            query={"stableDelay": stable_delay, "wait": hold or None},
            holds=hold,
            patience=max(patience, self.server.patience),
            met=met,
        )

    # -- how all of them are asked

    def _get(self, kind: Any, *path: str, **query: Any) -> Steps[Any]:
        value, _ = yield from ask(self.server, Question("GET", path, query=query), kind)
        return value

    def _pushes(self, path: tuple[str, ...], limit: int | None, **query: Any) -> Steps[list[Push]]:
        """Return pushes; more than the server sends at once come with several answers."""
        pushes: list[Push] = []
        while True:
            left = None if limit is None else min(MOST_PUSHES, limit - len(pushes))
            part = {**query, "limit": left}
            value, came = yield from ask(self.server, Question("GET", path, query=part), list[Push])
            pushes += value
            if limit is None or len(pushes) >= limit or not value or not _has_more(came):
                return pushes
            query["before"] = value[-1]["revision"]
            if "branch" in value[-1]:
                query["before_branch"] = value[-1]["branch"]

    def _rows(
        self, path: tuple[str, ...], limit: int | None, offset: int, **query: Any
    ) -> Steps[list[Any]]:
        """Return the rows of a list; without a limit, also those that come with later answers."""
        rows: list[Any] = []
        while True:
            part = {**query, "limit": limit, "offset": (offset + len(rows)) or None}
            value, came = yield from ask(self.server, Question("GET", path, query=part), list[Row])
            rows += value
            if limit is not None or not value or not _has_more(came):
                return rows


def _as_text(patterns: Patterns | None) -> str | None:
    """Return *patterns* as a query takes them."""
    return patterns if patterns is None or isinstance(patterns, str) else json.dumps(list(patterns))


class Configured:
    """What every client has: a server, and who asks it.

    :param url: of self-serve, such as ``https://ci.example.org/self-serve``
    :param token: who asks; or *user* and *password*; or nobody in particular
    :param patience: seconds for which a server that cannot answer now is asked again
    :param timeout: seconds for which it may be silent
    :raises Misconfigured: one of them is wrong
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        user: str | None = None,
        password: str | None = None,
        patience: float = 30.0,
        timeout: float = 60.0,
    ) -> None:
        credentials = None
        if not (token is user is password is None):
            credentials = settings.Credentials(token, user, password)
        if patience < 0 or timeout <= 0:
            raise Misconfigured("patience and timeout must be numbers of seconds")
        agent = f"buildbot-selfserve/{__version__}"
        whole = settings.complete_url(url)
        self._core = Core(Server(whole, credentials, patience, timeout, agent))

    @classmethod
    def from_settings(
        cls: type[C],
        found: settings.Settings | None = None,
        *,
        patience: float = 30.0,
        timeout: float = 60.0,
    ) -> C:
        """Return a client of the server that the settings name.

        :param found: ``None`` for those of the environment, the configuration file and netrc
        :raises Misconfigured: they are wrong, or nobody says where self-serve is
        """
        found = settings.load() if found is None else found
        made = cls(found.url, patience=patience, timeout=timeout)
        made._core = Core(replace(made._core.server, credentials=found.credentials))
        return made

    @property
    def url(self) -> str:
        """Return the URL of self-serve."""
        return self._core.server.url


def described(method: Callable[..., Any], question: Callable[..., Any], returns: str) -> None:
    """Give *method* the name, the text and the arguments of *question*.

    :param returns: the annotation of what it returns, with ``{}`` for what the steps end in
    """
    functools.update_wrapper(method, question)
    signature = inspect.signature(question)
    value = str(signature.return_annotation).removeprefix("Steps[").removesuffix("]")
    # so that help() of a client's bound method leaves out self, as of any other
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        return_annotation=returns.format(value)
    )


def _lines(patterns: Patterns | None) -> str | None:
    """Return patterns as one text, as a query has them."""
    return patterns if patterns is None or isinstance(patterns, str) else "\n".join(patterns)


def _has_more(came: Answer) -> bool:
    return 'rel="next"' in came.headers.get("link", "")
