"""Fixtures: a running master for each test that asks for one, on the database that it asks for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_twisted
import sqlalchemy as sa
from hypothesis import HealthCheck
from hypothesis import settings

from buildbot_selfserve.journal import schema
from tests import databases
from tests import reaper

# on a busy machine anything may take long
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

#: Databases that Buildbot runs on.
EVERY = ("sqlite", "postgresql", "mariadb")
#: The modules that take longest, in this order; among the heavy tests, the first ones.
_LONG = (
    "test_benchmarks",
    "test_stopped",
    "test_generated",
    "test_index",
    "test_command",
    "test_readers",
    "test_reads",
    "test_examples",
    "test_job_requests",
    "test_waiting",
    "test_faults",
    "test_names",
    "test_new_builds",
    "test_taken_over",
    "test_tasks",
    "test_every_page",
    "test_timeout",
    "test_two_masters",
    "test_contract",
    "test_cut_short",
)
#: Bytes of memory that a process of tests needs, with its masters, servers and browser.
A_PROCESS = 600_000_000


def pytest_configure(config: Any) -> None:
    """Let nothing outlive the run, also if it is interrupted, or terminated like a service."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # as in the background of a shell; what is started would ignore a Ctrl-C of the tests', too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput"):
        reaper.watch(reaper.own_folder())
        return
    reaper.watch()
    signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))


def pytest_xdist_auto_num_workers(config: Any) -> int:
    """Return how many processes test at a time: half of the time of most tests is waiting."""
    cores = os.cpu_count() or 1
    return max(1, min(2 * cores, int(psutil.virtual_memory().available / A_PROCESS)))


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[Any]:
    """Let an asynchronous fixture that cannot be set up fail the tests that ask for it alone.

    pytest takes down again what has a result, and pytest-twisted gives none to what has failed:
    each later test with a fixture of that name would fail, too.
    """
    try:
        return (yield)
    except BaseException as error:
        if fixturedef.cached_result is None:
            key = fixturedef.cache_key(request)
            fixturedef.cached_result = (None, key, (error, error.__traceback__))
        raise


def pytest_generate_tests(metafunc: Any) -> None:
    """Run the tests of a module that says ``EVERY_DATABASE`` on each of them.

    Those on MariaDB are among the heavy tests; and where the questions to the database are not what
    is tested, the module says ``"heavy"``: then those on PostgreSQL are, too. One that is marked
    ``writes_at_once`` needs a database in which several can write at a time.
    """
    every = getattr(metafunc.module, "EVERY_DATABASE", False)
    if every and "db_url" in metafunc.fixturenames:
        at_once = metafunc.definition.get_closest_marker("writes_at_once")
        some = [one for one in EVERY if not (at_once and one == "sqlite")]
        usual = some[:1] if every == "heavy" else [one for one in some if one != "mariadb"]
        params = [
            one if one in usual else pytest.param(one, marks=pytest.mark.heavy) for one in some
        ]
        metafunc.parametrize("db_url", params, indirect=True)


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Begin with the modules that take longest, since each is run by one process."""
    items.sort(key=lambda item: (*_LONG, item.path.stem).index(item.path.stem))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    with databases.postgresql() as url:
        yield url


@pytest.fixture(scope="session")
def mariadb() -> Iterator[sa.URL]:
    if not databases.mariadb_is_installed():
        # in CI nothing may be left out
        assert not os.environ.get("CI"), "MariaDB's server is not installed"
        pytest.skip("MariaDB's server is not installed: nothing was tried on it")
    with databases.mariadb() as url:
        yield url


@pytest.fixture(scope="session")
def router() -> Iterator[str]:
    """The URL of a message router for masters that share a database."""
    from tests import crossbar

    if not crossbar.is_installed():
        # in CI nothing may be left out
        assert not os.environ.get("CI"), crossbar.MISSING
        pytest.skip(f"{crossbar.MISSING}: nothing was tried with two masters")
    with crossbar.router() as url:
        yield url


@pytest.fixture
def db_url(request: Any) -> str:
    """The URL of a database for a master; ``sqlite`` unless a test is parametrized with another."""
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        return databases.SQLITE
    return databases.fresh_database(request.getfixturevalue(kind))


@pytest_twisted.async_yield_fixture
async def master(tmp_path: Any, monkeypatch: Any, request: Any, db_url: str) -> Any:
    """Run the master whose configuration ``@pytest.mark.parametrize(indirect=True)`` makes."""
    # here, not above: importing Buildbot installs the reactor
    from tests import harness

    make = getattr(request, "param", harness.config)
    async with harness.running_master(tmp_path, monkeypatch, make, db_url) as running:
        yield running


@pytest.fixture
def sent(master: Any, monkeypatch: Any) -> list[Any]:
    """Return the Deferreds of what the reader processes of *master* are asked."""
    from buildbot_selfserve.readers.processes import ProcessReaders

    asked: list[Any] = []
    ask = ProcessReaders.ask

    def kept(readers: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(ask(readers, *arguments, **options))
        return asked[-1]

    monkeypatch.setattr(ProcessReaders, "ask", kept)
    return asked


@pytest.fixture
def short_acts(monkeypatch: Any) -> None:
    """Let acts give up after 4 seconds, and their answers have much longer.

    For a master such as ``harness.patient``. With a short one instead, a machine
    that stands still for a moment has none left to answer in.
    """
    from buildbot_selfserve.jobs import runner
    from tests import harness

    monkeypatch.setattr(runner, "ACT_SHARE", harness.ACT_SECONDS / harness.ANSWER_SECONDS)


@pytest.fixture
def process_master(tmp_path: Path) -> Iterator[Any]:
    """Run a master in a process of its own."""
    from tests.process_master import ProcessMaster

    running = ProcessMaster(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[sa.Engine]:
    """An engine on an empty journal, without a master."""
    engine = sa.create_engine(f"sqlite:///{tmp_path}/journal.sqlite")
    schema.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def pushed(db_url: str, tmp_path: Path) -> Iterator[Any]:
    """A database to write a history of pushes to, and what asks for it."""
    from tests.pushed import Pushed

    made = Pushed(db_url, tmp_path, "abcdefghijkmnop")
    yield made
    made.close()
