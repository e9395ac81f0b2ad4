"""Names like one that is not found, which are named, and which builders a pattern selects."""

from __future__ import annotations

import difflib
import fnmatch
import glob
import pickle
import warnings
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Site
from buildbot_selfserve.views import lookup
from tests.measure import best_seconds

MANY = sorted([*(f"feature-{number:05}" for number in range(20_000)), "main", "release-7"])


def like(text: str, names: Sequence[str]) -> list[str]:
    """Return which branches are named when *text* is not found among those of these *names*."""
    branches = tuple(Branch(name, (name,)) for name in names)
    site = Site("self-serve", "http://localhost/", branches=branches)
    names_only: Any = SimpleNamespace(history=SimpleNamespace(site=site))
    with pytest.raises(NotFound) as refusal:
        lookup.resolve(names_only, {"branch": text})
    named = [name for name, _ in refusal.value.links]
    assert refusal.value.detail == (f"similar names: {', '.join(named)}" if named else "")
    return named


def test_names_like_it_are_named() -> None:
    assert like("amin", ["develop", "main", "release"]) == ["main"]
    assert like("main", []) == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [("feature-12345x", "feature-12345"), ("mainn", "main"), ("release-8", "release-7")],
)
def test_of_very_many_those_that_begin_so_are_named(text: str, meant: str) -> None:
    assert meant in like(text, MANY)


@pytest.mark.parametrize("text", ["aaa", "feature-0123x", "zzz", "feature-" * 1000])
def test_little_is_compared(text: str, monkeypatch: Any) -> None:
    compared: list[str] = []
    real = difflib.get_close_matches

    def counting(word: str, names: Sequence[str], n: int) -> list[str]:
        compared.extend(names)
        return real(word, names, n)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    like(text, MANY)
    assert len(compared) == (lookup.MOST_COMPARED if len(text) <= lookup.LONGEST_COMPARED else 0)


# -- builders that are selected

NAMES = ["linux-debug", "linux-opt", "mac", "mac [arm]", "mac a", "opt/linux #1", "Windows"]
BY_TAG = {
    "nightly": {"linux-opt", "mac"},
    "arm": {"mac [arm]"},
    "nightly-arm": {"mac [arm]"},
    "slow": {"linux-debug", "Windows"},
}


def selected(
    *builders: str,
    tags: Sequence[str] = (),
    exclude: Sequence[str] = (),
    names: Sequence[str] = NAMES,
    by_tag: Mapping[str, set[str]] = BY_TAG,
) -> Selection:
    reading: Any = SimpleNamespace(history=None)
    selectors = {"builders": builders, "tags": tags, "exclude_builders": exclude}
    with pytest.MonkeyPatch.context() as patched:
        known = "buildbot_selfserve.history.builders"
        patched.setattr(f"{known}.builder_names", lambda _: sorted(names))
        patched.setattr(f"{known}.names_by_tag", lambda _: by_tag)
        return lookup.selection(reading, selectors)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["mac"], {"mac"}),
        (["linux*"], {"linux-debug", "linux-opt"}),
        (["*linux*"], {"linux-debug", "linux-opt", "opt/linux #1"}),
        (["linux-*", "mac"], {"linux-debug", "linux-opt", "mac"}),
        (["linux-???"], {"linux-opt"}),
        (["[Ww]indows"], {"Windows"}),
        (["[!a-z]*"], {"Windows"}),
        (["mac [arm]"], {"mac [arm]", "mac a"}),
        (["mac [[]arm]"], {"mac [arm]"}),
        (["*"], set(NAMES)),
        (["**"], set(NAMES)),
        (["*?*"], set(NAMES)),
        (["opt/*"], {"opt/linux #1"}),
        (["opt*1"], {"opt/linux #1"}),
    ],
)
def test_patterns_select_the_builders_whose_names_they_match(
    patterns: Sequence[str], names: set[str]
) -> None:
    assert selected(*patterns).names == frozenset(names)
    assert selected(exclude=patterns).names == frozenset(NAMES) - names


def test_a_tag_selects_all_builders_that_have_it() -> None:
    assert selected(tags=["nightly"]).names == frozenset({"linux-opt", "mac"})
    assert selected(tags=["nightly*"]).names == frozenset({"linux-opt", "mac", "mac [arm]"})
    assert selected(tags=["nightly", "slow"]).names == frozenset(
        {"linux-opt", "mac", *BY_TAG["slow"]}
    )


def test_all_that_is_given_must_fit() -> None:
    assert selected("linux*", tags=["nightly"]).names == frozenset({"linux-opt"})
    assert selected("linux*", "mac", tags=["nightly"], exclude=["mac*"]).names == frozenset(
        {"linux-opt"}
    )
    assert selected("linux*", tags=["arm"]).names == frozenset()
    assert selected("mac", exclude=["mac"]).names == frozenset()


