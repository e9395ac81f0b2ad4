"""The answers of ``history`` in the plainest way: everything is read, and looked through.

What the index must never differ from. Also writes histories, as Buildbot would.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cache
from functools import cached_property
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Branch

_stamps, _links = Model.sourcestamps, Model.buildset_sourcestamps
_buildsets, _requests = Model.buildsets, Model.buildrequests
_claims, _builds = Model.buildrequest_claims, Model.builds
_properties, _owners = Model.build_properties, Model.buildset_properties
_changes, _users, _change_users = Model.changes, Model.users, Model.change_users
_tables = (_stamps, _links, _buildsets, _requests, _claims, _builds, _properties, _owners, _changes)

DAY = 86400
_HASH = re.compile("[0-9a-fA-F]{40}|[0-9a-fA-F]{64}")
_SHORT = re.compile("[0-9a-fA-F]{6,63}")
#: When these histories begin.
BEGIN = 1_700_000_000 // DAY * DAY
BUILDERS, WORKERS, MASTERS = range(1, 4), range(1, 3), range(1, 3)


# -- the answers


class Plain:
    """All rows of all branches, as the database has them now.

    :param remembered: hashes that were known before what told of them was deleted
    """

    def __init__(
        self, connection: sa.Connection, remembered: Iterable[tuple[str, Any]] = ()
    ) -> None:
        self.remembered = list(remembered)
        tables = (*_tables, _users, _change_users)
        every: dict[str, list[Any]] = {
            table.name: list(connection.execute(sa.select(table)).mappings()) for table in tables
        }
        self.stamps = {one["id"]: one for one in every["sourcestamps"]}
        self.changes = sorted(every["changes"], key=lambda one: one["changeid"])
        self.buildsets = {one["id"]: one for one in every["buildsets"]}
        self.links = every["buildset_sourcestamps"]
        self.requests = every["buildrequests"]
        self.claims = {one["brid"]: one["claimed_at"] for one in every["buildrequest_claims"]}
        self.builds = every["builds"]
        self.owners = {
            one["buildsetid"]: json.loads(one["property_value"])[0]
            for one in every["buildset_properties"]
            if one["property_name"] == "owner"
        }
        self.got = {
            one["buildid"]: json.loads(one["value"])
            for one in every["build_properties"]
            if one["name"] == "got_revision"
        }
        identifiers = {one["uid"]: one["identifier"] for one in every["users"]}
        self.users = [(one["changeid"], identifiers[one["uid"]]) for one in every["change_users"]]

    def belongs(self, branch: Branch, stamp: Any) -> bool:
        return stamp["branch"] in branch.branches and all(
            wanted is None or stamp[column] in wanted
            for column, wanted in (
                ("codebase", branch.codebases),
                ("project", branch.projects),
                ("repository", branch.repositories),
            )
        )

    def newest_changes(self, branch: Branch) -> list[int]:
        """Return the newest change in each codebase and repository, the newest first."""
        newest = {}
        for change in self.changes:
            stamp = self.stamps[change["sourcestampid"]]
            if self.belongs(branch, stamp):
                newest[stamp["codebase"], stamp["repository"]] = change["changeid"]
        return sorted(newest.values(), reverse=True)

    def builders_since(self, branch: Branch, since: int) -> set[int]:
        """Return the builders that were asked for since then."""
        its = {
            link["buildsetid"]
            for link in self.links
            if self.belongs(branch, self.stamps[link["sourcestampid"]])
            and self.buildsets[link["buildsetid"]]["submitted_at"] >= since
        }
        return {one["builderid"] for one in self.requests if one["buildsetid"] in its}

    def rows(self, branch: Branch, counts: Callable[[Any], bool] = bool) -> list[dict[str, Any]]:
        """Return all rows of *branch*, as clients see them and not in any order.

        :param counts: whether a sourcestamp does
        """
        chosen: dict[int, Any] = {}
        its = [(self.stamps[one["sourcestampid"]], one["buildsetid"]) for one in self.links]
        for stamp, buildset_id in sorted(its, key=lambda one: (one[0]["codebase"], one[0]["id"])):
            if self.belongs(branch, stamp) and counts(stamp):
                chosen.setdefault(buildset_id, stamp)
        return [
            row
            for request in self.requests
            if request["buildsetid"] in chosen
            for row in self._rows_of(request, chosen[request["buildsetid"]])
        ]

    def _rows_of(self, request: Any, stamp: Any) -> Iterable[dict[str, Any]]:
        request_id = request["id"]
        builds = self.builds_of.get(request_id, [])
        row = {
            "request_id": request_id,
            "buildset_id": request["buildsetid"],
            "revision": self.named(stamp) or None,
            "start": request["submitted_at"],
            "end": request["complete_at"] if request["complete"] else None,
            "status": request["results"] if request["complete"] else None,
            "claimed_at": self.claims.get(request_id, 0),
            "priority": request["priority"],
            "reason": self.buildsets[request["buildsetid"]]["reason"],
            "owner": self._owner(request["buildsetid"]),
            "patched": self.is_patched(request["buildsetid"]),
        }
        for build in builds:
            over = build["complete_at"] is not None
            yield {
                **row,
                "build_id": build["id"],
                "revision": self.of_build(build["id"], stamp) or self.named(stamp) or None,
                "start": build["started_at"],
                "end": build["complete_at"],
                "status": build["results"] if over else None,
                "worker": build["workerid"],
                "master": build["masterid"],
            }
        if request["complete"]:
            told = any(one["complete_at"] is None or one["results"] != RETRY for one in builds)
        else:
            told = any(one["complete_at"] is None for one in builds)
        if not told:
            yield row

    def _owner(self, buildset_id: int) -> str | None:
        its = {one["sourcestampid"] for one in self.links if one["buildsetid"] == buildset_id}
        authors = [one["author"] for one in self.changes if one["sourcestampid"] in its]
        return self.owners.get(buildset_id) or (authors[-1] if authors else None)

    @cached_property
    def builds_of(self) -> dict[int, list[Any]]:
        """Return the builds by their requests."""
        found: dict[int, list[Any]] = {}
        for build in self.builds:
            found.setdefault(build["buildrequestid"], []).append(build)
        return found

    def is_patched(self, buildset_id: int) -> bool:
        """Whether a sourcestamp of a buildset has a patch."""
        return buildset_id in self._patched

    @cached_property
    def _patched(self) -> set[int]:
        patched = {one["id"] for one in self.stamps.values() if one["patchid"] is not None}
        return {one["buildsetid"] for one in self.links if one["sourcestampid"] in patched}

    # -- what texts mean

    @cached_property
    def hashes(self) -> list[tuple[str, Any]]:
        """Return the hashes that are known, each with a sourcestamp that says where."""
        named = [(spelled(one["revision"]), one) for one in self.stamps.values()]
        found = [(one, stamp) for one, _, stamp in self._said]
        every = named + found + self.remembered
        return [(one, stamp) for one, stamp in every if _HASH.fullmatch(one)]

    @cache  # noqa: B019 - there are few, and none lives long
    def _completed(self, text: str, stamp_id: int) -> list[str]:
        return self._all_completed(text, self.stamps[stamp_id])

    def completed(self, text: str, stamp: Any) -> list[str]:
        """Return what digits at the place of a sourcestamp may mean."""
        return self._completed(text, stamp["id"])

    def _all_completed(self, text: str, stamp: Any) -> list[str]:
        if not _SHORT.fullmatch(text) or _HASH.fullmatch(text):
            return []
        begin = text.lower()
        whole = {
            one for one, other in self.hashes if one.startswith(begin) and _one_source(stamp, other)
        }
        return sorted(whole)

    def whole(self, text: str, stamp: Any) -> str:
        whole = self.completed(text, stamp)
        return whole[0] if len(whole) == 1 else text

    def named(self, stamp: Any) -> str:
        """Return the revision that a sourcestamp names."""
        return self.whole(spelled(stamp["revision"]), stamp)

    def of_build(self, build_id: int, stamp: Any) -> str | None:
        """Return the revision of a build that says it itself."""
        for one, its, other in self._said:
            if its == build_id and other["id"] == stamp["id"]:
                return self.whole(one, stamp)
        return None

    @cached_property
    def _said(self) -> list[tuple[str, int, Any]]:
        """Return what builds say that they are of, and their sourcestamps that leave it open."""
        return list(self._saying())

    def _saying(self) -> Iterable[tuple[str, int, Any]]:
        buildset_of = {one["id"]: one["buildsetid"] for one in self.requests}
        for build in self.builds:
            got = self.got.get(build["id"])
            for link in self.links:
                if link["buildsetid"] != buildset_of[build["buildrequestid"]]:
                    continue
                stamp = self.stamps[link["sourcestampid"]]
                found = spelled(got.get(stamp["codebase"]) if isinstance(got, dict) else got)
                text = spelled(stamp["revision"])
                if found and (
                    not text
                    or (
                        re.fullmatch("[0-9a-fA-F]{4,63}", text)
                        and not _HASH.fullmatch(text)
                        and _HASH.fullmatch(found)
                        and found.startswith(text.lower())
                    )
                ):
                    yield found, build["id"], stamp

    def revisions(self, branch: Branch) -> set[str]:
        """Return all revisions that are known on *branch*."""
        named = {self.named(one) for one in self.stamps.values() if self.belongs(branch, one)}
        return {*named, *(found for found, _, _ in self._found(branch))} - {""}

    def meant(self, branch: Branch, text: str) -> list[str]:
        """Return what *text* may mean on *branch*."""
        revisions = self.revisions(branch)
        text = spelled(text)
        hashes = sorted(
            one
            for one in revisions
            if _SHORT.fullmatch(text) and _HASH.fullmatch(one) and one.startswith(text.lower())
        )
        if text in revisions and not self._only_several(branch, text):
            return [text]
        return hashes or [one for one in (text,) if one in revisions]

    def _only_several(self, branch: Branch, text: str) -> bool:
        """Whether *text* is nothing there but the beginning of several hashes."""
        its = [
            one
            for one in self.stamps.values()
            if self.belongs(branch, one) and spelled(one["revision"]) == text
        ]
        its += [stamp for one, _, stamp in self._found(branch) if one == text]
        return all(self.completed(text, stamp) for stamp in its)

    def _found(self, branch: Branch) -> Iterable[tuple[str, int, Any]]:
        for found, build_id, stamp in self._said:
            if self.belongs(branch, stamp):
                yield self.whole(found, stamp), build_id, stamp

    def at(self, branch: Branch, revision: str, patched: bool = False) -> list[dict[str, Any]]:
        """Return the rows at *revision*."""
        found = [
            row
            for row in self.rows(branch, lambda stamp: self.named(stamp) == revision)
            if "build_id" not in row or row["revision"] == revision
        ]
        builds = {build_id for its, build_id, _ in self._found(branch) if its == revision}
        requests = {one["buildrequestid"] for one in self.builds if one["id"] in builds}
        there = set(map(_which, found))
        found += [
            row
            for row in self.rows(branch)
            if _which(row) not in there
            and (
                row.get("build_id") in builds
                or ("build_id" not in row and row["request_id"] in requests)
            )
        ]
        return [row for row in found if patched or not row["patched"]]

    def day(self, branch: Branch, begin: int) -> list[dict[str, Any]]:
        """Return the rows of the day that begins at *begin*."""
        return [row for row in self.rows(branch) if begin <= row["start"] < begin + DAY]

    def some_requests(self) -> list[int]:
        """Return some of the build requests, the same of the same history."""
        return [one["id"] for one in self.requests if one["id"] % 3 == 1]

    def of_user(self, branch: Branch, user: str, asked_for: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of the changes of *user*, and of the buildsets of some requests."""
        names = [(one["changeid"], one["author"]) for one in self.changes]
        changes = {
            change_id
            for change_id, name in [*names, *self.users]
            if name == user
            or re.search(rf"<{re.escape(user)}>\s*$", name, re.IGNORECASE)
            or ("@" in user and name.lower() == user.lower())
        }
        stamps = {one["sourcestampid"] for one in self.changes if one["changeid"] in changes}
        mine = self.rows(branch, lambda stamp: stamp["id"] in stamps)
        there = set(map(_which, mine))
        buildsets = {one["buildsetid"] for one in self.requests if one["id"] in asked_for}
        return mine + [
            row
            for row in self.rows(branch)
            if row["buildset_id"] in buildsets and _which(row) not in there
        ]


