"""API tokens on a real master: whose they are, what they are good for, how they are exchanged."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.interfaces import IRenderable
from buildbot.plugins import secrets
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from zope.interface import implementer

from buildbot_selfserve.auth import tokens
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

SECRET = "a-secret-of-more-than-twenty-characters"
OTHER = "another-secret-that-is-also-long-enough"
BROWSER = "text/html,application/xhtml+xml"


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def with_token(name: str = "ci", secret: Any = SECRET, **more: Any) -> Any:
    """Return a master with one API token, and what is in *more* of it."""
    www = more.pop("www", {})
    return lambda: config(util.SelfServe(tokens=[util.SelfServeToken(name, secret, **more)]), **www)


async def rebuild(master: Any, secret: str = SECRET, **more: Any) -> Any:
    headers = {**bearer(secret), **more.pop("headers", {})}
    more.setdefault("data", {"build_id": "1"})
    return await master.post("/self-serve/main/build", headers=headers, **more)


async def jobs(master: Any) -> list[Any]:
    found: list[Any] = (await master.get("/self-serve/jobs")).json
    return found


@pytest.mark.parametrize("master", [with_token()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_token_stands_for_its_name(master: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master)
    assert answer.status == 202
    (job,) = await jobs(master)
    assert (job["who"], job["via"]) == ("ci", "token:ci")
    request = await master.data("buildrequests", answer.json["requests"][0]["request_id"])
    properties = await master.data("buildsets", request["buildsetid"], "properties")
    assert properties["owner"][0] == "ci"
    # a scheme has no case, and no browser sends a token by itself
    for headers in (
        {"Authorization": f"bEARER   {SECRET} "},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert (await rebuild(master, headers=headers)).status == 202


@pytest.mark.parametrize("master", [with_token()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_no_token_is_refused_with_a_challenge(master: Any) -> None:
    await master.finished_build()
    for secret in (SECRET + "x", SECRET[:-1], SECRET.upper(), "ci", "", "\xff", PASSWORD):
        answer = await rebuild(master, secret)
        assert (answer.status, answer.json["msg"]) == (401, "Wrong API token"), secret
        challenges = answer.headers.getRawHeaders("www-authenticate")
        assert challenges == ['Basic realm="buildbot"', 'Bearer realm="buildbot"']
        assert not secret or secret not in answer.text
    # one that is wrong is not made good by something else
    cookie = (await master.get("/auth/login", auth=(USER, PASSWORD))).headers
    headers = {
        "Cookie": cookie.getRawHeaders("set-cookie")[-1].partition(";")[0],
        "X-Requested-With": "x",
    }
    assert (await rebuild(master, "wrong", headers=headers)).status == 401
    page = await rebuild(master, "wrong", json=False, headers={"Accept": BROWSER})
    assert (page.status, page.header("www-authenticate")) == (401, None)
    assert await jobs(master) == []


@pytest_twisted.ensureDeferred
async def test_without_tokens_none_is_good_and_none_is_asked_for(master: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master)
    assert answer.status == 401
    assert answer.headers.getRawHeaders("www-authenticate") == ['Basic realm="buildbot"']


# -- what a token is good for


def may_only_cancel() -> Config:
    return with_token(actions=["cancel_*"])()


def main_only() -> Config:
    return with_token(branches=["release/*", "main"])()


def slow_only() -> Config:
    return with_token(builders=["sl?w"])()


async def ways(master: Any) -> dict[str, Any]:
    """Try one job request of each kind with the token; return the answers."""
    await master.finished_build()
    await master.finished_build(branch="other")
    master.pause()
    fast, slow = await master.add_request(), await master.add_request("slow")
    other = await master.add_request(branch="other")
    headers = bearer(SECRET)

    async def send(method: str, path: str, **data: Any) -> Any:
        return await master.request(method, f"/self-serve{path}", headers=headers, data=data)

    return {
        "rebuild": await send("POST", "/main/build", build_id=1),
        "rebuild slow": await send("POST", "/main/request", request_id=slow),
        "rebuild other": await send("POST", "/other/build", build_id=2),
        "reprioritize": await send("PUT", f"/main/request/{fast}", priority=3),
        "new fast": await send("POST", f"/main/builders/fast/{REVISION}"),
        "new slow": await send("POST", f"/main/builders/slow/{REVISION}"),
        "new slow by form": await send(
            "POST", "/main/builders", builder_name="slow", revision=REVISION
        ),
        "new": await send("POST", f"/main/rev/{REVISION}"),
        "cancel other": await send("DELETE", f"/other/request/{other}"),
        "cancel": await send("DELETE", f"/main/request/{fast}"),
        "cancel revision": await send("DELETE", f"/main/rev/{REVISION}"),
    }


@pytest.mark.parametrize(
    ("master", "allowed", "why"),
    [
        (
            may_only_cancel,
            {"cancel", "cancel other", "cancel revision"},
            "token ci is limited to the actions cancel_*",
        ),
        (
            main_only,
            {
                "rebuild",
                "rebuild slow",
                "reprioritize",
                "new fast",
                "new slow",
                "new slow by form",
                "new",
                "cancel",
                "cancel revision",
            },
            "token ci is limited to the branches release/*, main",
        ),
        (
            slow_only,
            {"rebuild slow", "new slow", "new slow by form", "cancel revision"},
            "token ci is limited to the builders sl?w",
        ),
        (with_token(actions=[]), set(), "token ci is for reading only"),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_a_token_is_good_within_its_limits(master: Any, allowed: set[str], why: str) -> None:
    answers = await ways(master)
    assert {name for name, answer in answers.items() if answer.status == 202} == allowed
    for name, answer in answers.items():
        if name not in allowed:
            assert answer.status == 403, name
            # of many builders it was none
            assert answer.json["msg"] in (why, "You may not build with any of the builders")


@pytest.mark.parametrize(
    ("master", "status"),
    [(with_token(builders=["deploy"]), 403), (with_token(builders=["deploy", "fast"]), 202)],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_what_is_built_under_another_name_needs_both(master: Any, status: int) -> None:
    properties = {"virtual_builder_name": ("deploy", "Scheduler"), "branch": ("main", "Change")}
    build = await master.finished_build(properties=properties)
    for method, path, data in (
        ("POST", "/build", {"build_id": build["buildid"]}),
        ("POST", "/request", {"request_id": build["buildrequestid"]}),
        ("DELETE", f"/build/{build['buildid']}", {}),
        ("DELETE", f"/request/{build['buildrequestid']}", {}),
    ):
        answer = await master.request(
            method, f"/self-serve/main{path}", headers=bearer(SECRET), data=data
        )
        assert answer.status == status, path


@pytest.mark.parametrize("master", [slow_only], indirect=True)
@pytest_twisted.ensureDeferred
async def test_of_many_targets_those_outside_the_limits_are_denied(master: Any) -> None:
    master.pause()
    await master.add_request()
    await master.add_request("slow")
    answer = await master.request(
        "DELETE", f"/self-serve/main/rev/{REVISION}", headers=bearer(SECRET)
    )
    outcomes = {one["buildername"]: one["outcome"] for one in answer.json["requests"]}
    assert outcomes == {"fast": "denied", "slow": "cancelled"}
    (why,) = (one["msg"] for one in answer.json["requests"] if one["outcome"] == "denied")
    assert why == "token ci is limited to the builders sl?w"


def ended(when: Any) -> Any:
    return with_token(expires=when)


NOW = datetime.datetime.now(datetime.timezone.utc)
TODAY = NOW.date()


@pytest.mark.parametrize(
    ("master", "status"),
    [
        (ended(TODAY), 202),
        (ended((TODAY - datetime.timedelta(1)).isoformat()), 401),
        (ended(TODAY.isoformat() + "T00:00:00"), 401),
        (ended(NOW + datetime.timedelta(hours=1)), 202),
        (ended((NOW - datetime.timedelta(seconds=1)).isoformat()), 401),
        (ended("2020-01-01T00:00Z"), 401),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_a_token_ends_when_it_expires(master: Any, status: int) -> None:
    await master.finished_build()
    answer = await rebuild(master)
    assert answer.status == status
    assert ("API token ci has expired" in master.log) == (status == 401)
    if status == 401:
        assert answer.json["msg"] == "API token ci has expired"
        assert SECRET not in answer.text


# -- the operator's rules


def ruled(*rules: Any, **limits: Any) -> Any:
    """Return a master where the token ci is a developer, and bob nothing."""
    return with_token(
        **limits,
        www={
            "auth": util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD}),
            "authz": util.Authz(
                allowRules=list(rules),
                roleMatchers=[
                    util.RolesFromUsername(roles=["developers"], usernames=["ci"]),
                    util.RolesFromOwner(role="owner"),
                ],
            ),
        },
    )


@pytest.mark.parametrize(
    ("master", "status"),
    [
        (ruled(util.AnyControlEndpointMatcher(role="developers")), 202),
        (ruled(util.AnyControlEndpointMatcher(role="admins")), 403),
        (ruled(util.RebuildBuildEndpointMatcher(role="admins")), 403),
        # both must allow it
        (ruled(util.AnyControlEndpointMatcher(role="developers"), actions=["cancel_build"]), 403),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_the_operators_rules_hold_for_tokens(master: Any, status: int) -> None:
    await master.finished_build()
    assert (await rebuild(master)).status == status


@pytest.mark.parametrize(
    "master", [ruled(util.AnyEndpointMatcher(role="developers"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_token_reads_where_reading_is_guarded(master: Any) -> None:
    assert (await master.get("/self-serve/jobs")).status == 401
    for accept in ("application/json", "text/html"):
        headers = {**bearer(SECRET), "Accept": accept}
        assert (await master.get("/self-serve/jobs", json=False, headers=headers)).status == 200
    assert (await master.get("/self-serve/jobs", headers=bearer("wrong"))).status == 401


@pytest.mark.parametrize(
    "master", [ruled(util.StopBuildEndpointMatcher(role="owner"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_token_owns_what_it_asked_for(master: Any) -> None:
    await master.finished_build()
    master.pause()
    receipt = (await rebuild(master)).json
    path = f"/self-serve/main/request/{receipt['requests'][0]['request_id']}"
    assert (await master.request("DELETE", path, user="bob")).status == 403
    assert (await master.request("DELETE", path, headers=bearer(SECRET))).status == 202


def a_token_called_ada() -> Config:
    return with_token(USER)()


@pytest.mark.parametrize("master", [a_token_called_ada], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_token_and_a_user_of_one_name_share_no_idempotency_key(master: Any) -> None:
    await master.finished_build()
    key = {"Idempotency-Key": "k"}
    first = (await rebuild(master, headers=key)).json["job_id"]
    again = (await rebuild(master, headers=key)).json["job_id"]
    users = await master.post(
        "/self-serve/main/build", user=USER, headers=key, data={"build_id": "1"}
    )
    assert again == first != users.json["job_id"]


# -- secrets


def from_files(folder: Path, *names: str) -> Any:
    """Return a master with a token for each of *names*, whose secret is in a file of that name."""

    def make() -> Config:
        found = [util.SelfServeToken(name, util.Secret(name)) for name in names]
        made = config(util.SelfServe(tokens=found))
        made["secretsProviders"] = [secrets.SecretInAFile(dirname=str(folder))]
        return made

    return make


def write(folder: Path, name: str, secret: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(secret + "\n")
    path.chmod(0o600)


@pytest_twisted.ensureDeferred
async def test_secrets_are_exchanged_by_a_reconfig(master: Any, tmp_path: Path) -> None:
    await master.finished_build()
    folder = tmp_path / "secrets"
    write(folder, "ci", SECRET)
    await master.reconfig(from_files(folder, "ci"))
    assert (await rebuild(master)).status == 202
    # the same master.cfg, another file: Buildbot's own provider keeps the old one
    write(folder, "ci", OTHER)
    assert (await rebuild(master)).status == 202
    await master.reconfig(from_files(folder, "ci"))
    assert [(await rebuild(master, one)).status for one in (SECRET, OTHER)] == [401, 202]
    # a token that is taken out is out
    await master.reconfig(from_files(folder))
    assert (await rebuild(master, OTHER)).status == 401


@pytest_twisted.ensureDeferred
async def test_a_token_without_a_secret_lets_nobody_in_and_breaks_nothing(
    master: Any, tmp_path: Path
) -> None:
    await master.finished_build()
    folder = tmp_path / "secrets"
    write(folder, "ci", SECRET)
    write(folder, "empty", " ")
    write(folder, "copy", SECRET)
    await master.reconfig(from_files(folder, "ci", "empty", "gone", "copy"))
    assert (await rebuild(master)).status == 202
    assert (await jobs(master))[0]["via"] == "token:ci"
    for secret in ("", " ", "None", "empty", "gone"):
        assert (await rebuild(master, secret)).status == 401
    await master.until(lambda: "API token copy is refused" in master.log, "it is logged")
    for name, why in (
        ("empty", "its secret is empty"),
        ("gone", "no secrets provider has its secret"),
        ("copy", "its secret is that of token ci, too"),
    ):
        assert f"API token {name} is refused: {why}" in master.log
    assert "API token ci is refused" not in master.log
    assert SECRET not in master.log
    master.errors.clear()  # those lines


@pytest_twisted.ensureDeferred
async def test_a_secret_that_comes_late_is_taken_by_itself(master: Any, tmp_path: Path) -> None:
    await master.finished_build()
    folder = tmp_path / "secrets"
    folder.mkdir()
    await master.reconfig(from_files(folder, "ci"))
    assert (await rebuild(master)).status == 401
    await master.until(lambda: "API token ci is refused" in master.log, "it is logged")
    write(folder, "ci", SECRET)

    async def is_good() -> bool:
        return bool((await rebuild(master)).status == 202)

    await master.until(is_good, "the token is good")
    await master.until(lambda: "API token ci is good now" in master.log, "it is logged")
    master.errors.clear()  # that it was refused at first


@implementer(IRenderable)
class Late:
    """A secret that is not there when it is asked for the first time, as if it were far away."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.asked = 0

    def getRenderingFor(self, props: Any) -> defer.Deferred[str]:
        self.asked += 1
        return defer.Deferred() if self.asked == 1 else defer.succeed(self.secret)


