"""What readers keep in memory never differs from what the database says."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve import statements
from buildbot_selfserve.history import History
from buildbot_selfserve.history import builds
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history import users
from buildbot_selfserve.history.branches import listed_branches
from buildbot_selfserve.history.days import day
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.index import cursor
from buildbot_selfserve.history.index import sync
from buildbot_selfserve.history.index.followed import FEW
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.history.revisions import done
from buildbot_selfserve.history.revisions import newest_changes
from buildbot_selfserve.history.revisions import rows_at
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from tests.plain_history import BEGIN
from tests.plain_history import DAY
from tests.plain_history import Plain
from tests.plain_history import Writer

EVERY_DATABASE = True

BRANCHES = (
    Branch("main", ("main",)),
    Branch("Main", ("Main",)),
    Branch("nameless", ("", None)),
    Branch("app", ("main", "x"), codebases=("app",)),
    Branch("p", ("main", "x", None), projects=("p",), repositories=("https://r/",)),
)
USERS = (
    "ada",
    "Ada",
    "bob@example.org",
    "BOB@example.org",
    "Bob <bob@example.org>",
    "eve@example.org",
    "b@c",
    "a",
    "nobody",
)
#: What somebody may look for.
TEXTS = (
    "abcdef",
    "abcdef0",
    "abcdef01",
    "ABCDEF01",
    "abcde",
    "1234567",
    "123456",
    "1234567a",
    "v1.2.1",
    "v1.2",
    "decade",
    "f",
    "fffffff",
    " v1.2.1 ",
    "nothing",
)
SITE = Site("self-serve", "http://localhost:8010/")


class Asked:
    """A database that is written to, and a reader of it.

    :ivar writing: an engine whose transactions are as long as a test wants
    """

    def __init__(self, db_url: str, folder: Path) -> None:
        url = sa.engine.make_url(db_url)
        if url.get_backend_name() == "sqlite":
            url = url.set(database=str(folder / "state.sqlite"))
        self.writing = sa.create_engine(url)
        if url.get_backend_name() == "sqlite":
            with self.writing.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=wal")
        Model.metadata.create_all(self.writing)
        self.reading = db_engine.open_engine(url, 4)
        self.index = Index()
        with self.writing.begin() as connection:
            Writer(connection, 0).begin()

    def history(self, connection: sa.Connection) -> History:
        return History(connection, self.index, SITE)

    def revision(self, branch: Branch, text: str) -> Revision:
        with self.reading.connect() as connection:
            (found,) = candidates(self.history(connection), (branch,), text)
            return found

    def close(self) -> None:
        self.writing.dispose()
        self.reading.dispose()


@pytest.fixture
def asked(db_url: str, tmp_path: Path) -> Iterator[Asked]:
    made = Asked(db_url, tmp_path)
    yield made
    made.close()


def shown(row: Row) -> dict[str, Any]:
    """Return what ``Plain`` has of a row."""
    request = row.request if isinstance(row, BuildRow) else row
    told = {
        "request_id": request.request_id,
        "buildset_id": request.buildset_id,
        "revision": row.revision,
        "start": row.starttime,
        "end": row.endtime,
        "status": row.status,
        "claimed_at": request.claimed_at,
        "priority": request.priority,
        "reason": request.reason,
        "owner": request.owner,
        "patched": row.patched,
    }
    if isinstance(row, BuildRow):
        told["build_id"] = row.build_id
        told["worker"] = int(str(row.worker).rpartition("-")[2])
        told["master"] = int(str(row.claimed_by_name).rpartition("-")[2])
    return told


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return *rows* the newest first."""
    return sorted(
        rows,
        key=lambda one: (one["start"], one["request_id"], one.get("build_id", 0)),
        reverse=True,
    )


