"""Cancels pending requests in one transaction, so that no master can claim them meanwhile.

Buildbot's own ``data.control('cancel')`` may complete a request between its claim and its build;
the build then never ends, and its worker stays busy forever. Here requests are completed and
claimed in one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import worst_status

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import gone_masters
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import SUCCESS

#: The number of requests to cancel in one transaction and announce together.
BATCH = 500

_requests, _claims = Model.buildrequests, Model.buildrequest_claims
_buildsets = Model.buildsets


async def cancel(
    master: Any, request_ids: Sequence[int], begun: set[int], untold: set[int]
) -> list[int]:
    """Cancel and announce the requests that no master has claimed; return their ids.

    :param begun: requests are added before they are completed; if this call fails, they may be
        cancelled
    :param untold: see :func:`complete_buildsets`
    """
    now = int(time.time())
    done: dict[int, int] = await master.db.pool.do(
        _complete_unclaimed, request_ids, master.masterid, now, begun
    )
    await announce(master, done, untold)
    return list(done)


async def announce(master: Any, done: Mapping[int, int], untold: set[int]) -> None:
    """Announce requests that were cancelled while pending.

    The events are those of ``completeBuildRequests`` and of the master's own cancellation, in the
    same order (buildbot/data/buildrequests.py, buildbot/process/botmaster.py).

    :param done: the buildset of each request, by request id
    :param untold: see :func:`complete_buildsets`
    """
    if done:
        models = await mq_producer.requests(master, list(done), "complete")
        await complete_buildsets(master, set(done.values()), untold)
        await mq_producer.cancelled(master, models)


def _complete_unclaimed(
    connection: sa.Connection,
    request_ids: Sequence[int],
    master_id: int,
    now: int,
    begun: set[int],
) -> dict[int, int]:
    """Claim and complete the pending requests in one transaction.

    Requests that a gone master has claimed count as pending.

    :param begun: requests are added before they are completed: if the connection breaks then, the
        master calls this again (buildbot/db/pool.py)
    :returns: the buildset of each cancelled request, by request id
    """
    if len(request_ids) > 1 and connection.dialect.name in current_state.WITHOUT_TRANSACTIONS:
        return _one_by_one(connection, request_ids, master_id, now, begun)
    pending = (
        sa.select(_requests.c.id, _requests.c.buildsetid)
        .where(current_state.still_pending(request_ids))
        .order_by(_requests.c.id)
        # a full lock could deadlock with a claim, whose foreign key locks only the row's key.
        # SQLite ignores this, and has one writer anyway
        .with_for_update(key_share=True)
    )
    try:
        with connection.begin():
            gone_masters.give_up_claims(connection, request_ids)
            found = {row.id: row.buildsetid for row in connection.execute(pending)}
            if found:
                claims = [
                    {"brid": request_id, "masterid": master_id, "claimed_at": now}
                    for request_id in found
                ]
                # claim first: this fails if a master's distributor was faster
                connection.execute(_claims.insert(), claims)
                begun.update(found)
                values = {"complete": 1, "results": CANCELLED, "complete_at": now}
                ours = _requests.c.id.in_(list(found))
                connection.execute(_requests.update().where(ours).values(values))
            return found
    except sa.exc.IntegrityError:
        # a distributor claimed one of the requests between the statements: cancel each alone
        if len(request_ids) == 1:
            return {}
    return _one_by_one(connection, request_ids, master_id, now, begun)


def _one_by_one(
    connection: sa.Connection,
    request_ids: Sequence[int],
    master_id: int,
    now: int,
    begun: set[int],
) -> dict[int, int]:
    done: dict[int, int] = {}
    for request_id in request_ids:
        done |= _complete_unclaimed(connection, [request_id], master_id, now, begun)
    return done


async def complete_buildsets(
    master: Any, buildset_ids: Iterable[int], untold: set[int] | None = None
) -> None:
    """Complete and announce the buildsets whose requests are all complete.

    ``data.updates.maybeBuildsetComplete`` does the same for one buildset
    (buildbot/data/buildsets.py); this takes a few queries for all.

    :param untold: the buildsets that were completed but not announced yet, added before they are
        completed; if this call fails, a second call with the same set announces them
    """
    untold = set() if untold is None else untold
    wanted, now = sorted(buildset_ids), int(time.time())
    if wanted or untold:
        completed = await master.db.pool.do(_complete_and_read, wanted, now, untold)
        await mq_producer.completed(master, completed)
    untold.clear()


def _complete_and_read(
    connection: sa.Connection, buildset_ids: Sequence[int], now: int, untold: set[int]
) -> mq_producer.Buildsets:
    if buildset_ids:
        _complete_buildsets(connection, buildset_ids, now, untold)
    return mq_producer.read_buildsets(connection, sorted(untold))


def _complete_buildsets(
    connection: sa.Connection, buildset_ids: Sequence[int], now: int, untold: set[int]
) -> None:
    query = sa.select(_requests.c.buildsetid, _requests.c.complete, _requests.c.results)
    results = dict.fromkeys(buildset_ids, SUCCESS)
    for row in connection.execute(query.where(_requests.c.buildsetid.in_(buildset_ids))):
        if not row.complete:
            results.pop(row.buildsetid, None)
        elif row.buildsetid in results:
            results[row.buildsetid] = worst_status(results[row.buildsetid], row.results)
    connection.commit()  # the SELECT began a transaction
    by_result: dict[int, list[int]] = {}
    for buildset_id, result in results.items():
        by_result.setdefault(result, []).append(buildset_id)
    for result, ids in by_result.items():
        if not _complete_all(connection, ids, result, now, untold):
            for one in ids:
                _complete_all(connection, [one], result, now, untold)


def _complete_all(
    connection: sa.Connection, buildset_ids: Sequence[int], result: int, now: int, untold: set[int]
) -> bool:
    """Complete buildsets if all of them are still open.

    :return: whether they were completed; otherwise nothing was changed
    """
    if len(buildset_ids) > 1 and connection.dialect.name in current_state.WITHOUT_TRANSACTIONS:
        return False
    values = {"complete": 1, "results": result, "complete_at": now}
    opened = sa.and_(_buildsets.c.id.in_(buildset_ids), _buildsets.c.complete == 0)
    added = set(buildset_ids) - untold
    untold.update(added)
    transaction = connection.begin()
    done = connection.execute(_buildsets.update().where(opened).values(values)).rowcount
    if done != len(buildset_ids):
        transaction.rollback()
        untold.difference_update(added)
        return False
    transaction.commit()
    return True
