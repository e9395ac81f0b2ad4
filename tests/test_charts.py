"""Charts and glances: what stands where, computed from plain rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.views import charts

#: 2026-11-24 00:00 in UTC.
MIDNIGHT = 1_795_478_400
HOUR = 3600
DAY = "2026-11-24"


def request(asked: int = 0, **more: Any) -> RequestRow:
    """Return a pending request, asked for at *asked*."""
    given: dict[str, Any] = {
        "request_id": 1,
        "buildername": "fast",
        "builder_id": 1,
        "branch": "main",
        "revision": "abc",
        "submittime": asked,
        "complete": 0,
        "complete_at": None,
        "priority": 0,
        "claimed_at": 0,
        "reason": None,
        "status": None,
        "buildset_id": 1,
        **more,
    }
    return RequestRow(**given)


def cancelled(asked: int, ended: int, **more: Any) -> RequestRow:
    return request(asked, complete=1, complete_at=ended, status=CANCELLED, **more)


def build(
    asked: int, begun: int, ended: int | None = None, status: int = SUCCESS, **more: Any
) -> BuildRow:
    """Return a build; *number* is the id of its request and of itself."""
    number, builder_id = more.get("number", 1), more.get("builder_id", 1)
    return BuildRow(
        build_id=number,
        request=request(asked, request_id=more.get("of", number), claimed_at=begun),
        buildnumber=number,
        buildername=more.get("buildername", "fast"),
        builder_id=builder_id,
        branch="main",
        revision="abc",
        starttime=begun,
        endtime=ended,
        status=None if ended is None else status,
        claimed_by_name=None,
        worker=None,
        state_string="",
    )


# -- a revision


def test_a_bar_waits_and_then_runs() -> None:
    (bar,) = charts.timeline([build(100, 125, 200)], now=1000).bars
    assert (bar.wait, bar.run, bar.waited, bar.ran) == ((0, 25), (25, 75), 25, 75)


def test_what_is_not_over_reaches_until_now() -> None:
    pending, running = request(100, request_id=2), build(100, 150)
    bars = charts.timeline([pending, running], now=200).bars
    found = {type(bar.row): (bar.wait, bar.run, bar.waited, bar.ran) for bar in bars}
    assert found == {
        RequestRow: ((0, 100), None, 100, None),
        BuildRow: ((0, 50), (50, 50), 50, 50),
    }


def test_a_request_that_was_cancelled_ends_in_its_result() -> None:
    (bar,) = charts.timeline([cancelled(100, 200)], now=1000).bars
    assert (bar.wait, bar.run, bar.ran) == ((0, 100), (99.5, 0.5), None)


def test_what_took_no_time_is_seen_and_no_label_stands_twice() -> None:
    rows = [build(7, 7, 7), build(7, 8, 8, number=2), build(7, 9, 9, number=3)]
    chart = charts.timeline(rows, now=9)
    assert [bar.run for bar in chart.bars] == [(0, 0.5), (50, 0.5), (99.5, 0.5)]
    assert chart.ticks == ((0, 7), (50, 8), (100, 9))
    (bar,) = charts.timeline([build(5, 5, 5)], now=9).bars
    assert bar.run == (0, 0.5)


def test_a_request_that_is_built_again_waits_from_the_end_of_its_build_on() -> None:
    first = build(100, 120, 140, RETRY, number=1, of=7)
    second = build(100, 160, 200, number=2, of=7)
    found = charts.spans([second, first])
    assert [(span.asked, span.begun, span.ended) for span in found] == [
        (100, 120, 140),
        (140, 160, 200),
    ]
    (_, waits) = charts.spans([request(100, request_id=7), first])
    assert (waits.asked, waits.begun) == (140, None)


def test_a_claimed_request_without_a_build_runs() -> None:
    (span,) = charts.spans([request(100, claimed_at=110)])
    assert (span.asked, span.begun, span.ended) == (100, 110, None)


def test_a_long_silence_is_cut_and_marked() -> None:
    rows = [build(0, 0, 100), build(100_000, 100_000, 100_100, number=2)]
    chart = charts.timeline(rows, now=200_000)
    first, second = chart.bars
    ((place, width),) = chart.cuts
    assert first.run == pytest.approx((0, 48.54), abs=0.01)
    assert (place, width) == pytest.approx((48.54, 2.91), abs=0.01)
    assert second.run == pytest.approx((51.46, 48.54), abs=0.01)
    # days apart, the time of the day alone would not tell
    assert chart.clock == "%m-%d %H:%M"
    assert chart.ticks[0] == (0, 0)
    assert chart.ticks[-1] == (100, 100_100)


def test_a_short_silence_is_to_scale() -> None:
    chart = charts.timeline([build(0, 0, 100), build(110, 110, 200, number=2)], now=500)
    assert (chart.cuts, chart.bars[1].run) == ((), (55, 45))


def test_many_rows_are_cut_to_those_that_tell_most() -> None:
    rows: list[Any] = [build(0, 0, 10 + n, number=n) for n in range(1, 100)]
    rows += [build(0, 0, 1, FAILURE, number=200), request(0, request_id=300)]
    chart = charts.timeline(rows, now=500)
    assert (len(chart.bars), chart.left_out) == (charts.MOST_BARS, 101 - charts.MOST_BARS)
    shown = {getattr(bar.row, "build_id", None) for bar in chart.bars}
    # the failed one, the pending one, and the longest of the others
    assert shown == {None, 200, *range(99 - charts.MOST_BARS + 3, 100)}


def test_nothing_has_no_bars() -> None:
    assert charts.timeline([], now=5) == charts.Timeline((), (), "%H:%M:%S", (), 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.none() | st.integers(0, 10**6)),
        min_size=1,
        max_size=60,
    )
)
def test_no_bar_leaves_the_chart(parts: list[tuple[int, int, int | None]]) -> None:
    rows = [
        build(asked, asked + wait, None if ran is None else asked + wait + ran, number=number)
        for number, (asked, wait, ran) in enumerate(parts)
    ]
    chart = charts.timeline(rows, now=3 * 10**6)
    for bar in chart.bars:
        for place, width in (bar.wait, bar.run or (0, 0)):
            assert place >= 0
            assert width >= 0
            assert place + width <= 100.05
    places = [place for place, _ in chart.ticks]
    times = [time for _, time in chart.ticks]
    assert places == sorted(places)
    assert times == sorted(times)


@pytest.mark.parametrize(
    "row",
    [
        build(50, 100, 90),
        build(50, 100, 40),
        build(50, 600),
        request(100, claimed_at=90),
        request(600),
        request(600, claimed_at=700),
        cancelled(100, 90),
    ],
)
def test_no_bar_ends_before_it_begins_where_a_clock_was_set_back(
    row: BuildRow | RequestRow,
) -> None:
    others = [build(0, 10, 20, number=2), build(0, 450, 480, number=3)]
    chart = charts.timeline([row, *others], now=500)
    for bar in chart.bars:
        assert bar.waited >= 0
        assert bar.ran is None or bar.ran >= 0
        for place, width in (bar.wait, bar.run or (0, 0)):
            assert 0 <= place <= 100
            assert 0 <= width <= 100.05 - place


# -- a day


def at(hours: float) -> int:
    return MIDNIGHT + int(hours * HOUR)


def test_a_day_counts_what_waits_and_what_runs() -> None:
    rows: list[BuildRow | RequestRow] = [
        build(at(6), at(7), at(12), number=1),
        build(at(6), at(8), at(9), number=2),
        cancelled(at(6.5), at(6.75), request_id=3),
    ]
    load = charts.load(rows, DAY, "UTC", now=at(30))
    assert (load.running.most, load.running.at) == (2, at(8))
    assert (load.pending.most, load.pending.at) == (3, at(6.5))
    # 288 columns a day, 12 an hour; up to one at 7, two at 8, one again after 9, none after 12
    assert load.running.path == "M0 100H84V50H96V0H109V50H145V100H288V100Z"


def test_a_peak_of_a_second_is_seen() -> None:
    rows = [build(at(6), at(6), at(6) + 1, number=number) for number in range(5)]
    load = charts.load(rows, DAY, "UTC", now=at(30))
    assert (load.running.most, load.pending.most, load.pending.path) == (5, 0, "")
    assert load.running.path == "M0 100H72V0H73V100H288V100Z"


def test_what_ends_when_another_begins_makes_no_peak() -> None:
    rows = [build(at(6), at(6), at(7)), build(at(7), at(7), at(8), number=2)]
    assert charts.load(rows, DAY, "UTC", now=at(30)).running.most == 1


def test_today_ends_now_and_begins_at_midnight() -> None:
    rows: list[BuildRow | RequestRow] = [build(at(-5), at(-4)), request(at(-3), request_id=2)]
    load = charts.load(rows, DAY, "UTC", now=at(6))
    assert (load.running.most, load.running.at) == (1, at(0))
    assert load.running.path == load.pending.path == "M0 100H0V0H72V100Z"


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_on_which_the_clocks_change_has_its_own_length(day: str, hours: int) -> None:
    places = charts.load([], day, "Europe/Berlin", now=0).hours
    times = [time for _, time in places]
    assert times[-1] - times[0] == hours * HOUR
    assert places[0] == (0, times[0])
    assert places[-1] == (100, times[-1])
    noon = {23: 11, 25: 13}[hours]
    assert places[2] == pytest.approx((100 * noon / hours, times[0] + noon * HOUR), abs=0.01)


@given(
    st.lists(
        st.tuples(
            st.integers(-HOUR, 25 * HOUR), st.integers(0, 9999), st.none() | st.integers(0, 9999)
        ),
        max_size=80,
    ),
    st.integers(-HOUR, 30 * HOUR),
)
def test_the_outline_of_a_day_stays_in_its_box(parts: list[Any], now: int) -> None:
    rows = [
        build(
            at(0) + asked,
            at(0) + asked + wait,
            None if ran is None else at(0) + asked + wait + ran,
            number=n,
        )
        for n, (asked, wait, ran) in enumerate(parts)
    ]
    load = charts.load(rows, DAY, "UTC", now=at(0) + now)
    for strip in (load.running, load.pending):
        assert bool(strip.path) == bool(strip.most) == (strip.at is not None)
        assert strip.most <= len(rows)
        columns = [int(number) for number in re.findall(r"H([0-9]+)", strip.path)]
        assert columns == sorted(columns)
        assert all(0 <= column <= charts.COLUMNS for column in columns)
        heights = [float(number) for number in re.findall(r"V([0-9.]+)", strip.path)]
        assert all(0 <= height <= charts.HEIGHT for height in heights)
