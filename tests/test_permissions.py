"""May they, and what may they do: every job request under every kind of rule, on a real master."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import Match
from lxml import html
from twisted.internet import defer

from buildbot_selfserve.permissions import PERMISSIONS
from buildbot_selfserve.permissions import every_action
from buildbot_selfserve.resources import ROUTES
from tests.bisected import begun_bisection
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

#: Who has which role; bob has none.
ROLES = {USER: "devs", "root": "admins"}
USERS = (USER, "bob", "root")
EVERYBODY = frozenset(USERS)
DEVS = frozenset({USER})
ADMINS = frozenset({"root"})
#: Revisions of each user's own: one where "fast" has failed, one where it is missing.
FAILED = {user: f"{number}" * 40 for number, user in enumerate(USERS, 1)}
MISSING = {user: f"{number}" * 40 for number, user in enumerate(USERS, 4)}


def ruled(*rules: Any, selfserve: Any = True, **more: Any) -> Any:
    """Return a master that has these rules."""

    def make() -> Config:
        made = config(
            selfserve,
            auth=util.UserPasswordAuth(dict.fromkeys(USERS, PASSWORD)),
            authz=util.Authz(
                allowRules=list(rules),
                roleMatchers=[
                    *(util.RolesFromUsername([role], [user]) for user, role in ROLES.items()),
                    util.RolesFromOwner(role="owner"),
                ],
                **more,
            ),
        )
        made["builders"][0] = builder("fast", util.Interpolate("exit %(prop:fails:-0)s"))
        return made

    return make


#: Every job request, by route and, where it has several ways, by way: what is sent, given a build
#: that has ended and a request that waits.
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "POST /<branch>/build": ("POST", "/build", {"build_id": "{build}"}),
    "DELETE /<branch>/build/<build>": ("DELETE", "/build/{build}", {}),
    "POST /<branch>/request": ("POST", "/request", {"request_id": "{request}"}),
    "DELETE /<branch>/request/<request>": ("DELETE", "/request/{request}", {}),
    "PUT /<branch>/request/<request>": ("PUT", "/request/{request}", {"priority": "5"}),
    "PUT /<branch>/rev/<revision>": ("PUT", f"/rev/{REVISION}", {"priority": "6"}),
    "POST /<branch>/rev/<any_revision>": ("POST", f"/rev/{REVISION}", {}),
    "DELETE /<branch>/rev/<revision>": ("DELETE", f"/rev/{REVISION}", {}),
    "POST /<branch>/rev/<revision>/failed": ("POST", "/rev/{failed}/failed", {}),
    "POST /<branch>/rev/<revision>/missing": ("POST", "/rev/{missing}/missing", {}),
    "POST /<branch>/rev/<any_revision>/<builder_set>": ("POST", f"/rev/{REVISION}/nightly", {}),
    "POST /<branch>/builders/<builder>/<any_revision>": (
        "POST",
        f"/builders/fast/{REVISION}",
        {},
    ),
    "POST /<branch>/builders": (
        "POST",
        "/builders",
        {"builder_name": "fast", "revision": REVISION},
    ),
    "POST /<branch>/backfill": (
        "POST",
        "/backfill",
        {"builder_name": "fast", "revision": "{failed}", "force": "1"},
    ),
    "POST /<branch>/bisect": (
        "POST",
        "/bisect",
        {"builder_name": "fast", "revision": "{failed}", "good": REVISION},
    ),
    "DELETE /<branch>/bisect/<bisection>": ("DELETE", "/bisect/{bisection}", {}),
}
#: What a rule must name, which is tried in test_holds.py.
NAMED = {one.action for one in PERMISSIONS if one.is_named}
UNNAMED = [one for one in every_action() if one not in NAMED]
STOPS = {name for name in WAYS if name.startswith("DELETE") and "bisect" not in name}
REBUILDS = {
    "POST /<branch>/build",
    "POST /<branch>/request",
    "POST /<branch>/rev/<revision>/failed",
}
NEW = {
    "POST /<branch>/rev/<revision>/missing",
    "POST /<branch>/rev/<any_revision>",
    "POST /<branch>/rev/<any_revision>/<builder_set>",
    "POST /<branch>/builders/<builder>/<any_revision>",
    "POST /<branch>/builders",
    "POST /<branch>/backfill",
    "POST /<branch>/bisect",
    # who may begin one may stop it
    "DELETE /<branch>/bisect/<bisection>",
}
FORM = {
    "selfserve": util.SelfServe(
        branches=[util.SelfServeBranch("main", sets={"nightly": ["fast"]})], max_bisections=100
    )
}


def test_every_job_request_is_tried() -> None:
    assert set(WAYS) == {
        route.name for route in ROUTES if route.permission and not route.permission.is_named
    }


async def build_and_pause(master: Any) -> None:
    """Make what every job request is about: build 1, what failed and what is missing."""
    await master.finished_build()
    fails = {"branch": ("main", "Change"), "fails": ("1", "test")}
    for revision in FAILED.values():
        await master.finished_build(revision=revision, properties=fails)
    master.pause()
    for revision in MISSING.values():
        await master.add_request("slow", revision=revision)


async def answers_to(master: Any, user: str | None, **more: Any) -> dict[str, int]:
    """Send every job request as *user*, about build 1 and requests that wait; return the codes."""
    found = {}
    revisions = {"failed": FAILED[user or USER], "missing": MISSING[user or USER]}
    for name, (method, path, data) in WAYS.items():
        ids = {"build": 1, "request": await master.add_request(), **revisions}
        ids["bisection"] = (
            await begun_bisection(REVISION, FAILED[USER]) if "<bisection>" in name else 0
        )
        answer = await master.request(
            method,
            "/self-serve/main" + path.format(**ids),
            user=user,
            data={key: text.format(**ids) for key, text in data.items()},
            **more,
        )
        found[name] = answer.status
    return found


def rules_for(allowed: frozenset[str], names: set[str]) -> dict[str, frozenset[str]]:
    """Return who may do what, where all but *names* is open to everybody."""
    return {name: allowed if name in names else EVERYBODY for name in WAYS}


@pytest.mark.parametrize(
    ("master", "expected"),
    [
        pytest.param(ruled(**FORM), rules_for(EVERYBODY, set()), id="none"),
        pytest.param(
            ruled(util.AnyControlEndpointMatcher(role="admins"), **FORM),
            rules_for(ADMINS, set(WAYS)),
            id="any control",
        ),
        pytest.param(
            ruled(util.StopBuildEndpointMatcher(role="devs"), **FORM),
            rules_for(DEVS, STOPS),
            id="stop",
        ),
        pytest.param(
            ruled(util.RebuildBuildEndpointMatcher(role="devs"), **FORM),
            rules_for(DEVS, REBUILDS),
            id="rebuild",
        ),
        pytest.param(
            ruled(util.ForceBuildEndpointMatcher(role="devs"), **FORM),
            rules_for(DEVS, NEW),
            id="force",
        ),
        pytest.param(
            ruled(util.ForceBuildEndpointMatcher(builder="fa*", role="devs"), **FORM),
            rules_for(DEVS, NEW),
            id="force of a builder",
        ),
        pytest.param(
            ruled(util.ForceBuildEndpointMatcher(builder="slow", role="devs"), **FORM),
            rules_for(EVERYBODY, set()),
            id="force of another builder",
        ),
        pytest.param(
            ruled(util.SelfServeEndpointMatcher("devs", action="*cancel*"), **FORM),
            rules_for(DEVS, STOPS),
            id="ours, by action",
        ),
        pytest.param(
            ruled(util.SelfServeEndpointMatcher("devs", branch="ma*", builder="fast"), **FORM),
            rules_for(DEVS, set(WAYS)),
            id="ours, by branch and builder",
        ),
        pytest.param(
            ruled(util.SelfServeEndpointMatcher("devs", branch="release"), **FORM),
            rules_for(EVERYBODY, set()),
            id="ours, of another branch",
        ),
        pytest.param(
            ruled(
                util.SelfServeEndpointMatcher("devs", action="new_nightly*", defaultDeny=False),
                util.AnyControlEndpointMatcher(role="admins"),
                **FORM,
            ),
            {name: ADMINS | (DEVS if "builder_set" in name else frozenset()) for name in WAYS},
            id="ours, and the next one",
        ),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_who_may_do_what(master: Any, expected: dict[str, frozenset[str]]) -> None:
    await build_and_pause(master)
    for user in USERS:
        answers = await answers_to(master, user)
        may = {name: 202 if user in expected[name] else 403 for name in WAYS}
        assert answers == may, user


@pytest.mark.parametrize("master", [ruled(**FORM)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_nobody_may_do_anything(master: Any) -> None:
    await build_and_pause(master)
    refused = dict.fromkeys(WAYS, 401)
    assert await answers_to(master, None) == refused
    wrong = {"Authorization": "Basic YWRhOndyb25n"}
    assert await answers_to(master, None, headers=wrong) == refused
    jobs = (await master.get("/self-serve/jobs")).json
    assert {(job["who"], job["action"]) for job in jobs} == {(USER, "bisect")}  # to be stopped


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            util.StopBuildEndpointMatcher(role="devs"), stringsMatcher=lambda value, pattern: False
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_strings_are_matched_as_the_operator_says(master: Any) -> None:
    # no role is what it is called
    master.pause()
    request_id = await master.add_request()
    path = f"/self-serve/main/request/{request_id}"
    assert (await master.request("DELETE", path, user=USER)).status == 403


# -- ways around the rules

#: What has a request of "fast" built as "deploy".
VIRTUAL = {"virtual_builder_name": ("deploy", "Scheduler"), "branch": ("main", "Change")}


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            util.RebuildBuildEndpointMatcher(builder="deploy", role="admins"),
            util.StopBuildEndpointMatcher(builder="deploy", role="admins"),
        ),
        ruled(util.SelfServeEndpointMatcher("admins", builder="deploy")),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_request_is_not_a_way_around_the_rules_of_its_virtual_builder(master: Any) -> None:
    build = await master.finished_build(properties=VIRTUAL)
    assert (await master.data("builders", build["builderid"]))["name"] == "deploy"
    master.pause()
    request_id = await master.add_request(properties=VIRTUAL)
    plain = await master.add_request()

    async def send(method: str, path: str, user: str, **data: Any) -> int:
        answer = await master.request(method, f"/self-serve/main{path}", user=user, data=data)
        return int(answer.status)

    for user, status in (("bob", 403), ("root", 202)):
        assert await send("POST", "/build", user, build_id=build["buildid"]) == status
        assert await send("POST", "/request", user, request_id=request_id) == status
    for user, status in (("bob", 403), ("root", 202)):
        assert await send("DELETE", f"/request/{request_id}", user) == status
    assert await send("DELETE", f"/request/{plain}", "bob") == 202


@pytest.mark.parametrize(
    "master", [ruled(util.SelfServeEndpointMatcher("admins", builder="fast"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_virtual_builder_is_not_a_way_around_the_rules_of_its_builder(master: Any) -> None:
    build = await master.finished_build(properties=VIRTUAL)
    for user, status in (("bob", 403), ("root", 202)):
        told = await permissions(master, user, f"?build_id={build['buildid']}")
        for method, path, action in (
            ("POST", "/build", "rebuild_build"),
            ("DELETE", f"/build/{build['buildid']}", "cancel_build"),
            ("DELETE", f"/request/{build['buildrequestid']}", "cancel_request"),
        ):
            data = {"build_id": build["buildid"]} if method == "POST" else {}
            path = f"/self-serve/main{path}"
            answer = await master.request(method, path, user=user, data=data)
            assert answer.status == status, path
            if action.endswith("_build"):
                assert told["actions"][action]["allowed"] is (status == 202)


# -- rules of classes that operators have written


class NotSlow(util.ForceBuildEndpointMatcher):
    """Matches what it likes, whatever its builder is; and at once."""

    def match_ForceSchedulerEndpoint_force(self, endpoint: Any, texts: Any, options: Any) -> Any:
        return Match(self.master) if "slow" in options["builderNames"] else None


class AsEver(util.ForceBuildEndpointMatcher):
    """Asks Buildbot's own rule, which looks for the ForceScheduler that self-serve has not."""

    def match_ForceSchedulerEndpoint_force(self, endpoint: Any, texts: Any, options: Any) -> Any:
        return super().match_ForceSchedulerEndpoint_force(endpoint, texts, options)


