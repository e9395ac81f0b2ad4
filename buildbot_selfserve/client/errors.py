"""What can go wrong between a client and self-serve."""

from __future__ import annotations

from buildbot_selfserve.client.rows import Done
from buildbot_selfserve.client.rows import Outcome


class ClientError(Exception):
    """Something that was asked for did not happen, or nobody knows whether it did.

    :param msg: what went wrong; of an answer, the server's own words
    :param detail: what would be right instead; may be empty
    :param status: the HTTP status, ``None`` when there was no answer
    :param job_id: the job request that was begun and whose end is not known, if there is one
    """

    def __init__(
        self, msg: str, detail: str = "", *, status: int | None = None, job_id: int | None = None
    ) -> None:
        super().__init__(msg, detail)
        self.msg = msg
        self.detail = detail
        self.status = status
        self.job_id = job_id

    def __str__(self) -> str:
        return f"{self.msg}: {self.detail}" if self.detail else self.msg


class Misconfigured(ClientError):
    """Where self-serve is, or who asks, is not said or said wrongly; nothing was sent."""


class RedirectRefused(Misconfigured):
    """The server points elsewhere, and going there would tell somebody else who we are."""


class BadRequest(ClientError):
    """The server does not take what was sent: 400, and other statuses from 402 on."""


class PlanChanged(BadRequest):
    """The plan is another one than ``if_plan``, so nothing was done: 412.

    :param plan: the text of the plan of now
    :param requests: what would happen to each build request now
    """

    plan: str = ""
    requests: tuple[Outcome, ...] = ()


class NotFound(ClientError):
    """There is no such branch, build, request, revision, builder or job: 404."""


class NotSelfServe(ClientError):
    """Something answers at the URL, but not as self-serve does."""


class MemberMissing(NotSelfServe, KeyError):
    """Something is looked up in an answer that is not in it."""


class Denied(ClientError):
    """The user may not do that."""


class Unauthorized(Denied):
    """Nobody knows who is asking, or the credentials are wrong: 401."""


class Forbidden(Denied):
    """The server knows who is asking, and they may not: 403."""


class Unavailable(ClientError):
    """The server cannot do it now, and could not within our patience: 429, 5xx."""


class Unreachable(ClientError):
    """No connection could be made, or it was lost before the answer had come."""


class WaitTimedOut(ClientError):
    """A revision was not done when the time was over.

    :param done: how far it was at the last look
    """

    def __init__(self, msg: str, done: Done) -> None:
        super().__init__(msg)
        self.done = done
