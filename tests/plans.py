"""What tests of plans need: all that a database holds, history, and the comparison."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control.execute import execute
from buildbot_selfserve.jobs import runner
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from tests.harness import REVISION
from tests.harness import Master

#: What a master writes there by itself.
RESTLESS = {"masters", "selfserve_leases"}
#: What every job request writes in the journal.
JOURNAL = {"selfserve_jobs", "selfserve_job_targets"}
#: What every job request sets, and what the original API gave to new builds.
MARKS = {"owner", "selfserve_job", "selfserve_key"}
GIVEN_IDS = {"buildid", "builduid"}
#: What becomes of what is planned.
BECOMES = {
    "would_create": {"created"},
    "would_cancel": {"cancelled"},
    "would_stop": {"stopped"},
    "would_reprioritize": {"reprioritized"},
    "would_hold": {"held"},
    "would_release": {"released"},
    "denied": {"denied"},
    "left_out": {"left_out", "already_complete"},
}

Contents = dict[str, list[str]]


async def contents(master: Master) -> Contents:
    """Return all rows of all tables, Buildbot's and those of self-serve."""

    def look(connection: sa.Connection) -> Contents:
        names = set(sa.inspect(connection).get_table_names()) - RESTLESS
        return {
            name: sorted(
                repr(tuple(row))
                for row in connection.execute(sa.select(sa.text("*")).select_from(sa.table(name)))
            )
            for name in sorted(names)
        }

    found: Contents = await master.master.db.pool.do(look)
    return found


def changed(before: Contents, after: Contents) -> set[str]:
    """Return the names of the tables whose rows are others."""
    return {name for name in after if before[name] != after[name]}


class Events:
    """The events that a master sends, from now on."""

    def __init__(self, master: Master, monkeypatch: Any) -> None:
        self.keys: list[tuple[str, ...]] = []
        self._produce = master.master.mq.produce
        monkeypatch.setattr(master.master.mq, "produce", self)

    def told_of(self, number: int) -> bool:
        """Whether so many new buildsets and requests have been told of."""
        found = {key[:2] for key in self.keys if key[2:] == ("new",)}
        kinds = [kind for kind, _ in found]
        return [kinds.count(one) for one in ("buildsets", "buildrequests")] == [number, number]

    def __call__(self, key: Any, data: Any) -> Any:
        self.keys.append(key)
        return self._produce(key, data)


@dataclass
class CarriedOut:
    """A plan that was carried out, and for which job request."""

    plan: Plan
    order: Order


def watch_executor(monkeypatch: Any) -> list[CarriedOut]:
    """Return a list that gets each plan that is carried out."""
    found: list[CarriedOut] = []

    async def executed(master: Any, order: Any, plan: Any, rights: Any, **more: Any) -> Any:
        found.append(CarriedOut(plan, order))
        return await execute(master, order, plan, rights, **more)

    monkeypatch.setattr(runner, "execute", executed)
    return found


# -- history


async def ended(
    master: Master, builder_name: str, results: int, *, built: bool = True, **more: Any
) -> tuple[int, int | None]:
    """Let a request have ended, which took no time; return its id and that of its build.

    :param built: a build of it ran; else it was cancelled or skipped while it waited
    :param more: ``virtual``, the name of the builder that built it; the rest as for ``add_request``
    """
    virtual = more.pop("virtual", None)
    db = master.master.db
    with master.paused():  # else a builder may claim it first
        request_id = await master.add_request(builder_name, **more)
        await db.buildrequests.claimBuildRequests([request_id])
    build_id = None
    if built:
        name = builder_name if virtual is None else virtual
        builder_id = await master.master.data.updates.findBuilderId(name)
        build_id, _ = await db.builds.addBuild(
            builder_id, request_id, None, master.master.masterid, "built"
        )
        await db.builds.finishBuild(build_id, results)
    # what was to be built again was cancelled while it waited
    completed = CANCELLED if results == RETRY else results
    await master.master.data.updates.completeBuildRequests([request_id], completed)
    buildset_id = (await master.data("buildrequests", request_id))["buildsetid"]

    async def told() -> Any:
        return (await master.data("buildsets", buildset_id))["complete"]

    await master.until(told, "its buildset is complete, too")
    return request_id, build_id


async def add_change(master: Master, revision: str = REVISION, **more: Any) -> int:
    """Let Buildbot have a change, of which no scheduler hears; return its id."""
    change = {
        "author": "Eve <eve@example.org>",
        "files": ["src/a.c"],
        "comments": "Mend it",
        "branch": "main",
        "revision": revision,
        "repository": "https://example.org/repo",
        "codebase": "",
        "project": "",
    }
    number: int = await master.master.db.changes.addChange(**{**change, **more})
    return number


# -- a plan, and what was done


async def check_done(master: Master, done: CarriedOut, receipt: Any) -> None:
    """Hold Buildbot's tables against the plan that was carried out, to the letter."""
    plan = done.plan
    made = await master.master.db.pool.do(_made, receipt["buildset_ids"])
    planned = [buildset for _, buildset in plan.each_buildset()]
    assert len(made) == len(planned)
    for (buildset_id, one), buildset in zip(sorted(made.items()), planned, strict=True):
        await _check_buildset(master, done.order, one, buildset, buildset_id)
    requests = {row["request_id"]: row for row in receipt["requests"]}
    created = [row for row in receipt["requests"] if row["outcome"] == "created"]
    assert len(created) == plan.builds
    assert {row["request_id"] for row in created} == {
        request_id for one in made.values() for request_id in one["requests"]
    }
    for ending in plan.endings:
        request = await master.data("buildrequests", ending.request_id)
        assert request["complete"], ending
        assert requests[ending.request_id]["buildername"] == ending.buildername
    for new in plan.priorities:
        assert (await master.data("buildrequests", new.request_id))["priority"] == new.priority


