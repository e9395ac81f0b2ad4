"""What a job request creates is held against rules and budgets where it is inserted.

Operators' scheduler classes do as they like in between: name other builders, give other properties,
add several buildsets, return nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer

from buildbot_selfserve.control.planners import scheduler_gate
from buildbot_selfserve.errors import Forbidden
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import builder
from tests.test_permissions import ruled

#: Roles are those of test_permissions: root is an admin, bob is not.
ADMIN, DEVELOPER = "root", "bob"
TOKEN = "a-token-that-nobody-guesses"
RELEASE = ("release-a", "release-b")
OPEN = ("linux", "mac")
NAMES = [*OPEN, *RELEASE]


class Own(schedulers.AnyBranchScheduler):
    """Names all of its builders, whatever it is asked for."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        kwargs["builderNames"] = [name for name in self.builderNames if name]
        return super().addBuildsetForChanges(**kwargs)


class Silent(schedulers.AnyBranchScheduler):
    """Returns nothing."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        kwargs["builderNames"] = list(self.builderNames)
        yield super().addBuildsetForChanges(**kwargs)


class Plain(schedulers.AnyBranchScheduler):
    """Returns nothing, without a Deferred."""

    def addBuildsetForChanges(self, **kwargs: Any) -> None:
        kwargs["builderNames"] = list(self.builderNames)
        super().addBuildsetForChanges(**kwargs)


class Elsewhere(schedulers.AnyBranchScheduler):
    """Calls another method of its parent, with sourcestamps and properties of its own."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        return self.addBuildsetForSourceStampsWithDefaults(
            reason="mine",
            sourcestamps=[{"codebase": "", "branch": "main", "revision": REVISION}],
            builderNames=list(self.builderNames),
        )


class Several(schedulers.AnyBranchScheduler):
    """Makes a buildset for each of its builders."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        for name in self.builderNames:
            yield super().addBuildsetForChanges(**{**kwargs, "builderNames": [name]})


class Below(schedulers.AnyBranchScheduler):
    """Goes past its parent to the Data API."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        rows = yield self.master.data.get(("builders",))
        made = yield self.master.data.updates.addBuildset(
            False,
            scheduler=self.name,
            sourcestamps=[
                {
                    "codebase": "",
                    "branch": "main",
                    "revision": REVISION,
                    "repository": "",
                    "project": "",
                }
            ],
            builderids=[row["builderid"] for row in rows if row["name"] in self.builderNames],
        )
        return made


class Lowest(schedulers.AnyBranchScheduler):
    """Goes past the Data API to the database."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        rows = yield self.master.data.get(("builders",))
        change = yield self.master.db.changes.getChange(kwargs["changeids"][0])
        made = yield self.master.db.buildsets.addBuildset(
            [change.sourcestampid],
            "mine",
            {"scheduler": (self.name, "Scheduler")},
            [row["builderid"] for row in rows if row["name"] in self.builderNames],
            False,
        )
        return made


class Delegates(schedulers.AnyBranchScheduler):
    """Lets another scheduler build."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        (other,) = (one for one in self.master.allSchedulers() if one.name == "other")
        kwargs["builderNames"] = list(self.builderNames)
        return other.addBuildsetForChanges(**kwargs)


class Triggers(schedulers.AnyBranchScheduler):
    """Triggers another scheduler, as a Trigger step does."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        other = self.master.scheduler_manager.namedServices["triggered"]
        started, _ended = other.trigger(
            False, sourcestamps=[{"codebase": "", "branch": "main", "revision": REVISION}]
        )
        return started


class ByItsParent(schedulers.AnyBranchScheduler):
    """Finds the other scheduler where its own master is not asked."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        kwargs["builderNames"] = list(self.builderNames)
        return self.parent.namedServices["other"].addBuildsetForChanges(**kwargs)


class Remembers(schedulers.AnyBranchScheduler):
    """Has kept a method of its own since it was configured, and the master."""

    @defer.inlineCallbacks
    def reconfigService(self, *args: Any, **kwargs: Any) -> Any:
        yield super().reconfigService(*args, **kwargs)
        self.kept = self.addBuildsetForSourceStampsWithDefaults
        self.kept_master = self.master

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        stamp = {"codebase": "", "branch": "main", "revision": REVISION}
        return self.kept("mine", [stamp], builderNames=list(self.builderNames))


