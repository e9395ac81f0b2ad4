"""What the master's log says of job requests: one line each, which programs can read.

Much of it was sent by a client. As JSON in ASCII it stays on its line whatever it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

#: A longer text is cut; clients can send thousands of characters.
LONGEST = 256


def fields(**values: Any) -> str:
    """Return *values* as a JSON object on one line, without those that are ``None``."""
    kept = {name: _short(value) for name, value in values.items() if value is not None}
    return json.dumps(kept)


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}..."
    return value
