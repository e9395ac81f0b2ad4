"""Records the examples of the documents on a real master: ``python -m tests.record_examples``.

Writes ``buildbot_selfserve/views/examples.json``. What differs from run to run (times, ports, keys)
is replaced, so that a new recording shows only what has changed.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.parse import urlencode

from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from tests.process_master import JUDGED
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

EXAMPLES = Path(__file__).parent.parent / "buildbot_selfserve" / "views" / "examples.json"
SELFSERVE = """util.SelfServe(branches=[util.SelfServeBranch(
    "main", repo="https://example.org/project.git", sets={"nightly": ["fast"]})])"""

#: Holds need a rule.
RULES = """
c["www"]["authz"] = util.Authz(
    allowRules=[util.SelfServeEndpointMatcher(role="admins", action="hold")],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["ada"])])
"""

#: Seconds in which a dozen builds have ended, also on a busy machine.
PATIENCE = 90.0
#: Rows of a list that look alike are shown so often.
MOST_ALIKE = 2
#: Lists of names and the like are shown so far.
MOST = 10
#: The first second of what was recorded.
EPOCH = 1_795_447_740
_TIME = range(1_600_000_000, 4_000_000_000)
_BUILDBOT_URL = "https://buildbot.example.org/"


@dataclass(frozen=True)
class Asked:
    """What is sent to a route."""

    path: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    body: dict[str, Any] = field(default_factory=dict)


#: What is read once all is done, by name of the route.
READS = {
    "GET /": Asked(),
    "GET /api": Asked(),
    "GET /branches": Asked(),
    "GET /<branch>": Asked({"branch": "main"}),
    "GET /<branch>/builders": Asked({"branch": "main"}),
    "GET /<branch>/build/<build>": Asked({"branch": "main", "build_id": 1}),
    "GET /<branch>/request/<request>": Asked({"branch": "main", "request_id": 1}),
    "GET /<branch>/rev/<revision>": Asked({"branch": "main", "revision": REVISION}),
    "GET /<branch>/rev": Asked({"branch": "main"}, {"revision": REVISION}),
    "GET /<branch>/rev/<revision>/is_done": Asked(
        {"branch": "main", "revision": REVISION}, {"stableDelay": 0}
    ),
    "GET /<branch>/rev/<revision>/health": Asked({"branch": "main", "revision": REVISION}),
    "GET /<branch>/last_green": Asked({"branch": "main"}, {"builders": ["fast"]}),
    "GET /<branch>/pushes": Asked({"branch": "main"}),
    "GET /user/<anybody>/pushes": Asked({"user": "ada"}),
    "GET /<branch>/permissions": Asked({"branch": "main"}),
    "GET /<branch>/new": Asked({"branch": "main"}, {"revision": REVISION}),
    "GET /<branch>/user/<user>": Asked({"branch": "main", "user": "ada"}),
    "GET /search": Asked({}, {"q": REVISION[:8]}),
    "GET /goto": Asked({}, {"build": 1}),
    "GET /<branch>/bisect/<bisection>": Asked({"branch": "main", "job_id": 0}),
    "GET /jobs": Asked({}, {"num": 2, "action": "new_"}),
    "GET /jobs/<job>": Asked({"job_id": 1}),
}
#: The document would hold itself; what is no JSON has no example.
WITHOUT = {"GET /openapi.json"} | {
    route.name for route in ROUTES if route.live is not None or route.media_types
}


def main() -> int:
    """Record; return 0."""
    with tempfile.TemporaryDirectory() as folder:
        master = ProcessMaster(Path(folder), selfserve=SELFSERVE, more=RULES + JUDGED)
        master.start()
        try:
            recorded = record(master)
        finally:
            master.stop()
    text = json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"
    EXAMPLES.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(recorded)} examples written\n")
    return 0


def record(master: ProcessMaster) -> dict[str, Any]:
    """Return what was sent to each route and what it answered, by its name, normalised."""
    recorded: dict[str, Any] = {}

    def ask(name: str, asked: Asked) -> Any:
        recorded[name] = _ask(master, ROUTES[name], asked)
        return recorded[name]["answer"]

    _act(master, ask)
    master.until(lambda: not _waiting(master), "everything has ended", PATIENCE)
    for name, asked in READS.items():
        ask(name, asked)
    ordered = {route.name: recorded[route.name] for route in ROUTES if route.name in recorded}
    result: dict[str, Any] = normalised(ordered, f"http://127.0.0.1:{master.port}/")
    return result


def _act(master: ProcessMaster, ask: Any) -> None:
    """Send a job request to each route that takes one."""
    here = {"branch": "main"}
    at = {**here, "revision": REVISION}
    first = master.force("fast")
    master.until(lambda: not _waiting(master), "the first build has ended", PATIENCE)
    ask("POST /<branch>/build", Asked(here, body={"build_id": 1, "count": 2}))
    ask("POST /<branch>/request", Asked(here, body={"request_id": first, "priority": 5}))
    ask("POST /<branch>/rev/<any_revision>", Asked(at))
    ask("POST /<branch>/rev/<any_revision>/<builder_set>", Asked({**at, "set": "nightly"}))
    given = {"priority": 1, "properties": {"level": 3}, "files": ["src/adder.c"]}
    ask(
        "POST /<branch>/builders/<builder>/<any_revision>",
        Asked({**at, "builder_name": "fast"}, body=given),
    )
    named = {"builder_name": "fast", "revision": REVISION}
    ask("POST /<branch>/builders", Asked(here, body=named))
    _fill_in(master, ask)
    _look_back(master, ask)
    _cancel(master, ask)
    _bisect(master, ask)
    _hold(master, ask)


def _hold(master: ProcessMaster, ask: Any) -> None:
    """Hold a branch, and release it."""
    here = {"branch": "main"}
    given = {"reason": "The lab moves", "expires": int(time.time()) + 3600, "above": 10}
    ask("PUT /<branch>/hold", Asked(here, body=given))
    pending = master.force("fast")
    ask("GET /<branch>/hold", Asked(here))
    ask("DELETE /<branch>/hold", Asked(here))
    master.send("DELETE", f"/self-serve/main/request/{pending}")


def _fill_in(master: ProcessMaster, ask: Any) -> None:
    """Fill in what is missing at a revision that only another builder builds."""
    other = "d" * 40
    master.send("POST", f"/self-serve/main/builders/slow/{other}", priority=0)
    at = {"branch": "main", "revision": other}
    ask("POST /<branch>/rev/<revision>/missing", Asked(at))
    master.send("DELETE", f"/self-serve/main/rev/{other}")


def _look_back(master: ProcessMaster, ask: Any) -> None:
    """Build what is missing before a revision that only another builder builds."""
    last = "7" * 40
    master.send("POST", f"/self-serve/main/builders/slow/{last}", priority=0)
    master.send("DELETE", f"/self-serve/main/rev/{last}")
    body = {"builder_name": "fast", "revision": last, "max": 1, "force": "1"}
    ask("POST /<branch>/backfill", Asked({"branch": "main"}, body=body))


def _bisect(master: ProcessMaster, ask: Any) -> None:
    """Bisect with a builder that some revision broke; then stop another bisection."""
    here = {"branch": "main"}
    good, bad = "1" * 40, "f" * 40
    for revision in (good, "2" * 40, "e" * 40, bad):
        master.send("POST", f"/self-serve/main/rev/{revision}", priority=0)  # records a change
        if revision in (good, bad):
            master.send("POST", f"/self-serve/main/builders/judged/{revision}", priority=0)
    master.until(lambda: not _waiting(master), "the ends have a result", PATIENCE)
    body = {"builder_name": "judged", "revision": bad}
    begun = ask("POST /<branch>/bisect", Asked(here, body=body))
    READS["GET /<branch>/bisect/<bisection>"].path["job_id"] = begun["job_id"]
    path = f"/main/bisect/{begun['job_id']}"
    master.until(lambda: master.get(path)["status"] == "found", "the culprit is found", PATIENCE)
    named = {"builder_name": "slow", "revision": bad, "good": good}
    _, slow = master.send("POST", "/self-serve/main/bisect", **named)
    _running_build(master, slow["requests"][0]["request_id"])
    ask("DELETE /<branch>/bisect/<bisection>", Asked({**here, "job_id": slow["job_id"]}))


def _cancel(master: ProcessMaster, ask: Any) -> None:
    here = {"branch": "main"}
    master.until(lambda: not _waiting(master), "all builds have ended", PATIENCE)
    build = _running_build(master, master.force("slow"))
    pending = master.force("slow")
    of_pending = {**here, "request_id": pending}
    ask("GET /<branch>/request/<request>/why", Asked(of_pending))
    ask("GET /pending", Asked())
    ask("GET /<branch>/pending", Asked(here))
    ask("PUT /<branch>/request/<request>", Asked(of_pending, body={"priority": 7}))
    ask("PUT /<branch>/rev/<revision>", Asked({**here, "revision": REVISION}, body={"priority": 8}))
    ask("DELETE /<branch>/request/<request>", Asked(of_pending))
    ask("DELETE /<branch>/build/<build>", Asked({**here, "build_id": build}))
    at, cancelled = {**here, "revision": REVISION}, {"states": ["cancelled"]}
    rerun = ask("POST /<branch>/rev/<revision>/failed", Asked(at, body=cancelled))
    _running_build(master, rerun["requests"][0]["request_id"])
    master.force("slow")
    ask("DELETE /<branch>/rev/<revision>", Asked(at))


def _running_build(master: ProcessMaster, request_id: int) -> int:
    """Wait until a build of a request hears a stop; return its id."""

    def running() -> int | None:
        for build in master.data(f"builds?buildrequestid={request_id}")["builds"]:
            if build["state_string"] != "created":
                return int(build["buildid"])
        return None

    return int(master.until(running, f"request {request_id} runs"))


def _waiting(master: ProcessMaster) -> list[Any]:
    requests: list[Any] = master.data("buildrequests?complete=false")["buildrequests"]
    return requests


def _ask(master: ProcessMaster, route: Route, asked: Asked) -> dict[str, Any]:
    texts = {name: quote(str(text), safe="") for name, text in asked.path.items()}
    path = "/self-serve" + route.shown_path.format(**texts).rstrip("/")
    query = f"?{urlencode(asked.query, doseq=True)}" if asked.query else ""
    fields: dict[str, Any] = {
        name: value if isinstance(value, str | int) else json.dumps(value)
        for name, value in asked.body.items()
    }
    status, answer = master.send(route.method, path + query, **fields)
    assert status in (200, 202), (route.name, status, answer)
    sent = {"path": asked.path, "query": asked.query, "body": asked.body}
    return {**{key: value for key, value in sent.items() if value}, "answer": answer}


# -- what differs from run to run


def normalised(data: Any, url: str) -> Any:
    """Return recorded *data* as it would be in any other run.

    :param url: where the master was
    """
    times = sorted({number for number in _numbers(data) if number in _TIME})
    stable = {time: EPOCH + index for index, time in enumerate(times)}
    return _normal(data, stable, url)


def _normal(data: Any, times: dict[int, int], url: str) -> Any:
    if isinstance(data, dict):
        normal = {key: _normal(value, times, url) for key, value in data.items()}
        if "claimed_by_name" in normal:
            normal["claimed_by_name"] = "buildbot:/srv/buildbot/master"
        return normal
    if isinstance(data, list):
        return _shortened([_normal(one, times, url) for one in data])
    if isinstance(data, str):
        return _normal_text(data.replace(url, _BUILDBOT_URL))
    return times.get(data, data) if isinstance(data, int) else data


def _normal_text(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{32}\b", "0123456789abcdef0123456789abcdef", text)
    text = re.sub(r"\b[0-9]+:[0-9a-f]{16,}\b", "1:0123456789abcdef", text)
    return re.sub(r"\b20[0-9]{12}\b", "20261123152900", text)


def _shortened(data: list[Any]) -> list[Any]:
    """Return a list with as many rows of each shape as are shown."""
    kept: list[Any] = []
    seen: dict[str, int] = {}
    for one in data[: MOST if data and not isinstance(data[0], dict) else None]:
        alike = json.dumps(sorted(map(str, paths(one)))) if isinstance(one, dict) else ""
        if isinstance(one, dict) and "parameters" in one:
            alike = "a route, whatever its parameters are"
        seen[alike] = seen.get(alike, 0) + 1
        if not isinstance(one, dict) or seen[alike] <= MOST_ALIKE:
            kept.append(one)
    return kept


def _numbers(data: Any) -> Iterator[int]:
    if isinstance(data, dict | list):
        for one in data.values() if isinstance(data, dict) else data:
            yield from _numbers(one)
    elif isinstance(data, int):
        yield data


def paths(data: Any, above: str = "") -> set[str]:
    """Return the shape of JSON: the path of every member with the type of its value.

    What is null says nothing of its type. Members of a list have one path.
    """
    if isinstance(data, dict):
        found = {path for key, value in data.items() for path in paths(value, f"{above}.{key}")}
        return found or {above}
    if isinstance(data, list):
        return {path for one in data for path in paths(one, f"{above}[]")} or {above}
    return {above if data is None else f"{above}: {type(data).__name__}"}


if __name__ == "__main__":
    sys.exit(main())
