"""A database with a history of pushes, and short ways to ask what self-serve says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import History
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history.health import health_of_revision
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.pushes import find_last_green
from buildbot_selfserve.history.pushes import pushes_of_branch
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Site
from tests.push_history import PushHistory
from tests.push_history import written

MAIN = Branch("main", ("main",))


class Pushed:
    """A database to which ``history`` writes, and a reader of it.

    :param names: the names of all revisions, so that answers are told by them
    """

    def __init__(self, db_url: str, folder: Path, names: str) -> None:
        url = sa.engine.make_url(db_url)
        if url.get_backend_name() == "sqlite":
            url = url.set(database=str(folder / "state.sqlite"))
        self.writing = sa.create_engine(url)
        if url.get_backend_name() == "sqlite":
            with self.writing.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode=wal")
                connection.exec_driver_sql("PRAGMA synchronous=OFF")
        Model.metadata.create_all(self.writing)
        self.reading = db_engine.open_engine(url, 4)
        self.connection = self.writing.connect()
        self.history = PushHistory(self.connection)
        self.site = Site("self-serve", "http://localhost:8010/")
        self.index = Index()
        self.names = {written(name): name for name in (*names, *names.upper())}

    def close(self) -> None:
        self.connection.close()
        self.writing.dispose()
        self.reading.dispose()

    @contextmanager
    def asked(self) -> Iterator[History]:
        self.history.flush()
        with self.reading.connect() as connection:
            yield self.history_of(connection)

    def history_of(self, connection: sa.Connection) -> History:
        return History(connection, self.index, self.site)

    def name(self, revision: str | None) -> str | None:
        return None if revision is None else self.names.get(revision, revision)

    def revision(self, name: str, branch: Branch = MAIN) -> Revision:
        with self.asked() as history:
            text = written(name)
            assert text is not None
            (found,) = candidates(history, (branch,), text)
            return found

    def health(
        self,
        name: str,
        base: str | None = None,
        branch: Branch = MAIN,
        reacting: tuple[tuple[str, int], ...] = (),
    ) -> Health:
        """Return the health of a revision."""
        its_base = None if base is None else self.revision(base, branch)
        revision = self.revision(name, branch)
        with self.asked() as history:
            found = health_of_revision(history, revision, its_base, reacting)
            assert found is not None
            return found

    def told(self, name: str, builder: str = "linux", **more: str) -> tuple[object, ...]:
        """Return of a builder its state and change, and the base with its state and distance."""
        found = self.health(name, more.get("base"))
        one = self.of(found, builder)
        return one.at.state, one.change, one.base_state, self.name(one.base_revision), one.distance

    def of(self, found: Health, builder: str) -> BuilderHealth:
        (one,) = (one for one in found.builders if one.at.buildername == builder)
        return one

    def pushes(
        self,
        limit: int = 100,
        before: str | None = None,
        author: str | None = None,
        branch: Branch = MAIN,
    ) -> tuple[Health, ...]:
        """Return the newest pushes."""
        than = None if before is None else self.revision(before, branch)
        with self.asked() as history:
            return pushes_of_branch(history, branch, limit, than, author).pushes

    def line(self, branch: Branch = MAIN) -> str:
        """Return the names of the pushes, the newest first."""
        pushes = self.pushes(branch=branch)
        return " ".join(str(self.name(one.revision.revision)) for one in pushes)

    def last_green(
        self, *exact: str, patterns: tuple[str, ...] = (), most: int = 100, branch: Branch = MAIN
    ) -> tuple[str | None, int] | None:
        """Return the newest green revision, and how many pushes are newer."""
        chosen = Selection()
        if exact or patterns:
            chosen = Selection(frozenset((*exact, *patterns)), frozenset(exact))
        with self.asked() as history:
            found = find_last_green(history, branch, chosen, most)
            if isinstance(found, int):
                return None
            return self.name(found.revision.revision), found.distance
