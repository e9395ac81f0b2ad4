"""Code of the operator's that fails: the answer names it, and nothing was begun."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from buildbot.www.auth import CustomAuth
from buildbot.www.auth import RemoteUserAuth
from buildbot.www.auth import UserInfoProviderBase
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.roles import RolesFromBase
from buildbot.www.authz.roles import RolesFromOwner

from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

READS = ("", "/branches", "/main", "/main/build/1", f"/main/rev/{REVISION}/is_done", "/metrics")


def fail(*arguments: Any, **keywords: Any) -> Any:
    raise KeyError("hunter2")


class Rule(EndpointMatcherBase):
    """A rule of the operator's own, which fails.

    :param reads: when it is asked about reading, and not when about anything else
    """

    def __init__(self, error: Any = None, reads: bool = False) -> None:
        super().__init__(role="admins")
        self.error = error or KeyError("hunter2")
        self.reads = reads

    def match(self, ep: Any, action: str = "get", options: Any = None) -> Any:
        """Fail."""
        if self.reads == (action == "GET"):
            raise self.error
        return super().match(ep, action, options)


class Ownerless(Rule):
    """A rule whose match does not know the owner."""

    def match(self, ep: Any, action: str = "get", options: Any = None) -> Any:
        """Return a match that fails."""

        class Lost(Match):
            def getOwner(self) -> Any:
                return fail()

        return None if action == "GET" else Lost(self.master)


class Roles(RolesFromBase):
    """A role matcher that fails."""

    def getRolesFromUser(self, userDetails: Any) -> Any:
        """Fail."""
        return fail()


class NoRoles(RolesFromBase):
    """A role matcher that returns no list."""

    def getRolesFromUser(self, userDetails: Any) -> Any:
        """Return nothing."""
        return None


class Owners(RolesFromOwner):
    """A matcher of owners that fails."""

    def getRolesFromUser(self, userDetails: Any, owner: str | None = None) -> Any:
        """Fail."""
        return fail()


class Info(UserInfoProviderBase):
    """Who knows more of users; it raises *error*, or returns it."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error

    def getUserInfo(self, username: str) -> Any:
        """Fail."""
        if isinstance(self.error, Exception):
            raise self.error
        return self.error


class Auth(CustomAuth):
    """An authentication that fails."""

    check_credentials = fail


def ruled(*rules: Any, matchers: Any = (), **more: Any) -> Callable[[], Config]:
    authz = util.Authz(allowRules=list(rules), roleMatchers=list(matchers), **more)
    return lambda: config(authz=authz)


async def acts(master: Any) -> list[Any]:
    """Try job requests of several kinds; return their answers."""
    request_id = await master.add_request()
    return [
        await master.request(method, f"/self-serve/main{path}", user=USER, data=data)
        for method, path, data in (
            ("POST", "/build", {"build_id": "1"}),
            ("DELETE", f"/request/{request_id}", {}),
            ("PUT", f"/request/{request_id}", {"priority": "3"}),
            ("POST", f"/builders/fast/{REVISION}", {}),
            ("POST", f"/rev/{REVISION}", {}),
            ("DELETE", f"/rev/{REVISION}", {}),
        )
    ]


async def everything(master: Any) -> Any:
    return [len(await master.data(kind)) for kind in ("buildsets", "builds", "changes")]


CONTROL = util.AnyControlEndpointMatcher(role="x")
FAILURES = {
    "The rule Rule(role='admins') of www.authz failed": ruled(Rule()),
    "The role matcher Roles of www.authz failed": ruled(CONTROL, matchers=[Roles()]),
    "The role matcher NoRoles of www.authz failed": ruled(CONTROL, matchers=[NoRoles()]),
    "The stringsMatcher of www.authz failed": ruled(
        util.AnyControlEndpointMatcher(role="x"),
        matchers=[util.RolesFromUsername(roles=["x"], usernames=[USER])],
        stringsMatcher=fail,
    ),
}


@pytest_twisted.ensureDeferred
async def test_job_requests_name_the_rule_that_failed(master: Any) -> None:
    await master.finished_build()
    master.pause()
    for msg, make in FAILURES.items():
        await master.reconfig(make)
        before = await everything(master)
        for answer in await acts(master):
            assert (answer.status, answer.json["msg"]) == (500, msg)
            assert "hunter2" not in answer.text
        assert await everything(master) == [before[0] + 1, *before[1:]]  # which acts() has made
        # the log tells of it once, with the traceback
        assert master.log.count(f"selfserve: {msg[0].lower()}{msg[1:]}") == 1
    assert master.log.count("builtins.KeyError: 'hunter2'") == 3
    await master.reconfig(config)
    for row in (await master.get("/self-serve/jobs")).json:
        assert row["status"] == "failed"
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_what_knows_the_owner_may_fail(master: Any) -> None:
    await master.finished_build()
    for make, msg in (
        (
            ruled(Ownerless(), matchers=[util.RolesFromOwner("o")]),
            "What decides in www.authz failed",
        ),
        (
            ruled(util.StopBuildEndpointMatcher(role="o"), matchers=[Owners("o")]),
            "The role matcher Owners of www.authz failed",
        ),
    ):
        master.pause()
        await master.reconfig(make)
        request_id = await master.add_request(properties={"owner": ("eve", "x")})
        path = f"/self-serve/main/request/{request_id}"
        answer = await master.request("DELETE", path, user=USER)
        assert (answer.status, answer.json["msg"]) == (500, msg)
        assert not (await master.data("buildrequests", request_id))["complete"]
    master.errors.clear()


