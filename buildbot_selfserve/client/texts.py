"""Reads text that people and editors have written, whatever stands before it."""

from __future__ import annotations

import codecs

#: What editors and shells on Windows put before a text, and what it means.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decoded(data: bytes) -> str:
    """Return the text that *data* is: UTF-8, or what its byte order mark says, without the mark.

    :raises UnicodeDecodeError: it is no text
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    return data.decode()
