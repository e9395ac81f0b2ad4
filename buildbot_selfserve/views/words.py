"""The words on pages for the names in JSON: actions, outcomes, states."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.answers import NOTHING_DONE
from buildbot_selfserve.model import UNSETTLED
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobMention
from buildbot_selfserve.permissions import NIGHTLY
from buildbot_selfserve.permissions import PGO
from buildbot_selfserve.permissions import set_action
from buildbot_selfserve.state_words import set_of
from buildbot_selfserve.state_words import what_label


class Verb(NamedTuple):
    """An action in words.

    :param base: the infinitive; followed by the target
    :param past: the past tense; followed by the target
    :param target: ``build``, ``request``, ``revision``, ``branch`` or ``builder``
    """

    base: str
    past: str
    target: str


VERBS = {
    "rebuild_build": Verb("rebuild", "rebuilt", "build"),
    "rebuild_request": Verb("rebuild", "rebuilt", "request"),
    "cancel_build": Verb("cancel", "cancelled", "build"),
    "cancel_request": Verb("cancel", "cancelled", "request"),
    "cancel_revision": Verb("cancel everything at", "cancelled everything at", "revision"),
    "reprioritize": Verb("change the priority of", "changed the priority of", "request"),
    "reprioritize_revision": Verb(
        "change the priority of everything pending at",
        "changed the priority of everything pending at",
        "revision",
    ),
    "new_build_at_revision": Verb(
        "request the same builds as a push at", "requested the same builds as a push at", "revision"
    ),
    "new_build_for_builder": Verb("request a build of", "requested a build of", "revision"),
    "rebuild_failed": Verb("rerun what failed at", "reran what failed at", "revision"),
    "fill_missing": Verb("fill in what is missing at", "filled in what was missing at", "revision"),
    "hold": Verb("hold", "held", "branch"),
    "release": Verb("release", "released", "branch"),
    "backfill": Verb("look back over the builds of", "looked back over the builds of", "builder"),
    "bisect": Verb("bisect the builds of", "bisected the builds of", "builder"),
    "cancel_bisect": Verb("stop the bisection of", "stopped the bisection of", "builder"),
}

#: Labels of fields that say more than ``what_label`` does.
FIELD_LABELS = {
    "above": "Start those with this priority or a higher one",
    "build_id": "Build",
    "builders": "Builders: names or patterns, one a line",
    "exclude_builders": "Without these builders: names or patterns, one a line",
    "files": "Changed files, as a JSON list",
    "properties": "Properties, as a JSON object",
    "request_id": "Request",
    "states": "Results to rerun",
    "tags": "Tags or patterns, one a line",
}
#: What was done to a build request, by its outcome.
DONE_TO = {
    "created": "Requested",
    "skipped": "Requested",
    "cancelled": "Cancelled",
    "stopped": "Stopped",
    "stop_sent": "Told to stop",
    "waiting": "Told to stop",
    "reprioritized": "Priority changed",
    "held": "Held",
    "released": "Released",
}
VIA = {
    "session": "logged in",
    "basic": "with a password",
    "remote_user": "known from the proxy",
    "anonymous": "not logged in",
}

#: Words for reasons of waiting whose names are unclear.
_REASONS = {"behind": "others come first"}

_REBUILDS = frozenset({"rebuild_build", "rebuild_request"})
#: Outcomes that do not count as done.
_NOT_DONE = NOTHING_DONE | UNSETTLED | {"already_complete"}


def known_actions() -> tuple[str, ...]:
    """Return the actions that every branch can have."""
    return (*VERBS, set_action(NIGHTLY), set_action(PGO))


def field_label(name: str) -> str:
    """Return the label of the field for a parameter."""
    return FIELD_LABELS.get(name) or what_label(name)


def short_name(author: str) -> str:
    """Return the name of an author without the address."""
    return author.partition(" <")[0] or author


def reason_word(code: str) -> str:
    """Return the word for a reason of waiting."""
    return _REASONS.get(code, code.replace("_", " "))


def via_word(via: str) -> str:
    """Return how a user authenticated, in words."""
    kind, _, name = via.partition(":")
    return f"with the API token {name}" if kind == "token" else VIA.get(via, via)


def done_to_row(mentions: Iterable[JobMention]) -> tuple[tuple[str, JobMention], ...]:
    """Return what job requests did to a row, in words such as "Cancelled", with each job request.

    Job requests without effect on the row are left out.
    """
    told = ((_done_to_row(one), one) for one in mentions)
    return tuple((words, one) for words, one in told if words)


def _done_to_row(mention: JobMention) -> str:
    words = DONE_TO.get(mention.outcome, "")
    if mention.action not in _REBUILDS:
        return words
    if words == "Requested":
        kind, number = ("build", "bid") if "bid" in mention.what else ("request", "brid")
        return f"Requested as a rebuild of {kind} {mention.what.get(number, '?')}"
    return words or ("Rebuilt" if mention.status == "ok" else "")


class Part(NamedTuple):
    """A part of a sentence, which may be a link.

    :param segments: the link's path as segments below the branch; empty for plain text
    """

    text: str
    segments: tuple[str, ...] = ()


def job_words(job: Job) -> tuple[Part, ...]:
    """Return what the user of *job* did or requested, such as "rebuilt build 12 of a"."""
    return tuple(part for part in _job_parts(job) if part.text)


def _job_parts(job: Job) -> Iterator[Part]:
    verb, what = _verb(job.action), job.what
    done = job.status != "running" and any(one.outcome not in _NOT_DONE for one in job.requests)
    # a hold is done even if nothing is pending, and a bisection may need no new builds
    done = done or (job.status == "ok" and (verb.target == "branch" or job.action == "bisect"))
    tried = "tried" if job.status == "failed" else "asked"
    yield Part(f"{verb.past} " if done else f"{tried} to {verb.base} ")
    if verb.target == "builder":
        yield from _builder_parts(what)
        return
    if verb.target == "branch":
        yield Part(job.branch, ("hold",))
    elif verb.target == "revision" or "revision" in what:
        revision = str(what.get("revision", ""))
        yield Part(revision[:12] or "an unknown revision", ("rev", revision) if revision else ())
    else:
        number = str(what.get("bid" if verb.target == "build" else "brid", ""))
        name = f"{verb.target} {number}" if number else f"a {verb.target}"
        yield Part(name, (verb.target, number) if number else ())
    yield Part("" if verb.target == "branch" else _with_builders(job))
    if "priority" in what and job.action.startswith("reprioritize"):
        yield Part(f" to {what['priority']}")
    if int(what.get("count") or 1) > 1:
        yield Part(f", {what['count']} times")


def _builder_parts(what: Mapping[str, Any]) -> Iterator[Part]:
    yield Part(str(what.get("builder_name", "a builder")))
    if "revision" in what:
        revision = str(what["revision"])
        yield Part(" before ")
        yield Part(revision[:12], ("rev", revision))


def _verb(action: str) -> Verb:
    if action in VERBS:
        return VERBS[action]
    name = set_of(action)
    words = f"the set {name} at" if name else f"“{action.replace('_', ' ')}” for"
    return Verb(f"request {words}", f"requested {words}", "revision" if name else "request")


def _with_builders(job: Job) -> str:
    """Return the builder of *job*'s target as the end of a phrase, if there is just one."""
    named = job.what.get("builder_name")
    if named:
        return f" with {named}"
    names = {one.buildername for one in job.requests}
    is_one = "revision" not in job.what and len(names) == 1
    return f" of {names.pop()}" if is_one else ""
