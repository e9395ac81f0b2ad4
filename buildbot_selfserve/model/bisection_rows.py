"""Bisections as they are asked for, kept and shown; ``bisection_steps`` decides what they do."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model.bisection_steps import Decision
from buildbot_selfserve.model.bisection_steps import Evidence
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.identifiers import is_hash
from buildbot_selfserve.model.jobs import Job
from buildbot_selfserve.model.jobs import RequestNow
from buildbot_selfserve.model.jobs import plural
from buildbot_selfserve.model.ongoing import RUNNING
from buildbot_selfserve.model.ranges import RangeRevision

#: The state of a revision of which nothing is known.
UNTESTED = "untested"
#: So many characters of a hash tell a commit from others in a sentence.
_SHORT = 12


@dataclass(frozen=True)
class Bisection:
    """A bisection that was begun on a branch, as its job request has it."""

    branch: Branch
    job: Job

    @property
    def spec(self) -> Mapping[str, Any]:
        """Return what it was begun with."""
        return {} if self.job.ongoing is None else self.job.ongoing.spec

    @property
    def now(self) -> Mapping[str, Any]:
        """Return how far it has come: what :func:`shown` has returned."""
        return {} if self.job.ongoing is None else self.job.ongoing.now

    @property
    def runs(self) -> bool:
        """Whether it goes on."""
        return self.job.status == RUNNING

    @property
    def open_requests(self) -> list[int]:
        """Return the build requests that were open when it was last looked at."""
        return [it for one in self.now.get("revisions", ()) for it in one["open"]]

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {
            "branch": self.branch.name,
            "builder_name": self.spec.get("buildername", ""),
            "revision": self.spec.get("bad"),
            "job_id": self.job.job_id,
        }


@dataclass(frozen=True)
class BisectionDetail:
    """A bisection, and what its open build requests have come to by now.

    :param requests: by their ids
    """

    bisection: Bisection
    requests: Mapping[int, RequestNow]

    @property
    def revisions(self) -> list[dict[str, Any]]:
        """Return the revisions from the good one to the bad one, each with its present state."""
        return [self._as_now(one) for one in self.bisection.now.get("revisions", ())]

    def _as_now(self, one: Mapping[str, Any]) -> dict[str, Any]:
        found = [self.requests[it] for it in one["open"] if it in self.requests]
        runs = any(it.state == RUNNING for it in found)
        return {**one, "state": RUNNING if runs and one["state"] == "pending" else one["state"]}

    @property
    def tested(self) -> list[dict[str, Any]]:
        """Return those of which something is known, or soon will be."""
        return [one for one in self.revisions if one["state"] != UNTESTED]


def shown(
    decision: Decision, revisions: Sequence[RangeRevision], line: Sequence[Evidence]
) -> dict[str, Any]:
    """Return how far a bisection has come, as JSON: the journal keeps that for its page.

    :param revisions: from the good one to the bad one; *line* has what is known of each
    """
    told = [
        _shown(one, evidence, number in decision.request)
        for number, (one, evidence) in enumerate(zip(revisions, line, strict=True))
    ]
    waits = [*decision.request, *(n for n, one in enumerate(line) if one.own_open)]
    culprit = None if decision.culprit is None else revisions[decision.culprit]
    return {
        "status": decision.end or RUNNING,
        "msg": _sentence(decision, revisions),
        "good": revisions[0].text,
        "bad": revisions[-1].text,
        "low": revisions[decision.low].text,
        "high": revisions[decision.high].text,
        "revisions": told,
        "next": None if decision.end or not waits else revisions[waits[0]].text,
        "culprit": None if culprit is None else _named(culprit),
        "left_steps": 0 if decision.end else decision.left_steps,
    }


def _named(one: RangeRevision) -> dict[str, Any]:
    return {
        "revision": one.text,
        "author": one.author,
        "subject": one.subject,
        "when": one.when,
    }


def _shown(one: RangeRevision, evidence: Evidence, requested: bool) -> dict[str, Any]:
    return {
        **_named(one),
        "state": _state(evidence, requested),
        "build_id": one.tested_build_id or one.build_id,
        "builds": evidence.passes + evidence.failures + evidence.voids + evidence.own_voids,
        "open": list(one.open),
    }


def _state(evidence: Evidence, requested: bool) -> str:
    """Return the name of what is known of a revision."""
    if evidence.flaky:
        return "flaky"
    if requested or evidence.is_open:
        return "pending"
    if evidence.passed:
        return "passed"
    if evidence.failed:
        return "failed"
    return "exception" if evidence.voids or evidence.own_voids else UNTESTED


def _sentence(decision: Decision, revisions: Sequence[RangeRevision]) -> str:
    """Return what is to be said of a bisection."""
    low, high = revisions[decision.low], revisions[decision.high]
    if decision.end == "found":
        by = "" if high.author is None else f" by {high.author}"
        about = f": {high.subject}" if high.subject else ""
        return f"{short(high.text)}{by} broke it{about}"
    number = decision.high - decision.low
    which = f"after {short(low.text)}, up to {short(high.text)}"
    left = f"{number} {plural(number, 'revision')} {which}"
    if decision.end is not None:
        return f"{decision.why[:1].upper()}{decision.why[1:]}; it is one of {left}"
    steps = decision.left_steps
    return f"It is one of {left}; at most {steps} more {plural(steps, 'build')}, if all goes well"


def short(revision: str) -> str:
    """Return *revision* as a sentence names it."""
    return revision[:_SHORT] if is_hash(revision) else revision
