"""Credentials that the configuration of now does not give are refused when a reconfig is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import secrets
from buildbot.plugins import util
from buildbot.secrets.providers.base import SecretProviderBase
from buildbot.util.service import BuildbotService
from twisted.internet import defer

from tests import PATIENCE
from tests.harness import Config
from tests.harness import config
from tests.test_opening import has_jobs
from tests.test_opening import journal_at
from tests.test_opening import open_databases
from tests.test_opening import reprioritize

OLD = "the-secret-of-before-is-long-enough"
NEW = "the-secret-of-now-is-long-enough-too"


def written(folder: Path, **texts: str) -> Any:
    """Write secrets into files of *folder*; return a provider that reads them."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return secrets.SecretInAFile(dirname=str(folder))


class Vault(SecretProviderBase):
    """A provider of the operator's own: it gives *answers*, or raises those that are exceptions."""

    name = "vault"

    def reconfigService(self, **answers: Any) -> None:
        """Follow the configuration."""
        self.answers = answers

    def get(self, entry: str) -> Any:
        """Return the secret *entry*, or a Deferred."""
        answer = self.answers.get(entry)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer


class Careless(Vault):
    """A provider that hides its arguments from Buildbot, which then keeps the first one."""

    name = "careless"

    def __init__(self, **answers: Any) -> None:
        super().__init__()
        self.answers = answers

    def reconfigService(self, **answers: Any) -> None:
        """Do nothing."""


class Unhappy(BuildbotService):
    """A service that fails whenever it is configured anew."""

    name = "unhappy"

    def reconfigService(self, fails: bool) -> None:
        """Fail, if it is to."""
        if fails:
            raise RuntimeError("no luck")


def tokens(providers: list[Any], *names: str, **more: Any) -> Callable[[], Config]:
    """Return a master with a token for each of *names*, whose secret has that name, too."""

    def make() -> Config:
        found = [util.SelfServeToken(name, util.Secret(name)) for name in names or ("ci",)]
        made = config(util.SelfServe(tokens=found))
        return {**made, "secretsProviders": providers, **more}

    return make


async def who_is(master: Any, secret: str) -> Any:
    """Return the user for whom *secret* stands, or the status of the answer."""
    headers = {"Authorization": f"Bearer {secret}"}
    answer = await master.get("/self-serve/main/permissions", headers=headers)
    return answer.json["who"] if answer.status == 200 else answer.status


def folder_moves(tmp_path: Path) -> list[Any]:
    return [written(tmp_path / "b", ci=NEW)]


def folder_is_another_without_it(tmp_path: Path) -> list[Any]:
    return [written(tmp_path / "c", other=NEW)]


def nothing_provides(tmp_path: Path) -> list[Any]:
    return []


def a_file_is_gone(tmp_path: Path) -> list[Any]:
    (tmp_path / "a" / "ci").unlink()
    return [written(tmp_path / "a")]


def a_file_is_empty(tmp_path: Path) -> list[Any]:
    return [written(tmp_path / "a", ci="")]


def a_file_is_written_again(tmp_path: Path) -> list[Any]:
    return [written(tmp_path / "a", ci=NEW)]


def a_file_is_no_text(tmp_path: Path) -> list[Any]:
    (tmp_path / "a" / "ci").write_bytes(b"\xff")
    return [written(tmp_path / "a")]


def another_suffix(tmp_path: Path) -> list[Any]:
    written(tmp_path / "a", **{"ci.secret": NEW})
    return [secrets.SecretInAFile(dirname=str(tmp_path / "a"), suffixes=[".secret"])]


def a_vault_has_it(tmp_path: Path) -> list[Any]:
    return [Vault(ci=NEW)]


def a_vault_raises(tmp_path: Path) -> list[Any]:
    return [Vault(ci=RuntimeError("no luck"))]


def a_vault_has_nothing(tmp_path: Path) -> list[Any]:
    return [Vault()]


def a_vault_comes_first(tmp_path: Path) -> list[Any]:
    return [Vault(ci=NEW), written(tmp_path / "a")]


