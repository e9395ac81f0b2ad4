"""Reads logs: the last lines, to show why a build failed, and the text in parts.

Buildbot stores a log as chunks of whole lines, each compressed separately (buildbot/db/logs.py).
Lines written with one call form one chunk of any size. Only the chunks that are needed are read.
Lines that a step has not written yet, or that the master still buffers, are in no chunk.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa
from buildbot.db import compression
from buildbot.db.model import Model

from buildbot_selfserve.errors import Refused
from buildbot_selfserve.history.context import History
from buildbot_selfserve.model import HTML
from buildbot_selfserve.model import STDIO
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import LogLine
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import ansi

#: The largest number of lines of a log's tail, and of characters of a line.
MOST_LINES, LONGEST_LINE = 30, 500
#: The number of last lines to read first (more than MOST_LINES, as some may be headers), the number
#: of lines to read with each later query, and the largest number of queries.
LAST, BEFORE, MOST_LOOKS = MOST_LINES + 10, 100, 3
#: The largest number of lines to read of a log: all may be headers.
MOST_LOOKED_AT = 5000
#: The number of bytes to read of a line: enough for LONGEST_LINE characters and as many colours.
MOST_BYTES = 32 * LONGEST_LINE
#: A part of the text ends after the chunk that takes it to this many bytes, to this many bytes as
#: stored, or to this many chunks.
PART, MOST_STORED, MOST_CHUNKS = 2**20, 2**17, 500
#: A chunk of more bytes than this is sent in several parts; each part decompresses it again.
LONGEST_PART = 2**24

#: Compressor and the Python package it needs, by the number in ``logchunks.compressed``.
COMPRESSIONS: Mapping[int, tuple[type[compression.CompressorInterface], str]] = {
    1: (compression.GZipCompressor, "zlib"),
    2: (compression.BZipCompressor, "bz2"),
    3: (compression.LZ4Compressor, "lz4"),
    4: (compression.ZStdCompressor, "zstandard"),
    5: (compression.BrotliCompressor, "brotli"),
}

#: Why a log without its text cannot be read.
_DELETED = "its text was deleted"
#: The first byte of each line of a log with several streams (buildbot/process/log.py).
_STREAMS = {b"o": "stdout", b"e": "stderr"}

#: How escape sequences begin in UTF-8.
_ESCAPES = re.compile(rb"\x1b|\xc2[\x90\x98\x9b\x9d-\x9f]")

_chunks = Model.logchunks
_CONTENTS = sa.select(
    _chunks.c.logid,
    _chunks.c.first_line,
    _chunks.c.last_line,
    _chunks.c.compressed,
    _chunks.c.content,
)
_SIZES = sa.select(_chunks.c.first_line, _chunks.c.last_line, sa.func.length(_chunks.c.content))


class Tail(NamedTuple):
    """The last lines of a log.

    :param has_stderr: any of the lines came from standard error
    :param note: why the log's lines could not be read; empty if they could
    """

    lines: tuple[LogLine, ...] = ()
    has_stderr: bool = False
    note: str = ""


def tails(connection: sa.Connection, logs: Sequence[Log]) -> dict[int, Tail]:
    """Return the last lines of each of *logs*, without headers, by log id."""
    ends = {log.log_id: _End(log) for log in logs if log.type != HTML and log.lines}
    wanted = {log_id: (end.first - LAST, end.first) for log_id, end in ends.items()}
    # chunks may have been added since the log's lines were counted
    until: int | None = None
    for _ in range(MOST_LOOKS):
        for record in _last_chunks(connection, wanted, until):
            ends[record[0]].add(*record[1:])
        wanted = {
            log_id: (end.first - BEFORE, end.first)
            for log_id, end in ends.items()
            if log_id in wanted and end.is_short
        }
        until = -1
    return {log_id: end.tail() for log_id, end in ends.items()}


def text(history: History, log: Log, offset: int, tail: int | None) -> LogText:
    """Return the range of lines of *log* to send.

    :param offset: the number of lines to skip at the beginning
    :param tail: the number of last lines to send; ``None`` for all
    """
    last = sa.select(sa.func.max(_chunks.c.last_line)).where(_chunks.c.logid == log.log_id)
    newest = history.connection.execute(last).scalar()
    end = 0 if newest is None else newest + 1
    first = offset if tail is None else max(offset, end - tail)
    return LogText(log, min(first, end), end)


def part(history: History, wanted: LogText) -> tuple[bytes, LogText | None]:
    """Return the next part of a log as UTF-8 lines, and the rest, ``None`` if nothing is left.

    :raises Refused: the log cannot be read
    """
    log, first = wanted.log, wanted.first
    if first >= wanted.end:
        return b"", None
    here = sa.and_(_chunks.c.logid == log.log_id, _chunks.c.last_line >= first)
    until, most = _extent(history.connection, _SIZES.where(here))
    # Buildbot may have merged chunks since, which changes their last lines
    contents = _CONTENTS.where(here, _chunks.c.first_line <= until)
    pieces: list[bytes] = []
    held, count = 0, None
    # SQLite shows a connection nothing newer while any of its results is open
    with history.connection.execute(contents.order_by(_chunks.c.last_line).limit(most)) as found:
        for _, begin, last, *chunk in found:
            if held >= PART or count is not None:
                break
            if last >= first and begin < wanted.end:
                first = max(first, begin)
                piece, count = _text_of(log, chunk, first - begin, wanted.end - begin)
                first = last + 1 if count is None else first + count
                pieces.append(piece)
                held += len(piece)
    if not pieces:
        raise _unreadable(log, _DELETED)
    left = wanted._replace(first=first) if first < wanted.end else None
    body = b"".join(pieces)
    return (_without_escapes(body) if wanted.plain else body), left


def _without_escapes(body: bytes) -> bytes:
    """Return whole lines without escape sequences, each as if it stood alone.

    So no sequence goes on in the next part, and the end of one that is cut off does not matter.
    """
    if _ESCAPES.search(body) is None:
        return body
    lines = body.decode("utf-8", "surrogateescape").split("\n")
    return "\n".join(map(ansi.plain, lines)).encode("utf-8", "surrogateescape")


def _extent(connection: sa.Connection, sizes: sa.Select[Any]) -> tuple[int, int]:
    """Return the last line of the next part's chunks, and the number of these chunks."""
    until, held, count = -1, 0, 0
    found = connection.execute(sizes.order_by(_chunks.c.last_line).limit(MOST_CHUNKS))
    for _, last, size in found.all():
        if held >= MOST_STORED:
            break
        until, held, count = last, held + (size or 0), count + 1
    return until, count


