"""Describes the state of a push in words, and arranges its builders for a quick overview."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass

from buildbot_selfserve.model import LONGEST_RANGE
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Eta
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import plural
from buildbot_selfserve.model.pushes import OPEN_STATES
from buildbot_selfserve.state_words import CHANGE_WORDS
from buildbot_selfserve.state_words import STATE_WORDS
from buildbot_selfserve.state_words import verdict_word

#: With more builders than this, those that need no attention are squares without a name.
MOST_CHIPS = 30
#: The beginning of a builder's name up to the first separator is the name of its group.
_BEGINNING = re.compile(r"([^-_/.: ]+)[-_/.: ]+(?=\S)")

_DAY = (86_400, "day")

#: Ordinals of attempts. A flaky builder has at least two attempts.
_ORDINALS: Mapping[int, str] = {1: "second", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}


@dataclass(frozen=True)
class Verdict:
    """The state of a push, in words.

    :param kind: the class of its colour: a verdict, or ``failed`` as soon as any builder fails
    :param word: the first word, such as ``Failed``
    :param text: the rest of the sentence, which may be empty
    :param goes_on: no colon separates *word* and *text*
    """

    kind: str
    word: str
    text: str
    goes_on: bool = False


@dataclass(frozen=True)
class Chip:
    """A builder as shown on pages.

    :param name: the builder's name without the name of its group
    """

    name: str
    health: BuilderHealth


@dataclass(frozen=True)
class ChipGroup:
    """Builders with the same beginning of their names, or with a common tag."""

    name: str
    chips: tuple[Chip, ...]


@dataclass(frozen=True)
class Chips:
    """All builders of a push.

    :param first: the failing builders, with their full names
    :param as_squares: whether the others are squares without names
    """

    first: tuple[Chip, ...]
    groups: tuple[ChipGroup, ...]
    as_squares: bool


def verdict(push: Health) -> Verdict:
    """Return the state of a push in words."""
    failing, waiting = push.failing, push.open
    is_requested = any(one.at.state != "missing" for one in push.builders)
    word = verdict_word(push.verdict, is_requested, bool(failing)).capitalize()
    parts: list[str] = []
    if failing:
        parts += _failures(push)
        running = sum(one.at.state == "running" for one in waiting)
        parts += [f"{running} running"] * bool(running)
        parts += [f"{len(waiting) - running} waiting"] * (len(waiting) > running)
        unbuilt = sum(one.at.state in ("skipped", "cancelled") for one in push.builders)
        parts += [f"{unbuilt} without a result"] * bool(unbuilt)
        return Verdict("failed", word, ", ".join(parts))
    if not is_requested:
        return Verdict(push.verdict, word, "")
    if waiting:
        asked = [one for one in push.builders if one.at.state != "missing"]
        text = f"{len(asked) - len(waiting)} of {len(asked)} done"
        return Verdict(push.verdict, word, text)
    if push.verdict == "incomplete":
        return Verdict("incomplete", word, _unbuilt(push))
    flaky = [one.at for one in push.builders if one.at.flaky]
    if flaky:
        attempts = max(one.attempts for one in flaky)
        names = _some([one.buildername for one in flaky])
        is_flaky = f"{names} {'is' if len(flaky) == 1 else 'are'} flaky here"
        ordinal = _ORDINALS.get(attempts)
        when = f"after {attempts} attempts" if ordinal is None else f"on the {ordinal} attempt"
        text = f"{when}: {is_flaky}"
        return Verdict("passed", word, text, goes_on=True)
    if push.built_with:
        return Verdict("passed", word, "only for a backfill or bisection")
    fixed = len(push.named("fixed"))
    return Verdict("passed", word, f"{fixed} fixed" if fixed else "")


def done_word(done: Done) -> str:
    """Return the word for the verdict on a revision, from its rows alone."""
    return verdict_word(done.verdict, not done.is_empty, bool(done.failing))


def _counted(number: int, noun: str) -> str:
    return f"{number} {plural(number, noun)}"


def _failures(push: Health) -> list[str]:
    kinds = Counter(one.change for one in push.failing)
    parts: list[str] = []
    if kinds["regressed"]:
        parts.append(_counted(kinds["regressed"], "regression"))
    if kinds["still_failing"]:
        parts.append(f"{kinds['still_failing']} that failed before, too")
    if kinds["flaky"]:
        parts.append(f"{kinds['flaky']} flaky")
    others = len(push.failing) - kinds["regressed"] - kinds["still_failing"] - kinds["flaky"]
    if others:
        parts.append(f"{others} with no result before")
    return parts


def _unbuilt(push: Health) -> str:
    states = Counter[str](one.at.state for one in push.builders)
    asked = len(push.builders) - states["missing"]
    parts = [
        (states[state], word)
        for state, word in (("skipped", "collapsed or skipped"), ("cancelled", "cancelled"))
        if states[state]
    ]
    said = [f"{number} {'was' if number == 1 else 'were'} {word}" for number, word in parts]
    if parts:
        number, word = parts[0]
        said[0] = f"{number} of {asked} {'was' if number == 1 else 'were'} {word}"
    return ", ".join(said)


def _some(names: Sequence[str], most: int = 3) -> str:
    more = len(names) - most
    told = ", ".join(names[:most])
    return f"{told} and {more} more" if more > 0 else told


def chips(push: Health, tags: Mapping[str, str] | None = None) -> Chips:
    """Return the builders of a push as shown on pages.

    :param tags: the tag that groups a builder, by builder name
    """
    first = tuple(Chip(one.at.buildername, one) for one in push.failing)
    failing = {one.at.buildername for one in push.failing}
    groups = _grouped(push.builders, failing, tags or {})
    return Chips(first, groups, len(push.builders) > MOST_CHIPS)


def _grouped(
    builders: Iterable[BuilderHealth], left_out: Set[str], tags: Mapping[str, str]
) -> tuple[ChipGroup, ...]:
    """Return the groups of *builders* without *left_out*.

    All builders are grouped first, so a group keeps its name when one of its builders fails.
    """
    by_name = sorted(builders, key=lambda one: one.at.buildername)
    begins = {one.at.buildername: _begin(one.at.buildername, tags) for one in by_name}
    many = {begin for begin, number in Counter(begins.values()).items() if number > 1 and begin}
    groups: dict[str, list[Chip]] = {}
    for one in by_name:
        name, begin = one.at.buildername, begins[one.at.buildername]
        if name in left_out:
            continue
        group = begin if begin in many else ""
        short = name[len(group) :].lstrip("-_/.: ") if group and name.startswith(group) else name
        groups.setdefault(group, []).append(Chip(short or name, one))
    ordered = sorted(groups, key=lambda one: (not one, one))
    return tuple(ChipGroup(name, tuple(groups[name])) for name in ordered)


def _begin(name: str, tags: Mapping[str, str]) -> str:
    if name in tags:
        return tags[name]
    found = _BEGINNING.match(name)
    return "" if found is None else found[1]


def chip_words(one: BuilderHealth) -> str:
    """Return the state of a chip's builder in words, without its name."""
    change = CHANGE_WORDS[one.change]
    words = [STATE_WORDS[one.at.state]]
    if one.at.state in OPEN_STATES and one.at.result:
        words.append(f"{STATE_WORDS[one.at.result]} before that")
    if change:
        words.append(change)
    return ", ".join(words)


