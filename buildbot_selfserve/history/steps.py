"""Reads the steps of builds, and finds the step that made a build fail."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import logs
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.json_columns import value_in
from buildbot_selfserve.model import DELETED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILING
from buildbot_selfserve.model import HTML
from buildbot_selfserve.model import FailedStep
from buildbot_selfserve.model import Link
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import Step
from buildbot_selfserve.statements import Statement

#: The largest number of logs of a step to search for lines from standard error.
MOST_LOGS = 8
#: Buildbot's log with the traceback of a step that raised (buildbot/process/buildstep.py).
TRACEBACK = "err.text"

_steps = Model.steps
_logs = Model.logs
_COLUMNS = sa.select(
    _steps.c.id,
    _steps.c.buildid,
    _steps.c.number,
    _steps.c.name,
    _steps.c.state_string,
    _steps.c.results,
    _steps.c.started_at,
    _steps.c.complete_at,
    _steps.c.urls_json,
    _steps.c.hidden,
)
_OF_BUILDS = Statement(_COLUMNS, _steps.c.buildid)
_FAILED = Statement(_COLUMNS.where(_steps.c.results.in_(sorted(FAILING))), _steps.c.buildid)
_NAMES_OF_FAILED = Statement(
    sa.select(_steps.c.hidden, _steps.c.number, _steps.c.buildid, _steps.c.name).where(
        _steps.c.results.in_(sorted(FAILING))
    ),
    _steps.c.buildid,
)
_LOGS = Statement(
    sa.select(
        _logs.c.stepid, _logs.c.id, _logs.c.name, _logs.c.slug, _logs.c.type, _logs.c.num_lines
    ),
    _logs.c.stepid,
)


def steps(history: History, build_id: int) -> tuple[Step, ...]:
    """Return all steps of a build in order, hidden ones included, with their logs."""
    found = sorted(_found(history.connection, _OF_BUILDS, [build_id]), key=lambda step: step.number)
    return tuple(_with_logs(history.connection, found))


def shown(some: Iterable[Step]) -> tuple[Step, ...]:
    """Return *some* steps without hidden steps that have not failed."""
    return tuple(step for step in some if not step.hidden or step.has_failed)


def failed_steps(history: History, build_ids: Sequence[int]) -> dict[int, FailedStep]:
    """Return the last failed step of each build that has one, by build id.

    The number of statements does not depend on the number of builds.
    """
    found = _last_failed(_found(history.connection, _FAILED, build_ids))
    return explained(history.connection, _with_logs(history.connection, found))


def failed_step(connection: sa.Connection, some: Iterable[Step]) -> FailedStep | None:
    """Return the last failed step of a build; ``None`` if none failed."""
    return next(iter(explained(connection, _last_failed(some)).values()), None)


def failed_step_names(connection: sa.Connection, build_ids: Sequence[int]) -> dict[int, str]:
    """Return the name of the last failed step of each build that has one, by build id."""
    records = _NAMES_OF_FAILED.of(connection, build_ids)
    in_order = sorted(records, key=lambda record: _importance(bool(record[0]), record[1]))
    return {build_id: name for _, _, build_id, name in in_order}


def explained(connection: sa.Connection, failed: Sequence[Step]) -> dict[int, FailedStep]:
    """Return *failed* steps with the last lines of their logs, by build id."""
    candidates = {step.step_id: _candidates(step) for step in failed}
    tails = logs.tails(connection, [log for some in candidates.values() for log in some])
    return {step.build_id: _explained(step, candidates[step.step_id], tails) for step in failed}


def _found(connection: sa.Connection, statement: Statement, ids: Sequence[int]) -> list[Step]:
    return [
        Step._make((*columns, _links(urls), bool(hidden), ()))
        for *columns, urls, hidden in statement.of(connection, ids)
    ]


def _with_logs(connection: sa.Connection, some: Sequence[Step]) -> list[Step]:
    by_step: dict[int, list[Log]] = {}
    for step_id, *log in _LOGS.of(connection, [step.step_id for step in some]):
        by_step.setdefault(step_id, []).append(Log(*log))
    return [step._replace(logs=tuple(sorted(by_step.get(step.step_id, ())))) for step in some]


def _links(text: str | None) -> tuple[Link, ...]:
    """Return the links in a JSON column, which may contain anything."""
    found = value_in(text)
    if not isinstance(found, list):
        return ()
    pairs = ((one.get("name"), one.get("url")) for one in found if isinstance(one, dict))
    return tuple(
        Link(name, url) for name, url in pairs if isinstance(name, str) and isinstance(url, str)
    )


def _last_failed(some: Iterable[Step]) -> list[Step]:
    """Return the last failed step of each build; a hidden step only if no other failed."""
    last: dict[int, Step] = {}
    for step in sorted(some, key=lambda step: _importance(step.hidden, step.number)):
        if step.has_failed:
            last[step.build_id] = step
    return list(last.values())


def _importance(hidden: bool, number: int) -> tuple[bool, int]:
    """Return the sort key of a build's failed steps; the last step explains the failure."""
    return (not hidden, number)


def _candidates(step: Step) -> list[Log]:
    """Return the logs that may show why *step* failed, the likeliest first."""
    some = [log for log in step.logs if log.lines and log.type not in (HTML, DELETED)]
    if step.results == EXCEPTION:
        some.sort(key=lambda log: not log.name.endswith(TRACEBACK))
        return some[:1] if some and some[0].name.endswith(TRACEBACK) else some[:MOST_LOGS]
    return some[:MOST_LOGS]


def _explained(step: Step, candidates: Sequence[Log], tails: Mapping[int, logs.Tail]) -> FailedStep:
    bearing = [log for log in candidates if tails[log.log_id].has_stderr]
    log = next(iter([*bearing, *candidates, *step.logs]), None)
    tail = logs.Tail() if log is None else tails.get(log.log_id, logs.Tail())
    note = tail.note
    if log is not None and log.type == DELETED:
        note = f"The text of log {log.name} was deleted"
    return FailedStep(step, log, tail.lines, note)