class RemembersMaster(Remembers):
    """Goes to the database of the master that it has kept."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        db = self.kept_master.db.buildrequests.db
        rows = yield self.kept_master.data.get(("builders",))
        change = yield db.changes.getChange(kwargs["changeids"][0])
        made = yield db.buildsets.addBuildset(
            sourcestamps=[change.sourcestampid],
            reason="mine",
            properties={},
            builderids=[row["builderid"] for row in rows if row["name"] in self.builderNames],
            waited_for=False,
        )
        return made


def replaced(**more: Any) -> Any:
    """Return a scheduler whose method was replaced in master.cfg."""
    made = schedulers.AnyBranchScheduler(**more)
    parents = made.addBuildsetForChanges
    made.addBuildsetForChanges = lambda **kwargs: parents(**{**kwargs, "builderNames": NAMES})
    return made


class InTheEnd(schedulers.AnyBranchScheduler):
    """Builds in a callback, which remembers nothing of who has called."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        kwargs["builderNames"] = list(self.builderNames)
        asked = self.master.data.get(("builders",))
        other = self.parent.namedServices["other"]
        return asked.addCallback(lambda _: other.addBuildsetForChanges(**kwargs))


class Looping(schedulers.AnyBranchScheduler):
    """Builds in a loop that was there before."""

    @defer.inlineCallbacks
    def activate(self) -> Any:
        yield super().activate()
        self.asked: Any = defer.DeferredQueue()
        self.loop()

    @defer.inlineCallbacks
    def loop(self) -> Any:
        while True:
            kwargs = yield self.asked.get()
            yield super().addBuildsetForChanges(**{**kwargs, "builderNames": self.builderNames})

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        self.asked.put(kwargs)


class BeginsALoop(Looping):
    """Builds in a loop that the first who asks lets begin: for all who come later, too."""

    def activate(self) -> Any:
        return schedulers.AnyBranchScheduler.activate(self)

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        if not hasattr(self, "asked"):
            self.asked = defer.DeferredQueue()
            self.loop()
        self.asked.put(kwargs)


class Late(schedulers.AnyBranchScheduler):
    """Builds some time after it has returned."""

    def addBuildsetForChanges(self, **kwargs: Any) -> None:
        kwargs["builderNames"] = list(self.builderNames)
        self.master.reactor.callLater(
            0.2, lambda: super(Late, self).addBuildsetForChanges(**kwargs)
        )


def renders_other_names(**more: Any) -> Any:
    @util.renderer
    def names(properties: Any) -> list[str]:
        return NAMES

    return schedulers.AnyBranchScheduler(builderNames=names, **more)


KINDS = [
    *(Own, Silent, Plain, Elsewhere, Several, Below, Lowest, Delegates, Triggers),
    *(ByItsParent, Remembers, RemembersMaster, replaced, InTheEnd, Looping, BeginsALoop, Late),
    renders_other_names,
]


def made_by(kind: Any, *rules: Any, **selfserve: Any) -> Callable[[], Any]:
    """Return what makes a configuration whose one watching scheduler is of this *kind*."""

    def make() -> Any:
        made = ruled(*rules)()
        made["builders"] = [builder(name) for name in NAMES]
        more = {} if kind is renders_other_names else {"builderNames": NAMES}
        made["schedulers"] = [
            kind(name="own", change_filter=util.ChangeFilter(branch="main"), **more),
            schedulers.AnyBranchScheduler(
                name="other", change_filter=util.ChangeFilter(branch="no"), builderNames=["linux"]
            ),
            schedulers.Triggerable(name="triggered", builderNames=NAMES),
        ]
        branches = [util.SelfServeBranch("main")]
        made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=branches, **selfserve)}
        return made

    return make


RULE = util.ForceBuildEndpointMatcher(builder="release-*", role="admins")
OURS = util.SelfServeEndpointMatcher("admins", builder="release-*")


async def built(master: Any) -> list[str]:
    """Return the names of the builders that have requests, sorted."""
    names = {row["builderid"]: row["name"] for row in await master.data("builders")}
    return sorted(names[row["builderid"]] for row in await master.data("buildrequests"))


