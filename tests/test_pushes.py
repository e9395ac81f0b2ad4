"""Pushes of a branch and of a user: which there are, their order, and what they tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import builds
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.pushes import newest_pushes
from buildbot_selfserve.history.pushes import pushes_named
from buildbot_selfserve.history.pushes import pushes_of_branch
from buildbot_selfserve.history.pushes import pushes_of_user
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.journal.reader import JournalReader
from buildbot_selfserve.journal.tables import metadata as journal_tables
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Pushes
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.pushes import pushes_page
from buildbot_selfserve.resources.pushes import user_page
from buildbot_selfserve.views.read_request import ANYBODY
from tests.push_history import sha
from tests.push_history import write_many
from tests.pushed import MAIN
from tests.pushed import Pushed

EVERY_DATABASE = "heavy"
ADA, BOB = "Ada <ada@example.org>", "Bob <bob@example.org>"


def test_the_newest_push_comes_first(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", ADA, comments=" \nOne line\n\nMore.", files=("x", "y"), linux="P")
    history.push("b", BOB, comments="", files=(), linux="F", mac="r")
    newest, oldest = pushed.pushes()
    assert newest.revision.revision == sha("b")
    assert (newest.verdict, newest.counts) == ("running", {"failed": 1, "running": 1})
    assert newest.base == sha("a")
    assert newest.change is not None
    assert (newest.change.author, newest.change.subject, newest.change.file_count) == (BOB, "", 0)
    assert oldest.change is not None
    assert (oldest.change.author, oldest.change.subject) == (ADA, "One line")
    assert (oldest.change.file_count, oldest.change.change_ids) == (2, (1,))
    assert oldest.when == newest.when - 60 if newest.when else False
    assert [one.at.buildername for one in newest.builders] == ["linux", "mac"]
    assert [one.change for one in newest.builders] == ["regressed", "unknown"]


def test_what_waits_on_the_farm_is_read_only_where_a_push_is_under_way(pushed: Pushed) -> None:
    journal_tables.create_all(pushed.writing)
    pushed.history.push("a", linux="P")
    pushed.history.push("b", linux="F", mac="r")
    with pushed.asked() as asked:
        journal = JournalReader(asked.connection, asked.site)
        # there is no master to ask what it builds
        ctx = ReadContext(asked, journal, dict, ANYBODY, {})
        both = pushes_of_branch(asked, MAIN, 2)
        ended = replace(both, pushes=both.pushes[1:])
        assert pushes_page(ctx, MAIN, ended).forecaster is None
        assert user_page(ctx, "ada", ended).forecaster is None
        with pytest.raises(AssertionError, match="the master's state"):
            pushes_page(ctx, MAIN, both)


def test_what_is_shown_of_a_push_is_its_health(pushed: Pushed) -> None:
    write_many(pushed.history, builders=12, pushes=8)
    for push in pushed.pushes():
        with pushed.asked() as asked:
            (revision,) = candidates(asked, (MAIN,), push.revision.revision)
            done = revisions.done(asked, revision, 0)
        assert done is not None
        assert push.verdict == done.verdict


def test_what_a_build_finds_beside_another_codebase_comes_when_it_was_asked_for(
    pushed: Pushed,
) -> None:
    history = pushed.history
    # only the builds tell what is the newest in the library
    history.build(None, "app:f", codebase="lib", linux="P", got="a")
    for name, found in (("b", "c"), ("d", "e")):
        history.change(name, codebase="app")
        history.build(None, f"app:{name}", codebase="lib", linux="P", got=found)
    assert pushed.line() == "e d c b a f"


def test_a_push_that_was_passed_over_is_told_with_which_one_it_was_built(pushed: Pushed) -> None:
    history = pushed.history

    def told(name: str) -> tuple[str, str | None]:
        (one,) = [one for one in pushed.pushes() if one.revision.revision == sha(name)]
        assert pushed.health(name).built_with == one.built_with
        with pushed.asked() as asked:
            done = revisions.done(asked, one.revision, 0)
        assert done is not None
        assert done.verdict == one.verdict
        assert done.built_with == (None if one.builders else one.built_with)
        return one.verdict, pushed.name(one.built_with)

    history.push("a", linux="P")
    for name in "bc":
        history.push(name)
    assert [told(name) for name in "bc"] == [("pending", None)] * 2
    history.push("d", codebase="other", linux="P")
    history.build("e", linux="P")
    assert [told(name) for name in "bc"] == [("pending", None)] * 2
    history.push("f", linux="F")
    assert [told(name) for name in "abcf"] == [
        ("passed", None), ("incomplete", "f"), ("incomplete", "f"), ("failed", None)
    ]  # fmt: skip
    # a bisection builds what it wants to know, which is not all
    history.build("b", linux="P", job=7)
    assert told("b") == ("passed", "f")
    history.build("b", mac="P")
    assert told("b") == ("passed", None)
    # one that nothing was requested for but by a backfill is none to be built with
    history.push("g")
    history.push("h")
    history.build("h", linux="P", job=8)
    assert [told(name) for name in "gh"] == [("pending", None), ("passed", None)]


def test_a_push_may_be_passed_over_by_very_many(pushed: Pushed) -> None:
    for number in range(40):
        pushed.history.push(f"={number:040x}")
    pushed.history.push("z", linux="P")
    first, *_, before, newest = reversed(pushed.pushes())
    assert {first.built_with, before.built_with} == {sha("z")}
    assert newest.built_with is None


def test_the_same_revision_pushed_twice_is_one_push(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", ADA, files=("x", "y"), linux="P")
    history.push("b", BOB, linux="P")
    history.push("a", BOB, comments="Again", files=("y", "z"), linux="F")
    assert pushed.line() == "b a"
    change = pushed.pushes()[1].change
    assert change is not None
    # the newest change speaks
    assert (change.author, change.subject, change.change_ids) == (BOB, "Again", (1, 3))
    assert change.file_count == 3


def test_a_revision_in_two_projects_is_one_push(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", project="clang", linux="P")
    history.push("b", project="clang")
    history.push("a", project="llvm", mac="F")
    assert pushed.line() == "b a"
    assert {one.at.buildername for one in pushed.pushes()[1].builders} == {"linux", "mac"}


def test_what_was_built_by_hand_stands_where_it_was_requested(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.now += 60
    history.build("b", linux="P")
    history.push("c", linux="P")
    history.build(None, linux="P", got="d")
    history.push("e", linux="P")
    history.build("b", linux="F")
    history.build(None, linux="F", got="d")
    assert pushed.line() == "e d c b a"
    by_hand = pushed.pushes()[3]
    assert by_hand.change is None
    assert by_hand.when == history.now - 120
    # until it is pushed
    history.push("b")
    assert pushed.line() == "b e d c a"
    assert pushed.pushes()[0].change is not None


def test_what_builds_find_stands_in_the_order_of_requests(pushed: Pushed) -> None:
    history = pushed.history
    for name in "abc":
        history.build(None, linux="P", got=name)
    late = history.build(None, linux="p", mac="P", got="d")
    history.build(None, linux="P", got="e")
    assert pushed.line() == "e d c b a"
    # the build of the waiting request ends last, and finds what nobody else has
    builder = history.builder("linux")
    history._build(late[0], builder, "F", "f")
    assert pushed.line() == "e d f c b a"
    pushed.index = Index()
    assert pushed.line() == "e d f c b a"


@pytest.mark.parametrize("text", ["\ud800", "a\0b", "a\nb", 300 * "a", " ", ""])
def test_what_a_build_finds_and_nobody_could_ask_for_is_no_revision(
    pushed: Pushed, text: str
) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.build(None, linux="P", got=f"={text}")
    history.build(None, linux="P", got="=b \n")
    assert pushed.line() == "b a"
    with pushed.asked() as asked:
        rows = [builds.build(asked, MAIN, number) for number in (2, 3)]
    assert [row and row.revision for row in rows] == [None, "b"]


def test_the_newest_push_of_a_branch_may_be_found_by_a_build_that_ran(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    for name in "ab":
        with pushed.asked() as asked:
            newest = newest_pushes(asked, [MAIN])["main"]
            assert pushed.name(newest.revision.revision) == name
        history.build(None, linux="F", got="b")


def test_what_a_build_on_another_branch_has_just_found_is_known_there(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    with pushed.asked() as asked:
        assert revisions.elsewhere(asked, MAIN, sha("b")) == []
    history.build(None, branch="other", linux="r", got="b")
    for text in (sha("b"), sha("b")[:7]):
        with pushed.asked() as asked:
            (known,) = revisions.elsewhere(asked, MAIN, text)
        assert (known.branch.name, known.revision) == ("other", sha("b"))


def test_what_nobody_pushed_or_built_is_no_push(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.stamp("b")
    history.build(None, linux="P")
    history.push("c", branch="other")
    assert pushed.line() == "a"


def test_what_becomes_known_of_a_revision_that_was_looked_at(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.build("c", linux="P")
    history.push("b", linux="F")
    assert pushed.line() == "b c a"
    assert pushed.told("b") == ("failed", "regressed", "passed", "a", 1)
    history.build("a", linux="F", mac="P")
    assert pushed.told("b") == ("failed", "still_failing", "failed", "a", 1)
    history.push("c", mac="F")
    assert pushed.line() == "c b a"
    assert pushed.told("c") == ("passed", "fixed", "failed", "b", 1)
    assert pushed.told("c", "mac") == ("failed", "regressed", "passed", "a", 2)
    history.build(None, got="b", mac="F")
    assert pushed.told("c", "mac") == ("failed", "still_failing", "failed", "b", 1)
    history.build("b", "lib:b", win="P", patch=True)
    history.build(f"={sha('a')[:8]}", win="P")
    history.build("c", win="F")
    assert pushed.told("c", "win") == ("failed", "regressed", "passed", "a", 2)
    # the digits may be of another hash, too
    history.stamp(f"={sha('a')[:8]}{'0' * 32}")
    assert pushed.told("c", "win")[:2] == ("failed", "new")


def test_changes_that_buildbot_has_deleted(pushed: Pushed) -> None:
    history = pushed.history
    for name in "abc":
        history.push(name, linux="P")
    history.push("d")
    history.build("m", linux="P")
    history.push("m", linux="P")
    history.push("e", linux="F")
    history.push("f", linux="F")
    assert pushed.line() == "f e m d c b a"
    connection = pushed.connection
    for table in (Model.change_files, Model.changes):
        connection.execute(table.delete().where(table.c.changeid <= 5))
    connection.commit()
    for _ in range(2):
        # what was never built is not known any more
        assert pushed.line() == "f e m c b a"
        assert [one.change is None for one in pushed.pushes()] == [False, False, *[True] * 4]
        # but it was pushed
        assert pushed.told("e") == ("failed", "regressed", "passed", "m", 1)
        assert pushed.told("b") == ("passed", "passing", "passed", "a", 1)
        pushed.index = Index()


def paged(pushed: Pushed, limit: int, author: str | None = None) -> Iterator[Health]:
    """Yield all pushes, page by page."""
    before = None
    while True:
        with pushed.asked() as asked:
            page = pushes_of_branch(asked, MAIN, limit, before, author)
            assert len(page.pushes) <= limit
            yield from page.pushes
            if page.older is None:
                return
            (before,) = candidates(asked, (MAIN,), page.older)


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_each_push_is_on_one_page(pushed: Pushed, limit: int) -> None:
    history = pushed.history
    for number, name in enumerate("abcdefg"):
        history.push(name, (ADA, BOB)[number % 2], linux="P")
        if number in (2, 5):
            history.build(f"by hand {number}", linux="F")
            history.build(None, linux="F", got=f"found {number}")
    history.push("b", linux="P")
    every = [one.revision.revision for one in pushed.pushes()]
    assert len(every) == 11
    found = []
    for one in paged(pushed, limit):
        found.append(one.revision.revision)
        # new ones come meanwhile
        history.push(f"new {len(found)}", linux="p")
        history.build(None, linux="P", got=f"new by hand {len(found)}")
        if len(found) == 1:
            assert found == every[:1]
    assert found == every


def test_the_base_of_a_push_may_be_on_the_next_page(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    for name in "bcd":
        history.push(name, linux="F")
    every = pushed.pushes()
    for number, one in enumerate(paged(pushed, 1)):
        assert one == every[number]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pushes_of_an_author(pushed: Pushed, limit: int) -> None:
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.push("b", BOB, linux="P")
    history.push("c", "ADA <Ada@Example.org>", linux="F")
    history.build("d", linux="P")
    # pushed by bob before, and in another project
    history.push("b", ADA, linux="P")
    history.push("a", ADA, project="p", linux="P")
    history.push("e", ADA, branch="other")
    for name in ("ada@example.org", "ADA@example.org"):
        found = [pushed.name(one.revision.revision) for one in paged(pushed, limit, name)]
        assert found == ["b", "c", "a"]
    # the whole name is taken as it is
    assert [pushed.name(one.revision.revision) for one in pushed.pushes(author=BOB)] == ["b"]
    assert pushed.pushes(author="nobody") == ()
    # compared with what others pushed
    (_, of_ada, _) = pushed.pushes(author="ada@example.org")
    assert [(one.change, pushed.name(one.base_revision)) for one in of_ada.builders] == [
        ("regressed", "b")
    ]


@pytest.mark.parametrize("before", ["d", "c"])
def test_pushes_of_an_author_before_what_others_pushed(pushed: Pushed, before: str) -> None:
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.push("b", ADA, linux="P")
    history.push("c", BOB, linux="P")
    history.build("d", linux="P")
    history.push("e", ADA, linux="P")
    found = pushed.pushes(before=before, author="ada@example.org")
    assert [pushed.name(one.revision.revision) for one in found] == ["b", "a"]


def user_pages(pushed: Pushed, user: str, limit: int) -> Iterator[tuple[str, str | None]]:
    """Yield the pushes of a user page by page, each as its branch and its name."""
    before = None
    while True:
        with pushed.asked() as asked:
            page: Pushes = pushes_of_user(asked, (user,), limit, before)
            for one in page.pushes:
                yield one.revision.branch.name, pushed.name(one.revision.revision)
            if page.older is None:
                return
            before = next(
                one
                for one in pushes_named(asked, (user,), page.older)
                if one.branch.name == page.older_branch
            )


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pushes_of_a_user_on_all_branches(pushed: Pushed, limit: int) -> None:
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.push("b", ADA, branch="side", linux="P")
    history.push("c", BOB, linux="P")
    history.push("a", ADA, branch="side", linux="F")
    history.push("d", ADA, branch="third", linux="p")
    history.push("a", ADA, branch="third", linux="F")
    found = list(user_pages(pushed, "ada@example.org", limit))
    assert found == [("third", "a"), ("third", "d"), ("side", "a"), ("side", "b"), ("main", "a")]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pushes_of_a_user_on_branches_that_overlap(pushed: Pushed, limit: int) -> None:
    pushed.site = pushed.site.__class__(
        "self-serve",
        "http://localhost:8010/",
        branches=(Branch("one", ("main",)), Branch("two", ("main", "side")), Branch("*", ("*",))),
    )
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.push("b", ADA, branch="side", linux="P")
    history.push("c", ADA, linux="P")
    found = list(user_pages(pushed, ADA, limit))
    assert found[:2] == [("one", "c"), ("two", "c")]
    assert sorted(found) == sorted(
        [("one", "c"), ("two", "c"), ("two", "b"), ("one", "a"), ("two", "a")]
    )


@pytest.mark.writes_at_once
def test_a_change_that_is_committed_late(pushed: Pushed) -> None:
    history = pushed.history
    connection = pushed.connection
    for name in "acdb":
        history.stamp(name)
    for name in "abcd":
        history.push(name, linux="P")
    history.flush()
    # ids are given out before the rows can be seen
    late = connection.execute(sa.select(Model.changes).where(Model.changes.c.changeid == 2)).one()
    files = Model.change_files
    connection.execute(files.delete().where(files.c.changeid == 2))
    connection.execute(Model.changes.delete().where(Model.changes.c.changeid == 2))
    connection.commit()
    # as if it had only been built by hand
    assert pushed.line() == "b d c a"
    connection.execute(Model.changes.insert().values(late._asdict()))
    connection.commit()
    for _ in range(2):
        assert pushed.line() == "d c b a"
        assert pushed.told("c")[3] == "b"
        pushed.index = Index()


def test_many_builds_that_find_the_same(pushed: Pushed) -> None:
    history = pushed.history
    builders = {f"b{number}": "P" for number in range(100)}
    for name in "abcdef":
        history.build(None, got=name, **builders)
    assert pushed.line() == "f e d c b a"
    assert {len(one.builders) for one in pushed.pushes()} == {100}


def test_threads_ask_while_the_index_grows(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.flush()
    failed: list[BaseException] = []
    over = threading.Event()

    def ask() -> None:
        try:
            while not over.is_set():
                with pushed.reading.connect() as connection:
                    asked = pushed.history_of(connection)
                    pushes = pushes_of_branch(asked, MAIN, 20).pushes
                    assert pushes[-1].revision.revision == sha("a")
                    of_ada = pushes_of_user(asked, (ADA,), 20).pushes
                    assert of_ada[-1].revision.revision == sha("a")
                    # what was known before may be asked for once more
                    assert len(of_ada) >= len(pushes)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    for number in range(15):
        history.push(f"{number}", ADA, linux="P", mac="r")
        history.flush()
    over.set()
    for one in threads:
        one.join()
    assert not failed, failed


def test_a_branch_in_many_projects(pushed: Pushed) -> None:
    history = pushed.history
    names = [f"{number}" for number in range(70)]
    for name in names:
        history.push(name, project=f"project {name}", linux="P")
    found = [one.revision.revision for one in paged(pushed, 25)]
    assert found == [sha(name) for name in reversed(names)]


def test_branches_that_are_not_configured_are_left_out(pushed: Pushed) -> None:
    pushed.site = pushed.site.__class__("s", "http://localhost/", branches=(MAIN,))
    history = pushed.history
    history.push("a", ADA, linux="P")
    history.push("b", ADA, branch="side", linux="P")
    assert list(user_pages(pushed, "ada@example.org", 20)) == [("main", "a")]