def _made(connection: sa.Connection, buildset_ids: list[int]) -> dict[int, dict[str, Any]]:
    """Return what the tables say of buildsets, by id."""
    found: dict[int, dict[str, Any]] = {}
    for record in connection.execute(
        sa.select(Model.buildsets).where(Model.buildsets.c.id.in_(buildset_ids))
    ):
        found[record.id] = {
            "reason": record.reason,
            "more": {
                "external_idstring": record.external_idstring,
                "rebuilt_buildid": record.rebuilt_buildid,
                "parent_buildid": record.parent_buildid,
                "parent_relationship": record.parent_relationship,
            },
            "requests": {},
            "properties": {},
            "stamps": [],
        }
    requests, properties = Model.buildrequests, Model.buildset_properties
    links, stamps = Model.buildset_sourcestamps, Model.sourcestamps
    for record in connection.execute(
        sa.select(requests).where(requests.c.buildsetid.in_(buildset_ids))
    ):
        its = (record.builderid, record.priority, record.waited_for)
        found[record.buildsetid]["requests"][record.id] = its
    for record in connection.execute(
        sa.select(properties).where(properties.c.buildsetid.in_(buildset_ids))
    ):
        value = tuple(json.loads(record.property_value))
        found[record.buildsetid]["properties"][record.property_name] = value
    query = sa.select(links.c.buildsetid, stamps).join_from(
        links, stamps, stamps.c.id == links.c.sourcestampid
    )
    for record in connection.execute(query.where(links.c.buildsetid.in_(buildset_ids))):
        found[record.buildsetid]["stamps"].append(dict(record._mapping))
    return found


async def _check_buildset(
    master: Master, order: Order, found: Mapping[str, Any], planned: NewBuildset, buildset_id: int
) -> None:
    assert found["reason"] == planned.reason
    wanted = Counter((one.builder_id, planned.priority, 0) for one in planned.builders)
    assert Counter(found["requests"].values()) == wanted
    properties = dict(found["properties"])
    marks = {name: properties.pop(name) for name in MARKS}
    assert marks["owner"] == (order.who, "Self-serve")
    assert marks["selfserve_job"] == (order.job_id, "Self-serve")
    assert marks["selfserve_key"][1] == "Scheduler"
    if planned.looks_back:
        assert properties.pop("selfserve_range") == marks["selfserve_job"]
    if not planned.is_copy:
        ids = {name: properties.pop(name) for name in GIVEN_IDS}
        assert [len(ids[name][0]) for name in sorted(ids)] == [14, 32]
    wanted_properties = {
        name: tuple(json.loads(json.dumps(pair)))
        for name, pair in planned.properties.items()
        if planned.is_copy or name not in GIVEN_IDS
    }
    assert properties == wanted_properties
    assert found["more"] == {name: planned.more.get(name) for name in found["more"]}
    assert len(found["stamps"]) == len(planned.sourcestamps)
    for stamp in planned.sourcestamps:
        assert any(_is(one, stamp) for one in found["stamps"]), (stamp, found["stamps"])


def _is(row: Mapping[str, Any], stamp: int | Mapping[str, Any]) -> bool:
    """Whether *row* of the sourcestamps is the one that was planned."""
    if isinstance(stamp, int):
        return bool(row["id"] == stamp)
    return all(row[name] == value for name, value in stamp.items() if value is not None)


def outcomes(receipt: Any) -> list[tuple[str, str]]:
    """Return the builder and the outcome of each entry, sorted."""
    return sorted((one["buildername"], one["outcome"]) for one in receipt["requests"])


def check_receipts(dry_run: Any, done: Any) -> None:
    """Hold the receipt of an act against that of its dry run: the same entries."""
    planned, after = dry_run["requests"], done["requests"]
    wanted = Counter((one["buildername"], frozenset(BECOMES[one["outcome"]])) for one in planned)
    for one in after:
        name, outcome = one["buildername"], one["outcome"]
        fits = [which for which in wanted if which[0] == name and outcome in which[1]]
        assert fits, (one, planned)
        wanted[fits[0]] -= 1
        wanted += Counter()
    assert not wanted
    ids = {one["request_id"] for one in after}
    assert {one["request_id"] for one in planned} - {None} <= ids


def check_planned(answer: Any) -> Any:
    """Check that an answer is that of a dry run; return its JSON."""
    assert answer.status == 200, answer.text
    planned = answer.json
    assert planned["status"] == "PLANNED"
    assert planned["plan"]
    assert not {"request_id", "job_id", "job_url", "completed_at"} & set(planned)
    assert answer.header("location") is None
    for one in planned["requests"]:
        assert one["outcome"] in BECOMES
        if one["outcome"] == "would_create":
            assert (one["request_id"], one["url"], one["build_ids"]) == (None, None, [])
            assert {"revision", "priority"} <= set(one)
    return planned