CHANGES = [
    (folder_moves, NEW),
    (folder_is_another_without_it, None),
    (nothing_provides, None),
    (a_file_is_gone, None),
    (a_file_is_empty, None),
    (a_file_is_written_again, NEW),
    (a_file_is_no_text, None),
    (another_suffix, NEW),
    (a_vault_has_it, NEW),
    (a_vault_raises, None),
    (a_vault_has_nothing, None),
    (a_vault_comes_first, NEW),
]


@pytest_twisted.ensureDeferred
async def test_the_old_secret_ends_with_its_configuration(master: Any, tmp_path: Path) -> None:
    await master.finished_build()
    folder = tmp_path / "a"
    for change, now in CHANGES:
        await master.reconfig(tokens([written(folder, ci=OLD)]))
        assert await who_is(master, OLD) == "ci", change
        await master.reconfig(tokens(change(tmp_path)))
        assert await who_is(master, OLD) == 401, change
        assert await who_is(master, NEW) == ("ci" if now else 401), change
    assert OLD not in master.log
    master.errors.clear()  # which tokens are refused


@pytest.mark.parametrize("kind", [Vault, Careless])
@pytest_twisted.ensureDeferred
async def test_of_providers_of_one_class_that_of_now_counts(master: Any, kind: Any) -> None:
    await master.finished_build()
    for secret, other in ((OLD, NEW), (NEW, OLD), (OLD, NEW)):
        await master.reconfig(tokens([kind(ci=secret)]))
        assert [await who_is(master, one) for one in (secret, other)] == ["ci", 401]
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_secret_is_never_good_under_the_wrong_name(master: Any, tmp_path: Path) -> None:
    await master.finished_build()
    folder = tmp_path / "a"
    await master.reconfig(tokens([written(folder, one=OLD, two=NEW)], "one", "two"))
    seen: list[Any] = []
    asking: list[defer.Deferred[Any]] = []

    def ask(_: Any) -> None:
        # in the middle of the reconfig: after the web server, before the secrets
        asking.append(defer.Deferred.fromCoroutine(who_is(master, OLD)).addCallback(seen.append))

    class Asks(Vault):
        def reconfigService(self, **answers: Any) -> None:
            ask(answers)

    swapped = written(tmp_path / "b", one=NEW, two=OLD)
    await master.reconfig(tokens([swapped, Asks()], "one", "two"))
    assert [await who_is(master, one) for one in (OLD, NEW)] == ["two", "one"]
    await defer.gatherResults(asking)
    assert asking
    assert set(seen) <= {"two", 503}
    # renamed, and taken out
    await master.reconfig(tokens([written(folder, three=OLD, two=NEW)], "three"))
    assert [await who_is(master, one) for one in (OLD, NEW)] == ["three", 401]
    # what two have is that of the first, whichever is known first
    await master.reconfig(tokens([Vault(one=OLD, two=OLD)], "two", "one"))
    assert await who_is(master, OLD) == "two"
    master.errors.clear()