def spelled(revision: str | None) -> str:
    """Return *revision* in its one spelling."""
    text = (revision or "").strip()
    return text.lower() if _HASH.fullmatch(text) else text


def _one_source(one: Any, other: Any) -> bool:
    return one["codebase"] == other["codebase"] and all(
        one[column] == other[column] or not one[column] or not other[column]
        for column in ("branch", "repository")
    )


def _which(row: dict[str, Any]) -> tuple[bool, int]:
    """Return what tells a row from others: it is a build or a request, and its id."""
    return "build_id" in row, row.get("build_id", row["request_id"])


# -- histories


class Writer:
    """Writes a history, one piece at a time, as Buildbot would."""

    def __init__(self, connection: sa.Connection, seed: int) -> None:
        self.connection = connection
        self.random = random.Random(seed)
        self.now = BEGIN

    def insert(self, table: sa.Table, **values: Any) -> int:
        result = self.connection.execute(table.insert().values(**values))
        return int(result.inserted_primary_key[0]) if result.inserted_primary_key else 0

    def begin(self) -> None:
        """Write builders, workers, masters and users."""
        for kind, ids in (
            (Model.builders, BUILDERS),
            (Model.workers, WORKERS),
            (Model.masters, MASTERS),
        ):
            for one in ids:
                more: dict[str, Any] = {} if kind is Model.workers else {"name_hash": f"{one:040}"}
                if kind is Model.workers:
                    more = {"info": {}, "paused": 0, "graceful": 0}
                if kind is Model.masters:
                    more |= {"active": 1, "last_active": BEGIN}
                self.insert(kind, id=one, name=f"{kind.name}-{one}", **more)
        for uid, name in enumerate(("ada", "Bob <bob@example.org>"), 1):
            self.insert(_users, uid=uid, identifier=name)

    def stamp(self, **given: Any) -> int:
        """Write a sourcestamp."""
        values = {
            "branch": self.random.choice(["main", "Main", "main ", "x", "", None]),
            "revision": self.random.choice([self.revision(), self.revision(), "", None]),
            "codebase": self.random.choice(["", "", "app", "lib"]),
            "project": self.random.choice(["", "p"]),
            "repository": self.random.choice(["", "https://r/"]),
            **given,
        }
        ss_hash = f"{self.random.getrandbits(160):040x}"
        return self.insert(_stamps, ss_hash=ss_hash, created_at=self.now, **values)

    def revision(self) -> str:
        """Return a revision as somebody may write it: of few, so that they meet."""
        whole = self.hash()
        kinds = [
            whole,
            whole[:8],
            whole.upper(),
            f"{whole} ",
            whole[:7].upper(),
            whole[:4],
            str(self.random.choice([1234567, 123456, 12345678])),
            self.random.choice(["v1.2.1", "v1.2.10", "decade"]),
        ]
        return self.random.choice([whole, *kinds])

    def hash(self) -> str:
        """Return a hash of few, of either length; some begin alike."""
        number = self.random.randrange(24)
        begin = ["abcdef01", "1234567a"][number % 2] if number < 6 else ""
        whole = begin + hashlib.sha256(str(number).encode()).hexdigest()
        return whole[: 64 if number % 5 == 0 else 40]

    def patch(self) -> int:
        """Write a patch."""
        values = {"patchlevel": 1, "patch_base64": "", "patch_author": "", "patch_comment": ""}
        return self.insert(Model.patches, **values)

    def change(self, stamp_id: int, author: str | None = None) -> int:
        """Write a change of a sourcestamp, sometimes with users."""
        author = author or self.random.choice(
            [
                "ada",
                "Ada",
                "Bob <bob@example.org>",
                "Bob <BOB@Example.org>",
                "Eve <eve@example.org>",
                "eve@Example.org",
                "odd <a> <b@c>",
            ]
        )
        change_id = self.insert(
            _changes,
            author=author,
            comments="",
            branch="main",
            revision="",
            when_timestamp=self.now,
            repository="",
            codebase="",
            project="",
            sourcestampid=stamp_id,
        )
        if self.random.random() < 0.3:
            self.insert(_change_users, changeid=change_id, uid=self.random.choice([1, 2]))
        return change_id

    def buildset(self, *stamp_ids: int) -> list[int]:
        """Write a buildset of sourcestamps; return its requests."""
        buildset_id = self.insert(
            _buildsets,
            submitted_at=self.now,
            reason=self.random.choice(["a push", "again"]),
            complete=0,
            results=-1,
        )
        if self.random.random() < 0.3:
            self.property(buildset_id, "owner", self.random.choice(["ada", "eve", None]))
        for stamp_id in stamp_ids:
            self.insert(_links, buildsetid=buildset_id, sourcestampid=stamp_id)
        builders = self.random.sample(list(BUILDERS), self.random.randint(1, 3))
        return [
            self.insert(
                _requests,
                buildsetid=buildset_id,
                builderid=builder_id,
                priority=self.random.randint(-1, 1),
                complete=0,
                results=-1,
                submitted_at=self.now,
            )
            for builder_id in builders
        ]

    def buildset_of(self, request_id: int) -> int:
        """Return the buildset of a request."""
        its = sa.select(_requests.c.buildsetid).where(_requests.c.id == request_id)
        return int(self.connection.execute(its).scalar_one())

    def property(self, buildset_id: int, name: str, value: Any) -> None:
        """Give a buildset a property."""
        both = json.dumps([value, "Self-serve"])
        self.insert(_owners, buildsetid=buildset_id, property_name=name, property_value=both)

    def claim(self, request_id: int) -> None:
        self.insert(_claims, brid=request_id, masterid=1, claimed_at=self.now)

    def build(self, request_id: int, after: int = 0) -> int:
        """Write a build of a request, which starts so many seconds from now."""
        return self.insert(
            _builds,
            number=self.random.getrandbits(30),
            builderid=1,
            buildrequestid=request_id,
            workerid=self.random.choice(list(WORKERS)),
            masterid=self.random.choice(list(MASTERS)),
            started_at=self.now + after,
            locks_duration_s=0,
            state_string="building",
        )

    def find(self, build_id: int) -> None:
        """Let a build find a revision by itself."""
        found: Any = self.hash()
        named = (
            sa.select(_stamps.c.revision)
            .join(_links, _links.c.sourcestampid == _stamps.c.id)
            .join(_requests, _requests.c.buildsetid == _links.c.buildsetid)
            .join(_builds, _builds.c.buildrequestid == _requests.c.id)
            .where(_builds.c.id == build_id)
        )
        text = self.connection.execute(named).scalars().first()
        if text and self.random.random() < 0.8:
            # what a step checks out that was told to
            found = text + hashlib.sha256(text.encode()).hexdigest()[: max(0, 40 - len(text))]
        if self.random.random() < 0.2:
            found = {"app": found, "": self.random.choice(["fffffff", "abcdef01", "f" * 40])}
        self.found(build_id, "got_revision", found)

    def found(self, build_id: int, name: str, value: Any) -> None:
        """Give a build a property."""
        values = {"name": name, "value": json.dumps(value), "source": "Git"}
        self.insert(_properties, buildid=build_id, **values)

    def end_build(self, build_id: int, results: int) -> None:
        ended = {"complete_at": self.now + 60, "results": results}
        self.connection.execute(_builds.update().where(_builds.c.id == build_id).values(**ended))

    def end_request(self, request_id: int, results: int) -> None:
        ended = {"complete": 1, "complete_at": self.now + 60, "results": results}
        its = _requests.c.id == request_id
        self.connection.execute(_requests.update().where(its).values(**ended))

    def something(self) -> None:
        """Write a sourcestamp and what may come of it, some time later than the last."""
        chance = self.random.random
        self.now += self.random.choice([60, 3600, DAY // 3])
        stamps = [self.stamp() for _ in range(self.random.choice([1, 1, 1, 2]))]
        if chance() < 0.1:
            stamps[0] = self.stamp(patchid=self.patch())
        older = self.connection.execute(sa.select(_stamps.c.id)).scalars().all()
        if chance() < 0.3:
            stamps = list({*stamps, self.random.choice(older)})
        for stamp_id in stamps:
            if chance() < 0.7:
                self.change(stamp_id)
        if chance() < 0.1:
            return
        for request_id in self.buildset(*stamps):
            if chance() < 0.2:
                continue
            if chance() < 0.1:
                self.end_request(request_id, 6)
                continue
            self.claim(request_id)
            for again in range(3):
                build_id = self.build(request_id, self.random.choice([0, 3600, DAY, 3 * DAY]))
                if chance() < 0.6:
                    self.find(build_id)
                if chance() < 0.3:
                    break
                results = self.random.choice([0, 2, RETRY])
                self.end_build(build_id, results)
                if results != RETRY or again == 2:
                    self.end_request(request_id, results)
                    break