def compare(asked: Asked, before: Plain | None = None) -> Plain:
    """Ask everything, and hold it against the plain answers; return what gave those.

    :param before: what has been deleted since may still tell what an abbreviation means
    """
    with asked.reading.connect() as connection:
        plain = Plain(connection, before.hashes if before is not None else ())
        compare_branches(asked.history(connection), plain)
        for branch in BRANCHES:
            history = asked.history(connection)
            revisions = plain.revisions(branch)
            for text in (*TEXTS, *revisions, *(one[:9].upper() for one in revisions)):
                meant = candidates(history, (branch,), text)
                where = branch.name, text
                assert [one.revision for one in meant] == plain.meant(branch, text), where
                for found in meant:
                    for patched in (False, True) if text == found.revision else ():
                        rows = [shown(row) for row in rows_at(history, found, patched).rows]
                        expected = plain.at(branch, found.revision, patched)
                        assert rows == in_order(expected), (*where, patched)
            last = max([BEGIN, *(row["start"] for row in plain.rows(branch))])
            for begin_of_day in range(BEGIN, last + DAY, DAY):
                date = datetime.datetime.fromtimestamp(begin_of_day, datetime.timezone.utc).date()
                on_day = [shown(row) for row in day(history, branch, date).rows]
                assert on_day == in_order(plain.day(branch, begin_of_day)), (branch.name, date)
            compare_today(history, plain, branch)
            assert list(newest_changes(history.facts, branch)) == (plain.newest_changes(branch)), (
                branch.name
            )
            # of what was deleted in between the builders are remembered
            for since in (BEGIN + DAY, BEGIN + 2 * DAY, BEGIN, 0) if before is None else ():
                builders = sync.builders_on(connection, history.facts, branch, since)
                assert builders == plain.builders_since(branch, since), (branch.name, since)
            for user in USERS:
                compare_user(history, plain, branch, user)
                compare_user(history, plain, branch, user, plain.some_requests())
        return plain


def compare_branches(history: History, plain: Plain) -> None:
    """What is asked of all branches at once is what is asked of each."""
    some = [min(revisions) for revisions in map(plain.revisions, BRANCHES) if revisions]
    for text in (*TEXTS, *some):
        of_each = [one for branch in BRANCHES for one in candidates(history, (branch,), text)]
        assert candidates(history, BRANCHES, text) == of_each


def compare_today(history: History, plain: Plain, branch: Branch) -> None:
    """All that is open belongs to today, on which nothing else happened."""
    still_open = [row for row in plain.rows(branch) if row["end"] is None]
    assert [shown(row) for row in day(history, branch, None).rows] == in_order(still_open)


