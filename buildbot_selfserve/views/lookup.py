"""Looks up the nouns that the texts in a path name; raises NotFound for each kind of noun.

Nothing else raises NotFound for a noun. This runs in a reader. Each noun is resolved with the nouns
before it in the path.
"""

from __future__ import annotations

import difflib
import fnmatch
import glob
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from typing import TypeVar
from urllib.parse import quote
from urllib.parse import urlencode

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.history import branches
from buildbot_selfserve.history import builders
from buildbot_selfserve.history import builds
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history import steps
from buildbot_selfserve.history.index import near
from buildbot_selfserve.model import DELETED
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Bisection
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Step
from buildbot_selfserve.params.declared import BUILDERS
from buildbot_selfserve.params.declared import EXCLUDE_BUILDERS
from buildbot_selfserve.params.declared import PATH
from buildbot_selfserve.params.declared import TAGS
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.permissions import BISECT
from buildbot_selfserve.views.reader import Reading

#: The largest number of candidates to name of an ambiguous revision.
MOST_CANDIDATES = 20
#: For a branch that is not found: the largest number of characters for which to suggest others, the
#: number of names to compare it with, and the number of suggestions. A comparison takes up to a
#: tenth of a millisecond, and longer for longer names.
LONGEST_COMPARED = 64
MOST_COMPARED = 200
MOST_LIKE = 5

#: The largest number of patterns in one parameter; names without wildcards do not count.
MOST_PATTERNS = 100
#: The escapes of wildcards in a pattern, and the wildcards.
_ESCAPED = re.compile(r"\[([*?[])\]")
_WILDCARD = re.compile(r"[*?\[\]]")

Found = Mapping[str, Any]
Named = TypeVar("Named")
HasName = TypeVar("HasName", Step, Log, BuilderSet)


