"""What a master reads and writes is opened whatever fails at first, and only if it is another."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import secrets
from buildbot.plugins import util
from buildbot.secrets.providers.base import SecretProviderBase
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.journal import schema
from tests import databases
from tests import harness
from tests.harness import USER
from tests.harness import Config
from tests.harness import config
from tests.test_journal import JOB
from tests.test_journal import opened

#: The text of a secret that no log may show, and that is no URL of a database.
NO_URL = "postgresql://me:hunter2@host:hunter3/journal"


@pytest.fixture(autouse=True)
def soon(monkeypatch: Any) -> None:
    """Let what fails be tried again at once."""
    monkeypatch.setattr("buildbot_selfserve.databases.RETRY", 0.2)


def open_databases() -> Any:
    assert plugin.application._service is not None
    return plugin.application._service.databases


async def reprioritize(master: Any) -> int:
    """Send a job request; return the status of its answer."""
    master.pause()
    path = f"/self-serve/main/request/{await master.add_request()}"
    answer = await master.request("PUT", path, user=USER, data={"priority": "1"})
    return int(answer.status)


async def has_jobs(master: Any, number: int) -> bool:
    """Whether the journal that is read now has so many."""
    answer = await master.get("/self-serve/jobs")
    return answer.status == 200 and len(answer.json) == number


# -- what an earlier life of the master left


@dataclass
class Statements:
    """The statements about rows of the journal, of which one fails."""

    failing: int
    seen: list[str] = field(default_factory=list)

    def look_at(self, connection: Any, cursor: Any, statement: str, *arguments: Any) -> None:
        if "selfserve_jobs" not in statement:
            return
        self.seen.append(statement)
        if len(self.seen) == self.failing:
            lost = Exception("server closed the connection")
            raise sa.exc.OperationalError(statement, {}, lost)


@pytest.fixture
def failing(request: Any) -> Iterator[Callable[[], Statements]]:
    """Let a statement about rows fail, from when this is called: the parameter says which."""
    statements = Statements(request.param)

    def begin() -> Statements:
        sa.event.listen(sa.Engine, "before_cursor_execute", statements.look_at)
        return statements

    yield begin
    if sa.event.contains(sa.Engine, "before_cursor_execute", statements.look_at):
        sa.event.remove(sa.Engine, "before_cursor_execute", statements.look_at)


@pytest.mark.parametrize("failing", [1, 2], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_was_left_open_is_settled_though_a_statement_fails(
    master: Any, failing: Callable[[], Statements]
) -> None:
    ours = open_databases()
    job = await ours.write(opened, JOB, master.master.masterid, "an earlier life")
    # as a start of the master does
    await ours.close()
    statements = failing()
    ours.open(plugin.application._service.config)

    async def settled() -> bool:
        answer = await master.get(f"/self-serve/jobs/{job.job_id}")
        return answer.status == 200 and answer.json["status"] == "failed"

    await master.until(settled, "it is settled")
    assert len(statements.seen) > statements.failing
    assert "what was left open cannot be reconciled, trying again" in master.log
    master.errors.clear()  # that it failed at first


# -- reconfigs


class Vault(SecretProviderBase):
    """A provider of secrets far away: each time it answers with the next of *answers*."""

    name = "vault"

    def __init__(self, answers: list[Any]) -> None:
        super().__init__()
        self.answers = answers
        self.asked = 0

    def reconfigService(self) -> None:
        """Follow the configuration, of which there is none."""

    def get(self, entry: str) -> Any:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


def journal_at(db_url: Any, *providers: Any) -> Callable[[], Config]:
    def make() -> Config:
        # threads, because a process takes long to start on a busy machine
        made = config(util.SelfServe(db_url=db_url, timeout=20, readers=0))
        return {**made, "secretsProviders": list(providers)}

    return make


def secret_file(folder: Path, text: str) -> Any:
    """Write *text* into the file of a secret; return the provider that reads it."""
    path = folder / "secrets" / "journal"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return secrets.SecretInAFile(dirname=str(path.parent))


FILE = "sqlite:///one.sqlite"
WAYS = {
    "text": lambda: FILE,
    "secret": lambda: util.Secret("journal"),
    "interpolate": lambda: util.Interpolate("sqlite:///%(kw:name)s.sqlite", name="one"),
    "interpolated secret": lambda: util.Interpolate("%(secret:journal)s"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest_twisted.ensureDeferred
async def test_a_reconfig_that_changes_nothing_opens_nothing(
    way: str, tmp_path: Path, monkeypatch: Any
) -> None:
    def make() -> Config:
        return journal_at(WAYS[way](), secret_file(tmp_path, FILE))()

    async with harness.running_master(tmp_path, monkeypatch, make) as master:
        readers = open_databases().readers
        await master.reconfig(make)
        assert await reprioritize(master) == 202
        # written in another way, it is still the same
        await master.reconfig(journal_at(FILE))
        assert await reprioritize(master) == 202
        assert open_databases().readers is readers
        assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_reconfig_follows_the_text_that_comes_of_the_url(
    tmp_path: Path, monkeypatch: Any
) -> None:
    one, two = util.Interpolate(FILE), util.Interpolate("sqlite:///two.sqlite")
    async with harness.running_master(tmp_path, monkeypatch, journal_at(one)) as master:
        assert await reprioritize(master) == 202

        async def jobs_at(number: int, db_url: Any, *providers: Any) -> None:
            await master.reconfig(journal_at(db_url, *providers))

            async def there() -> bool:
                return open_databases().ready and await has_jobs(master, number)

            await master.until(there, f"the journal has {number} jobs")

        await jobs_at(0, two)
        await jobs_at(1, one)
        await jobs_at(0, "sqlite:///three.sqlite")
        # the same master.cfg, another text in the file
        await jobs_at(1, util.Secret("journal"), secret_file(tmp_path, FILE))
        await jobs_at(0, util.Secret("journal"), secret_file(tmp_path, "sqlite:///four.sqlite"))
        assert await reprioritize(master) == 202
        assert master.errors == []


@pytest.mark.parametrize("readers", [0, 1])
@pytest_twisted.ensureDeferred
async def test_a_reconfig_of_the_timeout_leaves_all_open(
    readers: int, tmp_path: Path, monkeypatch: Any
) -> None:
    def make(timeout: float) -> Callable[[], Config]:
        return lambda: config(util.SelfServe(timeout=timeout, readers=readers))

    async with harness.running_master(tmp_path, monkeypatch, make(20)) as master:
        before = open_databases().readers, plugin.application._service.jobs.incarnation
        assert await reprioritize(master) == 202
        await master.reconfig(make(25))
        await master.until(lambda: before[0].timeout == 25, "the readers know")
        assert (await master.get("/self-serve/branches")).status == 200
        assert open_databases().ready
        assert await reprioritize(master) == 202
        assert (open_databases().readers, plugin.application._service.jobs.incarnation) == before
        assert "opened anew" not in master.log
        assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_reconfig_opens_readers_that_are_to_be_others(master: Any) -> None:
    readers = open_databases().readers
    await master.reconfig(lambda: config(util.SelfServe(readers=0)))
    assert open_databases().readers is not readers
    await master.until(lambda: open_databases().ready, "the journal is ready")
    assert await reprioritize(master) == 202
    assert master.errors == []


# -- a URL that cannot be read


def refused() -> OSError:
    return OSError("hunter1 was refused")


@pytest_twisted.ensureDeferred
async def test_a_url_that_cannot_be_read_is_asked_for_again(
    tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("buildbot_selfserve.secrets.PATIENCE", 0.5)
    vault = Vault([refused(), None, NO_URL, "nosuch://me:hunter2@db/x", defer.Deferred(), FILE])
    make = journal_at(util.Secret("journal"), vault)
    async with harness.running_master(tmp_path, monkeypatch, make) as master:
        assert vault.asked == 6
        assert await reprioritize(master) == 202
        assert master.log.count("db_url cannot be followed, trying again") == 5
        for why in (
            "its secret cannot be read (OSError)",
            "no secrets provider has its secret",
            "it is not a database URL",
            "its driver is not installed",
            "its secret took longer than 0.5 seconds",
        ):
            assert master.log.count(f"The database URL is not available: {why}\n") == 1
        assert master.log.count("selfserve: db_url is followed") == 1
        assert "hunter" not in master.log
        assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_while_a_url_cannot_be_read_the_old_one_is_good(master: Any) -> None:
    vault = Vault([refused()])
    await master.reconfig(journal_at(util.Secret("journal"), vault))
    await master.until(lambda: vault.asked > 2, "it is asked for again")
    assert await reprioritize(master) == 202
    # until there is another configuration
    await master.reconfig(config)
    asked = vault.asked
    await task.deferLater(reactor, 1)
    assert vault.asked == asked
    assert await reprioritize(master) == 202
    assert await has_jobs(master, 2)
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_a_master_that_stops_asks_for_its_url_no_more(
    tmp_path: Path, monkeypatch: Any
) -> None:
    vault = Vault([refused()])
    async with harness.running_master(tmp_path, monkeypatch) as master:
        await master.reconfig(journal_at(util.Secret("journal"), vault))
        await master.until(lambda: vault.asked > 2, "it is asked for again")
    asked = vault.asked
    await task.deferLater(reactor, 1)
    assert vault.asked == asked
    assert "Unhandled" not in master.log


# -- connections that are gone


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
@pytest_twisted.ensureDeferred
async def test_a_journal_of_its_own_is_written_though_its_server_hung_up(
    kind: str, tmp_path: Path, monkeypatch: Any, request: Any
) -> None:
    db_url = databases.fresh_database(request.getfixturevalue(kind))
    async with harness.running_master(tmp_path, monkeypatch, journal_at(db_url)) as master:
        assert await reprioritize(master) == 202
        databases.throw_out(db_url)
        assert await reprioritize(master) == 202
        assert await has_jobs(master, 2)
        assert master.errors == []


# -- a journal that cannot be opened


async def failed_often(master: Any, monkeypatch: Any, times: int = 5) -> None:
    """Wait until it was tried to upgrade the journal so many times more."""
    tried = []
    upgrade = schema.upgrade

    def counted(engine: sa.Engine) -> None:
        tried.append(engine)
        upgrade(engine)

    monkeypatch.setattr(schema, "upgrade", counted)
    await master.until(lambda: len(tried) >= times, "it was tried several times")


@pytest_twisted.ensureDeferred
async def test_a_journal_in_a_missing_directory_is_logged_once_and_when_it_is_ready(
    master: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    await master.reconfig(journal_at("sqlite:///missing/one.sqlite"))
    trouble = f"in the journal's database (sqlite:///{tmp_path}/missing/one.sqlite) cannot be made"
    await master.until(lambda: trouble in master.log, "it fails")
    await failed_often(master, monkeypatch)
    assert master.log.count(trouble) == 1
    assert master.log.count("trying again: unable to open database file\n") == 1
    assert "the journal is ready" not in master.log
    (tmp_path / "missing").mkdir()
    await master.until(lambda: open_databases().ready, "the journal is ready")
    assert master.log.count("selfserve: the journal is ready\n") == 1
    assert "Traceback" not in master.log
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_tables_of_a_newer_self_serve_are_logged_once(
    master: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    newer = sa.create_engine(f"sqlite:///{tmp_path}/newer.sqlite")
    schema.upgrade(newer)

    def set_version(text: str) -> None:
        with newer.begin() as connection:
            connection.execute(sa.text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '{text}'"))

    with newer.connect() as connection:
        ours = connection.scalar(sa.text(f"SELECT version_num FROM {schema.VERSION_TABLE}"))
    set_version("9999")
    await master.reconfig(journal_at("sqlite:///newer.sqlite"))
    why = "trying again: a newer self-serve made them\n"
    await master.until(lambda: why in master.log, "it fails")
    await failed_often(master, monkeypatch)
    assert master.log.count(why) == 1
    set_version(str(ours))
    await master.until(lambda: open_databases().ready, "the journal is ready")
    assert "Traceback" not in master.log
    newer.dispose()
