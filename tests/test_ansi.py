"""Colours of logs: what a terminal shows, and nothing else that it would do."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildbot_selfserve.model import Run
from buildbot_selfserve.model import ansi
from tests.measure import best_seconds


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("plain", [("plain", "")]),
        ("a\x1b[31mred\x1b[0mb", [("a", ""), ("red", "in-red"), ("b", "")]),
        (
            "\x1b[1;91mx\x1b[22my\x1b[39mz",
            [("x", "in-bright-red bold"), ("y", "in-bright-red"), ("z", "")],
        ),
        ("\x1b[3;4;9mx\x1b[23;24;29my", [("x", "italic underline struck"), ("y", "")]),
        ("\x1b[mx", [("x", "")]),
        ("\x1b[31;42mx\x1b[49my", [("x", "on-green"), ("y", "in-red")]),
        ("\x1b[7mx\x1b[27my", [("x", "on-white"), ("y", "")]),
        ("\x1b[34;7mx", [("x", "on-blue")]),
        ("\x1b[38;5;9mx", [("x", "in-bright-red")]),
        ("\x1b[38;5;196mx", [("x", "in-red")]),
        ("\x1b[38;5;255mx", [("x", "in-white")]),
        ("\x1b[48;5;232mx", [("x", "on-black")]),
        ("\x1b[38;2;255;0;0;1mx", [("x", "in-red bold")]),
        ("\x1b[38:2::0:0:255mx", [("x", "in-blue")]),
        ("\x1b[38:5:2;1mx", [("x", "in-green bold")]),
        ("\x1b[4:3mx", [("x", "underline")]),
        ("\x1b[38mx\x1b[38;5my\x1b[38;9mz", [("x", ""), ("y", "in-black"), ("z", "")]),
        ("\x1b[38;5;999999mx", [("x", "in-bright-white")]),
        ("\x1b[" + "9" * 5000 + "mx", [("x", "")]),
        # what moves the cursor, clears, asks, or sets a title, a link or a character set
        ("a\x1b[2Kb\x1b[1;1Hc\x1b[?25ld\x1b[>4;2me", [(one, "") for one in "abcde"]),
        ("a\x1b]0;title\x07b\x1b]8;;http://x\x1b\\c", [(one, "") for one in "abc"]),
        ("a\x1bPq#0;2\x1b\\b\x1b(Bc\x1b=d\x1bMe", [(one, "") for one in "abcde"]),
        ("a\x9b31mb", [("a", ""), ("b", "in-red")]),
        # what ends in the middle of it
        ("a\x1b[31", [("a", "")]),
        ("a\x1b[31\xe4", [("a", ""), ("\xe4", "")]),
        ("a\x1b]0;b", [("a", ""), ("0;b", "")]),
        ("a\x1b", [("a", "")]),
    ],
)
def test_a_text_is_runs_of_one_style(text: str, runs: list[tuple[str, str]]) -> None:
    found, _ = ansi.runs(text)
    assert found == tuple(Run(*run) for run in runs)
    assert ansi.plain(text) == "".join(run.text for run in found)


def test_a_style_goes_on_in_the_next_line() -> None:
    _, style = ansi.runs("\x1b[32;1mx")
    assert ansi.runs("y", style)[0] == (Run("y", "in-green bold"),)
    assert ansi.runs("\x1b[0my", style)[0] == (Run("y"),)


def test_a_text_is_cut_where_it_is_seen() -> None:
    found, _ = ansi.runs("ab\x1b[31mcd\x1b[0mef")
    assert ansi.cut(found, 3) == (Run("ab"), Run("c", "in-red"))
    assert ansi.cut(found, 2) == (Run("ab"),)
    assert ansi.cut(found, 100) == found


_PIECES = st.sampled_from(
    ["\x1b", "[", "]", "38;5;", "2", ";", ":", "m", "\x07", "\\", "x", "\x9b", "P"]
)


@given(st.lists(_PIECES | st.text(max_size=3), max_size=30).map("".join))
def test_no_escape_is_left_whatever_the_text(text: str) -> None:
    found, _ = ansi.runs(text)
    assert not {"\x1b", "\x9b", "\x9d"} & set("".join(run.text for run in found))
    classes = {name for run in found for name in run.style.split()}
    assert all(name.islower() for name in classes)


@pytest.mark.parametrize("text", ["\x1b]", "\x1b[1;", "\x1b[38;5;", "\x1b[31m", "\x9d0;", "\x1b "])
def test_long_texts_take_no_longer_than_they_are(text: str) -> None:
    # 64 times as long if it were quadratic
    long, short = (best_seconds(partial(ansi.runs, text * count), 5) for count in (32_000, 4_000))
    assert long < 24 * short