def test_a_selection_takes_builders_and_crosses_to_another_process() -> None:
    every, some = pickle.loads(pickle.dumps((selected(), selected("mac"))))
    assert (every.takes("mac"), every.takes("anything")) == (True, True)
    assert (some.takes("mac"), some.takes("linux-opt"), some.takes("Mac")) == (True, False, False)


@pytest.mark.parametrize(
    ("given", "msg", "detail"),
    [
        (
            {"builders": ["mac", "linxu-opt"]},
            "Bad builders",
            "builders must be names or patterns of builders: no builder matches linxu-opt; similar"
            " names: linux-opt",
        ),
        (
            {"builders": ["LINUX*"]},
            "Bad builders",
            "builders must be names or patterns of builders: no builder matches LINUX*; similar"
            " names: linux-debug, linux-opt",
        ),
        (
            {"tags": ["nigthly"]},
            "Bad tags",
            "tags must be names or patterns of tags: no tag matches nigthly; similar names:"
            " nightly, nightly-arm",
        ),
        (
            {"exclude": ["*-otp"]},
            "Bad exclude_builders",
            "exclude_builders must be names or patterns of builders: no builder matches *-otp;"
            " similar names: linux-opt",
        ),
        (
            {"builders": ["zzz"]},
            "Bad builders",
            "builders must be names or patterns of builders: no builder matches zzz",
        ),
        ({"builders": ["[z-a]"]}, "Bad builders", "no builder matches [z-a]"),
        ({"builders": ["["]}, "Bad builders", "no builder matches ["),
        ({"builders": ["[!"]}, "Bad builders", "no builder matches [!"),
        ({"builders": ["[]"]}, "Bad builders", "no builder matches []"),
        ({"builders": ["x" * 256]}, "Bad builders", "no builder matches xxx"),
        # regular expressions are no patterns
        ({"builders": ["mac|linux.*"]}, "Bad builders", "no builder matches mac|linux.*"),
        ({"builders": [".+"]}, "Bad builders", "no builder matches .+"),
    ],
)
def test_a_pattern_that_matches_nothing_is_refused_with_similar_names(
    given: dict[str, list[str]], msg: str, detail: str
) -> None:
    builders = given.pop("builders", [])
    with pytest.raises(BadParameter) as refusal:
        selected(*builders, **given)  # type: ignore[arg-type]
    assert refusal.value.msg == msg
    assert detail in refusal.value.detail


def test_at_most_five_similar_names_are_named_of_very_many() -> None:
    names = [f"{system}-{number:04}" for system in ("linux", "mac") for number in range(2000)]
    for pattern in ("linux-12345", "Mac-*x", "linxu*", "*-12345"):
        with pytest.raises(BadParameter) as refusal:
            selected(pattern, names=names)
        _, _, similar = refusal.value.detail.partition("; similar names: ")
        assert 1 <= len(similar.split(", ")) <= 5, pattern


def test_patterns_with_many_stars_take_little_longer_than_such_with_few() -> None:
    names = [f"linux-x86_64-{'a' * 100}-{number:04}" for number in range(1000)]

    def match(stars: int) -> None:
        hostile = [f"{'*a' * (stars - number % 5)}*{number % 10}" for number in range(100)]
        selected(*hostile, tags=["n*"], exclude=["*0"], names=names, by_tag={"n": set(names)})
        with pytest.raises(BadParameter):
            selected("*a" * stars + "*b", names=names)

    # one that tried again for each star would never end
    many, few = (best_seconds(partial(match, stars), 3) for stars in (100, 10))
    assert many < 30 * few


def test_names_are_no_patterns_whatever_is_in_them() -> None:
    names = [f"opt [{number}]" for number in range(1000)]
    escaped = [glob.escape(name) for name in names]
    assert selected(*escaped, names=names).names == frozenset(names)
    assert selected(*escaped[:3], names=[*names, "opt 1"]).names == frozenset(names[:3])
    assert selected(*(f"[f]{n}" for n in range(100)), names=[f"f{n}" for n in range(100)]).names
    with pytest.raises(BadParameter) as refusal:
        selected(*(f"a{number}*" for number in range(101)), names=["a"])
    assert refusal.value.detail == (
        "builders must be names, and at most 100 patterns with *, ? or [ in them"
    )


PATTERNS = st.text(alphabet="abAB*?[]!-^\\.|&~#( ", min_size=1, max_size=12)


@given(pattern=PATTERNS | st.text(min_size=1), names=st.lists(PATTERNS, min_size=1))
def test_any_pattern_matches_as_in_a_shell_or_is_refused(pattern: str, names: list[str]) -> None:
    expected = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found = set(selected(pattern, names=names).names or ())
        except BadParameter:
            found = set()
    assert found == expected
