"""What a text means: one commit is one revision, however it is spelled; nothing else is another."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util

from tests.harness import USER
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"

GIT = "12345678" + "90abcdef" * 4
SHA256 = "fedcba98" * 8
MERCURIAL = "0f1e2d3c4b5a69788796" * 2
REPOSITORY = "https://example.org/repo"
ROOT = "/self-serve/main"


def said() -> Config:
    """Return a master with a builder that tells what it found: what a property says."""
    found = steps.SetProperty(property="got_revision", value=util.Property("find"))
    made = config()
    made["builders"] += [
        builder("broken", "false"),
        builder("slow as well", "sleep 60"),
        util.BuilderConfig(
            name="finding",
            workernames=["worker"],
            factory=util.BuildFactory([found, steps.ShellCommand(command=["sh", "-c", "sleep 0"])]),
        ),
    ]
    # what is pushed is told to nobody
    names = [one.name for one in made["builders"]]
    made["schedulers"] = [schedulers.Triggerable(name="any", builderNames=names)]
    return made


async def push(master: Any, revision: str, **more: Any) -> int:
    """Let Buildbot see a revision."""
    given = {"author": "ada", "files": ["a.c"], "comments": "", "branch": "main", **more}
    given.setdefault("repository", REPOSITORY)
    change_id: int = await master.add_change(revision=revision, **given)
    return change_id


async def built(master: Any, builder_name: str, revision: str | None, **more: Any) -> int:
    """Build a revision as it is spelled; return the id of the build."""
    build = await master.finished_build(builder_name, revision=revision, **more)
    return int(build["buildid"])


async def at(master: Any, text: str, root: str = ROOT) -> list[int] | str:
    """Return the builds at a revision, oldest first, or why there are none."""
    answer = await master.get(f"{root}/rev/{quote(text, safe='')}")
    if answer.status != 200:
        assert answer.status == 404
        return str(answer.json.get("detail", "not found"))
    return sorted(row["build_id"] for row in answer.json if "build_id" in row)


async def is_done(master: Any, text: str) -> tuple[int, int] | None:
    """Return how many builds a revision has, and how many of them failed."""
    answer = await master.get(f"{ROOT}/rev/{quote(text, safe='')}/is_done?stableDelay=0")
    return (answer.json["builds"], answer.json["failed"]) if answer.status == 200 else None


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_commit_that_was_built_before_it_was_pushed(master: Any) -> None:
    first = await built(master, "fast", GIT[:8])
    assert await at(master, GIT[:8]) == [first]
    assert await at(master, GIT) == "not found"
    await push(master, GIT)
    second = await built(master, "broken", GIT)
    third = await built(master, "fast", GIT.upper())
    fourth = await built(master, "fast", f"{GIT} ")
    fifth = await built(master, "fast", GIT[:12].upper())
    every = [first, second, third, fourth, fifth]
    for text in (GIT, GIT.upper(), GIT[:6], GIT[:7], GIT[:8], GIT[:39].upper(), f"{GIT[:8]}\n"):
        assert await at(master, text) == every, text
        assert await is_done(master, text) == (5, 1)
        listed = await master.get(f"/self-serve/branches?revision={quote(text)}")
        assert list(listed.json) == ["main"]
    for rows in (await master.get(ROOT)).json, (await master.get(f"{ROOT}/rev/{GIT}")).json:
        assert {row["revision"] for row in rows} == {GIT}
    (row,) = (await master.get(f"{ROOT}/build/{first}")).json["requests"]
    assert row["revision"] == GIT
    # an abbreviation that is typed stores no further one
    for path in (f"builders/fast/{GIT[:9]}", f"builders/fast/%20{GIT.upper()}%20"):
        receipt = await master.post(f"{ROOT}/{path}", user=USER)
        assert receipt.status == 202
        (made,) = receipt.json["requests"]
        buildset = (await master.data("buildrequests", made["request_id"]))["buildsetid"]
        (stamp,) = (await master.data("buildsets", buildset))["sourcestamps"]
        assert (stamp["revision"], stamp["repository"]) == (GIT, REPOSITORY)
        what = (await master.get(f"/self-serve/jobs/{receipt.json['job_id']}")).json["what"]
        assert what["revision"] == GIT


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_a_build_found_counts_and_then_what_begins_so(master: Any) -> None:
    def finds(revision: str) -> dict[str, Any]:
        return {"properties": {"find": (revision, "a test")}}

    other = GIT[:8] + "f" * 32
    found = await built(master, "finding", GIT[:8], **finds(GIT))
    silent = await built(master, "fast", GIT[:8])
    nameless = await built(master, "finding", None, **finds(GIT.upper()))
    assert await at(master, GIT[:7]) == [found, silent, nameless]
    # a second one: what said nothing is of neither
    second = await built(master, "finding", GIT[:8], **finds(other))
    assert await at(master, GIT) == [found, nameless]
    assert await at(master, other) == [second]
    several = f"several revisions begin with it: {GIT}, {other}"
    assert await at(master, GIT[:8]) == several
    assert (await master.post(f"{ROOT}/rev/{GIT[:8]}", user=USER)).status == 404
    row = (await master.get(f"{ROOT}/build/{silent}")).json
    assert row["revision"] == GIT[:8]
    # fewer digits than somebody may type, and a tag that looks like digits
    few = await built(master, "finding", SHA256[:4], **finds(SHA256))
    tag = await built(master, "finding", "decade", **finds(MERCURIAL))
    assert (await at(master, SHA256), await at(master, SHA256[:4])) == ([few], [])
    assert (await at(master, "decade"), await at(master, MERCURIAL)) == ([tag], "not found")
    # the beginning of a longer hash, and a shorter hash that is one itself
    assert await at(master, SHA256[:40]) == [few]
    whole = await built(master, "fast", SHA256[:40])
    assert (await at(master, SHA256[:40]), await at(master, SHA256)) == ([whole], [few])
    named = f"several revisions begin with it: {SHA256[:40]}, {SHA256}"
    assert await at(master, SHA256[:39]) == named


#: What only means itself, and what begins so but is another.
THEMSELVES = [
    ("v1.2.1", "v1.2.10"),
    ("123456", "1234567"),
    ("1234567", "12345678"),
    ("release 1", "release 1.0"),
    ("feed", "feedface"),
    ("abcdef0", "abcdef0-dirty"),
    ("Facade", "facade"),
    ("2024-01-01", "2024-01-01T00"),
]


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_anything_else_is_only_itself(master: Any) -> None:
    for text, longer in THEMSELVES:
        known = await at(master, text)
        if known == "not found":
            longer_build = await built(master, "fast", longer)
            assert await at(master, text) == "not found"
            assert await is_done(master, text) is None
            path = f"{ROOT}/rev/{quote(text)}"
            assert (await master.request("DELETE", path, user=USER)).status == 404
            receipt = await master.post(f"{ROOT}/builders/fast/{quote(text)}", user=USER)
            (made,) = receipt.json["requests"]
            await master.completed(made["request_id"])
            row = (await master.get(f"{ROOT}/request/{made['request_id']}")).json
            assert row["revision"] == text
            assert await at(master, longer) == [longer_build]
        (itself,) = (await master.get(f"{ROOT}/rev/{quote(text)}")).json
        assert itself["revision"] == text
    # numbers of one source are no hashes of another
    number = await built(master, "fast", "7654321")
    await push(master, "7654321" + "0" * 33, repository="https://example.org/other")
    assert await at(master, "7654321") == [number]


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_all_that_is_of_a_commit_is_cancelled_and_nothing_else(master: Any) -> None:
    await push(master, GIT)
    running = await master.add_request("slow", revision=GIT.upper())
    await master.running_build(running)
    nameless = await master.add_request("slow as well", revision=None)
    build = await master.running_build(nameless)
    its = build["buildid"], "got_revision", GIT, "a test"
    await master.master.data.updates.setBuildProperty(*its)
    master.pause()
    wanted = [
        running,
        nameless,
        await master.add_request("fast", revision=GIT),
        await master.add_request("fast", revision=GIT[:8]),
        await master.add_request("fast", revision=f"{GIT[:10].upper()} "),
    ]
    left = [
        await master.add_request("fast", revision=MERCURIAL),
        await master.add_request("fast", revision=GIT[:5]),
        await master.add_request("fast", sourcestamps=[patched(GIT)]),
    ]
    receipt = await master.request("DELETE", f"{ROOT}/rev/{GIT}", user=USER)
    assert receipt.status == 202, receipt.text
    ended = {one["request_id"]: one["outcome"] for one in receipt.json["requests"]}
    assert set(ended) == {*wanted}
    assert set(ended.values()) == {"cancelled", "stopped"}
    # nobody knows any more which of two is meant
    await push(master, GIT[:8] + "f" * 32)
    left.append(await master.add_request("fast", revision=GIT[:8]))
    receipt = await master.request("DELETE", f"{ROOT}/rev/{GIT}", user=USER)
    assert receipt.json["requests"] == []
    for request_id in left:
        assert not (await master.data("buildrequests", request_id))["complete"]


def patched(revision: str | None, **more: Any) -> dict[str, Any]:
    """Return the sourcestamp of a try build."""
    return {
        "branch": "main",
        "revision": revision,
        "repository": REPOSITORY,
        "codebase": "",
        "project": "",
        "patch_body": b"--- a\n+++ b\n",
        "patch_level": 1,
        "patch_author": "",
        "patch_comment": "",
        "patch_subdir": "",
        **more,
    }


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_try_build_is_not_its_base_revision(master: Any) -> None:
    good = await built(master, "fast", GIT)
    tried = await built(master, "broken", GIT, sourcestamps=[patched(GIT)])
    assert await at(master, GIT) == [good]
    assert await is_done(master, GIT) == (1, 0)
    both = (await master.get(f"{ROOT}/rev/{GIT[:8]}?patched=1")).json
    assert {row["build_id"]: row.get("patched") for row in both} == {good: None, tried: True}
    for text in ("0", "false", ""):
        assert len((await master.get(f"{ROOT}/rev/{GIT}?patched={text}")).json) == 1
    for text in ("2", "yes", "-1"):
        answer = await master.get(f"{ROOT}/rev?revision={GIT}&patched={text}")
        assert (answer.status, answer.json["msg"]) == (400, "Bad patched")
    page = (await master.get(f"{ROOT}/rev/{GIT}", json=False)).text
    assert "1 more with a patch on top" in page
    assert f'href="{ROOT}/build/{tried}"' not in page
    told = {row["build_id"]: row.get("patched") for row in (await master.get(ROOT)).json}
    assert told == {good: None, tried: True}
    detail = (await master.get(f"{ROOT}/build/{tried}")).json
    assert (detail["patched"], detail["requests"][0]["patched"]) == (True, True)
    # rebuilt, it has its patch; and nothing of it is cancelled with the revision
    master.pause()
    receipt = await master.post(f"{ROOT}/build", user=USER, data={"build_id": tried})
    (again,) = receipt.json["requests"]
    row = (await master.get(f"{ROOT}/request/{again['request_id']}")).json
    assert (row["patched"], row["revision"]) == (True, GIT)
    receipt = await master.request("DELETE", f"{ROOT}/rev/{GIT}", user=USER)
    assert receipt.json["requests"] == []
    # only tried, and only in one of its codebases
    both_of = [patched(MERCURIAL, codebase="a"), {**patched(SHA256, codebase="b")}]
    for name in list(both_of[1]):
        if name.startswith("patch"):
            del both_of[1][name]
    await master.add_request("fast", sourcestamps=both_of)
    for text in (MERCURIAL, SHA256):
        assert await at(master, text) == []
        (row,) = (await master.get(f"{ROOT}/rev/{text}?patched=1")).json
        assert row["patched"] is True


def pulled() -> Config:
    """Return a master whose scheduler takes only changes of a category and a property."""
    wanted = util.ChangeFilter(
        category="pull", filter_fn=lambda change: change.properties.getProperty("kind") == "pull"
    )
    made = config()
    made["schedulers"][0] = schedulers.AnyBranchScheduler(
        name="any", builderNames=["fast"], change_filter=wanted
    )
    return made


@pytest.mark.parametrize("master", [pulled], indirect=True)
@pytest_twisted.ensureDeferred
async def test_files_take_nothing_away_from_the_change_that_was_there(master: Any) -> None:
    real = {
        "author": "Eve <eve@example.org>",
        "committer": "Bob <bob@example.org>",
        "comments": "Mend it\n\nAll of it.",
        "category": "pull",
        "properties": {"kind": "pull"},
        "revlink": "https://example.org/1",
        "project": "p",
        "src": "git",
        "when_timestamp": 1_600_000_000,
    }
    change_id = await push(master, GIT, **real)
    await master.until(lambda: rows_at(master, GIT, 1), "the push is built")
    for files in ('["y.c"]', '["y.c"]', '["z.c", "y.c"]'):
        receipt = await master.post(f"{ROOT}/builders/fast/{GIT}", user=USER, data={"files": files})
        assert receipt.status == 202, receipt.text
    changes = sorted(await master.data("changes"), key=lambda one: one["changeid"])
    assert [sorted(one["files"]) for one in changes] == [["a.c"], ["y.c"], ["y.c", "z.c"]]
    same = [key for key in changes[0] if key not in ("changeid", "files", "parent_changeids")]
    for one in changes[1:]:
        assert {key: one[key] for key in same} == {key: changes[0][key] for key in same}
        users = await master.master.db.changes.getChangeUids(one["changeid"])
        assert users == await master.master.db.changes.getChangeUids(change_id) != []
    # schedulers still take it, and whose it is has not changed
    assert (await master.post(f"{ROOT}/rev/{GIT}", user=USER)).status == 202
    rows = (await master.get(f"{ROOT}/rev/{GIT}")).json
    pushed = min(rows, key=lambda row: row.get("build_id", 10**9))
    assert pushed["requests"][0]["owner"] == "Eve <eve@example.org>"
    for user in ("eve@example.org", "EVE@example.org"):
        mine = (await master.get(f"{ROOT}/user/{user}")).json
        assert pushed["build_id"] in [row["build_id"] for row in mine["builds"]]


async def rows_at(master: Any, revision: str, count: int) -> bool:
    """Whether so many builds of a revision are over."""
    done = await is_done(master, revision)
    return done is not None and done[0] >= count


def default_branch() -> Config:
    made = config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch("none", branch=None),
                util.SelfServeBranch("empty", branch=""),
                util.SelfServeBranch("both", branch=["main", None]),
            ]
        )
    )
    made["schedulers"].append(schedulers.ForceScheduler(name="force", builderNames=["fast"]))
    return made


@pytest.mark.parametrize("master", [default_branch], indirect=True)
@pytest_twisted.ensureDeferred
async def test_no_branch_is_the_default_branch_however_it_is_stored(master: Any) -> None:
    for branch in (None, "", "main"):
        await master.finished_build(branch=branch)
    # as Buildbot's form does, with its field for the branch left empty
    force = next(one for one in master.master.allSchedulers() if one.name == "force")
    _, requests = await force.force("ada", builderNames=["fast"])
    for request_id in requests.values():
        await master.completed(request_id)
    counts = {name: len((await master.get(f"/self-serve/{name}")).json) for name in NAMED}
    assert counts == NAMED


NAMED = {"none": 3, "empty": 3, "both": 4}

JO = "Jo <JO@Example.org>"


@pytest_twisted.ensureDeferred
async def test_an_address_is_compared_without_its_case(master: Any) -> None:
    authors = [JO, "jo@EXAMPLE.org", "Jo <jo@example.org>, Al <al@example.org>", "jo", "Jo"]
    for number, author in enumerate(authors):
        await push(master, f"{number:040x}", author=author)
        await master.until(lambda number=number: rows_at(master, f"{number:040x}", 1))
    idn = "Jü <jü@MÜNCHEN.example>"
    await push(master, "f" * 40, author=idn)
    await master.until(lambda: rows_at(master, "f" * 40, 1))

    async def of(user: str) -> list[int]:
        answer = await master.get(f"{ROOT}/user/{quote(user, safe='')}")
        assert answer.status == 200
        return sorted(int(row["revision"][-1], 16) for row in answer.json["builds"])

    for user in ("jo@example.org", "JO@EXAMPLE.ORG", " jo@example.org\t"):
        assert await of(user) == [0, 1, 2], user
    assert await of("al@Example.org") == [2]
    assert await of("Jo <jo@example.org>") == [0]
    assert (await of("jo <jo@example.org>"), await of("JO <jo@example.org>")) == ([], [])
    assert (await of("jo"), await of("Jo"), await of("JO")) == ([3], [4], [])
    for user in ("jü@münchen.example", "JÜ@xn--mnchen-3ya.example"):
        assert await of(user) == [15]


def by_address() -> Config:
    return config(auth=util.UserPasswordAuth({"Jo@Example.org": "analytical"}))


@pytest.mark.parametrize("master", [by_address], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_asked_by_an_address_is_found_by_it(master: Any) -> None:
    build = await master.finished_build()
    fields = {"build_id": build["buildid"]}
    receipt = await master.post(f"{ROOT}/build", user="Jo@Example.org", data=fields)
    await master.completed(receipt.json["requests"][0]["request_id"])
    for user in ("jo@example.org", "JO@EXAMPLE.ORG", "Jo@Example.org", "jo@example.com"):
        rows = (await master.get(f"{ROOT}/user/{user}")).json["builds"]
        assert len(rows) == (user.lower() == "jo@example.org"), user


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_blanks_around_what_is_pasted_are_taken_away(master: Any) -> None:
    await master.finished_build()
    path = "/self-serve/%20main%20/builders/%20fast%09/%0A" + GIT + "%20"
    receipt = await master.post(path, user=USER)
    assert receipt.status == 202, receipt.text
    fields = {
        "builder_name": " fast ",
        "revision": f"\t{GIT}\n",
        "properties": '{"branch":" main"}',
    }
    receipt = await master.post(f"{ROOT}/builders", user=USER, data=fields)
    assert receipt.status == 202, receipt.text
    await master.completed(receipt.json["requests"][0]["request_id"])
    assert len(await at(master, f"\u00a0{GIT}\u200b")) == 2
    rows = (await master.get("/self-serve/main%20/user/%20ada")).json["builds"]
    assert {row["branch"] for row in rows} == {"main"}
    job = (await master.get("/self-serve/jobs?who=%20ada&branch=main%20&num=1")).json[0]
    assert (job["branch"], job["what"]["revision"]) == ("main", GIT)
    assert job["what"]["builder_name"] == "fast"
    # nothing but blanks is nothing
    for path in ("builders/fast/%20", "rev/%09"):
        answer = await master.post(f"{ROOT}/{path}", user=USER)
        assert (answer.status, answer.json["msg"]) == (400, "Bad revision")
    assert (await master.get(f"{ROOT}/rev/%20")).status == 404


@pytest.mark.parametrize("master", [said], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_page_of_an_unknown_revision_says_so(master: Any) -> None:
    await master.finished_build(revision=SHA256)
    await master.finished_build(branch="dev", revision=GIT)
    for path in (f"rev/{GIT[:8]}", f"rev?revision={GIT[:8]}", f"rev/{GIT[:8]}/is_done"):
        page = await master.get(f"{ROOT}/{path}", json=False)
        assert page.status == 404
        assert "Buildbot has not seen this revision" in page.text
        assert f'href="/self-serve/dev/rev/{GIT}"' in page.text
        assert f'maxlength="256" value="{GIT[:8]}"' in page.text
    assert await at(master, GIT[:8]) == f"known on other branches: {GIT} on dev"
    page = await master.get(f"{ROOT}/new?revision={GIT}", json=False)
    assert "Buildbot has not seen this revision on main" in page.text
    assert f'href="/self-serve/dev/rev/{GIT}"' in page.text
    assert f'maxlength="256" value="{GIT}"' in page.text
    possible = (await master.get(f"{ROOT}/new?revision={GIT}")).json
    assert (possible["known"], possible["elsewhere"]) == (False, {"dev": [GIT]})
    # it leads straight to the only one
    page = await master.get(f"/self-serve/branches?revision=%20{GIT[:7].upper()}", json=False)
    assert (page.status, page.header("location")) == (302, f"/self-serve/dev/rev/{GIT}")
    page = await master.get("/self-serve/branches?revision=nothing", json=False)
    assert page.status == 200
    assert "Buildbot has not seen this revision" in page.text
