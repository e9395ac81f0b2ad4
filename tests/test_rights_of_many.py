"""What the rules of www.authz say of many build requests at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.authz.authz import Authz
from buildbot.www.authz.authz import Forbidden
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from twisted.internet import defer

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

EVERY_DATABASE = "heavy"
AT = f"/self-serve/main/rev/{REVISION}"
ANYBODY = util.AnyControlEndpointMatcher


def ruled(*rules: Callable[[], Any], authz: type[Authz] = Authz) -> Callable[[], Config]:
    """Return a master with these rules, where ada is a dev and what she owns is hers."""

    def make() -> Config:
        matchers = [util.RolesFromUsername(["devs"], [USER]), util.RolesFromOwner("owner")]
        return config(authz=authz(allowRules=[rule() for rule in rules], roleMatchers=matchers))

    return make


class Odd(EndpointMatcherBase):
    """A rule for build requests with odd ids, whatever is done to them."""

    def match(self, ep: Any, action: str = "get", options: Any = None) -> Any:
        """Match by the number in the path."""
        odd = ep[0] == "buildrequests" and int(ep[1]) % 2
        return defer.succeed(Match(self.master) if odd else None)


class StopOdd(StopBuildEndpointMatcher):
    """A rule of Buildbot's, extended."""

    def match_BuildRequestEndpoint_stop(self, epobject: Any, epdict: Any, options: Any) -> Any:
        """Match by the number in the path."""
        odd = epdict["buildrequestid"] % 2
        return defer.succeed(Match(self.master) if odd else None)


class OddAuthz(Authz):
    """An authorization of the operator's own."""

    def assertUserAllowed(self, ep: Any, action: str, options: Any, userDetails: Any) -> Any:
        """Deny what has an odd number, without a word."""
        if ep[0] == "buildrequests" and int(ep[1]) % 2:
            return defer.fail(Forbidden(b""))
        return defer.succeed(None)


async def denied_of(master: Any, method: str, **data: Any) -> tuple[set[int], set[int]]:
    """Return which requests at the revision a dry run would change, and which it may not."""
    answer = await master.request(method, AT, user=USER, data={"dry_run": "1", **data})
    assert answer.status == 200, answer.text
    allowed: set[int] = set()
    denied: set[int] = set()
    for one in answer.json["requests"]:
        (denied if one["outcome"] == "denied" else allowed).add(one["request_id"])
    return allowed, denied


@pytest.mark.parametrize(
    "master",
    [
        ruled(lambda: Odd(role="nobody"), lambda: ANYBODY(role="devs")),
        ruled(lambda: StopOdd(role="nobody"), lambda: ANYBODY(role="devs")),
        ruled(lambda: ANYBODY(role="devs"), authz=OddAuthz),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_rules_of_unknown_classes_are_asked_about_each(master: Any) -> None:
    master.pause()
    every = {await master.add_request(properties={"n": (n, "Scheduler")}) for n in range(5)}
    odd = {one for one in every if one % 2}
    assert await denied_of(master, "DELETE") == (every - odd, odd)


@pytest.mark.parametrize(
    "master",
    [
        ruled(lambda: util.StopBuildEndpointMatcher(role="owner", builder="fast")),
        ruled(lambda: util.StopBuildEndpointMatcher(role="owner")),
        ruled(lambda: util.SelfServeEndpointMatcher(role="owner", builder="fast")),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_who_owns_one_request_may_not_cancel_another(master: Any) -> None:
    master.pause()
    owners = {
        await master.add_request(properties={"n": (n, "Scheduler"), **given}): given
        for n, given in enumerate(
            [{}, {"owner": (USER, "x")}, {"owner": ("eve", "x")}, {}, {"owner": (USER, "y")}]
        )
    }
    own = {one for one, given in owners.items() if given.get("owner", "")[:1] == (USER,)}
    assert await denied_of(master, "DELETE") == (own, owners.keys() - own)


@pytest.mark.parametrize(
    "master",
    [
        ruled(lambda: util.SelfServeEndpointMatcher(role="nobody", builder="deploy")),
        ruled(lambda: util.StopBuildEndpointMatcher(role="nobody", builder="deploy")),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_requests_of_one_builder_may_be_of_different_virtual_ones(master: Any) -> None:
    master.pause()
    virtual = {"virtual_builder_name": ("deploy", "Scheduler")}
    every = [
        await master.add_request(properties={"n": (n, "Scheduler"), **given})
        for n, given in enumerate([{}, virtual, {}])
    ]
    assert await denied_of(master, "DELETE") == ({every[0], every[2]}, {every[1]})
    await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=REVISION,
        repository="https://example.org/repo",
        files=[],
        properties={"virtual_builder_name": ("deploy", "Change")},
    )
    answer = await master.request("DELETE", AT, user=USER, data={"dry_run": "1"})
    assert answer.status == 403, answer.text


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            lambda: util.SelfServeEndpointMatcher(role="nobody", builder="slow"),
            lambda: util.StopBuildEndpointMatcher(role="nobody", builder="slow"),
            lambda: ANYBODY(role="devs"),
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_rights_of_many_are_read_together(master: Any, monkeypatch: Any) -> None:
    master.pause()
    denied = {await master.add_request("slow")}
    every: set[int] = set()
    pool, asked = master.master.db.pool, 0
    do = pool.do

    def counted(*arguments: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return do(*arguments, **more)

    counts = []
    for method, data in (("DELETE", {}), ("PUT", {"priority": "3"})) * 3:
        for _ in range(10):
            properties = {"n": (len(every), "Scheduler"), "owner": ("eve", "x")}
            every.add(await master.add_request(properties=properties))
        with monkeypatch.context() as patched:
            patched.setattr(pool, "do", counted)
            asked = 0
            assert await denied_of(master, method, **data) == (every, denied)
        counts.append(asked)
    # for ten more no more than the master itself asks now and then; the first read what is kept
    assert max(counts[4:]) - min(counts[2:4]) < 5
    assert max(counts) < 20


@pytest.mark.parametrize(
    ("master", "times"),
    [
        (ruled(lambda: ANYBODY(role="devs")), 1),
        (
            ruled(
                lambda: util.SelfServeEndpointMatcher(role="nobody", builder="deploy"),
                lambda: ANYBODY(role="devs"),
            ),
            2,
        ),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_rules_are_asked_about_each_builder_only_if_one_names_builders(
    master: Any, times: int, monkeypatch: Any
) -> None:
    master.pause()
    for builder in ("fast", "slow"):
        await master.add_request(builder)
    asked = []
    allowed = Authz.assertUserAllowed

    def counted(authz: Any, path: Any, action: str, *arguments: Any) -> Any:
        if action != "GET":
            asked.append(path)
        return allowed(authz, path, action, *arguments)

    monkeypatch.setattr(Authz, "assertUserAllowed", counted)
    every, denied = await denied_of(master, "DELETE")
    assert len(every) == 2
    assert not denied
    assert len(asked) == times
