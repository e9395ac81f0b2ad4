"""A script as people wrote it against the original self-serve API: it knows nothing of ours.

    python old_client.py ROOT USER PASSWORD ACT [ARGUMENT ...]

does one act and prints, as JSON, the status and what it can read of the answer. Like many, it sends
no Accept header with what it asks for; it looks the job up under the number in the answer.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import requests

root, user, password, act, *arguments = sys.argv[1:]
session = requests.Session()
session.auth = (user, password)
session.headers["Accept"] = None  # type: ignore[assignment]


def segment(text: str) -> str:
    return quote(text, safe="")


def send(method: str, path: str, **payload: Any) -> requests.Response:
    return session.request(method, f"{root}/{path}", data=payload)


ACTS: dict[str, Callable[..., Any]] = {
    "rebuild_build": lambda branch, build, count, priority: send(
        "POST", f"{segment(branch)}/build", build_id=build, count=count, priority=priority
    ),
    "cancel_build": lambda branch, build: send("DELETE", f"{segment(branch)}/build/{build}"),
    "rebuild_request": lambda branch, request, count, priority: send(
        "POST", f"{segment(branch)}/request", request_id=request, count=count, priority=priority
    ),
    "cancel_request": lambda branch, request: send(
        "DELETE", f"{segment(branch)}/request/{request}"
    ),
    "reprioritize": lambda branch, request, priority: send(
        "PUT", f"{segment(branch)}/request/{request}", priority=priority
    ),
    "new_build_at_revision": lambda branch, revision: send(
        "POST", f"{segment(branch)}/rev/{revision}"
    ),
    "cancel_revision": lambda branch, revision: send("DELETE", f"{segment(branch)}/rev/{revision}"),
    "new_nightly_at_revision": lambda branch, revision: send(
        "POST", f"{segment(branch)}/rev/{revision}/nightly"
    ),
    "new_pgobuild_at_revision": lambda branch, revision: send(
        "POST", f"{segment(branch)}/rev/{revision}/pgo"
    ),
    "new_build_for_builder": lambda branch, builder, revision: send(
        "POST",
        f"{segment(branch)}/builders/{segment(builder)}/{revision}",
        properties=json.dumps({"branch": branch, "revision": revision, "level": 3}),
        files=json.dumps(["http://example.org/installer.zip", "http://example.org/tests.zip"]),
    ),
}

response = ACTS[act](*arguments)
told: dict[str, Any] = {"status": response.status_code, "location": response.headers["Location"]}
number = told["location"].rsplit("/", 1)[1]
for _ in range(50):
    job = session.get(f"{root}/jobs/{number}", params={"format": "json"}).json()
    if job["complete_data"]:
        break
    time.sleep(0.2)
print(json.dumps({**told, "job": job}))