class Cancels(util.StopBuildEndpointMatcher):
    """Speaks of the requests that Buildbot's own rule forgot."""

    def match_BuildRequestEndpoint_cancel(self, endpoint: Any, texts: Any, options: Any) -> Any:
        return defer.succeed(Match(self.master))


class Rebuilds(util.RebuildBuildEndpointMatcher):
    """Speaks of builds in a way of its own, and of requests in none."""

    def match_BuildEndpoint_rebuild(self, endpoint: Any, texts: Any, options: Any) -> Any:
        return defer.succeed(None)


class OnlyNamed(util.StopBuildEndpointMatcher):
    """Another name for Buildbot's own rule."""


#: A rule for admins, and what bob may not do then.
OWN_RULES: tuple[tuple[Any, str | None, set[str]], ...] = (
    (NotSlow, None, {"build slow"}),
    (NotSlow, "fast", {"build slow", "build fast"}),
    (NotSlow, "other", {"build slow"}),
    (AsEver, None, {"build slow", "build fast"}),
    (AsEver, "fast", {"build fast"}),
    (Cancels, "other", {"cancel"}),
    (OnlyNamed, "fast", {"cancel"}),
    (OnlyNamed, "slow", set()),
    (Rebuilds, "fast", {"rebuild"}),
    (Rebuilds, "slow", set()),
)


