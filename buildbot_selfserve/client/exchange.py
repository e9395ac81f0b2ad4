"""One question and its answer, without a word about who carries them.

Each function that returns ``Steps`` says what to do next, one step at a time: send this, or wait so
long. The client that takes the steps says what came of each. So the clients of this room share
everything but the carrying.
"""

from __future__ import annotations

import email.utils
import json
import re
import time
import uuid
from collections.abc import Generator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeVar
from urllib.parse import quote
from urllib.parse import urlencode
from urllib.parse import urljoin
from urllib.parse import urlsplit

from buildbot_selfserve.client.errors import BadRequest
from buildbot_selfserve.client.errors import ClientError
from buildbot_selfserve.client.errors import Forbidden
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.errors import NotSelfServe
from buildbot_selfserve.client.errors import PlanChanged
from buildbot_selfserve.client.errors import RedirectRefused
from buildbot_selfserve.client.errors import Unauthorized
from buildbot_selfserve.client.errors import Unavailable
from buildbot_selfserve.client.errors import Unreachable
from buildbot_selfserve.client.rows import Outcome
from buildbot_selfserve.client.settings import Credentials
from buildbot_selfserve.client.settings import origin
from buildbot_selfserve.client.shapes import Members
from buildbot_selfserve.client.shapes import fits

