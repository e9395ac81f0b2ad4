"""Computes the charts of pages, which show when rows waited and ran.

The results are plain numbers, which templates draw as SVG. Readers compute them with the page.
"""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass

from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Row

#: The largest number of bars of a timeline.
MOST_BARS = 50
#: An idle stretch is cut if it is longer than this fraction of the busy time...
LONGEST_IDLE = 0.15
#: ...and then has the width of this fraction.
CUT = 0.03
#: The positions of a timeline's labels, as fractions of its width; none in a cut stretch.
TICKS = (0, 1 / 3, 2 / 3, 1)
#: The least width of a bar in percent, so that what took no time is seen, too.
LEAST_WIDTH = 0.5
#: The number of columns of a day, five minutes each.
COLUMNS = 288
#: The height of a day's drawing, which the page stretches.
HEIGHT = 100
HOURS = (0, 6, 12, 18, 24)


@dataclass(frozen=True)
class Span:
    """When a row waited and ran, in epoch seconds.

    :param begun: ``None`` if it never ran
    :param ended: ``None`` if it still waits or runs
    """

    row: Row
    asked: int
    begun: int | None
    ended: int | None

    def end(self, now: int) -> int:
        """Return when it ended or, if it has not, *now*; never before it began.

        A clock may have been set back meanwhile, and that of another master may be behind.
        """
        return max(self.asked, self.begun or 0, self.ended or now)


def spans(rows: Iterable[Row]) -> list[Span]:
    """Return when each of *rows* waited and ran.

    A request whose build ended with RETRY waits again from the end of that build.
    """
    found = []
    since: dict[int, int] = {}
    for row in sorted(rows, key=lambda row: (not isinstance(row, BuildRow), row.starttime)):
        request = row.request
        asked = since.get(request.request_id, request.submittime)
        if isinstance(row, BuildRow):
            found.append(Span(row, min(asked, row.starttime), row.starttime, row.endtime))
            since[request.request_id] = row.endtime or row.starttime
        else:
            # claimed, but its build is not in the database yet
            begun = None if request.complete else request.claimed_at or None
            found.append(Span(row, min(asked, begun or asked), begun, row.endtime))
    return found


# -- a revision


@dataclass(frozen=True)
class Bar:
    """A bar of a timeline; positions and widths are percentages of the timeline's width.

    :param run: position and width of the running time, ``None`` if the row never ran
    :param waited: seconds
    :param ran: seconds, ``None`` if the row never ran
    """

    row: Row
    wait: tuple[float, float]
    run: tuple[float, float] | None
    waited: int
    ran: int | None


@dataclass(frozen=True)
class Timeline:
    """A timeline of how long each row waited and ran.

    :param ticks: positions and times of labels
    :param clock: the format of times (strftime)
    :param cuts: positions and widths of cut idle stretches, which are not to scale
    :param left_out: the number of rows without a bar
    """

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, int], ...]
    clock: str
    cuts: tuple[tuple[float, float], ...]
    left_out: int


def timeline(rows: Iterable[Row], now: int) -> Timeline:
    """Return the timeline of *rows*.

    :param now: epoch seconds; the end of rows that have not ended
    """
    every = spans(rows)
    shown = sorted(_most_telling(every), key=lambda span: (span.asked, span.begun or now))
    scale = _Scale([(span.asked, span.end(now)) for span in shown])
    return Timeline(
        tuple(_bar(span, scale, now) for span in shown),
        scale.ticks(),
        _clock(scale.begin, scale.end),
        scale.cuts,
        len(every) - len(shown),
    )


def _most_telling(every: list[Span]) -> list[Span]:
    """Return the most important spans: open, then not passed, then the longest."""

    def rank(span: Span) -> tuple[bool, bool, int]:
        open_ = span.ended is None
        return open_, not open_ and span.row.status not in PASSED, (span.ended or 0) - span.asked

    return sorted(every, key=rank, reverse=True)[:MOST_BARS]


def _bar(span: Span, scale: _Scale, now: int) -> Bar:
    end = span.end(now)
    begun = end if span.begun is None else span.begun
    ran = span.begun is not None
    # a request that ended without a build shows its result at its end
    return Bar(
        span.row,
        scale.part(span.asked, begun),
        _seen(*scale.part(begun, end)) if ran or span.ended is not None else None,
        begun - span.asked,
        end - begun if ran else None,
    )


def _seen(place: float, width: float) -> tuple[float, float]:
    """Return a bar that is wide enough to be seen, within the timeline."""
    if width >= LEAST_WIDTH:
        return place, width
    return _short(min(place, 100 - LEAST_WIDTH)), LEAST_WIDTH