def _text_of(log: Log, chunk: Sequence[Any], first: int, end: int) -> tuple[bytes, int | None]:
    """Return lines of a chunk as text, and their number if the chunk was cut, else ``None``.

    :param first: the first line to return, counted from the chunk's first line
    :param end: the line after the last one to return
    """
    text = unpacked(log, *chunk)
    begin = 0
    for _ in range(first):
        begin = text.find(b"\n", begin) + 1
        if not begin:
            return b"", None
    cut = text.find(b"\n", begin + LONGEST_PART) if len(text) - begin > LONGEST_PART else -1
    lines = text[begin : len(text) if cut < 0 else cut].split(b"\n")[: end - first]
    if log.type == STDIO:
        lines = [line[1:] for line in lines]
    return b"\n".join([*lines, b""]), None if cut < 0 else len(lines)


def _last_chunks(
    connection: sa.Connection, wanted: Mapping[int, tuple[int, int]], until: int | None
) -> Sequence[Any]:
    """Return chunks of several logs, the last chunk of each log first.

    :param wanted: by log id: the first line, and the line after the last
    :param until: ``None`` to include chunks after these lines
    """
    if not wanted:
        return ()
    conditions = []
    for log_id, (first, end) in wanted.items():
        here = [_chunks.c.logid == log_id, _chunks.c.last_line >= first]
        if until is not None:
            here.append(_chunks.c.last_line < end)
        conditions.append(sa.and_(*here))
    found = _CONTENTS.where(sa.or_(*conditions))
    return connection.execute(found.order_by(_chunks.c.logid, _chunks.c.last_line.desc())).all()


class _End:
    """Collects the last lines of a log from its chunks, the last chunk first.

    :ivar first: the number of the earliest line that was read
    """

    def __init__(self, log: Log) -> None:
        self.first = log.lines
        self._log = log
        self._has_stderr = False
        self._note = ""
        self._looks = MOST_LOOKED_AT
        #: stream and text of each line, the last line first
        self._lines: list[tuple[str, bytes]] = []

    @property
    def is_short(self) -> bool:
        """Return whether earlier lines are still needed."""
        looks = self._looks and not self._note
        return bool(looks) and self.first > 0 and len(self._lines) < MOST_LINES

    def add(self, first: int, _last: int, compressed: int, content: bytes | None) -> None:
        """Add the chunk before the earliest one added so far."""
        if self._note or len(self._lines) >= MOST_LINES:
            return
        self.first = first
        try:
            text = unpacked(self._log, compressed, content)
        except Refused as error:
            self._note = f"{error.msg}: {error.detail}"
            return
        # splitting the whole text can take longer than decompressing it: a chunk may be a whole log
        end = len(text)
        while end >= 0 and len(self._lines) < MOST_LINES and self._looks:
            begin = text.rfind(b"\n", 0, end) + 1
            self._take(text[begin : min(end, begin + MOST_BYTES + 1)])
            end = begin - 1

    def _take(self, line: bytes) -> None:
        """Add a line, unless it is a header."""
        self._looks -= 1
        stream = "stdout"
        if self._log.type == STDIO:
            if line[:1] not in _STREAMS:
                return
            stream, line = _STREAMS[line[:1]], line[1:]
        self._has_stderr |= stream == "stderr"
        self._lines.append((stream, line))

    def tail(self) -> Tail:
        """Return the last lines of the log."""
        styles = dict.fromkeys(_STREAMS.values(), ansi.PLAIN)
        lines = []
        for stream, raw in reversed(self._lines):
            whole = raw[:MOST_BYTES].decode("utf-8", "replace")
            runs, styles[stream] = ansi.runs(whole, styles[stream])
            is_cut = len(raw) > MOST_BYTES or sum(len(run.text) for run in runs) > LONGEST_LINE
            lines.append(LogLine(stream, ansi.cut(runs, LONGEST_LINE), is_cut))
        return Tail(tuple(lines), self._has_stderr, self._note)


def unpacked(log: Log, compressed: int, content: bytes | None) -> bytes:
    """Return the decompressed text of a chunk: lines separated by newlines.

    :param compressed: the number of the compression, 0 for none
    :raises Refused: the compression is unknown or not installed, or the data is broken or NULL
    """
    if content is None:
        raise _unreadable(log, _DELETED)
    if not compressed:
        return content
    if compressed not in COMPRESSIONS:
        raise _unreadable(log, f"it has an unknown compression, number {compressed}")
    method, package = COMPRESSIONS[compressed]
    if not method.available:
        raise _unreadable(
            log,
            f"it is compressed with {method.name}, and the Python package {package} is not"
            " installed on the master",
        )
    try:
        return bytes(method.read(content))
    except Exception:  # each compressor raises its own exceptions
        raise _unreadable(log, f"it is not what {method.name} can decompress") from None


def _unreadable(log: Log, why: str) -> Refused:
    return Refused(f"Log {log.name} cannot be read", why)