async def new_builds(master: Any, **more: Any) -> Any:
    return await master.post(f"/self-serve/main/rev/{REVISION}", **more)


def told(receipt: Any) -> list[tuple[str, str]]:
    return sorted((one["buildername"], one["outcome"]) for one in receipt["requests"])


@pytest.mark.parametrize(
    "master", [pytest.param(made_by(kind, RULE), id=kind.__name__) for kind in KINDS], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_scheduler_class_builds_nothing_that_a_rule_denies(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=DEVELOPER)
    assert (answer.status, answer.json["status"]) == (202, "OK"), answer.text
    assert answer.json["msg"] == "2 builds requested, 2 denied"
    assert told(answer.json) == [
        ("linux", "created"),
        ("mac", "created"),
        ("release-a", "denied"),
        ("release-b", "denied"),
    ]
    assert await built(master) == sorted(OPEN)
    # whatever the class gave them, they are marked as what the job request made, each by itself
    keys = set()
    for bsid in answer.json["buildset_ids"]:
        buildset = await master.data("buildsets", bsid)
        properties = await master.data("buildsets", bsid, "properties")
        assert buildset["reason"] == f"Self-serve: Requested by {DEVELOPER}"
        assert properties["owner"][0] == DEVELOPER
        assert properties["selfserve_job"][0] == answer.json["job_id"]
        keys.add(properties["selfserve_key"])
    assert len(keys) == len(answer.json["buildset_ids"])
    # who may, builds all of it
    answer = await new_builds(master, user=ADMIN)
    assert answer.json["msg"] == "4 builds requested"
    assert await built(master) == sorted([*OPEN, *NAMES])
    assert master.errors == []


@pytest.mark.parametrize("master", [made_by(Looping), made_by(BeginsALoop)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_loop_builds_for_each_who_they_are(master: Any) -> None:
    """It goes on when the one is answered who asked first."""
    master.pause()
    for user in (ADMIN, DEVELOPER):
        answer = await new_builds(master, user=user)
        assert answer.json["msg"] == "4 builds requested", answer.text
        for bsid in answer.json["buildset_ids"]:
            assert (await master.data("buildsets", bsid, "properties"))["owner"][0] == user


@pytest.mark.parametrize("master", [made_by(Own), made_by(BeginsALoop)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_schedulers_that_have_answered_are_not_kept(master: Any) -> None:
    master.pause()
    for data in ({"dry_run": "1"}, {}):
        assert (await new_builds(master, user=ADMIN, data=data)).status in (200, 202)
    assert scheduler_gate._by_key == {}


class Slow(schedulers.AnyBranchScheduler):
    """Builds each time for the one who asked the time before."""

    before: Any = None

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        properties = self.before or kwargs["properties"]
        self.before = kwargs.get("properties")
        return super().addBuildsetForChanges(**{**kwargs, "properties": properties})


@pytest.mark.parametrize("master", [made_by(Slow)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_comes_after_its_plan_is_built_for_nobody(master: Any) -> None:
    master.pause()
    assert (await new_builds(master, user=ADMIN)).status == 202
    # neither for the one who asks next
    answer = await new_builds(master, user=DEVELOPER)
    assert (answer.status, "scheduler own failed" in answer.text) == (400, True)
    assert "too late" in master.log
    # nor when nobody asks
    (scheduler,) = (one for one in master.master.allSchedulers() if one.name == "own")
    with pytest.raises(Forbidden, match="too late"):
        await scheduler.addBuildsetForChanges(changeids=[1])
    assert await built(master) == sorted(NAMES)
    master.errors.clear()


@pytest.mark.parametrize("master", [made_by(Own, OURS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_our_own_rule_denies_likewise(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=DEVELOPER)
    assert answer.json["msg"] == "2 builds requested, 2 denied"
    assert await built(master) == sorted(OPEN)


def limited_token(kind: Any) -> Callable[[], Any]:
    token = util.SelfServeToken("t", TOKEN, builders=["linux*"])
    return made_by(kind, tokens=[token])


@pytest.mark.parametrize(
    "master",
    [pytest.param(limited_token(kind), id=kind.__name__) for kind in (Own, Several, Lowest)],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_token_builds_with_its_builders_only(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json["msg"] == "1 build requested, 3 denied"
    assert await built(master) == ["linux"]


NONE = util.ForceBuildEndpointMatcher(role="admins", builder="*")


@pytest.mark.parametrize(
    "master",
    [
        pytest.param(made_by(kind, NONE), id=kind.__name__)
        for kind in (Own, Several, Lowest, Triggers, ByItsParent, RemembersMaster, Looping, Late)
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_who_may_build_with_none_is_refused(master: Any) -> None:
    answer = await new_builds(master, user=DEVELOPER)
    assert (answer.status, answer.json["msg"]) == (
        403,
        "You may not build with any of the builders",
    )
    assert await master.data("buildsets") == []
    assert master.errors == []


# -- budgets


class Two(schedulers.AnyBranchScheduler):
    """Builds with two of its builders."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        return super().addBuildsetForChanges(**{**kwargs, "builderNames": list(OPEN)})


def budgeted(kind: Any, builds: int) -> Callable[[], Any]:
    return made_by(kind, limits=util.SelfServeLimits(builds_per_hour=builds))


async def left(master: Any, user: str = USER) -> int:
    answer = (await master.get("/self-serve/main/permissions", user=user)).json
    number: int = answer["limits"]["builds_per_hour"]["left"]
    return number


@pytest.mark.parametrize("master", [budgeted(Two, 3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_budget_counts_what_is_inserted(master: Any) -> None:
    master.pause()
    # fewer than the scheduler has builders
    assert (await new_builds(master, user=USER)).json["msg"] == "2 builds requested"
    assert await left(master) == 1
    refused = await new_builds(master, user=USER)
    assert (refused.status, refused.json["msg"]) == (
        429,
        "2 builds requested, 1 left of 3 per hour",
    )
    assert await built(master) == sorted(OPEN)
    assert await left(master) == 1


@pytest.mark.parametrize("master", [budgeted(Looping, 3), budgeted(replaced, 3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_budget_holds_for_what_is_built_elsewhere(master: Any) -> None:
    refused = await new_builds(master, user=USER)
    assert (refused.status, refused.json["msg"]) == (
        429,
        "4 builds requested, 3 left of 3 per hour",
    )
    assert await built(master) == []
    assert await left(master) == 3


@pytest.mark.parametrize("master", [budgeted(Several, 3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_class_with_several_buildsets_exceeds_no_budget(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=USER)
    assert (answer.status, answer.json["msg"]) == (429, "4 builds requested, 3 left of 3 per hour")
    assert await built(master) == []


@pytest.mark.parametrize(
    "master",
    [made_by(Own, RULE, limits=util.SelfServeLimits(builds_per_hour=3))],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_what_is_denied_takes_nothing_from_the_budget(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=DEVELOPER)
    assert answer.json["msg"] == "2 builds requested, 2 denied"
    assert await left(master, DEVELOPER) == 1


# -- virtual builders


def virtual(**more: Any) -> Callable[[], Any]:
    """Return what makes a configuration in which "linux" builds as "release-a"."""

    def make() -> Any:
        made = ruled(more.get("rule", RULE))()
        made["builders"] = [builder("linux", **more.get("of_builder", {}))]
        made["schedulers"] = [
            schedulers.AnyBranchScheduler(
                name="own", builderNames=["linux"], properties=more.get("of_scheduler", {})
            ),
        ]
        made["properties"] = more.get("global", {})
        sets = {"pgo": ["scheduler:own"]}
        branches = [util.SelfServeBranch("main", sets=sets)]
        tokens = [util.SelfServeToken("t", TOKEN, builders=["linux"])]
        selfserve = util.SelfServe(branches=branches, tokens=tokens)
        made["www"]["plugins"] = {"selfserve": selfserve}
        return made

    return make


AS_RELEASE = {"virtual_builder_name": "release-a"}
BY_SCHEDULER = virtual(of_scheduler=AS_RELEASE)
BY_BUILDER = virtual(of_builder={"properties": AS_RELEASE})
BY_MASTER = virtual(**{"global": AS_RELEASE})
EVERY_SOURCE = pytest.mark.parametrize(
    "master",
    [
        pytest.param(BY_SCHEDULER, id="scheduler"),
        pytest.param(BY_BUILDER, id="builder"),
        pytest.param(BY_MASTER, id="master.cfg"),
    ],
    indirect=True,
)


@EVERY_SOURCE
@pytest_twisted.ensureDeferred
async def test_both_names_of_a_virtual_builder_must_be_allowed(master: Any) -> None:
    master.pause()
    at = f"/self-serve/main/rev/{REVISION}"
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    for path in (at, f"{at}/pgo"):
        for asker in ({"user": DEVELOPER}, {"headers": bearer}):
            answer = await master.post(path, **asker)
            assert answer.status == 403, (path, answer.text)
    assert await master.data("buildsets") == []
    for path in (at, f"{at}/pgo"):
        assert (await master.post(path, user=ADMIN)).status == 202
    assert await built(master) == ["linux", "linux"]


@pytest.mark.parametrize(
    "master",
    [virtual(of_builder={"properties": {"virtual_builder_name": "mac"}}, **{"global": AS_RELEASE})],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_name_that_another_one_replaces_needs_no_permission(master: Any) -> None:
    master.pause()
    assert (await new_builds(master, user=DEVELOPER)).status == 202


@pytest.mark.parametrize("master", [BY_BUILDER, BY_MASTER], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_builder_that_always_builds_as_another_needs_both(master: Any) -> None:
    path = f"/self-serve/main/builders/linux/{REVISION}"
    assert (await master.post(path, user=DEVELOPER)).status == 403
    answer = await master.post(path, user=ADMIN)
    assert answer.status == 202
    (made,) = answer.json["requests"]
    await master.completed(made["request_id"])
    (build,) = await master.data("buildrequests", made["request_id"], "builds")
    assert (await master.data("builders", build["builderid"]))["name"] == "release-a"
    # nor may they rebuild or cancel it by its request, where no property tells of it
    again = {"request_id": made["request_id"]}
    rule = util.SelfServeEndpointMatcher("admins", builder="release-*")
    await master.reconfig(virtual(of_builder={"properties": AS_RELEASE}, rule=rule))
    assert (await master.post("/self-serve/main/request", user=DEVELOPER, data=again)).status == 403
    assert (await master.post("/self-serve/main/request", user=ADMIN, data=again)).status == 202


@pytest.mark.parametrize("master", [virtual(of_scheduler=AS_RELEASE)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_change_that_moves_builds_to_another_builder_needs_both(master: Any) -> None:
    change_id = await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=REVISION,
        repository="",
        codebase="",
        project="",
        files=[],
        properties={"virtual_builder_name": ("release-b", "Change")},
    )
    path = f"/self-serve/main/builders/linux/{REVISION}"
    refused = await master.post(path, user=DEVELOPER, data={"files": '["a.c"]'})
    assert refused.status == 403
    assert [one["changeid"] for one in await master.data("changes")] == [change_id]
    answer = await master.post(path, user=ADMIN)
    assert answer.status == 202, answer.text
    (made,) = answer.json["requests"]
    await master.completed(made["request_id"])
    (build,) = await master.data("buildrequests", made["request_id"], "builds")
    assert (await master.data("builders", build["builderid"]))["name"] == "release-b"


def mixed_virtual() -> Any:
    """Two schedulers, one of which builds as "release-a"."""
    made = made_by(schedulers.AnyBranchScheduler, RULE)()
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(name="one", builderNames=["linux"], properties=AS_RELEASE),
        schedulers.AnyBranchScheduler(name="two", builderNames=["linux", "mac"]),
        schedulers.Triggerable(name="rest", builderNames=NAMES),
    ]
    return made


@pytest.mark.parametrize("master", [mixed_virtual], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_denied_is_told_under_the_name_that_it_would_have(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=DEVELOPER)
    assert told(answer.json) == [("linux", "created"), ("mac", "created"), ("release-a", "denied")]
    (denied,) = (one for one in answer.json["requests"] if one["outcome"] == "denied")
    assert denied["msg"].startswith("linux would build under this name; you need to have role '")


# -- other branches


class OtherBranch(schedulers.AnyBranchScheduler):
    """Builds the branch "release", whatever it is asked for."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        return self.addBuildsetForSourceStampsWithDefaults(
            reason="mine", sourcestamps=[{"codebase": "", "branch": "release"}]
        )


@pytest.mark.parametrize(
    "master",
    [
        made_by(OtherBranch, util.SelfServeEndpointMatcher("admins", branch="release")),
        made_by(OtherBranch, tokens=[util.SelfServeToken("t", TOKEN, branches=["main"])]),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_scheduler_class_builds_no_branch_that_is_denied(master: Any) -> None:
    master.pause()
    ruled_out = master.master.www.authz.allowRules
    asker = {"user": DEVELOPER} if ruled_out else {"headers": {"Authorization": f"Bearer {TOKEN}"}}
    assert (await new_builds(master, **asker)).status == 403
    assert await master.data("buildsets") == []
    answer = await new_builds(master, user=ADMIN)
    assert answer.json["msg"] == "4 builds requested", answer.text


# -- what does not go that way


class Forces(schedulers.AnyBranchScheduler):
    """Forces builds through the control API, which asks no rule."""

    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        return self.master.data.control(
            "force", {"builderNames": NAMES, "branch": "main"}, ("forceschedulers", "force")
        )


def forcing() -> Any:
    made = made_by(Forces, RULE)()
    made["schedulers"].append(schedulers.ForceScheduler(name="force", builderNames=NAMES))
    return made


@pytest.mark.parametrize("master", [forcing], indirect=True)
@pytest_twisted.ensureDeferred
async def test_nothing_is_forced_past_the_rules(master: Any) -> None:
    answer = await new_builds(master, user=DEVELOPER)
    assert answer.status == 400
    assert await master.data("buildsets") == []
    assert any("may not force builds" in error for error in master.errors)


class Raises(schedulers.AnyBranchScheduler):
    """Is surprised by what its parent returns."""

    @defer.inlineCallbacks
    def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        yield super().addBuildsetForChanges(**kwargs)
        raise KeyError("release-a")


@pytest.mark.parametrize("master", [made_by(Raises, RULE)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_was_made_before_a_class_failed_is_told(master: Any) -> None:
    master.pause()
    answer = await new_builds(master, user=DEVELOPER)
    assert (answer.status, answer.json["status"]) == (202, "FAILED")
    assert told(answer.json) == [
        ("", "left_out"),
        ("linux", "created"),
        ("mac", "created"),
        ("release-a", "denied"),
        ("release-b", "denied"),
    ]


class Fails(util.ForceBuildEndpointMatcher):
    """A rule that cannot be asked about some builders."""

    def match_ForceSchedulerEndpoint_force(self, endpoint: Any, texts: Any, options: Any) -> Any:
        raise KeyError("release")


@pytest.mark.parametrize(
    "master",
    [made_by(Own, Fails(role="admins")), made_by(Lowest, Fails(role="admins"))],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_rule_that_fails_on_the_way_is_named(master: Any) -> None:
    answer = await new_builds(master, user=DEVELOPER)
    assert answer.status == 500
    assert "Fails" in answer.json["msg"]
    assert await master.data("buildsets") == []


@pytest_twisted.ensureDeferred
async def test_properties_name_no_other_branch_than_the_path(master: Any) -> None:
    build = await master.finished_build()
    master.pause()
    here = "/self-serve/main"
    for path, fields in (
        ("/build", {"build_id": build["buildid"]}),
        ("/request", {"request_id": build["buildrequestid"]}),
        ("/bisect", {"builder_name": "fast"}),
        ("/builders", {"builder_name": "fast", "revision": REVISION}),
        (f"/builders/fast/{REVISION}", {}),
        (f"/rev/{REVISION}", {}),
        (f"/rev/{'e' * 40}", {}),
        (f"/rev/{REVISION}/failed", {}),
    ):
        for branch, is_bad in (("release", True), (" main ", False), (None, False)):
            data = {**fields, "dry_run": "1", "properties": json.dumps({"branch": branch})}
            answer = await master.post(here + path, user=USER, data=data)
            assert (answer.json["msg"] == "Bad properties") is is_bad, (path, branch)
    other = {"properties": json.dumps({"revision": "e" * 40})}
    answer = await master.post(f"{here}/rev/{REVISION}", user=USER, data=other)
    assert (answer.status, answer.json["msg"]) == (400, "Bad properties")
    assert len(await master.requests()) == 1
