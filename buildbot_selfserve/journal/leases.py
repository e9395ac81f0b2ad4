"""Leases: only one master at a time does the work that a lease stands for.

A lease is a row while somebody holds it. Its holder renews it by counting on; who waits for it sees
that, and compares no clocks with anybody. A lease that is not renewed for long belongs to a master
that was killed, and is taken from it. No transaction lasts longer than one of these calls.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from buildbot_selfserve.journal.tables import leases


@dataclass(frozen=True)
class Lease:
    """A lease as it was read.

    :param holder: the master that has it
    :param renewals: how often it was renewed
    """

    holder: str
    renewals: int = 0


def take(connection: sa.Connection, name: str, holder: str, stale: Lease | None = None) -> Lease:
    """Take the lease *name* for *holder* if it is free; return the lease as it is then.

    :param stale: a lease that expired; if it was not renewed since, it is taken from its holder
    """
    while True:
        if stale is not None and _replaced(connection, name, holder, stale):
            return Lease(holder)
        with connection.begin():
            query = sa.select(leases.c.holder, leases.c.renewals).where(leases.c.name == name)
            found = connection.execute(query).first()
        if found is not None:
            return Lease(found.holder, found.renewals)
        try:
            with connection.begin():
                connection.execute(leases.insert().values(name=name, holder=holder, renewals=0))
            return Lease(holder)
        except sa.exc.IntegrityError:
            pass  # another was quicker


def _replaced(connection: sa.Connection, name: str, holder: str, stale: Lease) -> bool:
    as_it_was = leases.c.holder == stale.holder, leases.c.renewals == stale.renewals
    query = leases.update().where(leases.c.name == name, *as_it_was)
    with connection.begin():
        return bool(connection.execute(query.values(holder=holder, renewals=0)).rowcount)


def renew(connection: sa.Connection, name: str, holder: str) -> bool:
    """Renew the lease *name*; return whether *holder* still has it."""
    query = leases.update().where(leases.c.name == name, leases.c.holder == holder)
    with connection.begin():
        return bool(connection.execute(query.values(renewals=leases.c.renewals + 1)).rowcount)


def give_back(connection: sa.Connection, name: str, holder: str) -> None:
    """Give the lease *name* back, if *holder* still has it."""
    with connection.begin():
        connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))