class _Scale:
    """Maps times to a width of 100, with long idle stretches cut."""

    def __init__(self, busy: Sequence[tuple[int, int]]) -> None:
        pieces = list(_merged(busy))
        # a divisor, even if everything happened within one second
        whole = sum(end - begin for begin, end in pieces) or 1
        # begin, end and width of all stretches, in order
        stretches: list[tuple[int, int, float]] = []
        idle: list[bool] = []
        for begin, end in pieces:
            if stretches:
                gap = begin - stretches[-1][1]
                long = gap > whole * LONGEST_IDLE
                stretches.append((stretches[-1][1], begin, whole * CUT if long else gap))
                idle.append(long)
            stretches.append((begin, end, end - begin))
            idle.append(False)
        total = sum(width for _, _, width in stretches) or 1
        self._stretches: list[tuple[int, int, float, float]] = []
        place = 0.0
        for begin, end, width in stretches:
            self._stretches.append((begin, end, place, width * 100 / total))
            place += width * 100 / total
        self.begin = stretches[0][0] if stretches else 0
        self.end = stretches[-1][1] if stretches else 0
        self._cuts = [one for one, cut in zip(self._stretches, idle, strict=True) if cut]
        self.cuts = tuple((_short(place), _short(width)) for _, _, place, width in self._cuts)

    def at(self, time: int) -> float:
        """Return the position of *time*."""
        for begin, end, place, width in self._stretches:
            if time <= end:
                return place + width * max(0, time - begin) / ((end - begin) or 1)
        return 100.0

    def part(self, begin: int, end: int) -> tuple[float, float]:
        """Return position and width of a stretch of time."""
        place = self.at(begin)
        return _short(place), _short(self.at(end) - place)

    def ticks(self) -> tuple[tuple[float, int], ...]:
        """Return the positions and times of labels, each time once."""
        found: dict[int, float] = {}
        for tick in TICKS:
            place, time = tick * 100, self._time_at(tick * 100)
            if time is not None:
                # several within a second become one, where the second begins
                found[time] = self.at(time) if time in found else place
        return tuple((_short(place), time) for time, place in found.items())

    def _time_at(self, wanted: float) -> int | None:
        for begin, end, place, width in self._stretches:
            if wanted <= place + width + 0.001:
                if (begin, end, place, width) in self._cuts:
                    return None
                return round(begin + (end - begin) * (wanted - place) / (width or 1))
        return None


def _merged(busy: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Merge stretches of time that touch or overlap."""
    current: tuple[int, int] | None = None
    for begin, end in sorted(busy):
        if current is None or begin > current[1]:
            if current is not None:
                yield current
            current = begin, end
        else:
            current = current[0], max(current[1], end)
    if current is not None:
        yield current


def _short(place: float) -> float:
    return round(place, 2)


def _clock(begin: int, end: int) -> str:
    if end - begin > 20 * 3600:
        return "%m-%d %H:%M"
    return "%H:%M" if end - begin > 600 else "%H:%M:%S"


# -- a day


@dataclass(frozen=True)
class Strip:
    """The number of rows in a state over a day.

    :param path: the outline as an SVG path, in a box of ``COLUMNS`` by ``HEIGHT``
    :param most: the largest number
    :param at: epoch seconds at which it was first reached, ``None`` if it is 0
    """

    path: str
    most: int
    at: int | None


@dataclass(frozen=True)
class Load:
    """The numbers of waiting and running rows over a day.

    :param hours: positions of labels in percent, and their times
    """

    pending: Strip
    running: Strip
    hours: tuple[tuple[float, int], ...]


def load(rows: Iterable[Row], date: str, timezone: str, now: int) -> Load:
    """Return the numbers of waiting and running *rows* over the day *date*.

    :param date: ISO date
    :param timezone: the time zone of the day, as an IANA name
    :param now: epoch seconds, where the drawing ends
    """
    zone = zoneinfo.ZoneInfo(timezone)
    day = datetime.date.fromisoformat(date)
    begin = _at(day, 0, zone)
    end = _at(day, 24, zone)
    every = spans(rows)
    waits = [(span.asked, span.ended if span.begun is None else span.begun) for span in every]
    runs = [(span.begun, span.ended) for span in every if span.begun is not None]
    seen = begin, max(begin, min(end, now))
    hours = tuple(_at(day, hour, zone) for hour in HOURS)
    # a day may have 23 or 25 hours
    places = (_short(100 * (hour - begin) / (end - begin)) for hour in hours)
    return Load(
        _strip(waits, seen, end), _strip(runs, seen, end), tuple(zip(places, hours, strict=True))
    )


def _at(day: datetime.date, hour: int, zone: zoneinfo.ZoneInfo) -> int:
    day += datetime.timedelta(days=hour // 24)
    time = datetime.time(hour % 24)
    return int(datetime.datetime.combine(day, time, tzinfo=zone).timestamp())


def _strip(parts: Iterable[tuple[int, int | None]], seen: tuple[int, int], end: int) -> Strip:
    """Count *parts* in each column of the day.

    :param parts: begin and end of each, ``None`` if it has not ended
    :param seen: begin and end of the part of the day to draw
    :param end: the end of the day
    """
    begin, last = seen
    changes: list[tuple[int, int]] = []
    for first, second in parts:
        until = last if second is None else min(second, last)
        if max(first, begin) < until:
            changes.append((max(first, begin), 1))
            changes.append((until, -1))
    width = end - begin
    # the maximum in each column, so that short peaks show
    columns = [0] * -(-(last - begin) * COLUMNS // width)
    now, most, at, column = 0, 0, None, 0
    # at the same time, ends come before begins
    for time, change in sorted(changes):
        reached = (time - begin) * COLUMNS // width
        for passed in range(column, min(reached + 1, len(columns))):
            columns[passed] = max(columns[passed], now)
        column = reached
        now += change
        if column < len(columns):
            columns[column] = max(columns[column], now)
        if now > most:
            most, at = now, time
    return Strip(_outline(columns, most), most, at)


def _outline(columns: Sequence[int], most: int) -> str:
    if not most:
        return ""
    path = [f"M0 {HEIGHT}"]
    before = 0
    for column, number in enumerate(columns):
        if number != before:
            path.append(f"H{column}V{round(HEIGHT - HEIGHT * number / most, 1):g}")
            before = number
    path.append(f"H{len(columns)}V{HEIGHT}Z")
    return "".join(path)