#: Statuses that may be others soon; 502 and 504 are those of a proxy whose master restarts, or is
#: slow.
NOT_NOW = frozenset({429, 502, 503, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5
#: Seconds between attempts when the server does not say: from, at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 8.0
#: Seconds for which a server that was never reached is tried; a wrong URL should not take longer.
FIRST_CONTACT = 3.0
#: What to think of a job request that was sent, and that nobody answered.
MAYBE_DONE = "it may have been done anyway: check the journal before you send it again, or send"
" it again with the same key"

_ERRORS: dict[int, type[ClientError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    412: PlanChanged,
}


@dataclass(frozen=True)
class Send:
    """A step: send this request, and say what came back; follow no redirect.

    :param timeout: seconds for which the server may be silent
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None
    timeout: float


@dataclass(frozen=True)
class Pause:
    """A step: wait so many seconds.

    :param why: what went wrong before
    """

    seconds: float
    why: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back.

    :param headers: by name in lower case
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Lost:
    """Nothing came back.

    :param sent: the request may have arrived
    """

    why: str
    sent: bool


T = TypeVar("T")
Steps = Generator[Send | Pause, Answer | Lost | None, T]


@dataclass(frozen=True)
class Server:
    """Where self-serve is, who asks, and with how much patience.

    :param url: of self-serve, without a slash at the end
    :param patience: seconds for which a server that cannot answer is asked again
    :param timeout: seconds for which it may be silent
    """

    url: str
    credentials: Credentials | None
    patience: float
    timeout: float
    agent: str


@dataclass(frozen=True)
class Question:
    """A request of the API.

    :param path: the segments below the URL of self-serve, as text
    :param query: what is ``None`` is left out; likewise in the body
    :param holds: seconds for which the server may think before it answers
    :param patience: seconds; ``None``: that of the server
    :param met: the server has answered before, so that it is worth the whole patience
    :param key: of a job request; ``None`` for one of its own
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    holds: float = 0.0
    patience: float | None = None
    met: bool = False
    key: str | None = None


def ask(server: Server, question: Question, kind: Any) -> Steps[tuple[Any, Answer]]:
    """Return the JSON that answers *question*, which is of *kind*, and the answer that it came in.

    Of a question that is answered with text, which is UTF-8, *kind* is ``str``; of all others it is
    one of ``rows``, or made of it.

    A job request gets a key of its own, the same for every attempt: however often it is sent, it
    is done once.

    :raises ClientError: one of them; ``errors`` has them all
    """
    send = _first(server, question)
    patience = server.patience if question.patience is None else question.patience
    begun, pause, reached = time.monotonic(), FIRST_PAUSE, question.met
    fate = _Fate(question.method != "GET")
    while True:
        try:
            came = yield from _follow(server, send)
            if isinstance(came, Answer) and came.status not in NOT_NOW:
                return _parsed(server, came, kind), came
        except ClientError as refused:
            raise fate.told(refused) from None
        error = _given_up(server, came)
        fate.learn(error, sent=isinstance(came, Lost) and came.sent)
        reached = reached or isinstance(came, Answer) or came.sent
        seconds = max(pause, _retry_after(came) or 0.0)
        allowed = patience if reached else min(patience, FIRST_CONTACT)
        if time.monotonic() + seconds - begun > allowed:
            raise fate.told(error)
        yield Pause(seconds, str(error))
        pause = min(2 * pause, LONGEST_PAUSE)


class _Fate:
    """What may have become of a question whose answers were lost.

    :param acts: it is a job request, so that it matters
    """

    def __init__(self, acts: bool) -> None:
        self._acts = acts
        self._arrived = False
        self._job_id: int | None = None

    def learn(self, error: ClientError, *, sent: bool = False) -> None:
        """Take note of an attempt that ended in *error*.

        :param sent: there was no answer, and the request may have arrived
        """
        # a master that says 503 knows what it has begun; other failures come from the middle of it
        broken = error.status is not None and error.status >= 500 and error.status != 503
        self._arrived = self._arrived or sent or broken
        self._job_id = error.job_id or self._job_id

    def told(self, error: ClientError) -> ClientError:
        """Return *error*, the last one, with all that is known."""
        self.learn(error)
        error.job_id = self._job_id
        if self._acts and self._arrived and self._job_id is None:
            error.detail = "; ".join(filter(None, (error.detail, MAYBE_DONE)))
        return error


def segment(text: str) -> str:
    """Return *text* as one segment of a path, whatever is in it.

    :raises BadRequest: no path can have it
    """
    if text in ("", ".", ".."):
        raise BadRequest(f"{text!r} cannot be used in a URL")
    return quote(text, safe="", errors="surrogatepass")


def _first(server: Server, question: Question) -> Send:
    url = "/".join([server.url, *map(segment, question.path)])
    query = _given(question.query)
    headers = {"Accept": "application/json", "User-Agent": server.agent}
    if server.credentials is not None:
        headers["Authorization"] = server.credentials.header()
    body = None
    if question.method != "GET":
        headers["Idempotency-Key"] = _key(question)
        headers["Content-Type"] = "application/json"
        body = json.dumps(_given(question.body)).encode()
    return Send(
        question.method,
        f"{url}?{urlencode(query, errors='surrogatepass')}" if query else url,
        headers,
        body,
        server.timeout + question.holds,
    )


def _key(question: Question) -> str:
    if question.key is None:
        return uuid.uuid4().hex
    if not re.fullmatch(r"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*", question.key):
        raise BadRequest("Bad key", "key must be visible ASCII characters")
    return question.key


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _follow(server: Server, send: Send) -> Generator[Send, Any, Answer | Lost]:
    """Send, and follow redirects that keep to the server."""
    for _ in range(MOST_REDIRECTS):
        came: Answer | Lost = yield send
        if isinstance(came, Lost) or came.status not in REDIRECTS:
            return came
        send = _redirected(server, send, came)
    raise NotSelfServe(f"{server.url} redirects too many times")


def _redirected(server: Server, send: Send, came: Answer) -> Send:
    try:
        url = urljoin(send.url, came.headers.get("location", ""))
        old, new = urlsplit(send.url), urlsplit(url)
        there = origin(new)
    except ValueError:
        raise NotSelfServe(f"{server.url} redirects to an invalid URL") from None
    if new.scheme not in ("http", "https"):
        raise NotSelfServe(f"{server.url} redirects to {new.scheme}:, which is not supported")
    safe_upgrade = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
    if server.credentials is not None and origin(old) != there and not safe_upgrade:
        raise RedirectRefused(
            f"{server.url} redirects to {new.scheme}://{new.netloc}",
            "credentials are not sent to another server; if self-serve has moved, use its new URL",
            status=came.status,
        )
    if send.method != "GET" and came.status not in (307, 308):
        raise RedirectRefused(
            f"{server.url} redirects to {url}",
            "a job request cannot follow this redirect; use the new URL of self-serve",
            status=came.status,
        )
    return Send(send.method, url, send.headers, send.body, send.timeout)


def _parsed(server: Server, came: Answer, kind: Any) -> Any:
    if came.status < 300 and kind is str and _is_text(came):
        return came.body.decode("utf-8", "replace")
    value = _json(came)
    if came.status < 300 and kind is not str and fits(value, kind):
        return value
    if came.status >= 400:
        raise _failure(server, came, value)
    raise _stranger(server, came)


def _json(came: Answer) -> Any:
    """Return what stands in *came*, ``None`` if that is no JSON, or nested too deeply."""
    try:
        return json.loads(came.body, object_hook=Members)
    except (ValueError, RecursionError):
        return None


def _is_text(came: Answer) -> bool:
    media_type = came.headers.get("content-type", "").partition(";")[0]
    return media_type in ("text/plain", "application/octet-stream")


def _failure(server: Server, came: Answer, value: Any) -> ClientError:
    """Return what a status from 400 on means."""
    usual = Unavailable if came.status >= 500 or came.status in NOT_NOW else BadRequest
    error = _ERRORS.get(came.status, usual)
    if not isinstance(value, dict) or not isinstance(value.get("msg"), str):
        if error is NotFound:
            return _stranger(server, came)
        return error(f"{server.url} answers with status {came.status}", status=came.status)
    job_id = value.get("job_id")
    failure = error(
        value["msg"],
        str(value.get("detail", "")),
        status=came.status,
        job_id=job_id if isinstance(job_id, int) else None,
    )
    if isinstance(failure, PlanChanged) and fits(value.get("requests"), list[Outcome]):
        failure.plan, failure.requests = str(value.get("plan", "")), tuple(value["requests"])
    return failure


def _stranger(server: Server, came: Answer) -> ClientError:
    return NotSelfServe(
        f"The server at {server.url} is not self-serve",
        "the URL must end in the path of self-serve, such as https://ci.example.org/self-serve",
        status=came.status,
    )


def _given_up(server: Server, came: Answer | Lost) -> ClientError:
    """Return what it means when this is the last word."""
    if isinstance(came, Lost):
        return Unreachable(f"{server.url} cannot be reached", came.why)
    return _failure(server, came, _json(came))


def _retry_after(came: Answer | Lost) -> float | None:
    """Return the seconds after which the server wants to be asked again, if it says."""
    text = came.headers.get("retry-after", "") if isinstance(came, Answer) else ""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
    except (TypeError, ValueError):
        return None
