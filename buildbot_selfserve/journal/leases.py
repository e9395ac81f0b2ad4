"""Leases: only the holder of a lease does the work that the lease is for.

A lease is a row that exists while a master holds it. The holder renews the lease by incrementing a
counter. A waiting master watches the counter, so no clocks are compared. A lease that is not
renewed for long belongs to a killed master and is taken over. No transaction outlasts a call of
these functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from buildbot_selfserve.journal.tables import leases


@dataclass(frozen=True)
class Lease:
    """A lease as read from the database.

    :param holder: the id of the turn that holds it, unique over all masters
    :param renewals: the number of times it was renewed
    """

    holder: str
    renewals: int = 0


def take(connection: sa.Connection, name: str, holder: str, stale: Lease | None = None) -> Lease:
    """Take the lease *name* for *holder* if it is free; return the lease and its holder.

    :param stale: an expired lease; it is taken from its holder unless it was renewed since
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
            pass  # another transaction was faster


def _replaced(connection: sa.Connection, name: str, holder: str, stale: Lease) -> bool:
    as_it_was = leases.c.holder == stale.holder, leases.c.renewals == stale.renewals
    query = leases.update().where(leases.c.name == name, *as_it_was)
    with connection.begin():
        return bool(connection.execute(query.values(holder=holder, renewals=0)).rowcount)


def renew(connection: sa.Connection, name: str, holder: str) -> bool:
    """Renew the lease *name*; return whether *holder* still has it."""
    with connection.begin():
        return renewed(connection, name, holder)


def renewed(connection: sa.Connection, name: str, holder: str) -> bool:
    """Renew the lease *name* within a transaction; return whether *holder* still has it."""
    query = leases.update().where(leases.c.name == name, leases.c.holder == holder)
    return bool(connection.execute(query.values(renewals=leases.c.renewals + 1)).rowcount)


def give_back(connection: sa.Connection, name: str, holder: str) -> None:
    """Release the lease *name* if *holder* still has it."""
    with connection.begin():
        connection.execute(leases.delete().where(leases.c.name == name, leases.c.holder == holder))
