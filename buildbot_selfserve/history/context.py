"""What every read of this room takes first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sqlalchemy as sa

from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import Site


@dataclass
class History:
    """The master's history, as one question sees it: what GET handlers find in ``ctx.history``.

    :param connection: to the master's database
    """

    connection: sa.Connection
    index: Index
    site: Site

    @cached_property
    def facts(self) -> Facts:
        """Return what the index knows, as new as the database is when it is first asked for."""
        return self.index.facts(self.connection)

    @property
    def version(self) -> Version:
        """Return the version of the database when ``facts`` were asked for (``Index.version``)."""
        return self.index.version(self.connection)

    @property
    def setup(self) -> Setup:
        """Return what this master is configured to build on the branch that is asked about."""
        assert self.site.setup is not None, "the route does not say that it needs the setup"
        return self.site.setup
