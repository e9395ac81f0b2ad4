"""The journal's tables and rows."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.journal import schema
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal import targets
from buildbot_selfserve.journal.migrations.versions import v0006_targets
from buildbot_selfserve.journal.store import Filters
from buildbot_selfserve.journal.tables import metadata
from buildbot_selfserve.journal.targets import Targets
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from tests import PATIENCE
from tests.conftest import EVERY

JOB = Job(0, "rebuild_build", "ada", "basic", "127.0.0.1", 1000, "main", {"bid": 7, "count": 2})
OUTCOME = RequestOutcome(3, "fast", "created", (4, 5), "hm")


@pytest.fixture
def connection(engine: sa.Engine) -> Any:
    with engine.connect() as connection:
        yield connection


def opened(connection: sa.Connection, job: Job, masterid: int, incarnation: str) -> Job:
    """Open a job as a client without an Idempotency-Key would."""
    opened = store.open_job(connection, job, masterid, incarnation)
    assert isinstance(opened, store.Opened)
    assert opened.new
    return opened.job


def ids(found: list[Job]) -> list[int]:
    return [job.job_id for job in found]


def test_the_migrations_make_the_tables_that_the_code_uses(connection: sa.Connection) -> None:
    context = MigrationContext.configure(connection, opts={"version_table": schema.VERSION_TABLE})
    assert compare_metadata(context, metadata) == []


def test_upgrading_again_changes_nothing(engine: sa.Engine, connection: sa.Connection) -> None:
    job = opened(connection, JOB, 1, "a life")
    schema.upgrade(engine)
    assert store.job(connection, job.job_id) == job


@pytest.mark.parametrize("db_url", EVERY, indirect=True)
def test_masters_that_start_at_once_do_not_meet(tmp_path: Path, db_url: str) -> None:
    upgrade = (
        "import sqlalchemy, sys; from buildbot_selfserve.journal import schema;"
        "schema.upgrade(sqlalchemy.create_engine(sys.argv[1]))"
    )
    url = db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/")
    starting = [
        subprocess.Popen([sys.executable, "-c", upgrade, url], stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in starting:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors.decode()
    tables = sa.inspect(sa.create_engine(url)).get_table_names()
    assert sorted(tables) == [
        "selfserve_alembic_version",
        "selfserve_askers",
        "selfserve_holds",
        "selfserve_job_targets",
        "selfserve_jobs",
        "selfserve_later_builds",
        "selfserve_leases",
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("db_url", ["mariadb"], indirect=True)
def test_who_upgrades_for_long_is_not_joined(db_url: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(schema, "_LOCK_SECONDS", 0)
    engine = sa.create_engine(db_url)
    with engine.connect() as other:
        other.execute(sa.select(sa.func.get_lock(schema._LOCK_NAME, 0)))
        with pytest.raises(Unavailable):
            schema.upgrade(engine)
        assert sa.inspect(engine).get_table_names() == []
        other.execute(sa.select(sa.func.release_lock(schema._LOCK_NAME)))
    schema.upgrade(engine)
    engine.dispose()


def test_a_row_is_closed_once(connection: sa.Connection) -> None:
    ended = replace(
        opened(connection, JOB, 1, "a life"),
        status="failed",
        completed_at=1010,
        errors=True,
        msg="half",
        requests=(OUTCOME,),
        buildset_ids=(9,),
    )
    assert store.close_job(connection, ended) == ended
    assert store.close_job(connection, replace(ended, msg="again", status="ok")) == ended
    assert store.job(connection, ended.job_id) == ended


def test_a_row_is_closed_by_the_life_that_has_it(connection: sa.Connection) -> None:
    job = opened(connection, JOB, 1, "a life")
    noted = replace(job, plan="the plan")
    ended = replace(noted, status="ok", completed_at=1, requests=(OUTCOME,))
    # the id may be that of another job in another database
    for late in (replace(noted, incarnation="elsewhere"), replace(noted, job_id=17)):
        store.note_plan(connection, late)
    stands = store.close_job(connection, replace(ended, incarnation="elsewhere"))
    assert stands is not None
    assert (stands, stands.row, stands.plan) == (job, job.row, None)
    assert store.close_job(connection, replace(ended, job_id=17)) is None
    assert store.close_job(connection, ended) == ended


def test_of_too_many_jobs_the_newest_tell_what_somebody_asked_for(
    connection: sa.Connection,
) -> None:
    for number in (3, 4, 5):
        made = replace(OUTCOME, request_id=number)
        job = replace(opened(connection, JOB, 1, "a life"), status="ok", completed_at=1)
        store.close_job(connection, replace(job, requests=(made,)))
    assert store.requests_made_for(connection, "ada", "main", 2) == [5, 4]


def test_rows_of_earlier_lives_are_taken_over_once_and_no_others(
    connection: sa.Connection,
) -> None:
    mine = opened(connection, JOB, 1, "earlier")
    opened(connection, JOB, 1, "now")
    opened(connection, JOB, 2, "earlier")
    closed = opened(connection, JOB, 1, "earlier")
    store.close_job(connection, replace(closed, status="ok", completed_at=1))
    busy = opened(connection, JOB, 1, "earlier")
    (taken,) = store.take_over(connection, {1}, 1, "now", {busy.row})
    assert (taken, taken.row) == (mine, ("now", mine.job_id))
    assert store.take_over(connection, {1}, 1, "now", {busy.row}) == []
    assert ids(store.take_over(connection, {1}, 1, "now")) == [busy.job_id]


def test_what_is_left_of_gone_masters_is_taken_over_once(engine: sa.Engine) -> None:
    with engine.connect() as one, engine.connect() as another:
        left = opened(one, JOB, 2, "theirs")
        opened(one, JOB, 3, "of one that lives")
        closed = opened(one, JOB, 2, "theirs")
        store.close_job(one, replace(closed, status="ok", completed_at=1))
        sent = (replace(OUTCOME, outcome="stop_sent"),)
        followed = replace(
            opened(one, JOB, 2, "theirs"), status="ok", completed_at=1, requests=sent
        )
        store.close_job(one, followed)
        assert store.take_over(one, {2, 9}, 1, "mine") == [left, followed]
        assert store.take_over(another, {2, 9}, 4, "too late") == []
        # they are rows of mine now: when I die in between, they are settled as such
        assert store.take_over(one, {1}, 1, "my next life") == [left, followed]


class Broken(Exception):
    """The connection broke."""


@pytest.mark.parametrize("at", ["the second", "the commit"])
def test_what_a_broken_connection_left_is_taken_over_again(engine: sa.Engine, at: str) -> None:
    updates: list[str] = []

    def before(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith("UPDATE"):
            updates.append(statement)
            if at == "the second" and len(updates) == 2:
                raise Broken

    with engine.connect() as connection:
        left = ids([opened(connection, JOB, 2, "theirs") for _ in range(3)])
        other = opened(connection, JOB, 1, "mine")
    begun: list[int] = []
    sa.event.listen(engine, "before_cursor_execute", before)
    with engine.connect() as connection:
        if at == "the commit":
            store.take_over(connection, {2}, 1, "mine", (), begun)  # nobody gets the answer
        else:
            with pytest.raises(Broken):
                store.take_over(connection, {2}, 1, "mine", (), begun)
    with engine.connect() as connection:
        assert ids(store.take_over(connection, {2}, 1, "mine", (), begun)) == left
        assert store.take_over(connection, {2}, 1, "mine") == []
        assert ids(store.open_now(connection, 1, "mine")) == [*left, other.job_id]


@pytest.mark.parametrize("db_url", EVERY, indirect=True)
def test_names_are_compared_exactly(tmp_path: Path, db_url: str) -> None:
    engine = sa.create_engine(db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/"))
    schema.upgrade(engine)
    names = ("ada", "ADA", "áda", "ada ", "J. Fürst")
    with engine.connect() as connection:
        for name in names:
            asked = {"revision": name}
            opened(connection, replace(JOB, who=name, branch=name, what=asked), 1, "a life")
        for name in names:
            at = (Targets(targets.REVISION, (name,)),)
            wanted = [Filters(who=name), Filters(branch=name)]
            # what is pasted as a revision has no blanks around it
            wanted += [Filters(targets=(at,))] * (name.strip() == name and name != "ada")
            for filters in wanted:
                (found,) = store.list_jobs(connection, 10, 0, filters).jobs
                assert found.who == name
            assert [one.branch for one in store.jobs_at(connection, name, [name], 9)] == (
                [name] if name.strip() == name else []
            )
    engine.dispose()


def listed(connection: sa.Connection, num: int = 10, offset: int = 0, **filters: Any) -> list[int]:
    return ids([*store.list_jobs(connection, num, offset, Filters(**filters)).jobs])


@pytest.mark.parametrize("db_url", EVERY, indirect=True)
def test_jobs_are_found_by_what_their_actions_begin_with(tmp_path: Path, db_url: str) -> None:
    engine = sa.create_engine(db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/"))
    schema.upgrade(engine)
    every = ("cancel_build", "rebuild_build", "cancel_request", "new_a-b_at_revision") * 2
    with engine.connect() as connection:
        for action in every:
            opened(connection, replace(JOB, action=action), 1, "a life")
        assert listed(connection, action="cancel") == [7, 5, 3, 1]
        assert listed(connection, action="cancel_b") == [5, 1]
        assert listed(connection, action="cancel", num=2, offset=1) == [5, 3]
        more = store.list_jobs(connection, 3, 1, Filters(action="cancel"))
        assert (ids([*more.jobs]), more.more) == ([5, 3, 1], False)
        assert store.list_jobs(connection, 2, 1, Filters(action="cancel")).more
        assert listed(connection, action="cancel", who="eve") == []
        assert listed(connection, action="new_a-b") == [8, 4]
        for prefix in ("build", "cancel%", "c_ncel", "cancel_builds", "CANCEL"):
            assert listed(connection, action=prefix) == []
    engine.dispose()


REQUEST_3 = (Targets(targets.REQUEST, ("3",)),)
BUILD_5 = (Targets(targets.BUILD, ("5",)),)


def test_a_job_is_found_by_what_it_was_about_and_by_what_it_did(
    connection: sa.Connection,
) -> None:
    asked = replace(JOB, what={"bid": 7, "branch": "main"}, revision="ABCDEF" + "0" * 34)
    job = opened(connection, asked, 1, "a life")
    about = (Targets(targets.BUILD, ("7",)), Targets(targets.REVISION, ("abcdef" + "0" * 34,)))
    for one in about:
        assert listed(connection, targets=((one,),)) == [job.job_id]
    assert listed(connection, targets=(REQUEST_3,)) == []
    sent = replace(OUTCOME, outcome="stop_sent")
    # its build had ended before, and was to be tried again
    waited = replace(sent, request_id=8, outcome="cancelled", build_ids=(6,))
    denied = replace(sent, request_id=4, outcome="denied")
    refused = (denied, replace(sent, request_id=None), waited)
    ended = replace(job, status="ok", completed_at=1, requests=(sent, *refused))
    for _ in range(2):  # a row is closed once
        connection.rollback()
        store.close_job(connection, ended)
        assert listed(connection, targets=(REQUEST_3, BUILD_5)) == [job.job_id]
        (mention,) = targets.mentions(connection, REQUEST_3, 9)
        assert (mention.outcome, mention.has_effect, mention.what) == (
            "stop_sent",
            True,
            asked.what,
        )
    connection.rollback()
    store.amend_job(connection, replace(ended, requests=(replace(sent, outcome="stopped"),)))
    (mention,) = targets.mentions(connection, [*REQUEST_3, *BUILD_5], 9)
    assert mention.outcome == "stopped"
    connection.rollback()
    # another life did not close it
    late = replace(ended, incarnation="elsewhere", requests=(replace(sent, request_id=9),))
    store.close_job(connection, late)
    assert targets.mentions(connection, [Targets(targets.REQUEST, ("9",))], 9) == []
    # builds before the last one had ended before; nothing is a target of no name
    for other in (Targets(targets.BUILD, ("4", "6")), Targets(targets.BUILD, ())):
        assert targets.mentions(connection, [other], 9) == []


def test_of_too_many_jobs_the_newest_are_mentioned(connection: sa.Connection) -> None:
    made = [opened(connection, replace(JOB, what={"brid": 3}), 1, "a life") for _ in range(30)]
    for job in made:
        store.close_job(
            connection, replace(job, status="ok", completed_at=1, requests=(OUTCOME, OUTCOME))
        )
    found = targets.mentions(connection, [*REQUEST_3, *BUILD_5], 20)
    assert [one.job_id for one in found] == [job.job_id for job in reversed(made)][:20]
    assert {one.outcome for one in found} == {"created"}


#: Rows as the version before had them: id, action, what, result.
OLD_ROWS: tuple[tuple[int, str, dict[str, Any], dict[str, Any] | None], ...] = (
    (1, "rebuild_build", {"bid": 7, "branch": "main"}, {"requests": [("created", 3, [])]}),
    (2, "cancel_revision", {"revision": "f" * 40}, {"requests": [("stopped", 3, [4, 5])]}),
    (3, "cancel_request", {"brid": 3}, {"requests": [("denied", 3, []), ("left_out", None, [])]}),
    (4, "cancel_request", {"brid": 3}, None),
)


@pytest.mark.parametrize("db_url", EVERY, indirect=True)
def test_rows_of_before_are_found_by_their_targets(tmp_path: Path, db_url: str) -> None:
    engine = sa.create_engine(db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/"))
    schema.upgrade(engine, "0005")
    columns = {"who": "ada", "via": "basic", "remote": "", "branch": "main", "submitted_at": 1}
    columns |= {"masterid": 1, "incarnation": "a life", "status": "ok", "completed_at": 1}
    old = sa.table("selfserve_jobs", *map(sa.column, ("id", "action", "what", "result", *columns)))
    more = v0006_targets.BATCH + 9
    with engine.connect() as connection, connection.begin():
        for job_id, action, what, told in OLD_ROWS:
            result = told and {
                "requests": [
                    {
                        "outcome": word,
                        "request_id": request_id,
                        "buildername": "fast",
                        "build_ids": builds,
                    }
                    for word, request_id, builds in told["requests"]
                ]
            }
            texts = {"what": json.dumps(what), "result": result and json.dumps(result)}
            connection.execute(old.insert(), {"id": job_id, "action": action, **texts, **columns})
        broken = {"action": "fix_it", "what": "no JSON", "result": "[1]", **columns}
        last = {"action": "reprioritize", "what": '{"brid": 3}', "result": None, **columns}
        many = [{"id": 5 + number, **broken} for number in range(more)]
        connection.execute(old.insert(), [*many, {"id": 5 + more, **last}])
    schema.upgrade(engine)
    with engine.connect() as connection:
        found = targets.mentions(connection, REQUEST_3, 9)
        assert [(one.job_id, one.outcome) for one in found] == [
            (5 + more, ""),
            (4, ""),
            (3, "denied"),
            (2, "stopped"),
            (1, "created"),
        ]
        found = targets.mentions(connection, [Targets(targets.BUILD, ("5", "7", "4"))], 9)
        assert [(one.job_id, one.outcome) for one in found] == [(2, "stopped"), (1, "")]
        assert ids(store.jobs_at(connection, "main", ["f" * 40], 9)) == [2]
        assert listed(connection, action="cancel_re") == [4, 3, 2]
        connection.rollback()
        # what was left open is closed as any other
        with connection.begin():
            connection.execute(sa.text("UPDATE selfserve_jobs SET status='running' WHERE id = 4"))
        (left,) = store.open_now(connection, 1, "a life")
        connection.rollback()
        store.close_job(connection, replace(left, status="ok", completed_at=1, requests=(OUTCOME,)))
        assert targets.mentions(connection, REQUEST_3, 9)[1].outcome == "created"
    engine.dispose()


def test_ids_are_not_used_again(connection: sa.Connection) -> None:
    first = opened(connection, JOB, 1, "a life")
    with connection.begin():
        connection.execute(sa.text("DELETE FROM selfserve_jobs"))
    assert opened(connection, JOB, 1, "a life").job_id == first.job_id + 1


def test_long_names_are_cut(connection: sa.Connection) -> None:
    long = opened(connection, replace(JOB, who="x" * 1000), 1, "a life")
    job = store.job(connection, long.job_id)
    assert job is not None
    assert job.who == "x" * 256


ATTEMPT = Attempt("key", "what")


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_a_key_has_one_row_that_has_done_something(connection: sa.Connection, status: str) -> None:
    first = store.open_job(connection, JOB, 1, "a life", ATTEMPT)
    assert (first.new, first.job) == (True, replace(JOB, job_id=1))
    again = store.open_job(connection, replace(JOB, when=2000), 2, "another", ATTEMPT)
    assert (again.new, again.fingerprint, again.job) == (False, "what", first.job)
    # another user, a token of the same name, another key are others
    for who, via in (("eve", JOB.via), (JOB.who, f"token:{JOB.who}"), (JOB.who, "anonymous")):
        assert store.open_job(connection, replace(JOB, who=who, via=via), 1, "a life", ATTEMPT).new
    assert store.open_job(connection, JOB, 1, "a life", replace(ATTEMPT, key="KEY")).new
    ended = replace(first.job, status=status, completed_at=1010, requests=(OUTCOME,))
    assert store.close_job(connection, ended)
    assert store.open_job(connection, JOB, 1, "a life", ATTEMPT).job == ended


def test_a_key_is_free_again_when_nothing_was_done(connection: sa.Connection) -> None:
    first = store.open_job(connection, JOB, 1, "a life", ATTEMPT)
    store.close_job(connection, replace(first.job, status="failed", completed_at=1, errors=True))
    assert store.open_job(connection, JOB, 1, "a life", ATTEMPT).new


@pytest.mark.parametrize("attempt", [None, ATTEMPT])
@pytest.mark.parametrize("per_minute", [None, 1])
def test_a_row_that_was_written_though_its_writing_failed_is_found_again(
    connection: sa.Connection, attempt: Attempt | None, per_minute: int | None
) -> None:
    begun: list[int] = []
    asked = (connection, JOB, 1, "a life", attempt, per_minute, begun)
    first = store.open_job(*asked)
    # a connection that breaks now looks as if nothing had been written; the pool does it again
    again = store.open_job(*asked)
    assert isinstance(first, store.Opened)
    assert again == first
    assert again.new
    assert len(store.list_jobs(connection, 10, 0, store.Filters()).jobs) == 1


def test_a_row_that_was_not_written_in_the_end_is_written_again(
    connection: sa.Connection,
) -> None:
    begun = [17]
    again = store.open_job(connection, JOB, 1, "a life", ATTEMPT, None, begun)
    assert isinstance(again, store.Opened)
    assert again.new
    assert store.job(connection, again.job.job_id) == replace(JOB, job_id=again.job.job_id)


def test_the_plan_of_a_job_is_kept_while_it_runs(connection: sa.Connection) -> None:
    job = opened(connection, JOB, 1, "a life")
    store.note_plan(connection, replace(job, plan="the plan"))
    (left,) = store.take_over(connection, {1}, 1, "the next life")
    assert (left, left.plan) == (job, "the plan")
    ended = replace(left, status="ok", completed_at=1, requests=(OUTCOME,))
    closed = store.close_job(connection, ended)
    assert closed is not None
    assert (closed, closed.plan) == (ended, None)
    # what is late brings it back to nobody
    store.note_plan(connection, left)
    stands = store.job(connection, job.job_id)
    assert stands is not None
    assert (stands, stands.plan) == (ended, None)


def test_a_row_that_is_followed_is_amended(connection: sa.Connection) -> None:
    job = opened(connection, JOB, 1, "earlier")
    sent = replace(OUTCOME, outcome="stop_sent")
    closed = replace(job, status="ok", completed_at=1, requests=(sent,))
    assert store.amend_job(connection, closed) == job
    assert store.close_job(connection, closed) == closed
    (followed,) = store.take_over(connection, {1}, 1, "now")
    assert followed == closed
    ended = replace(followed, completed_at=9, requests=(replace(OUTCOME, outcome="stopped"),))
    # another life follows it now
    assert store.amend_job(connection, replace(ended, incarnation="earlier")) == closed
    assert store.amend_job(connection, ended) == ended
    assert store.amend_job(connection, followed) == ended
    assert store.take_over(connection, {1}, 1, "the next life") == []