def compare_user(
    history: History, plain: Plain, branch: Branch, user: str, asked_for: Sequence[int] = ()
) -> None:
    rows = users.rows_of_user(history, branch, user, asked_for)
    expected = plain.of_user(branch, user, asked_for)
    builds = [row for row in expected if "build_id" in row]
    assert [shown(row) for row in rows.builds] == in_order(
        [row for row in builds if row["end"] is not None]
    ), (branch.name, user)
    assert [shown(row) for row in rows.running] == in_order(
        [row for row in builds if row["end"] is None]
    )
    assert [shown(row) for row in rows.pending] == in_order(
        [row for row in expected if "build_id" not in row and row["end"] is None]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_answers_do_not_differ_from_plain_ones(asked: Asked, seed: int) -> None:
    compare(asked)
    with asked.writing.connect() as connection:
        writer = Writer(connection, seed)
        for round_ in range(4):
            for _ in range(12):
                writer.something()
            connection.commit()
            if round_ == 2:
                asked.index = Index()  # of a reader that starts only now
            compare(asked)


def test_what_is_there_before_the_question_is_seen(asked: Asked) -> None:
    branch = BRANCHES[0]
    with asked.writing.connect() as connection, asked.reading.connect() as reading:
        writer = Writer(connection, 3)
        for number in range(20):
            revision = f"{number:040x}"
            stamp_id = writer.stamp(branch="main", revision=revision)
            requests = writer.buildset(stamp_id)
            connection.commit()
            history = asked.history(reading)
            (found,) = candidates(history, (branch,), revision)
            assert len(rows_at(history, found).rows) == len(requests)
            assert done(history, found, 0).pending == len(requests)


def test_many_rows_that_come_at_once_are_all_seen(asked: Asked) -> None:
    with asked.writing.connect() as connection, asked.reading.connect() as reading:
        writer = Writer(connection, 3)
        for many in (3, FEW - 1, FEW, FEW + 1, 2):
            stamps = [writer.stamp(branch="main", revision=None) for _ in range(many)]
            requests = [one for stamp_id in stamps for one in writer.buildset(stamp_id)]
            writer.build(requests[-1])
            connection.commit()
            facts = asked.history(reading).facts
            found = facts.of_stamps(stamps)
            assert set(found.values()) == set(stamps)
            assert writer.buildset_of(requests[-1]) in found


def test_a_request_and_its_detail_are_of_one_moment(asked: Asked) -> None:
    branch = BRANCHES[0]
    with asked.writing.connect() as connection, asked.reading.connect() as reading:
        writer = Writer(connection, 3)
        first, *_ = writer.buildset(writer.stamp(branch="main"))
        connection.commit()
        history = asked.history(reading)
        request = builds.request(history, branch, first)
        assert request is not None
        writer.build(first)
        connection.commit()
        assert builds.request_detail(history, branch, request).builds == ()
        (build,) = builds.request_detail(asked.history(reading), branch, request).builds
        assert build.request.request_id == first


def test_a_revision_is_looked_for_once_on_however_many_branches(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 60
    configured = tuple(
        Branch(f"{name}-{codebases}", (name,), codebases=codebases)
        for name in map(str, range(many))
        for codebases in (("app",), None)
    )
    with asked.writing.begin() as connection:
        writer = Writer(connection, 12)
        for number in range(many):
            where = {"branch": str(number), "codebase": "app", "repository": ""}
            named = writer.stamp(revision=f"abcdef{number:034x}", **where)
            nameless = writer.stamp(revision=None, **where)
            short = writer.stamp(revision=f"abcdef{number:030x}", **where)
            for request_id in writer.buildset(named, nameless, short):
                writer.found(writer.build(request_id), "got_revision", f"abcdef{number:034x}")
    looked_at = calls_of(monkeypatch, Sourcestamp, "belongs")
    fetched = calls_of(monkeypatch, statements, "fetched")
    with asked.reading.connect() as connection:
        history = asked.history(connection)
        assert {one.branch for one in candidates(history, configured, "abcdef")} == set(configured)
        assert len(looked_at) <= 3 * len(configured)
        fetched.clear()
        candidates(history, configured, "abcdef")
        assert len(fetched) <= 3


def calls_of(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[None]:
    """Return a list that gets longer with each call of a function."""
    calls: list[None] = []
    function = getattr(owner, name)

    def counted(*arguments: Any) -> Any:
        calls.append(None)
        return function(*arguments)

    monkeypatch.setattr(owner, name, counted)
    return calls


@pytest.mark.writes_at_once
def test_ids_that_are_committed_out_of_their_order(asked: Asked) -> None:
    with asked.writing.connect() as slow, asked.writing.connect() as quick:
        first, second = Writer(slow, 4), Writer(quick, 5)
        for _ in range(5):
            # each writes to every table before the other has committed, in turns
            for one in (first, second, first):
                one.something()
            quick.commit()
            compare(asked)
            second.something()
            quick.commit()
            compare(asked)
            slow.commit()
            compare(asked)


@pytest.mark.writes_at_once
def test_waits_of_builds_that_are_committed_out_of_their_order(asked: Asked) -> None:
    with (
        asked.writing.connect() as slow,
        asked.writing.connect() as quick,
        asked.reading.connect() as reading,
    ):
        first, second = Writer(slow, 8), Writer(quick, 9)
        first.now = second.now = int(time.time()) - 100
        requests = [second.buildset(second.stamp())[0] for _ in range(4)]
        quick.commit()

        def waits() -> int:
            return sum(map(len, asked.index.recent_waits.of(reading).values()))

        assert waits() == 0
        second.build(requests[0])
        quick.commit()
        assert waits() == 1
        first.build(requests[1])
        second.build(requests[2])
        quick.commit()
        assert waits() == 2
        slow.commit()
        assert waits() == 3
        second.build(requests[3])
        quick.commit()
        assert waits() == 4


@pytest.mark.writes_at_once
def test_an_id_that_never_comes_is_not_waited_for_for_ever(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked.writing.connect() as connection:
        writer = Writer(connection, 6)
        writer.something()
        connection.commit()
        compare(asked)
        writer.something()
        connection.rollback()
        writer.something()
        connection.commit()
        compare(asked)
        with asked.reading.connect() as reading:
            facts = asked.index.facts(reading)
            assert facts.ingest.cursors["stamps"].gaps
            monkeypatch.setattr(cursor, "PATIENCE", -1.0)
            # nothing is looked at before something is written, whatever that is
            connection.execute(Model.masters.update().values(last_active=BEGIN + 1))
            connection.commit()
            asked.index.facts(reading)
            assert not facts.ingest.cursors["stamps"].gaps
        compare(asked)


def delete(connection: sa.Connection, condition: Any) -> None:
    """Delete buildsets and all that is theirs."""
    ids = list(connection.execute(sa.select(Model.buildsets.c.id).where(condition)).scalars())
    requests, builds = Model.buildrequests, Model.builds
    of_sets = sa.select(requests.c.id).where(requests.c.buildsetid.in_(ids))
    of_requests = sa.select(builds.c.id).where(builds.c.buildrequestid.in_(of_sets))
    its_builds = list(connection.execute(of_requests).scalars())
    its_requests = list(connection.execute(of_sets).scalars())
    for column, values in (
        (Model.build_properties.c.buildid, its_builds),
        (builds.c.id, its_builds),
        (Model.buildrequest_claims.c.brid, its_requests),
        (requests.c.id, its_requests),
        (Model.buildset_sourcestamps.c.buildsetid, ids),
        (Model.buildset_properties.c.buildsetid, ids),
        (Model.buildsets.c.id, ids),
    ):
        connection.execute(column.table.delete().where(column.in_(values)))


def test_what_was_deleted_is_not_shown(asked: Asked) -> None:
    buildsets, changes = Model.buildsets, Model.changes
    with asked.writing.connect() as connection:
        writer = Writer(connection, 7)
        for _ in range(40):
            writer.something()
        connection.commit()
        before = compare(asked)
        delete(connection, buildsets.c.id % 5 == 0)
        connection.commit()
        compare(asked, before)
        # as Buildbot's changeHorizon does
        of_users = Model.change_users.c.changeid
        connection.execute(Model.change_users.delete().where(of_users <= 12))
        connection.execute(changes.delete().where(changes.c.changeid <= 12))
        connection.commit()
        compare(asked, before)
        delete(connection, buildsets.c.id < 10)
        connection.commit()
        compare(asked)
        newest = connection.execute(sa.select(sa.func.max(buildsets.c.id))).scalar_one()
        delete(connection, buildsets.c.id > newest - 5)
        connection.commit()
        compare(asked)
        for _ in range(5):
            writer.something()
        connection.commit()
        compare(asked)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_sourcestamp_that_is_missing_hides_nothing_else(tmp_path: Path, loaded: bool) -> None:
    """As on MyISAM, which has no foreign keys, or where somebody has deleted one."""
    asked, branch, text = Asked("sqlite://", tmp_path), BRANCHES[0], "a" * 40

    def number_of_rows() -> int:
        with asked.reading.connect() as reading:
            found = candidates(asked.history(reading), (branch,), text)
            return sum(len(rows_at(asked.history(reading), one).rows) for one in found)

    with asked.writing.connect() as connection:
        writer = Writer(connection, 13)
        if loaded:
            assert number_of_rows() == 0
        missing, there = (writer.stamp(branch="main", revision=text) for _ in range(2))
        lost, kept = (writer.buildset(stamp_id) for stamp_id in (missing, there))
        stamps = Model.sourcestamps
        connection.execute(stamps.delete().where(stamps.c.id == missing))
        connection.commit()
        assert number_of_rows() == len(kept)
        for request_id in (*lost, *kept):
            writer.build(request_id)
        connection.commit()
        assert number_of_rows() == len(kept)
    asked.close()


def test_another_database_in_its_place(asked: Asked) -> None:
    with asked.writing.connect() as connection:
        for seed in (8, 9):
            writer = Writer(connection, seed)
            for _ in range(10):
                writer.something()
            connection.commit()
            compare(asked)
            for table in reversed(Model.metadata.sorted_tables):
                connection.execute(table.delete())
            connection.commit()
            compare(asked)
            Writer(connection, 0).begin()


@pytest.mark.parametrize("loaded", [False, True])
def test_what_is_written_between_two_statements(
    asked: Asked, loaded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asked.writing.connect() as connection:
        writer = Writer(connection, 12)
        for _ in range(20):
            writer.something()
        connection.commit()
        if loaded:
            compare(asked)

        def before(ask: Any) -> Any:
            def asks(*arguments: Any) -> Any:
                for _ in range(2):
                    writer.something()
                connection.commit()
                return ask(*arguments)

            return asks

        for _ in range(3):
            with monkeypatch.context() as patched, asked.reading.connect() as reading:
                patched.setattr(statements, "fetched", before(statements.fetched))
                patched.setattr(statements, "_executed", before(statements._executed))
                asked.index.facts(reading)
            compare(asked)
            if not loaded:
                asked.index = Index()


def test_what_somebody_asked_for_is_told_of_however_old_it_is(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "AT_A_TIME", 2)
    branch = BRANCHES[0]
    with asked.writing.connect() as connection:
        writer = Writer(connection, 14)
        requests = [writer.buildset(writer.stamp(branch="main"))[0] for _ in range(7)]
        builds = [writer.build(request_id) for request_id in requests[:2]]
        connection.commit()
    with asked.reading.connect() as connection:
        rows = users.rows_of_user(asked.history(connection), branch, "nobody", requests)
        assert sorted(row.build_id for row in rows.running) == builds
        assert {row.request_id for row in rows.pending} >= set(requests[2:])
        compare_user(asked.history(connection), Plain(connection), branch, "ada", requests)


def test_what_somebody_has_built_is_looked_for_until_there_is_enough(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "AT_A_TIME", 2)
    with asked.writing.connect() as connection:
        writer = Writer(connection, 14)
        requests = [writer.buildset(writer.stamp(branch="main"))[0] for _ in range(7)]
        for request_id in requests:
            writer.end_build(writer.build(request_id), 0)
            writer.end_request(request_id, 0)
        connection.commit()
    with asked.reading.connect() as connection:
        history, plain = asked.history(connection), Plain(connection)
        assert len(users.rows_of_user(history, BRANCHES[0], "nobody", requests).builds) == 7
        compare_user(history, plain, BRANCHES[0], "nobody", requests)


def test_a_property_of_almost_that_name_is_another(asked: Asked) -> None:
    with asked.writing.connect() as connection:
        writer = Writer(connection, 16)
        for revision in ("", f"{16:040x}"):
            for _ in range(4):
                request_id = writer.buildset(writer.stamp(branch="main", revision=revision))[0]
                for name in ("Owner", "OWNER ", "öwner"):
                    writer.property(writer.buildset_of(request_id), name, "somebody else")
                build_id = writer.build(request_id)
                writer.find(build_id)
                for name in ("Got_Revision", "got_revision ", "göt_revision"):
                    writer.found(build_id, name, "fedcba9876")
        connection.commit()
    compare(asked)


@pytest.mark.parametrize("is_loaded", [False, True])
@pytest.mark.parametrize("seconds", [5, 7200])
def test_a_build_belongs_to_its_day_also_where_clocks_differ(
    asked: Asked, seconds: int, is_loaded: bool
) -> None:
    branch, midnight = BRANCHES[0], BEGIN + DAY
    if is_loaded:
        with asked.reading.connect() as connection:
            assert not asked.history(connection).facts.is_branch("main")
    with asked.writing.connect() as connection:
        writer = Writer(connection, 15)
        writer.now = midnight + seconds - 3
        (request_id, *_) = writer.buildset(writer.stamp(branch="main"))
        build_id = writer.build(request_id, after=-seconds)
        connection.commit()
    date = datetime.datetime.fromtimestamp(BEGIN, datetime.timezone.utc).date()
    with asked.reading.connect() as connection:
        rows = day(asked.history(connection), branch, date).rows
        assert [row.build_id for row in rows if isinstance(row, BuildRow)] == [build_id]


def test_what_starts_at_midnight_belongs_to_the_day_that_begins(asked: Asked) -> None:
    branch, midnight = BRANCHES[0], BEGIN + DAY
    with asked.writing.connect() as connection:
        writer = Writer(connection, 15)
        writer.now = midnight - 10
        (request_id, *_) = writer.buildset(writer.stamp(branch="main"))
        build_id = writer.build(request_id, after=10)
        connection.commit()
    with asked.reading.connect() as connection:
        for begin, expected in ((BEGIN, []), (midnight, [build_id])):
            date = datetime.datetime.fromtimestamp(begin, datetime.timezone.utc).date()
            rows = day(asked.history(connection), branch, date).rows
            assert [row.build_id for row in rows if isinstance(row, BuildRow)] == expected


def test_any_part_of_the_branches_is_a_part_of_all(asked: Asked) -> None:
    with asked.writing.connect() as connection:
        writer = Writer(connection, 15)
        for name in ("x", "y", "z"):
            writer.buildset(writer.stamp(branch=name))
        connection.commit()
    watched = replace(SITE, hinted_branches=("a", "b", "c"))
    with asked.reading.connect() as connection:
        listed = listed_branches(History(connection, asked.index, watched))
        names = [one.branch.name for one in listed]
        assert names[-3:] == ["a", "b", "c"]
        assert len(listed) == len(names) == 6
        for begin in range(7):
            for end in range(begin, 7):
                part = [one.branch.name for one in listed[begin:end]]
                assert part == names[begin:end], (begin, end)


def test_another_thread_may_have_taken_more_since_the_end_was_asked_for() -> None:
    tail = cursor.Cursor(time.monotonic, rising=True)
    tail.take([(10, "a", "b")])
    before = tail.last
    tail.take([(10, "a", "b"), (11, "a", "b")])
    assert not tail.moved(before, 10)
    assert tail.moved(before, 12)
    with pytest.raises(cursor.Replaced):
        tail.moved(tail.last, 10)


def test_two_threads_share_what_they_know(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[None] = []
    load = sync._load

    def counted(connection: sa.Connection) -> Any:
        loads.append(None)
        return load(connection)

    monkeypatch.setattr(sync, "_load", counted)
    wrong: list[BaseException] = []
    over = threading.Event()
    branch = BRANCHES[0]
    known: list[tuple[str, int]] = []

    def ask() -> None:
        try:
            with asked.reading.connect() as reading:
                while not over.is_set():
                    # what is known by now must be seen by the question that follows
                    for revision, count in known[-3:]:
                        history = asked.history(reading)
                        (found,) = candidates(history, (branch,), revision)
                        assert len(rows_at(history, found).rows) == count
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    with asked.writing.connect() as connection:
        writer = Writer(connection, 10)
        for number in range(100):
            revision = f"{number:040x}"
            requests = writer.buildset(writer.stamp(branch="main", revision=revision))
            connection.commit()
            known.append((revision, len(requests)))
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(loads) == 1
    compare(asked)


def test_buildsets_that_are_not_open_any_more_are_forgotten(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("buildbot_selfserve.history.index.ingest.MOST_CLOSED", 5)
    monkeypatch.setattr(sync, "MOST_SEARCHING", 5)
    with asked.writing.connect() as connection, asked.reading.connect() as reading:
        writer = Writer(connection, 11)
        for _ in range(30):
            stamp_id = writer.stamp(branch="main", revision=None)
            for request_id in writer.buildset(stamp_id):
                build_id = writer.build(request_id)
                writer.find(build_id)
                writer.end_build(build_id, 0)
                writer.end_request(request_id, 0)
            connection.commit()
            facts = asked.index.facts(reading)
            assert len(facts.open(BRANCHES[0])) <= 6
            assert len(facts.ingest.searching()) <= 6 * 3
    compare(asked)
