"""Whatever schedulers there are and whatever happened: what is done is what was planned.

Hypothesis draws the schedulers of a master, what its builders made of a revision, and a job
request. The plan is held against Buildbot's tables after it was carried out.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet import reactor as _reactor
from twisted.internet import threads

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.plans import JOURNAL
from tests.plans import CarriedOut
from tests.plans import add_change
from tests.plans import changed
from tests.plans import check_done
from tests.plans import check_planned
from tests.plans import check_receipts
from tests.plans import contents
from tests.plans import ended
from tests.plans import outcomes
from tests.plans import watch_executor

EVERY_DATABASE = "heavy"
reactor: Any = _reactor
BUILDERS = [f"b{number}" for number in range(5)]
LIB = {"": {"repository": ""}, "lib": {"repository": "https://example.org/lib", "branch": "next"}}

some_builders = st.lists(st.sampled_from(BUILDERS), min_size=1, max_size=4)
some_properties = st.dictionaries(
    st.sampled_from(["x", "ŷ", "virtual_builder_name", "a b"]),
    st.sampled_from([1, "text", None, ["l", {"d": 1.5}], "renders"]),
    max_size=2,
)


class Several(schedulers.AnyBranchScheduler):
    """Adds a buildset for each of its builders, and returns nothing."""

    async def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        """Build with one after the other, each with a property of its own."""
        count = await self.getState("count", default=0)
        for name in self.builderNames:
            count += 1
            kwargs["properties"].setProperty("alone", name, "Several")
            await super().addBuildsetForChanges(**{**kwargs, "builderNames": [name]})
            await self.setState("count", count)


class Direct(schedulers.AnyBranchScheduler):
    """Adds a buildset with sourcestamps of its own, past its parents."""

    async def addBuildsetForChanges(self, reason: Any, changeids: Any, **kwargs: Any) -> Any:
        """Build the newest change as it sees it."""
        change = await self.master.db.changes.getChange(changeids[-1])
        stamp = {
            "branch": change.branch,
            "revision": change.revision,
            "repository": change.repository,
            "codebase": "",
            "project": "direct",
        }
        builders = [
            (await self.master.data.get(("builders", name)))["builderid"]
            for name in dict.fromkeys(self.builderNames)
        ]
        properties = {name: (f"{name}!", "Direct") for name in ("one", "two")}
        return await self.master.data.updates.addBuildset(
            waited_for=False,
            scheduler=self.name,
            sourcestamps=[stamp],
            reason="mine",
            properties={**properties, **kwargs["properties"].asDict()},
            builderids=builders,
            priority=2,
        )


def _taken(change: Any) -> bool:
    return bool(change.project == "p" or "src/a.c" in change.files)


def _fails(change: Any) -> bool:
    raise RuntimeError("a mistake of the operator's")


FILTERS: dict[str, Any] = {
    "all": {},
    "branch": {"branch": "main"},
    "other": {"branch": "other"},
    "function": {"filter_fn": _taken},
    "fails": {"filter_fn": _fails},
}


@st.composite
def one_scheduler(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(["any", "single", "several", "direct", "chooses", "raises"]))
    return {
        "kind": kind,
        "builders": draw(some_builders),
        "properties": draw(some_properties),
        "priority": draw(st.sampled_from([None, 0, 7, -3])),
        "filter": draw(st.sampled_from(sorted(FILTERS))),
        "lib": draw(st.booleans()),
    }


def made_scheduler(number: int, drawn: dict[str, Any]) -> Any:
    names, kind = drawn["builders"], drawn["kind"]
    more: dict[str, Any] = {
        "name": f"s{number}",
        "builderNames": names,
        "properties": {
            name: util.Interpolate("%(kw:v)s", v="w") if value == "renders" else value
            for name, value in drawn["properties"].items()
            if name != "virtual_builder_name" or isinstance(value, str)
        },
        "change_filter": util.ChangeFilter(**FILTERS[drawn["filter"]]),
    }
    if drawn["priority"] is not None:
        more["priority"] = drawn["priority"]
    if drawn["lib"] and kind != "direct":
        more["codebases"] = LIB
    if kind == "chooses":
        more["builderNames"] = util.Transform(lambda: list(names))
    if kind == "raises":
        more["properties"] = {"x": util.Transform(lambda: 1 / 0)}
    made = {"single": schedulers.SingleBranchScheduler, "several": Several, "direct": Direct}
    return made.get(kind, schedulers.AnyBranchScheduler)(**more)


def configured(drawn: list[dict[str, Any]]) -> Any:
    def make() -> Config:
        sets = {"units": ["b0", "b1"]}
        made = config(util.SelfServe(branches=[util.SelfServeBranch("main", sets=sets)]))
        made["builders"] = [builder(name) for name in BUILDERS]
        made["schedulers"] = [
            *(made_scheduler(number, one) for number, one in enumerate(drawn)),
            schedulers.Triggerable(name="rest", builderNames=BUILDERS),
        ]
        return made

    return make


HISTORIES: dict[str, Any] = {
    "passed": (SUCCESS, True),
    "failed": (FAILURE, True),
    "broken": (EXCEPTION, True),
    "stopped": (CANCELLED, True),
    "cancelled": (CANCELLED, False),
    "collapsed": (SKIPPED, False),
    "skipped": (SKIPPED, True),
}
some_history = st.lists(
    st.tuples(st.sampled_from(BUILDERS), st.sampled_from([*HISTORIES, "pending"])), max_size=6
)
some_changes = st.lists(
    st.fixed_dictionaries(
        {"project": st.sampled_from(["", "p"]), "files": st.sampled_from([["src/a.c"], []])}
    ),
    max_size=2,
)
selectors = st.fixed_dictionaries(
    {},
    optional={
        "builders": st.sampled_from(["b*", ["b0", "b[1-3]"], "b4"]),
        "exclude_builders": st.sampled_from(["b1", ["b*"]]),
    },
)


@st.composite
def job_request(draw: st.DrawFn) -> tuple[str, str, dict[str, Any]]:
    """Return the method, the path behind the branch, and the body."""
    priority = st.fixed_dictionaries({}, optional={"priority": st.sampled_from([0, 5])})
    changes = {"x": None, "new": [1]}
    rebuilt = st.fixed_dictionaries(
        {}, optional={"count": st.just(2), "properties": st.just(changes)}
    )
    at = "/rev/{revision}"
    asked: list[tuple[str, str, list[st.SearchStrategy[Any]]]] = [
        ("POST", at, [selectors, priority]),
        ("POST", at + "/failed", [selectors, priority, rebuilt]),
        ("POST", at + "/missing", [selectors, priority]),
        ("POST", at + "/units", [selectors, priority]),
        ("DELETE", at, [selectors]),
        ("POST", "/build", [priority, rebuilt, st.just({"build_id": "{build}"})]),
        (
            "POST",
            "/builders/b2/{revision}",
            [priority, st.sampled_from([{}, {"files": ["x.c"]}, {"properties": {"q": 1}}])],
        ),
    ]
    method, path, ways = draw(st.sampled_from(asked))
    body: dict[str, Any] = {}
    for way in ways:
        body |= draw(way)
    return method, path, body


_numbers = itertools.count(1)


async def try_out(
    master: Master,
    done: list[CarriedOut],
    drawn: list[dict[str, Any]],
    changes: list[dict[str, Any]],
    history: list[tuple[str, str]],
    asked: tuple[str, str, dict[str, Any]],
) -> None:
    await master.reconfig(configured(drawn))
    master.pause()
    revision = f"{next(_numbers):040x}"
    for change in changes:
        await add_change(master, revision, **change)
    build_id: int | None = 4711
    for name, what in history:
        if what == "pending":
            await master.add_request(name, revision=revision)
            continue
        result, built = HISTORIES[what]
        _, found = await ended(master, name, result, built=built, revision=revision)
        build_id = found or build_id
    method, path, body = asked
    if "build_id" in body:
        body = {**body, "build_id": build_id}
    path = "/self-serve/main" + path.format(revision=revision)

    async def send(**more: Any) -> Any:
        sent = json.dumps({**body, **more}).encode()
        headers = {"Content-Type": "application/json"}
        return await master.request(method, path, user=USER, data=sent, headers=headers)

    before = await contents(master)
    shown = await send(dry_run="1")
    assert changed(before, await contents(master)) == set()
    done.clear()
    if shown.status != 200:
        answer = await send()
        assert (answer.status, answer.json) == (shown.status, shown.json)
        assert changed(before, await contents(master)) <= JOURNAL
        assert answer.status in (400, 404), answer.text
        return
    planned = check_planned(shown)
    answer = await send(if_plan=planned["plan"])
    assert answer.status == 202, answer.text
    check_receipts(planned, answer.json)
    (carried_out,) = done
    await check_done(master, carried_out, answer.json)
    # a scheduler that failed is left out of both, and yet not all is well
    assert all(one["outcome"] != "failed" for one in answer.json["requests"])
    failed = any(one.outcome == "failed" for one in carried_out.plan.untouched)
    assert answer.json["status"] == ("FAILED" if failed else "OK"), answer.text
    after = await contents(master)
    made = len(after["buildrequests"]) - len(before["buildrequests"])
    assert made == carried_out.plan.builds
    if path.endswith(("/failed", "/missing")):
        again = await send(dry_run="1")
        # a scheduler that always fails may be all that is left
        assert again.status in (200, 400), again.text
        if again.status == 200:
            assert "would_create" not in {outcome for _, outcome in outcomes(again.json)}


async def drawn_plans(master: Master, monkeypatch: Any, examples: int) -> None:
    """Try *examples* of them, all on one master."""
    done = watch_executor(monkeypatch)

    @settings(
        max_examples=examples,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(one_scheduler(), min_size=1, max_size=3),
        some_changes,
        some_history,
        job_request(),
    )
    def run(
        drawn: list[dict[str, Any]],
        changes: list[dict[str, Any]],
        history: list[tuple[str, str]],
        asked: tuple[str, str, dict[str, Any]],
    ) -> None:
        def tried() -> Any:
            return defer.ensureDeferred(try_out(master, done, drawn, changes, history, asked))

        # Hypothesis waits for each example, and so it cannot wait in the reactor
        threads.blockingCallFromThread(reactor, tried)

    await threads.deferToThread(run)


@pytest_twisted.ensureDeferred
async def test_what_is_done_is_what_was_planned(master: Master, monkeypatch: Any) -> None:
    await drawn_plans(master, monkeypatch, 15)


@pytest.mark.heavy
@pytest_twisted.ensureDeferred
async def test_what_is_done_is_what_was_planned_often(master: Master, monkeypatch: Any) -> None:
    await drawn_plans(master, monkeypatch, 40)