@pytest.mark.parametrize("master", [ruled(Rule(reads=True))], indirect=True)
@pytest_twisted.ensureDeferred
async def test_reads_and_pages_name_the_rule_that_failed(master: Any) -> None:
    for path in (*READS, "/main/permissions", "/main/events"):
        for user in (None, USER):
            for more in ({}, {"json": False, "headers": {"Accept": "text/html"}}):
                answer = await master.get(f"/self-serve{path}", user=user, **more)
                assert answer.status == 500, path
                assert "The rule Rule(role=" in answer.text
                assert "hunter2" not in answer.text
    assert master.log.count("builtins.KeyError: 'hunter2'") == 1
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_what_offers_job_requests_names_the_rule_that_failed(master: Any) -> None:
    await master.finished_build()
    for make, path in (
        (ruled(Rule()), "/main/build/1"),
        (ruled(CONTROL, matchers=[Roles()]), "/main/permissions"),
    ):
        await master.reconfig(make)
        answer = await master.get(
            f"/self-serve{path}", user=USER, json=False, headers={"Accept": "text/html"}
        )
        assert answer.status == 500
        assert "of www.authz failed" in answer.text
        if path == "/main/build/1":
            assert (await master.get(f"/self-serve{path}", user=USER)).status == 200
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_away_is_no_fault_of_a_rule(master: Any) -> None:
    await master.finished_build()
    away = sa.exc.OperationalError("select 1", {}, Exception("server closed the connection"))
    for reads in (False, True):
        await master.reconfig(ruled(Rule(away, reads=reads)))
        assert {one.status for one in await acts(master)} == {503}
        if reads:
            assert (await master.get("/self-serve/branches")).status == 503
    master.errors.clear()


LOGINS = {
    "The userInfoProvider Info failed": lambda error: util.UserPasswordAuth(
        {USER: PASSWORD}, userInfoProvider=Info(error)
    ),
    "Auth in c['www']['auth'] failed": lambda error: Auth(),
    "RemoteUserAuth in c['www']['auth'] failed": lambda error: RemoteUserAuth(
        userInfoProvider=Info(error)
    ),
}


@pytest_twisted.ensureDeferred
async def test_what_knows_the_users_may_fail(master: Any) -> None:
    await master.finished_build()
    proxied = {"REMOTE_USER": f"{USER}@EXAMPLE"}
    for msg, make in LOGINS.items():
        made = make(ValueError("hunter2"))
        await master.reconfig(lambda made=made: config(auth=made))
        path = "/self-serve/main/build"
        answer = await master.post(path, user=USER, headers=proxied, data={"build_id": "1"})
        assert (answer.status, answer.json["msg"]) == (500, msg)
        page = {"Accept": "text/html", **proxied}
        answer = await master.get("/self-serve/main", user=USER, json=False, headers=page)
        assert answer.status == 500
        assert "hunter2" not in answer.text
        assert master.log.count(f"selfserve: {msg[0].lower()}{msg[1:]}".lower()) <= 1
    assert await everything(master) == [1, 1, 0]
    # one that answers nonsense, and one that is not there
    for info, status in ((5, 500), (ConnectionRefusedError("no"), 503)):
        auth = util.UserPasswordAuth({USER: PASSWORD}, userInfoProvider=Info(info))
        await master.reconfig(lambda auth=auth: config(auth=auth))
        answer = await master.get("/self-serve/main/permissions", user=USER)
        assert answer.status == status
    master.errors.clear()


def revlinked(link: Any) -> Callable[[], Config]:
    branch = util.SelfServeBranch("main", revlink=link)
    return lambda: config(util.SelfServe(branches=[branch]))


@pytest_twisted.ensureDeferred
async def test_a_revlink_that_fails_makes_no_link(master: Any) -> None:
    await master.finished_build()
    path = f"/self-serve/main/rev/{REVISION}"
    for link in (lambda revision: 1 // 0, lambda revision: 5, lambda revision: None):
        await master.reconfig(revlinked(link))
        for _ in range(2):
            page = await master.get(path, json=False, headers={"Accept": "text/html"})
            assert page.status == 200
            assert REVISION in page.text
    await master.until(lambda: "ZeroDivisionError" in master.log, "the reader's log")
    assert master.log.count("the revlink of a branch failed") == 1
    assert master.errors == []
