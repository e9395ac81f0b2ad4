"""The first argument of every read in this folder."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from typing import Any
from typing import TypeVar

import sqlalchemy as sa

from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import Site

Result = TypeVar("Result")


@dataclass
class History:
    """The master's history as one GET sees it; handlers find it in ``ctx.history``.

    :param connection: to the master's database
    """

    connection: sa.Connection
    index: Index
    site: Site
    _read: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, read: Callable[[], Result]) -> Result:
        """Return what *read* returns, or has returned to this GET under the same *key*."""
        if key not in self._read:
            self._read[key] = read()
        found: Result = self._read[key]
        return found

    @cached_property
    def facts(self) -> Facts:
        """Return the index's facts, brought up to date when this property is first read."""
        return self.index.facts(self.connection)

    @property
    def version(self) -> Version:
        """Return the database's version as of reading ``facts`` (see ``Index.version``)."""
        return self.index.version(self.connection)

    @property
    def setup(self) -> Setup:
        """Return what this master is configured to build on the branch of the GET."""
        assert self.site.setup is not None, "the route does not say that it needs the setup"
        return self.site.setup