async def tried(master: Any, user: str) -> dict[str, int]:
    """Try to do things; return the status of each."""
    request_id = await master.add_request()
    ways = {
        "build slow": ("POST", f"/builders/slow/{REVISION}", {}),
        "build fast": ("POST", f"/builders/fast/{REVISION}", {}),
        "rebuild": ("POST", "/request", {"request_id": request_id}),
        "cancel": ("DELETE", f"/request/{request_id}", {}),
    }
    found = {}
    for way, (method, path, data) in ways.items():
        answer = await master.request(method, f"/self-serve/main{path}", user=user, data=data)
        found[way] = answer.status
    return found


@pytest.mark.parametrize(
    ("master", "denied"),
    [(ruled(rule(builder, role="admins")), denied) for rule, builder, denied in OWN_RULES],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_a_rule_of_an_operators_own_class_is_asked_itself(
    master: Any, denied: set[str]
) -> None:
    master.pause()
    for user, kept in (("bob", denied), ("root", set())):
        statuses = await tried(master, user)
        assert {way for way, status in statuses.items() if status == 403} == kept
        assert set(statuses.values()) <= {202, 403}


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            AsEver("fast", role="admins"),
            Rebuilds("fast", role="admins"),
            util.AnyControlEndpointMatcher(role="devs"),
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_rule_that_was_not_asked_what_it_knows_allows_nothing(master: Any) -> None:
    master.pause()
    assert set((await tried(master, "root")).values()) == {403}


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            util.StopBuildEndpointMatcher(role="owner"),
            util.ForceBuildEndpointMatcher("*", role="devs"),
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_nobody_becomes_the_owner_of_what_is_not_theirs(master: Any) -> None:
    master.pause()
    owned = {"owner": ("bob", "Self-serve"), "branch": ("main", "Change")}
    bobs = await master.add_request(properties=owned)
    path = f"/self-serve/main/request/{bobs}"
    assert (await master.request("DELETE", path, user=USER)).status == 403
    # a copy is another one's, and the original stays
    copy = await master.post("/self-serve/main/request", user=USER, data={"request_id": bobs})
    copied = copy.json["requests"][0]["request_id"]
    assert (await master.request("DELETE", path, user=USER)).status == 403
    copied_path = f"/self-serve/main/request/{copied}"
    assert (await master.request("DELETE", copied_path, user="bob")).status == 403
    assert (await master.request("DELETE", copied_path, user=USER)).status == 202
    # nor for somebody else
    answer = await master.post(
        f"/self-serve/main/builders/fast/{REVISION}",
        user=USER,
        data={"properties": '{"owner": "bob"}'},
    )
    assert (answer.status, answer.json["msg"]) == (400, "Bad properties")
    assert (await master.request("DELETE", path, user="bob")).status == 202


@pytest.mark.parametrize(
    "master", [ruled(util.RebuildBuildEndpointMatcher(role="devs"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_key_shows_nobody_the_receipt_of_another(master: Any) -> None:
    await master.finished_build()
    again = {"headers": {"Idempotency-Key": "k"}, "data": {"build_id": "1"}}
    first = await master.post("/self-serve/main/build", user=USER, **again)
    assert first.status == 202
    assert (await master.post("/self-serve/main/build", user="bob", **again)).status == 403
    assert (await master.post("/self-serve/main/build", **again)).status == 401


@pytest.mark.parametrize("master", [ruled(util.AnyEndpointMatcher(role="devs"))], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_may_not_read_learns_of_nothing_that_exists(master: Any) -> None:
    await master.finished_build()
    told = set()
    for name, (method, path, data) in WAYS.items():
        for branch, number in (("main", 1), ("main", 4711), ("nowhere", 1)):
            ids = {"build": number, "request": number, "failed": REVISION, "missing": REVISION}
            ids["bisection"] = number
            answer = await master.request(
                method,
                f"/self-serve/{branch}{path.format(**ids)}",
                user="bob",
                data={key: text.format(**ids) for key, text in data.items()},
            )
            told.add((answer.status, answer.body))
            assert answer.status == 403, name
    assert len(told) == 1
    assert (await master.get("/self-serve/main/permissions", user="bob")).status == 403


@pytest.mark.parametrize(
    "master", [ruled(util.ForceBuildEndpointMatcher(builder="fast", role="devs"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_what_a_rule_denies_of_many_is_denied_and_the_rest_is_done(master: Any) -> None:
    made = ruled(
        util.ForceBuildEndpointMatcher(builder="fast", role="devs"),
        selfserve=util.SelfServe(
            branches=[util.SelfServeBranch("main", sets={"nightly": ["fast", "slow"]})]
        ),
    )
    await master.reconfig(made)
    master.pause()
    await master.add_request()
    path = f"/self-serve/main/rev/{REVISION}/nightly"
    answer = await master.post(path, user="bob")
    outcomes = {one["buildername"]: one["outcome"] for one in answer.json["requests"]}
    assert (answer.status, outcomes) == (202, {"fast": "denied", "slow": "created"})


# -- Buildbot's own requests


@pytest.mark.parametrize(
    "master", [ruled(util.SelfServeEndpointMatcher("nobody-has-this"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_our_rule_is_not_asked_about_buildbots_own_requests(master: Any) -> None:
    build = await master.finished_build()
    answer = await master.post("/self-serve/main/build", user=USER, data={"build_id": "1"})
    assert answer.status == 403
    login = await master.get("/auth/login", auth=("bob", PASSWORD))
    cookie = login.headers.getRawHeaders("set-cookie")[-1].partition(";")[0]
    call = json.dumps({"id": 1, "jsonrpc": "2.0", "method": "rebuild", "params": {}})
    native = await master.post(
        f"/api/v2/builds/{build['buildid']}",
        headers={"Cookie": cookie, "Origin": master.url, "Content-Type": "application/json"},
        data=call.encode(),
    )
    assert native.status == 200, native.text
    rule = master.master.www.authz.allowRules[0]
    for path, action in (
        (("builds", "1"), "rebuild"),
        (("builds", "1"), "stop"),
        (("builds",), "GET"),
        (("forceschedulers", "force"), "force"),
    ):
        assert await rule.match(path, action, {}) is None
        await master.master.www.authz.assertUserAllowed(path, action, {}, {"username": "bob"})


# -- what may I do


async def permissions(master: Any, user: str | None, query: str = "") -> dict[str, Any]:
    answer = await master.get(f"/self-serve/main/permissions{query}", user=user)
    assert answer.status == 200, answer.text
    found: dict[str, Any] = answer.json
    return found


def allowed(told: dict[str, Any]) -> dict[str, bool | None]:
    found = told["actions"].items()
    return {action: verdict["allowed"] for action, verdict in found if action not in NAMED}


def of_many(verdicts: dict[str, bool | None]) -> dict[str, bool | None]:
    """Return *verdicts* with those of what needs another of these permissions."""
    needs = {
        one.action: one.needs for one in PERMISSIONS if one.needs is not None and not one.is_named
    }
    return {**verdicts, **{action: verdicts[needed] for action, needed in needs.items()}}


@pytest.mark.parametrize("master", [ruled(**FORM)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_rules_a_known_user_may_do_everything(master: Any) -> None:
    await master.finished_build()
    told = await permissions(master, "bob")
    assert (told["branch"], told["who"], told["via"]) == ("main", "bob", "basic")
    assert allowed(told) == of_many(dict.fromkeys(UNNAMED, True))
    nobody = await permissions(master, None)
    assert (nobody["who"], nobody["via"]) == (None, "anonymous")
    assert allowed(nobody) == of_many(dict.fromkeys(UNNAMED, False))
    assert {one["why"] for one in nobody["actions"].values()} == {"log in first"}
    page = await master.get("/self-serve/main/permissions", json=False, user="bob")
    assert "What bob may do" in page.text
    wrong = await master.get("/self-serve/main/permissions", auth=("bob", "wrong"))
    assert wrong.status == 401


class OfTheirOwn(EndpointMatcherBase):
    """A rule that an operator has written."""

    def match_BuildEndpoint_stop(self, endpoint: Any, texts: Any, options: Any) -> Any:
        return defer.succeed(Match(self.master) if texts["buildid"] == 1 else None)


@pytest.mark.parametrize(
    ("master", "user", "expected"),
    [
        (
            ruled(util.StopBuildEndpointMatcher(role="devs"), **FORM),
            "bob",
            {"cancel_build": False, "cancel_request": False, "cancel_revision": False},
        ),
        (
            ruled(util.StopBuildEndpointMatcher(builder="slow", role="devs"), **FORM),
            "bob",
            {"cancel_build": None, "cancel_request": None, "cancel_revision": None},
        ),
        (ruled(util.StopBuildEndpointMatcher(builder="slow", role="devs"), **FORM), USER, {}),
        (
            ruled(util.StopBuildEndpointMatcher(role="owner"), **FORM),
            "bob",
            {"cancel_build": None, "cancel_request": None, "cancel_revision": None},
        ),
        (
            # whose it is does not matter to whom the next rule denies it anyway, or allows
            ruled(
                util.StopBuildEndpointMatcher(builder="x", role="devs", defaultDeny=False),
                util.AnyControlEndpointMatcher(role="admins"),
                **FORM,
            ),
            "bob",
            dict.fromkeys(UNNAMED, False),
        ),
        (
            ruled(
                util.SelfServeEndpointMatcher("devs", action="new_nightly_*"),
                util.SelfServeEndpointMatcher("devs", branch="other"),
                util.EnableSchedulerEndpointMatcher(role="admins"),
                **FORM,
            ),
            "bob",
            {"new_nightly_at_revision": False},
        ),
        (
            ruled(OfTheirOwn(role="admins"), **FORM),
            "bob",
            dict.fromkeys(UNNAMED, None),
        ),
        (
            # the owner of the first rule is known in the second
            ruled(
                util.StopBuildEndpointMatcher(role="devs", defaultDeny=False),
                util.AnyControlEndpointMatcher(role="owner"),
                **FORM,
            ),
            "bob",
            {
                **dict.fromkeys(UNNAMED, False),
                **dict.fromkeys(["cancel_build", "cancel_request", "cancel_revision"], None),
            },
        ),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_what_the_rules_leave(master: Any, user: str, expected: dict[str, Any]) -> None:
    await master.finished_build()
    told = await permissions(master, user)
    assert allowed(told) == of_many({**dict.fromkeys(UNNAMED, True), **expected})
    for verdict in told["actions"].values():
        assert bool(verdict["why"]) == (verdict["allowed"] is not True)
        assert bool(verdict["depends_on"]) == (verdict["allowed"] is None)


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            util.StopBuildEndpointMatcher(role="owner"),
            util.ForceBuildEndpointMatcher(builder="slow", role="devs"),
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_what_depends_is_told_of_a_target(master: Any) -> None:
    build = await master.finished_build()
    master.pause()
    receipt = await master.post("/self-serve/main/build", user="bob", data={"build_id": "1"})
    bobs = receipt.json["requests"][0]["request_id"]
    told = await permissions(master, "bob")
    assert told["actions"]["cancel_request"] == {
        "allowed": None,
        "why": "depends on who owns it",
        "depends_on": ["owner"],
    }
    assert told["actions"]["new_build_for_builder"]["depends_on"] == ["builder"]
    for query, action, verdict in (
        (f"?request_id={bobs}", "cancel_request", True),
        (f"?request_id={build['buildrequestid']}", "cancel_request", False),
        (f"?build_id={build['buildid']}", "cancel_build", False),
        (f"?build_id={build['buildid']}", "cancel_request", None),
        ("?builder=fast", "new_build_for_builder", True),
        ("?builder=slow", "new_build_for_builder", False),
    ):
        told = await permissions(master, "bob", query)
        assert told["actions"][action]["allowed"] is verdict, (query, action)
    told = await permissions(master, "bob", "?builder=slow")
    assert told["actions"]["new_build_for_builder"]["why"] == "you need to have role 'devs'"
    for query, msg in (
        ("?build_id=4711", "Build 4711 not found on branch main"),
        ("?request_id=4711", "Request 4711 not found on branch main"),
        ("?builder=none", "Builder none not found on branch main"),
    ):
        answer = await master.get(f"/self-serve/main/permissions{query}", user="bob")
        assert (answer.status, answer.json["msg"]) == (404, msg)


FORCES = {
    "new_build_at_revision",
    "new_nightly_at_revision",
    "new_pgobuild_at_revision",
    "new_build_for_builder",
    "fill_missing",
    "backfill",
    "bisect",
    "cancel_bisect",
}
STOPS = {"cancel_build", "cancel_request", "cancel_revision"}
REBUILDS = {"rebuild_build", "rebuild_request", "rebuild_failed"}


class Signing(util.ForceBuildEndpointMatcher):
    """A rule that an operator has written: it is about one builder, whatever it was given."""

    def match_ForceSchedulerEndpoint_force(self, endpoint: Any, texts: Any, options: Any) -> Any:
        wanted = "slow" in (options or {}).get("builderNames", ())
        return defer.succeed(Match(self.master) if wanted else None)


@pytest.mark.parametrize(
    ("master", "about"),
    [
        (ruled(util.ForceBuildEndpointMatcher(builder="slow", role="devs"), **FORM), FORCES),
        (ruled(util.StopBuildEndpointMatcher(builder="slow", role="devs"), **FORM), STOPS),
        (ruled(util.RebuildBuildEndpointMatcher(builder="s*", role="devs"), **FORM), REBUILDS),
        (
            ruled(
                util.SelfServeEndpointMatcher("devs", builder="slow", action="new_build_*"),
                **FORM,
            ),
            {"new_build_at_revision", "new_build_for_builder", "fill_missing"},
        ),
        (
            ruled(util.SelfServeEndpointMatcher("devs", builder="slow"), **FORM),
            {*FORCES, *STOPS, *REBUILDS, "reprioritize", "reprioritize_revision"},
        ),
    ],
    indirect=["master"],
    ids=["force", "stop", "rebuild", "self-serve-action", "self-serve"],
)
@pytest_twisted.ensureDeferred
async def test_what_depends_on_the_builder_is_told_of_those_that_are_selected(
    master: Any, about: set[str]
) -> None:
    await master.finished_build()
    why = "slow: you need to have role 'devs'"
    for user, query, expected, said in (
        ("bob", "?builders=slow", False, why),
        ("bob", "?builders=fast", True, ""),
        ("bob", "?exclude_builders=slow", True, ""),
        ("bob", "?builders=*s*", None, f"depends on the builder; {why}"),
        ("bob", "?builders=slow&exclude_builders=slow", False, "no builder is selected"),
        (USER, "?builders=slow", True, ""),
        (USER, "?builders=*s*", True, ""),
        (None, "?builders=fast", False, "log in first"),
    ):
        told = await permissions(master, user, query)
        for action, verdict in told["actions"].items():
            if action in NAMED:
                continue
            if action in about:
                assert (verdict["allowed"], verdict["why"]) == (expected, said), (query, action)
            else:
                nothing = said if said in ("log in first", "no builder is selected") else ""
                assert (verdict["allowed"], verdict["why"]) == (not nothing, nothing), action
            assert verdict["depends_on"] == (["builder"] if verdict["allowed"] is None else [])
        # and so it is
        if "new_build_for_builder" in about and user is not None and expected is not None:
            name = "slow" if "=slow" in query and "exclude" not in query else "fast"
            path = f"/self-serve/main/builders/{name}/{REVISION}"
            answer = await master.post(path, user=user, data={"dry_run": "1"})
            assert (answer.status == 200) is (expected or "&" in query), answer.text
    assert (await permissions(master, "bob", "?builders=[fs]*"))["builders"] == ["fast", "slow"]
    assert (await permissions(master, "bob"))["builders"] is None
    bad = await master.get("/self-serve/main/permissions?builders=sloww", user="bob")
    assert (bad.status, bad.json["msg"]) == (400, "Bad builders")
    assert "similar names: slow" in bad.json["detail"]
    page = await master.get("/self-serve/main/permissions?builders=slow", json=False, user="bob")
    assert why.partition(":")[2] in html.fromstring(page.text).text_content()


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            Signing(role="admins"),
            util.StopBuildEndpointMatcher(role="owner"),
            util.RebuildBuildEndpointMatcher(role="devs"),
            **FORM,
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_what_is_known_of_builders_is_told_and_what_is_not_depends(master: Any) -> None:
    await master.finished_build()
    # a rule of the operator's own is asked about a builder
    for query, expected in (("slow", False), ("fast", True), ("[fs]*", None)):
        told = await permissions(master, "bob", f"?builders={query}")
        assert told["actions"]["new_build_for_builder"]["allowed"] is expected, query
    told = (await permissions(master, "bob", "?builders=[fs]*"))["actions"]
    assert told["rebuild_failed"] == {
        "allowed": False,
        "why": "fast, slow: you need to have role 'admins' or 'devs'",
        "depends_on": [],
    }
    assert told["cancel_build"]["depends_on"] == ["owner", "target"]


def of_a_token_without_roles() -> Config:
    token = util.SelfServeToken("night ly", "night-secret", actions=["rebuild_*", "cancel_*"])
    return ruled(
        util.SelfServeEndpointMatcher(role="owner", action="cancel_request"),
        util.StopBuildEndpointMatcher(role="admins", builder="fast"),
        util.StopBuildEndpointMatcher(role="lords", builder="slow"),
        util.RebuildBuildEndpointMatcher(role="devs"),
        selfserve=util.SelfServe(tokens=[token]),
    )()


@pytest.mark.parametrize("master", [of_a_token_without_roles], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_token_is_told_how_it_gets_the_role_that_it_needs(master: Any) -> None:
    build = await master.finished_build()

    async def why(action: str, query: str = "", user: str | None = None) -> Any:
        headers = {} if user else {"Authorization": "Bearer night-secret"}
        path = f"/self-serve/main/permissions{query}"
        told = (await master.get(path, user=user, headers=headers)).json
        return told["actions"][action]["why"]

    def given(role: str) -> str:
        line = f"util.RolesFromUsername(roles=['{role}'], usernames=['night ly'])"
        return f"you need to have role '{role}'; in roleMatchers of www.authz, {line} gives it one"

    about = f"?build_id={build['buildid']}"
    assert await why("rebuild_build") == given("devs")
    assert await why("rebuild_build", about) == given("devs")
    assert await why("cancel_build", about) == given("admins")
    assert await why("cancel_build", "?builders=slow") == f"slow: {given('lords')}"
    # nothing gives it what is another's
    request = f"?request_id={build['buildrequestid']}"
    assert await why("cancel_request", request) == "you need to have role 'owner'"
    assert await why("new_build_at_revision") == (
        "token night ly is limited to the actions rebuild_*, cancel_*"
    )
    # users are given roles elsewhere
    assert await why("rebuild_build", user="bob") == "you need to have role 'devs'"


def of_tokens() -> Config:
    tokens = [
        util.SelfServeToken("linux", "linux-secret", builders=["fast"]),
        util.SelfServeToken("rebuilds", "rebuilds-secret", actions=["rebuild_*"]),
    ]
    made = ruled(selfserve=util.SelfServe(tokens=tokens))()
    made["builders"][1].properties = {"virtual_builder_name": "deploy"}
    return made


@pytest.mark.parametrize("master", [of_tokens], indirect=True)
@pytest_twisted.ensureDeferred
async def test_tokens_are_told_what_they_may_do_with_builders(master: Any) -> None:
    await master.finished_build()

    async def told(token: str, query: str) -> Any:
        headers = {"Authorization": f"Bearer {token}-secret"}
        answer = await master.get(f"/self-serve/main/permissions{query}", headers=headers)
        assert answer.status == 200, answer.text
        return answer.json["actions"]

    found = await told("linux", "?builders=fast&builders=slow")
    assert {(one["allowed"], one["why"]) for one in found.values()} == {
        (None, "depends on the builder; slow: token linux is limited to the builders fast")
    }
    assert {one["allowed"] for one in (await told("linux", "?builders=fast")).values()} == {True}
    found = await told("rebuilds", "?builders=fast")
    assert found["rebuild_failed"]["allowed"] is True
    assert (
        found["cancel_build"]["why"] == "fast: token rebuilds is limited to the actions rebuild_*"
    )


def limited() -> Config:
    limits = util.SelfServeLimits(builds_per_hour=5)
    return config(util.SelfServe(limits=limits))


@pytest.mark.parametrize("master", [limited], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_left_of_the_limits_is_told(master: Any) -> None:
    await master.finished_build()
    await master.post("/self-serve/main/build", user=USER, data={"build_id": "1", "count": "2"})
    told = await permissions(master, USER)
    assert told["limits"]["builds_per_hour"]["limit"] == 5
    assert told["limits"]["builds_per_hour"]["left"] == 3
    assert 3500 < told["limits"]["builds_per_hour"]["resets_in"] <= 3600
    assert (await permissions(master, None))["limits"]["builds_per_hour"]["left"] == 5


# -- on pages


def buttons(page: Any) -> dict[str, str | None]:
    """Return the text of each button that asks for something, and why it is grey if it is."""
    found: dict[str, str | None] = {}
    for form in html.fromstring(page.text).forms:
        if form.method == "POST":
            for button in form.xpath(".//button[not(@type='button')]"):
                why = button.xpath("following-sibling::*[1][@class='why-not']")
                grey = button.get("disabled") is not None
                assert grey or not why
                # a set without builders is grey for everybody
                found[button.text_content()] = (
                    why[0].text_content() if why else button.get("title", "") if grey else None
                )
    return found


@pytest.mark.parametrize(
    "master",
    [
        ruled(
            util.StopBuildEndpointMatcher(role="owner"),
            util.RebuildBuildEndpointMatcher(builder="slow", role="devs"),
            util.SelfServeEndpointMatcher("devs", action="new_nightly*"),
            **FORM,
        )
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_pages_grey_out_what_one_may_not_do(master: Any) -> None:
    await master.finished_build()
    master.pause()
    await master.add_request("fast", priority=9, revision="b" * 40)  # bob's is not the next
    bobs = (await master.post("/self-serve/main/build", user="bob", data={"build_id": "1"})).json
    slow = await master.add_request("slow")
    not_owner, not_dev = "you need to have role 'owner'", "you need to have role 'devs'"

    async def seen(path: str, user: str | None) -> dict[str, str | None]:
        return buttons(await master.get(f"/self-serve/main{path}", json=False, user=user))

    request = f"/request/{bobs['requests'][0]['request_id']}"
    names = ("Cancel", "Change priority", "Build next", "Rebuild")
    assert await seen(request, "bob") == dict.fromkeys(names)
    assert (await seen(request, USER))["Cancel"] == not_owner
    assert (await seen(f"/request/{slow}", "bob"))["Rebuild"] == not_dev
    assert (await seen(f"/request/{slow}", USER))["Rebuild"] is None
    revision = await seen(f"/rev/{REVISION}", "bob")
    assert revision["Same builds as a push"] is None
    assert revision["nightly"] == not_dev
    assert (await seen(f"/new?revision={REVISION}", "bob"))["nightly"] == not_dev
    answer = await master.get(f"/self-serve/main/rev/{REVISION}", json=False)
    waiting = html.fromstring(answer.text).xpath("//ul[@class='waiting']//button")
    assert {one.text_content() for one in waiting} == {"Build next", "Change priority"}
    assert all(one.get("title", "").startswith("log in first") for one in waiting)
    for path in (request, f"/rev/{REVISION}", f"/new?revision={REVISION}"):
        nobody = await seen(path, None)
        # who logs in could not press it either
        assert nobody.pop("pgo", "has no builders") == "has no builders"
        assert nobody
        assert all(why and why.startswith("log in first") for why in nobody.values())
