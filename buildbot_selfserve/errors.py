"""What can go wrong with a request, without HTTP.

``views.error_responses`` holds the one table that turns these into status codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class AskOtherwise(Exception):
    """A reader cannot answer what was asked so, but can if it is asked in another way."""


class LargeAnswer(AskOtherwise):
    """A read in the lane of small answers turns out to be large: it belongs into the other lane."""


class OutdatedSetup(AskOtherwise):
    """What builds the branch was worked out for another newest change than there is now."""


@dataclass(frozen=True)
class SentForm:
    """What a form in a browser has sent.

    :param route: the name of the route that it was sent to
    :param fields: texts by name; a tuple of a name that is repeated
    :param branch: the name of the branch in the path
    """

    route: str
    fields: Mapping[str, Any]
    branch: str


class SelfServeError(Exception):
    """A refusal that is explained to the client.

    :param msg: what clients see as ``msg``; clients compare some of these texts
    :param detail: what would be right instead, in a sentence; may be empty
    :ivar form: what was refused, if its sender may correct it and send it again
    """

    form: SentForm | None = None

    def __init__(self, msg: str, detail: str = "") -> None:
        super().__init__(msg, detail)
        self.msg = msg
        self.detail = detail

    def __reduce__(self) -> Any:
        # errors cross from readers; the arguments of a subclass are not ours
        return _remade, (type(self), self.__dict__)


def _remade(kind: type[SelfServeError], state: dict[str, Any]) -> SelfServeError:
    made = kind.__new__(kind, state["msg"], state["detail"])
    made.__dict__.update(state)
    return made


class BadParameter(SelfServeError):
    """A parameter is missing or not what it must be.

    :param name: the parameter's name on the wire
    :param expected: what would be right
    """

    def __init__(self, name: str, expected: str) -> None:
        super().__init__(f"Bad {name}", f"{name} must be {expected}")
        self.name = name
        self.expected = expected


class MisspelledParameter(BadParameter):
    """A parameter does not exist, and is so like one that does that it must be meant.

    :param name: as it was sent
    :param meant: the name of the parameter that exists
    """

    def __init__(self, name: str, meant: str) -> None:
        SelfServeError.__init__(
            self, f"Bad {name}", f"there is no such parameter; did you mean {meant}?"
        )
        self.name = name
        self.expected = ""


class Refused(SelfServeError):
    """What was asked for is well-formed but cannot be done with this target."""


class KeyTaken(SelfServeError):
    """An Idempotency-Key stands for another job request already."""


class PlanChanged(SelfServeError):
    """What would be done now is not what the client has seen.

    :param planned: the receipt of a dry run of now
    """

    def __init__(self, planned: Any) -> None:
        super().__init__("The plan has changed", "nothing was done; look at the plan of now")
        self.planned = planned


class BadBody(SelfServeError):
    """The body of a request cannot be read as what it says it is."""


class NotFound(SelfServeError):
    """Nothing of this name or number exists here.

    :param links: where what was meant may be: texts, and URLs relative to our root
    :param sought: the revision that Buildbot has not seen, if that is what does not exist
    """

    def __init__(
        self,
        msg: str,
        detail: str = "",
        links: tuple[tuple[str, str], ...] = (),
        sought: str | None = None,
    ) -> None:
        super().__init__(msg, detail)
        self.links = links
        self.sought = sought


class Unauthorized(SelfServeError):
    """Nobody knows who is asking, or the credentials are wrong."""


class Forbidden(SelfServeError):
    """We know who is asking, and they may not."""


class MethodNotAllowed(SelfServeError):
    """The path exists, but not with this method.

    :param allowed: the methods that it has
    """

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not allowed here", f"allowed: {', '.join(allowed)}")
        self.allowed = allowed


class TooLarge(SelfServeError):
    """The body of a request is larger than we read."""


class WrongType(SelfServeError):
    """The body of a request is of a type that we do not read."""


class CustomCodeFailed(SelfServeError):
    """Code of the operator's, such as a rule of ``www.authz``, has failed.

    :param what: what it is called
    :param error: the name of what it raised; what that says is for the log
    """

    def __init__(self, what: str, error: str) -> None:
        super().__init__(
            f"{what[:1].upper()}{what[1:]} failed",
            f"{error}: the traceback is in the master's log; nothing was done",
        )


class NotNow(SelfServeError):
    """It cannot be done now, but later perhaps.

    :param retry_after: seconds after which trying again makes sense
    """

    def __init__(self, msg: str, detail: str = "", *, retry_after: int = 5) -> None:
        super().__init__(msg, detail)
        self.retry_after = retry_after


class TooMany(NotNow):
    """The user has asked for as much as they may for now."""


class Unavailable(NotNow):
    """The master cannot do it now; the request may be sent again.

    :param job_id: the job request that was begun and whose end is not known yet, if there is one
    """

    def __init__(
        self, msg: str, detail: str = "", *, retry_after: int = 5, job_id: int | None = None
    ) -> None:
        super().__init__(msg, detail, retry_after=retry_after)
        self.job_id = job_id


class DatabaseAway(Unavailable):
    """A database does not answer.

    :param whose: ``master`` or ``journal``, if that has a database of its own
    :param why: what its driver says; for the log only
    """

    def __init__(self, whose: str, why: str, detail: str = "") -> None:
        super().__init__(f"The {whose}'s database does not answer", detail)
        self.whose = whose
        self.why = why


def reason(error: BaseException) -> str:
    """Return what *error* says, on one line, for the log; of a database, what its driver says."""
    if isinstance(error, DatabaseAway):
        return error.why
    if isinstance(error, SelfServeError):
        return ": ".join(filter(None, (error.msg, error.detail)))
    said = getattr(error, "orig", None)
    text = " ".join(str(said or error).split())
    return text if said and text else f"{type(said or error).__name__}: {text}".rstrip(": ")


class MasterStops(Exception):
    """The master stops; what was begun goes on when it starts again."""


def too_late(result: object, seconds: float) -> None:
    """Say that a read took too long; ``Deferred.addTimeout`` takes this as its callback.

    :raises Unavailable: always
    """
    raise Unavailable(f"The database did not answer within {seconds:g} seconds")


def still_loading(result: object) -> None:
    """Say that a read waits for a reader that has not loaded what it needs yet.

    :raises Unavailable: always
    """
    raise Unavailable(
        "Self-serve is loading the history of builds",
        "this takes some seconds after a start; send the request again",
    )
