"""The events of what is written without Buildbot's own update methods are those of Buildbot."""

from __future__ import annotations

from typing import Any

import pytest_twisted

from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control.insert_buildsets import Inserted
from buildbot_selfserve.control.insert_buildsets import Insertion
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.control.rights import everything
from buildbot_selfserve.model import SCHEDULER
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewBuildset
from tests.harness import REVISION
from tests.harness import Master

BUILDERS = ("fast", "slow")
TOPICS = (
    ("buildsets", None, None),
    ("buildrequests", None, None),
    ("builders", None, "buildrequests", None, None),
    ("buildsets", None, "builders", None, "buildrequests", None, None),
)
STAMP = {"branch": "main", "revision": REVISION, "repository": "r", "project": "p"}
PATCHED = {
    "patch_body": b"+1",
    "patch_level": 1,
    "patch_author": "a",
    "patch_comment": "c",
    "patch_subdir": ".",
}


class Told:
    """All events of build requests and buildsets of a master."""

    def __init__(self) -> None:
        self.messages: list[tuple[tuple[str, ...], dict[str, Any]]] = []

    async def listen_to(self, master: Master) -> None:
        for topic in TOPICS:
            await master.master.mq.startConsuming(
                lambda key, row: self.messages.append((key, row)), topic
            )

    def without_ids(self) -> list[Any]:
        """Return what was told since the last call, but for what differs each time."""
        told, self.messages = self.messages, []
        plain = [_without_ids(key, dict(row)) for key, row in told]
        return sorted(plain, key=lambda one: (one[0], one[2].get("builderid")))


def _without_ids(key: tuple[str, ...], row: dict[str, Any]) -> Any:
    ids = {
        "buildsets": row.pop("buildsetid", row.pop("bsid", None)),
        "buildrequests": row.pop("buildrequestid", None),
        "builders": row.get("builderid"),
    }
    for kind, at in zip(key[::2], key[1::2], strict=False):
        assert at == str(ids[kind])
    return key[::2], type(row.pop("submitted_at")), row


@pytest_twisted.ensureDeferred
async def test_of_new_buildsets_is_told_what_buildbot_tells(master: Master) -> None:
    master.pause()
    ids = [await master.master.data.updates.findBuilderId(name) for name in BUILDERS]
    stamp_ids = [
        await master.master.db.sourcestamps.findSourceStampId(**STAMP, codebase="a"),
        await master.master.db.sourcestamps.findSourceStampId(**STAMP, codebase="b", **PATCHED),
    ]
    told = Told()
    await told.listen_to(master)
    await master.master.data.updates.addBuildset(
        waited_for=False,
        scheduler="any",
        sourcestamps=stamp_ids,
        reason="why",
        properties={"n": (1, "Scheduler")},
        builderids=ids,
        external_idstring="x",
        priority=3,
    )
    # Buildbot reads the requests once more, and does not wait for that
    await master.until(lambda: len(told.messages) == 7, "all was told")
    expected = told.without_ids()
    # which Buildbot itself tells only at the end of a buildset
    expected[-1][2]["parent_relationship"] = None

    buildset = NewBuildset(
        tuple(stamp_ids),
        tuple(Builder(one, name) for one, name in zip(ids, BUILDERS, strict=True)),
        {"n": (1, "test")},
        "why",
        priority=3,
        scheduler="any",
        more={"external_idstring": "x"},
    )
    rights = Rights(master.master, everything)
    admitted = await rights.admitted(buildset)
    assert admitted is not None
    given = [Insertion(number, admitted, stamp_ids, {}) for number in range(2)]
    one, other = await insert_buildsets.insert(master.master, rights, 0, given)
    await insert_buildsets.announce(master.master, [one])
    assert told.without_ids() == expected
    # what was there before is read again
    there = Inserted(other.insertion, other.buildset_id, other.request_ids, None)
    await insert_buildsets.announce(master.master, [there])
    assert told.without_ids() == expected


@pytest_twisted.ensureDeferred
async def test_whoever_changes_what_they_were_told_changes_it_for_no_other_event(
    master: Master,
) -> None:
    master.pause()
    for number in range(2):
        await master.add_request("fast", properties={"n": (number, "Scheduler")})
    ids = [one["buildsetid"] for one in await master.requests()]
    told = Told()
    await told.listen_to(master)
    await mq_producer.added(master.master, dict.fromkeys(ids, SCHEDULER))
    (_, first), (_, second) = told.messages
    for one in first["sourcestamps"]:
        one["branch"] = "changed"
    assert [one["branch"] for one in second["sourcestamps"]] == ["main"]
    stored = second["sourcestamps"][0]["ssid"]
    assert (await master.data("sourcestamps", stored))["branch"] == "main"
