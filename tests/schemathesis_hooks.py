"""What schemathesis must not send (tests/test_generated.py)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import schemathesis

#: Bytes of a query. Twisted hangs up when the first line of a request is longer than 16 KiB.
LONGEST = 12_000


@schemathesis.hook
def filter_query(context: Any, query: dict[str, Any] | None) -> bool:
    """Whether a query is short enough."""
    return len(urlencode(query or {}, doseq=True, errors="replace")) < LONGEST
