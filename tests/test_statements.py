"""Tests of statements, which are compiled once, and on PostgreSQL prepared once per connection."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha1

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history.index import queries
from buildbot_selfserve.history.rows import OPEN_OF_BUILDSETS
from buildbot_selfserve.statements import BoundStatement
from buildbot_selfserve.statements import Statement
from buildbot_selfserve.statements import fetched
from buildbot_selfserve.statements import insert
from buildbot_selfserve.statements import insert_with_ids
from tests.pushed import Pushed

builders = Model.builders
#: The order of the parameters in the text differs from that of their names.
NAMED = BoundStatement(
    sa.select(builders.c.id, sa.literal("50 %", sa.Text).label("half"))
    .where(
        builders.c.id < sa.bindparam("z_below", type_=sa.Integer),
        builders.c.name == sa.bindparam("name", type_=sa.Text),
    )
    .limit(sa.bindparam("most", type_=sa.Integer))
)
NAMES = Statement(sa.select(builders.c.name), builders.c.id)


BUILDER = (7, "it's")
ON_POSTGRESQL = pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
ON_EACH = pytest.mark.parametrize(
    "db_url",
    ["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.heavy)],
    indirect=True,
)


@pytest.fixture
def connection(pushed: Pushed) -> Iterator[sa.Connection]:
    number, name = BUILDER
    with pushed.writing.begin() as writing:
        row = {"id": number, "name": name, "name_hash": sha1(name.encode()).hexdigest()}
        writing.execute(builders.insert(), row)
    with pushed.reading.connect() as connection:
        yield connection


@ON_EACH
def test_a_bound_statement_takes_values_by_name(connection: sa.Connection) -> None:
    number, name = BUILDER
    for below, found in ((number + 1, [(number, "50 %")]), (number, [])):
        assert NAMED.of(connection, {"name": name, "z_below": below, "most": 9}) == found
    assert NAMED.of(connection, {"name": name, "z_below": number + 1, "most": 0}) == []
    assert NAMED.of(connection, {"name": "%s$1", "z_below": number + 1, "most": 9}) == []


@ON_EACH
def test_rows_get_ids_in_their_order(pushed: Pushed) -> None:
    buildsets, properties = Model.buildsets, Model.buildset_properties
    reasons = ["it's", "50 %", None, '{"a", \\1}', "%s", "ä", *map(str, range(300))]
    rows = [
        {"reason": reason, "submitted_at": number, "complete": 0, "parent_buildid": None}
        for number, reason in enumerate(reasons)
    ]
    with pushed.writing.begin() as connection:
        assert insert_with_ids(connection, buildsets, []) == []
        earlier = insert_with_ids(connection, buildsets, rows[:1])
        ids = insert_with_ids(connection, buildsets, rows)
        assert len({*earlier, *ids}) == 1 + len(rows)
        insert(connection, properties, [])
        names = ("buildsetid", "property_name", "property_value")
        values = [(number, "n", str(reason)) for number, reason in zip(ids, reasons, strict=True)]
        insert(connection, properties, [dict(zip(names, one, strict=True)) for one in values])
    with pushed.writing.begin() as connection:
        found = {
            one.id: (one.submitted_at, one.reason)
            for one in connection.execute(sa.select(buildsets))
        }
        assert [found[one] for one in ids] == list(enumerate(reasons))
        query = sa.select(properties).where(properties.c.buildsetid.in_(ids))
        assert sorted(map(tuple, connection.execute(query))) == values
        # what inserts as usual goes on after them
        key = connection.execute(buildsets.insert(), rows[0]).inserted_primary_key
        assert key is not None
        assert key[0] > max(ids)


@pytest.mark.parametrize("db_url", ["sqlite", "postgresql"], indirect=True)
def test_rows_are_inserted_in_the_transaction_that_is_open(pushed: Pushed) -> None:
    buildsets, links = Model.buildsets, Model.buildset_sourcestamps
    row = {"reason": "r", "submitted_at": 1, "complete": 0}
    with pushed.writing.connect() as connection:
        connection.begin()
        (number,) = insert_with_ids(connection, buildsets, [row])
        with pytest.raises(sa.exc.IntegrityError):
            insert(connection, links, [{"buildsetid": number, "sourcestampid": None}])
    with pushed.writing.connect() as connection:
        query = sa.select(buildsets.c.id).where(buildsets.c.reason == "r")
        assert connection.execute(query).all() == []


@ON_POSTGRESQL
def test_a_statement_for_the_pool_of_the_master_prepares_nothing(
    connection: sa.Connection,
) -> None:
    number, name = BUILDER
    plain = Statement(sa.select(builders.c.name), builders.c.id, prepares=False)
    assert plain.of(connection, [number]) == [(name,)]
    assert not connection.info.get("selfserve_prepared")


@ON_POSTGRESQL
def test_a_server_that_forgets_what_is_prepared_is_asked_in_full(
    connection: sa.Connection,
) -> None:
    """A pooler may run each statement in another session."""
    number, name = BUILDER

    def ask() -> None:
        found = NAMED.of(connection, {"name": name, "z_below": number + 1, "most": 9})
        assert found == [(number, "50 %")]
        assert NAMES.of(connection, [number]) == [(name,)]

    ask()
    assert connection.info["selfserve_prepared"]
    connection.exec_driver_sql("DEALLOCATE ALL")
    ask()
    connection.exec_driver_sql("DEALLOCATE ALL")
    ask()


@ON_POSTGRESQL
@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED"])
def test_a_statement_that_takes_too_long_is_not_run_again(pushed: Pushed, isolation: str) -> None:
    with pushed.writing.begin() as connection:
        connection.exec_driver_sql("CREATE SEQUENCE runs")
    with pushed.writing.connect() as connection:
        connection = connection.execution_options(isolation_level=isolation)
        connection.exec_driver_sql("SET statement_timeout = 500")
        with pytest.raises(sa.exc.OperationalError, match="statement timeout"):
            fetched(connection, "SELECT nextval('runs'), pg_sleep(60)")
        connection.rollback()
        # what was drawn stays so, whatever becomes of the statement
        assert fetched(connection, "SELECT last_value FROM runs") == [(1,)]


@ON_EACH
def test_a_statement_that_fails_raises_what_sqlalchemy_would(connection: sa.Connection) -> None:
    raised = []
    for run in (fetched, lambda one, text: one.exec_driver_sql(text)):
        with pytest.raises(sa.exc.DBAPIError) as refusal:
            run(connection, "SELECT nothing FROM nowhere")
        raised.append(refusal.value)
        connection.rollback()
    first, second = raised
    assert (type(first), str(first)) == (type(second), str(second))
    assert type(first.orig) is type(second.orig)


@ON_POSTGRESQL
def test_a_connection_that_is_dead_is_replaced(connection: sa.Connection, pushed: Pushed) -> None:
    number, name = BUILDER
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    pushed.connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
    with pytest.raises(sa.exc.OperationalError) as refusal:
        NAMES.of(connection, [number])
    assert refusal.value.connection_invalidated
    connection.rollback()
    assert NAMES.of(connection, [number]) == [(name,)]


@ON_POSTGRESQL
def test_connections_plan_once_and_start_no_processes(connection: sa.Connection) -> None:
    for setting, value in (
        ("plan_cache_mode", "force_generic_plan"),
        ("max_parallel_workers_per_gather", "0"),
    ):
        assert connection.exec_driver_sql(f"SHOW {setting}").scalar() == value


@ON_POSTGRESQL
def test_a_server_without_a_setting_keeps_the_others(
    pushed: Pushed, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("set_by_a_later_server = 1", *db_engine.SETTINGS)
    monkeypatch.setattr(db_engine, "SETTINGS", settings)
    engine = db_engine.open_engine(pushed.reading.url, 1)
    with engine.connect() as connection:
        shown = connection.exec_driver_sql("SHOW max_parallel_workers_per_gather").scalar()
    engine.dispose()
    assert shown == "0"


@pytest.mark.parametrize("db_url", ["sqlite"], indirect=True)
def test_open_requests_are_found_by_their_buildsets(connection: sa.Connection) -> None:
    # by their state, it would be those of all branches
    driver = connection.connection.driver_connection
    assert driver is not None
    texts: list[str] = []
    driver.set_trace_callback(texts.append)
    OPEN_OF_BUILDSETS.of(connection, [1, 2])
    driver.set_trace_callback(None)
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {texts[0]}").all()
    steps = [step[3] for step in plan if "buildrequests" in step[3]]
    assert [step for step in steps if "buildrequests_buildsetid" in step], steps


@ON_POSTGRESQL
def test_ids_are_looked_for_only_if_something_was_written(connection: sa.Connection) -> None:
    *ends, version = queries.ENDS.all(connection)[0]
    query = queries.ENDS_UNLESS_KNOWN
    assert query.of(connection, {"known": version}) == [(*[None] * len(ends), version)]
    assert query.of(connection, {"known": f"{version}0"}) == [(*ends, version)]
    text = f"EXPLAIN (ANALYZE, TIMING FALSE) {query._query.compile(dialect=connection.dialect)}"
    for known, is_looked_for in ((version, False), (f"{version}0", True)):
        plan = connection.exec_driver_sql(text, {"known": known}).scalars().all()
        scans = [line for line in plan if "Scan" in line and "Subquery" not in line]
        assert len(scans) >= len(ends), plan
        assert all(("never executed" not in line) == is_looked_for for line in scans), plan