def done_in(eta: Eta | None, now: int) -> str:
    """Return an *eta* in words, such as "in 6 to 9 minutes"; empty if unknown.

    :param now: epoch seconds
    """
    if eta is None:
        return ""
    least, most = max(0, eta.earliest - now), eta.likely - now
    if most <= 0:
        return "any minute now"
    if most <= 90:
        return "in about a minute"
    size, unit = (60, "minute") if most < 7200 else (3600, "hour") if most < 172_800 else _DAY
    first, last = round(least / size), max(1, round(most / size))
    if first == last:
        return f"in about {_counted(last, unit)}"
    return f"in {first} to {_counted(last, unit)}" if first else f"within {_counted(last, unit)}"


def ago(seconds: int | None, now: int) -> str:
    """Return a time in words, such as "5 minutes ago"; empty if unknown.

    :param seconds: epoch seconds
    :param now: epoch seconds
    """
    if seconds is None:
        return ""
    past = now - seconds
    if past < 0:
        return "in the future" if past < -60 else "just now"
    for size, unit in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if past >= size:
            return f"{_counted(past // size, unit)} ago"
    # with seconds, the page would change every second
    return "just now"


def is_worth_looking_back(one: BuilderHealth) -> bool:
    """Return whether building earlier revisions may show since when a builder fails.

    It does not if the revision right before this one passed.
    """
    if one.change == "regressed":
        return one.distance is not None and one.distance > 1
    return one.change == "still_failing"


def most_between(one: BuilderHealth) -> int:
    """Return the number of revisions that may lie between this one and the last that passed."""
    if one.change == "regressed" and one.distance is not None:
        return max(1, one.distance - 1)
    return LONGEST_RANGE
