"""Asks self-serve as ``curl`` would, shows that line, and asks Buildbot whether it is true."""

from __future__ import annotations

import base64
import http.client
import json
import shlex
import textwrap
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

#: Who may do everything, and who may only look; their passwords are their names.
DEVELOPER, GUEST = "demo", "guest"
#: Seconds in which what the demo waits for happens, or never will.
PATIENCE = 300


class Differs(Exception):
    """Something is not as it should be."""


class Client:
    """Talks to the master at *url*."""

    def __init__(self, url: str) -> None:
        self.url = url

    # -- self-serve

    def get(self, path: str, *, show: bool = True, user: str = "") -> Any:
        """GET a path below ``/self-serve``; return the JSON.

        :param user: who asks; by default nobody in particular
        """
        url = f"{self.url}/self-serve{path}"
        if show:
            _show("-H", "Accept: application/json", *_credentials(user), url)
        headers = {"Accept": "application/json", **_authorization(user)}
        return self._send(urllib.request.Request(url, headers=headers))

    def job(self, method: str, path: str, **fields: Any) -> Any:
        """Send a job request; return its receipt, or the plan of a dry run."""
        url = f"{self.url}/self-serve{path}"
        data = [part for name, value in fields.items() for part in ("-d", f"{name}={value}")]
        # with data, curl sends a POST by itself
        verb = [] if method == "POST" and data else ["-X", method]
        _show("-H", "Accept: application/json", *_credentials(DEVELOPER), *verb, *data, url)
        request = urllib.request.Request(
            url,
            method=method,
            data=urllib.parse.urlencode(fields).encode() if fields else None,
            headers={"Accept": "application/json", **_authorization(DEVELOPER)},
        )
        receipt = self._send(request)
        print(f"    {receipt['msg']} ({_what(receipt)})")
        return receipt

    # -- Buildbot itself

    def buildbot(self, path: str) -> list[Any]:
        """Return a collection of Buildbot's own REST API."""
        request = urllib.request.Request(f"{self.url}/api/v2/{path}")
        names = [one for one in path.partition("?")[0].split("/") if not one.isdigit()]
        collection = names[-1]
        for _ in range(5):
            try:
                return list(self._send(request, timeout=5)[collection])
            except (OSError, ValueError, http.client.HTTPException):
                # Buildbot's REST API writes from a thread, and now and then an answer is lost
                time.sleep(0.2)
        raise Differs(f"{request.full_url}: no whole answer in five attempts")

    def buildbot_request(self, request_id: int) -> Any:
        """Return a build request as Buildbot has it."""
        return self.buildbot(f"buildrequests/{request_id}")[0]

    def buildbot_builds(self, request_id: int) -> list[Any]:
        """Return the builds of a request as Buildbot has them."""
        return self.buildbot(f"builds?buildrequestid={request_id}")

    def _send(self, request: urllib.request.Request, timeout: float = 30) -> Any:
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Differs(f"{request.full_url}: {error.code} {error.read().decode()}") from None


def _credentials(user: str) -> tuple[str, ...]:
    return ("-u", f"{user}:{user}") if user else ()


def _authorization(user: str) -> dict[str, str]:
    encoded = base64.b64encode(f"{user}:{user}".encode()).decode()
    return {"Authorization": f"Basic {encoded}"} if user else {}


def _what(receipt: Any) -> str:
    return f"job {receipt['job_id']}" if "job_id" in receipt else "nothing was done"


def _show(*arguments: str) -> None:
    print(f"    $ curl {shlex.join(arguments)}")


def title(text: str) -> None:
    """Begin a step."""
    print(f"\n{text}")


def say(text: str) -> None:
    """Print *text* below the step."""
    print(textwrap.indent(text, "    "))


def same(what: str, ours: object, theirs: object) -> None:
    """Check that self-serve and Buildbot say the same of *what*."""
    if ours != theirs:
        raise Differs(f"{what}: self-serve has {ours!r}, it should be {theirs!r}")
    print(f"    ok: {what}: {_short(ours)}")


def wait(what: str, check: Callable[[], Any]) -> Any:
    """Return the first true answer of *check*."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = check()
        if answer:
            return answer
        time.sleep(0.3)
    raise Differs(f"{what}: it did not happen within {PATIENCE} seconds")


def _short(value: object) -> str:
    if isinstance(value, Iterable) and not isinstance(value, str):
        return ", ".join(str(one) for one in value) or "none"
    return str(value)