@pytest_twisted.ensureDeferred
async def test_a_secret_that_is_still_waited_for_is_forgotten_with_its_configuration(
    master: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(tokens, "RETRIES", (0.2,))
    await master.finished_build()
    late = Late(SECRET)
    await master.reconfig(with_token(secret=late))
    await master.until(lambda: late.asked, "it is asked for")
    asked = late.asked
    await master.reconfig(with_token(secret=OTHER))
    assert (await rebuild(master, OTHER)).status == 202
    await task.deferLater(reactor, 1)
    assert [(await rebuild(master, one)).status for one in (SECRET, OTHER)] == [401, 202]
    assert late.asked == asked
    assert master.errors == []


@pytest.mark.parametrize("master", [with_token(secret="short")], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_short_secret_is_warned_of(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, "short")).status == 202
    assert "the secret of API token ci is short enough to be guessed" in master.log


@pytest.mark.parametrize("master", [with_token()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_secret_is_seen_nowhere(master: Any) -> None:
    await master.finished_build()
    await rebuild(master)
    await rebuild(master, OTHER)
    shown = [master.log]
    for path in ("/", "/config", "/self-serve", "/self-serve/jobs", "/self-serve/jobs/1"):
        shown += [(await master.get(path, json=json)).text for json in (True, False)]
    for text in shown:
        assert SECRET not in text
        assert OTHER not in text


def test_a_token_shows_no_secret() -> None:
    token = util.SelfServeToken("ci", SECRET)
    assert repr(token) == "SelfServeToken(name='ci', secret=...)"
    assert SECRET not in repr(util.SelfServe(tokens=[token]))
