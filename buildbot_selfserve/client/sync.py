"""The client that waits for its answers."""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import Callable
from typing import Concatenate
from typing import ParamSpec
from typing import TypeVar

import requests
import urllib3
from requests.auth import AuthBase

from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.exchange import Answer
from buildbot_selfserve.client.exchange import Lost
from buildbot_selfserve.client.exchange import Send
from buildbot_selfserve.client.exchange import Steps
from buildbot_selfserve.client.operations import Configured
from buildbot_selfserve.client.operations import Core
from buildbot_selfserve.client.operations import described

#: Seconds for making a connection.
CONNECT_TIMEOUT = 10.0

#: A connection that ends in the middle is no sign that nothing was sent.
_HANG_UPS = (ssl.SSLEOFError, ssl.SSLZeroReturnError)

P = ParamSpec("P")
T = TypeVar("T")


class _AsItIs(AuthBase):
    """Leaves the headers alone: without it, requests lets a netrc replace our credentials."""

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        return prepared


class _Session(requests.Session):
    """A session that leaves redirects to us; requests would look even where it need not follow."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def _waiting(
    question: Callable[Concatenate[Core, P], Steps[T]],
) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._carry_out(question(self._core, *args, **kwargs))

    described(method, question, "{}")
    return method


class Client(Configured):
    """Asks self-serve, and waits for each answer. Not to be shared between threads.

    :param pause: called with the seconds to wait for before trying again, and why
    """

    pause: Callable[[float, str], object] = staticmethod(lambda seconds, why: time.sleep(seconds))

    branches = _waiting(Core.branches)
    builds = _waiting(Core.builds)
    builders = _waiting(Core.builders)
    build_row = _waiting(Core.build_row)
    log = _waiting(Core.log)
    request_row = _waiting(Core.request_row)
    why = _waiting(Core.why)
    queue = _waiting(Core.queue)
    holds = _waiting(Core.holds)
    revision = _waiting(Core.revision)
    is_done = _waiting(Core.is_done)
    possible = _waiting(Core.possible)
    permissions = _waiting(Core.permissions)
    user = _waiting(Core.user)
    jobs = _waiting(Core.jobs)
    job = _waiting(Core.job)
    pushes = _waiting(Core.pushes)
    user_pushes = _waiting(Core.user_pushes)
    health = _waiting(Core.health)
    last_green = _waiting(Core.last_green)
    bisection = _waiting(Core.bisection)
    wait_for_bisection = _waiting(Core.wait_for_bisection)
    wait = _waiting(Core.wait)
    rebuild_build = _waiting(Core.rebuild_build)
    rebuild_request = _waiting(Core.rebuild_request)
    rerun_failed = _waiting(Core.rerun_failed)
    fill_missing = _waiting(Core.fill_missing)
    backfill = _waiting(Core.backfill)
    bisect = _waiting(Core.bisect)
    stop_bisection = _waiting(Core.stop_bisection)
    cancel_build = _waiting(Core.cancel_build)
    cancel_request = _waiting(Core.cancel_request)
    cancel_revision = _waiting(Core.cancel_revision)
    reprioritize_revision = _waiting(Core.reprioritize_revision)
    reprioritize = _waiting(Core.reprioritize)
    build = _waiting(Core.build)
    build_set = _waiting(Core.build_set)
    build_with = _waiting(Core.build_with)
    hold = _waiting(Core.hold)
    release = _waiting(Core.release)

    def _carry_out(self, steps: Steps[T]) -> T:
        came: Answer | Lost | None = None
        with _Session() as session:
            while True:
                try:
                    step = steps.send(came)
                except StopIteration as end:
                    value: T = end.value
                    return value
                if isinstance(step, Send):
                    came = _sent(session, step)
                else:
                    self.pause(step.seconds, step.why)
                    came = None


def _sent(session: requests.Session, send: Send) -> Answer | Lost:
    # the caller may be handling an error, which is then the context of every error here
    outside = sys.exc_info()[1]
    try:
        answer = session.request(
            send.method,
            send.url,
            headers=dict(send.headers),
            data=send.body,
            auth=_AsItIs(),
            timeout=(min(CONNECT_TIMEOUT, send.timeout), send.timeout),
            allow_redirects=False,
        )
    except requests.exceptions.ConnectTimeout:
        return Lost("no connection in time", sent=False)
    except requests.exceptions.Timeout:
        return Lost(f"no answer within {send.timeout:g} seconds", sent=True)
    except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError):
        proxies = requests.utils.get_environ_proxies(send.url)
        proxy = requests.utils.select_proxy(send.url, proxies)
        also = " or of the proxy in the environment" if proxy else ""
        raise Misconfigured(f"The URL of self-serve{also} is invalid") from None
    except requests.exceptions.RequestException as error:
        causes = _causes(error, outside)
        why = getattr(causes[-1], "strerror", None) or str(causes[-1]) or type(causes[-1]).__name__
        return Lost(why, sent=not any(map(_came_before_all_else, causes)))
    except OSError as error:
        # such as a file of certificates that is not there
        raise Misconfigured("Cannot send requests", str(error)) from None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status_code, headers, answer.content)


def _causes(error: BaseException, outside: BaseException | None) -> list[BaseException]:
    """Return *error* and what is below it: requests and urllib3 wrap what happened, and again.

    :param outside: what is below all of that, and has nothing to do with it
    """
    causes = [error]
    while (below := causes[-1].__cause__ or causes[-1].__context__) and below is not outside:
        causes.append(below)
    return causes


def _came_before_all_else(cause: BaseException) -> bool:
    """Whether *cause* comes only while a connection is made, before anything is sent."""
    if isinstance(cause, ssl.SSLError):
        return not isinstance(cause, _HANG_UPS)
    return isinstance(cause, urllib3.exceptions.NewConnectionError)