def resolve(reading: Reading, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the values that *texts* name, by noun, in the order of the path.

    :raises NotFound: a text names nothing
    """
    found: dict[str, Any] = {}
    for noun, text in texts.items():
        found[noun] = _RESOLVERS[noun](reading, found, text)
    return found


def missing(found: Found, texts: Mapping[str, str]) -> NotFound:
    """Return the error for a revision that was never requested or pushed: it counts as unknown."""
    return _unknown(found["branch"], texts["revision"])


def _branch(reading: Reading, found: Found, text: str) -> Branch:
    branch = _first(partial(branches.branch, reading.history), _spellings("branch", text))
    if branch is None:
        like = _like(reading, text)
        detail = f"similar names: {', '.join(like)}" if like else ""
        links = tuple((name, _url(name, "pushes")) for name in like)
        raise NotFound(f"Branch {text} not found", detail, links)
    return branch


def _like(reading: Reading, text: str) -> list[str]:
    """Return the branches with names similar to *text*, among those near it in order."""
    if len(text) > LONGEST_COMPARED:
        return []
    near = branches.names_near(reading.history, text, MOST_COMPARED)
    return difflib.get_close_matches(text, near, MOST_LIKE)


def _build(reading: Reading, found: Found, text: str) -> BuildRow:
    branch = found["branch"]
    build = _by_id("build", text, partial(builds.build, reading.history, branch))
    if build is None:
        raise NotFound(f"Build {text} not found on branch {branch.name}", links=_today(branch))
    return build


def _step(reading: Reading, found: Found, text: str) -> Step:
    build = found["build"]
    every = steps.steps(reading.history, build.build_id)
    numbered = next((step for step in every if str(step.number) == text), None)
    step = numbered or _first(partial(_named, every), _spellings("step", text))
    if step is None:
        named = ", ".join(step.name for step in every[:MOST_CANDIDATES])
        raise NotFound(
            f"Step {text} not found in build {build.build_id}",
            f"its steps: {named}" if named else "it has no steps yet",
        )
    return step


def _log(reading: Reading, found: Found, text: str) -> Log:
    build, step = found["build"], found["step"]
    where = f"in step {step.name} of build {build.build_id}"
    log = _first(partial(_slugged, step.logs), _spellings("log", text)) or _first(
        partial(_named, step.logs), _spellings("log", text)
    )
    if log is None:
        named = ", ".join(log.slug for log in step.logs[:MOST_CANDIDATES])
        detail = f"its logs: {named}" if named else "it has no logs"
        raise NotFound(f"Log {text} not found {where}", detail)
    if log.type == DELETED:
        raise NotFound(f"Log {text} not found {where}", "its text was deleted")
    return log


def _named(some: Iterable[HasName], name: str) -> HasName | None:
    return next((one for one in some if one.name == name), None)


def _slugged(logs: Iterable[Log], slug: str) -> Log | None:
    return next((log for log in logs if log.slug == slug), None)


def _request(reading: Reading, found: Found, text: str) -> RequestRow:
    branch = found["branch"]
    request = _by_id("request", text, partial(builds.request, reading.history, branch))
    if request is None:
        raise NotFound(f"Request {text} not found on branch {branch.name}", links=_today(branch))
    return request


def _revision(reading: Reading, found: Found, text: str) -> Revision:
    branch, value = found["branch"], _value("revision", text)
    if value is None:
        raise _unknown(branch, text)
    fitting = revisions.candidates(reading.history, (branch,), value)
    if not fitting:
        elsewhere = revisions.elsewhere(reading.history, branch, value)
        raise _unknown(branch, value, elsewhere)
    if len(fitting) > 1:
        raise _ambiguous(branch, value, fitting)
    return fitting[0]


def _any_revision(reading: Reading, found: Found, text: str) -> AnyRevision:
    branch = found["branch"]
    # the only noun that need not exist, so an invalid text is a BadParameter
    value = PATH["any_revision"].parse(text, {})
    fitting = revisions.to_build(reading.history, branch, value)
    if len(fitting) > 1:
        raise _ambiguous(branch, value, fitting)
    return fitting[0]


def _ambiguous(branch: Branch, text: str, fitting: Sequence[Revision | AnyRevision]) -> NotFound:
    some = fitting[:MOST_CANDIDATES]
    return NotFound(
        f"Revision {text} not found on branch {branch.name}",
        f"several revisions begin with it: {', '.join(one.revision for one in some)}",
        tuple((one.revision, _url(branch.name, "rev", one.revision)) for one in some),
    )


def _unknown(branch: Branch, text: str, elsewhere: Sequence[Revision] = ()) -> NotFound:
    """Return NotFound for a revision, with links to matches on other branches."""
    some = elsewhere[:MOST_CANDIDATES]
    known = tuple(
        (f"{one.revision} on {one.branch.name}", _url(one.branch.name, "rev", one.revision))
        for one in some
    )
    anyway = (
        "Build anyway",
        f"{_url(branch.name, 'new')}?{urlencode({'revision': text})}",
    )
    return NotFound(
        f"Revision {text} not found on branch {branch.name}",
        f"known on other branches: {', '.join(name for name, _ in known)}" if known else "",
        (*known, anyway, *_today(branch)),
        sought=text,
    )


def _today(branch: Branch) -> tuple[tuple[str, str], ...]:
    return ((f"Today on {branch.name}", _url(branch.name)),)


def _url(*segments: str) -> str:
    """Return a URL relative to our root; slashes in segments are quoted."""
    return "/".join(quote(one, safe="") for one in segments)


def _builder(reading: Reading, found: Found, text: str) -> Builder:
    branch = found["branch"]
    look_up = partial(builders.builder, reading.history, branch)
    builder = _first(look_up, _spellings("builder", text))
    if builder is None:
        raise _no_builder(branch, text)
    return builder


def _no_builder(branch: Branch, text: str) -> NotFound:
    return NotFound(f"Builder {text} not found on branch {branch.name}")


def _built_builder(reading: Reading, found: Found, text: str) -> Builder:
    """Return a builder that some master has, or else a virtual builder that has a build."""
    branch = found["branch"]
    for find in (builders.builder, builders.virtual_builder):
        look_up = partial(find, reading.history, branch)
        builder = _first(look_up, _spellings("built_builder", text))
        if builder is not None:
            return builder
    raise _no_builder(branch, text)


def _builder_set(reading: Reading, found: Found, text: str) -> BuilderSet:
    branch = found["branch"]
    may_exist = _value("builder_set", text) is not None
    named = _named(builders.builder_sets(reading.history, branch), text) if may_exist else None
    if named is None:
        raise NotFound(f"Set {text} not found on branch {branch.name}")
    return named


def _user(reading: Reading, found: Found, text: str) -> str:
    # a user without builds is not an error, but databases cannot take every text
    value = _value("user", text)
    if value is None:
        raise NotFound(f"User {text} not found on branch {found['branch'].name}")
    return str(value)


def _anybody(reading: Reading, found: Found, text: str) -> str:
    value = _value("anybody", text)
    if value is None:
        raise NotFound(f"User {text} not found")
    return str(value)


def _job(reading: Reading, found: Found, text: str) -> Job:
    job = _by_id("job", text, reading.journal.job)
    if job is None:
        raise NotFound(f"Job {text} not found")
    return job


def _bisection(reading: Reading, found: Found, text: str) -> Bisection:
    branch = found["branch"]
    job = _by_id("bisection", text, reading.journal.job)
    begun = job is not None and job.action == BISECT.action and job.ongoing is not None
    if job is None or not begun or job.branch != branch.name:
        raise NotFound(f"Bisection {text} not found on branch {branch.name}")
    return Bisection(branch, job)


def _value(noun: str, text: str) -> Any:
    """Return the value of *text*, ``None`` if it cannot name such a noun."""
    try:
        value = PATH[noun].parse(text, {})
    except BadParameter:
        return None
    # each id has one spelling: neither +1 nor 01 is build 1
    return value if isinstance(value, str) or str(value) == text else None


def _by_id(noun: str, text: str, look_up: Callable[[int], Named | None]) -> Named | None:
    """Return what *look_up* finds by the id *text*, ``None`` if *text* is not an id."""
    number = _value(noun, text)
    return None if number is None else look_up(number)


def _spellings(noun: str, text: str) -> Sequence[str]:
    """Return the names that *text* may mean: itself first, since blanks may belong to a name."""
    value = _value(noun, text)
    return () if value is None else tuple(dict.fromkeys((text, str(value))))


def _first(look_up: Callable[[str], Named | None], names: Sequence[str]) -> Named | None:
    """Return what *look_up* finds by the first of *names* that exists."""
    return next((one for one in map(look_up, names) if one is not None), None)


# -- selected builders


def selection(reading: Reading, selectors: Mapping[str, Sequence[str]]) -> Selection:
    """Return the builders that fit all of the given *selectors*.

    They may be removed builders, since a revision can have builds of any.

    :param selectors: patterns by parameter name, from ``Route.take_selectors``
    :raises BadParameter: a pattern matches nothing
    """
    if not any(selectors.values()):
        return Selection()
    names = builders.builder_names(reading.history)
    selected = set(names)
    excluded: set[str] = set()
    exact = selected.intersection(selectors[BUILDERS.name])
    if patterns := selectors[BUILDERS.name]:
        selected &= _matching(BUILDERS, patterns, names)
    if patterns := selectors[TAGS.name]:
        by_tag = builders.names_by_tag(reading.history)
        tags = _matching(TAGS, patterns, by_tag)
        selected &= set().union(*(by_tag[tag] for tag in tags))
    if patterns := selectors[EXCLUDE_BUILDERS.name]:
        excluded = _matching(EXCLUDE_BUILDERS, patterns, names)
        selected -= excluded
    return Selection(
        frozenset(selected),
        frozenset(exact & selected),
        frozenset(excluded),
        {name: tuple(patterns) for name, patterns in selectors.items()},
    )


def held_now(reading: Reading, holds: Sequence[Hold]) -> list[Hold]:
    """Return *holds* with the builders that their patterns select now.

    If a pattern no longer matches anything, the hold is returned unchanged.
    """
    found = []
    for one in holds:
        try:
            now = selection(reading, one.selectors)
        except BadParameter:
            found.append(one)
            continue
        narrows = one.builders or one.tags
        names = (now.names or frozenset()) if narrows else None
        found.append(replace(one, names=names, excluded=now.excluded))
    return found


def _matching(param: Param, patterns: Iterable[str], names: Iterable[str]) -> set[str]:
    """Return the *names* that match any of the *patterns*.

    :raises BadParameter: a pattern matches nothing, or there are too many patterns
    """
    every = frozenset(names)
    found: set[str] = set()
    patterns = list(patterns)
    if sum(_literal(pattern) is None for pattern in patterns) > MOST_PATTERNS:
        raise BadParameter(
            param.name, f"names, and at most {MOST_PATTERNS} patterns with *, ? or [ in them"
        )
    for pattern in patterns:
        matching = _matching_one(pattern, every)
        if not matching:
            like = _names_like(pattern, every)
            similar = f"; similar names: {', '.join(like)}" if like else ""
            noun = "tag" if param is TAGS else "builder"
            raise BadParameter(
                param.name, f"names or patterns of {noun}s: no {noun} matches {pattern}{similar}"
            )
        found |= matching
    return found


def _literal(pattern: str) -> str | None:
    """Return the only text that *pattern* matches, ``None`` if it may match several."""
    text = _ESCAPED.sub(r"\1", pattern)
    return text if glob.escape(text) == pattern else None


def _matching_one(pattern: str, names: frozenset[str]) -> set[str]:
    # a name matches itself, even if it has brackets
    literal = _literal(pattern)
    itself = {pattern, literal or pattern} & names
    if literal is not None:
        return itself
    try:
        matches = re.compile(fnmatch.translate(pattern)).match
    except re.error:  # such as [z-a], in early releases of Python 3.10
        return itself
    return itself | {name for name in names if matches(name)}


def _names_like(pattern: str, names: Iterable[str]) -> list[str]:
    """Return the *names* similar to a pattern, or to its literal beginning or end."""
    text = _WILDCARD.sub("", pattern).casefold()
    if not text or len(text) > LONGEST_COMPARED:
        return []
    size = len(text)
    begins, ends = pattern.endswith("*"), pattern.startswith("*")
    piece = slice(size) if begins else slice(-size, None) if ends else slice(None)
    names_of: dict[str, list[str]] = {}
    for name in sorted(names):
        names_of.setdefault(name.casefold()[piece], []).append(name)
    compared = near(sorted(names_of), text, MOST_COMPARED)
    like = difflib.get_close_matches(text, compared, MOST_LIKE)
    return [name for one in like for name in names_of[one]][:MOST_LIKE]


_RESOLVERS: dict[str, Callable[[Reading, Found, str], Any]] = {
    "branch": _branch,
    "build": _build,
    "step": _step,
    "log": _log,
    "request": _request,
    "revision": _revision,
    "any_revision": _any_revision,
    "builder": _builder,
    "built_builder": _built_builder,
    "good": _revision,
    "builder_set": _builder_set,
    "user": _user,
    "anybody": _anybody,
    "job": _job,
    "bisection": _bisection,
}