@pytest.mark.parametrize(
    "failing",
    [
        {"unhappy": True},  # before the web server
        {"plugins": {"none": {}}},  # in it
        {"broken": True},  # in the manager of secrets, after it
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_reconfig_that_fails_half_way_ends_old_secrets(
    master: Any, tmp_path: Path, failing: dict[str, Any]
) -> None:
    await master.finished_build()
    folder = tmp_path / "a"
    await master.reconfig(tokens([written(folder, ci=OLD)], services=[Unhappy(False)]))
    assert await who_is(master, OLD) == "ci"

    def make() -> Config:
        provider = written(tmp_path / "b", ci=NEW)
        if failing.get("broken"):
            (tmp_path / "b" / "bad").write_bytes(b"\xff")
            (tmp_path / "b" / "bad").chmod(0o600)
        made = tokens([provider], services=[Unhappy(failing.get("unhappy", False))])()
        made["www"]["plugins"] = {**failing.get("plugins", {}), **made["www"]["plugins"]}
        return made

    await master.reconfig(make)
    assert "configuration update partially applied" in master.log
    assert [await who_is(master, one) for one in (OLD, NEW)] == [401, "ci"]
    # and one that takes us out
    await master.reconfig(lambda: {**config(None), "services": [Unhappy(True)]})
    assert [await who_is(master, one) for one in (OLD, NEW)][1] != "ci"
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_a_reconfig_that_is_aborted_revokes_nothing(master: Any, tmp_path: Path) -> None:
    await master.finished_build()
    await master.reconfig(tokens([written(tmp_path / "a", ci=OLD)]))
    await master.reconfig(lambda: config({"a mistake": True}))
    # as operators.md has it
    assert "configuration update aborted" in master.log
    assert await who_is(master, OLD) == "ci"
    await master.reconfig(config)
    assert await who_is(master, OLD) == 401


@pytest.mark.parametrize("silence", [defer.Deferred, ConnectionRefusedError("no"), TimeoutError()])
@pytest_twisted.ensureDeferred
async def test_a_vault_that_does_not_answer_is_waited_for(
    master: Any, tmp_path: Path, monkeypatch: Any, silence: Any
) -> None:
    monkeypatch.setattr("buildbot_selfserve.secrets.PATIENCE", 0.5)
    monkeypatch.setattr("buildbot_selfserve.auth.tokens.RETRIES", (0.2,))
    await master.finished_build()
    file = written(tmp_path / "a", ci=OLD, other="x" * 30)
    await master.reconfig(tokens([file], "other", "ci"))
    assert await who_is(master, OLD) == "ci"
    vault = Vault(ci=silence)
    (tmp_path / "a" / "ci").unlink()
    await master.reconfig(tokens([written(tmp_path / "a"), vault], "other", "ci"))
    # what may be its secret, for all that is known, is not called wrong; others are good
    assert await who_is(master, OLD) == 503
    assert await who_is(master, "x" * 30) == "other"
    vault.answers = {"ci": NEW}

    async def good() -> bool:
        return bool(await who_is(master, NEW) == "ci")

    await master.until(good, "the vault has answered")
    assert await who_is(master, OLD) == 401
    assert "API token ci is good now" in master.log
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_the_journal_waits_for_no_secret_but_its_own(
    master: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    """Each secret is asked for once, however many need it; a text needs none."""
    asked: list[str] = []

    class Counts(Vault):
        name = "counts"

        def get(self, entry: str) -> Any:
            asked.append(entry)
            return super().get(entry)

    await master.reconfig(journal_at("sqlite:///two.sqlite", Counts()))
    await master.until(lambda: open_databases().ready, "the journal is ready")
    assert asked == []
    folder = tmp_path / "a"
    file = written(folder, journal="sqlite:///three.sqlite", ci=NEW)
    looks: list[str] = []
    real = secrets.SecretInAFile.reconfigService

    def look(self: Any, *arguments: Any, **keywords: Any) -> Any:
        looks.append(self.name)
        return real(self, *arguments, **keywords)

    def make() -> Config:
        made = journal_at(util.Secret("journal"), file)()
        made["www"]["plugins"]["selfserve"] = util.SelfServe(
            db_url=util.Secret("journal"),
            readers=0,
            timeout=PATIENCE,
            tokens=[util.SelfServeToken("ci", util.Secret("ci"))],
        )
        return made

    await master.reconfig(make)
    await master.until(lambda: (tmp_path / "three.sqlite").exists(), "the journal is there")
    await master.until(lambda: open_databases().ready, "the journal is ready")
    # somebody else's file, which is no text
    (folder / "bad").write_bytes(b"\xff")
    (folder / "bad").chmod(0o600)
    monkeypatch.setattr(secrets.SecretInAFile, "reconfigService", look)
    file = written(folder, journal="sqlite:///four.sqlite")
    await master.reconfig(make)

    async def there() -> bool:
        return open_databases().ready and await has_jobs(master, 0)

    await master.until(there, "the journal is another")
    assert await who_is(master, NEW) in ("ci", 404)
    assert await reprioritize(master) == 202
    assert (tmp_path / "four.sqlite").exists()
    assert len(looks) == 1
    assert master.errors == []
