"""Cuts long lists into pages and links them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import NamedTuple
from urllib.parse import urlencode

#: The number of rows in an answer without *limit*, by form. Scripts of the original API expect all
#: rows, and a day with more rows than this was never seen; a longer page is of no use. A value can
#: override this.
DEFAULT_ROWS: Mapping[str, int | None] = {"json": 50000, "html": 1000}


class PageRequest(NamedTuple):
    """The rows that a client wants.

    :param limit: the largest number of rows; ``None`` for the default of the form
    :param offset: the number of newest rows to skip
    """

    limit: int | None
    offset: int


@dataclass(frozen=True)
class PageInfo:
    """The rows that an answer has, and their total number."""

    limit: int
    offset: int
    total: int

    @property
    def later(self) -> int | None:
        """Return the offset of the rows before these, ``None`` if there are none."""
        before = min(self.offset, self.total) - self.limit
        return max(0, before) if self.offset else None

    @property
    def earlier(self) -> int | None:
        """Return the offset of the rows after these, ``None`` if there are none."""
        end = self.offset + self.limit
        return end if end < self.total else None


def cut(value: Any, wanted: PageRequest, form: str) -> tuple[Any, PageInfo]:
    """Return *value* with the wanted part of its ``rows``, and the limits of that part."""
    total = len(value.rows)
    usual = getattr(value, "DEFAULT_ROWS", DEFAULT_ROWS)[form]
    rows = PageInfo(wanted.limit or usual or max(1, total), wanted.offset, total)
    return replace(value, rows=value.rows[rows.offset : rows.offset + rows.limit]), rows


def links(
    path: str, query: tuple[tuple[str, str], ...], rows: PageInfo | None
) -> tuple[tuple[str, str], ...]:
    """Return the Link headers to the previous and next rows."""
    if rows is None:
        return ()
    url_of = urls(path, query, rows)
    others = (("prev", rows.later), ("next", rows.earlier))
    return tuple(
        ("Link", f'<{url_of(offset)}>; rel="{name}"')
        for name, offset in others
        if offset is not None
    )


def older_url(
    path: str, query: tuple[tuple[str, str], ...], before: str, branch: str | None
) -> str:
    """Return the URL of the pushes older than *before*.

    :param branch: the branch of *before*, if the pushes are of several branches
    """
    kept = [(name, text) for name, text in query if name not in ("before", "before_branch")]
    kept.append(("before", before))
    if branch is not None:
        kept.append(("before_branch", branch))
    return f"{path}?{urlencode(kept)}"


def urls(path: str, query: tuple[tuple[str, str], ...], rows: PageInfo) -> Callable[[int], str]:
    """Return a function that returns the URL of the rows from an offset on."""
    kept = [(name, text) for name, text in query if name not in ("limit", "offset")]

    def url_of(offset: int) -> str:
        return f"{path}?{urlencode([*kept, ('limit', rows.limit), ('offset', offset)])}"

    return url_of
