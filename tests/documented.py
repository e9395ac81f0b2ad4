"""What the documents say that one shall write into a file, for tests that do so."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def block(document: str, mark: str) -> str:
    """Return the text of the block in *document* below the comment *mark*."""
    text = (DOCS / document).read_text("utf-8")
    (found,) = re.findall(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)```\n", text, re.DOTALL)
    return str(found)


def changed(text: str, values: dict[str, str]) -> str:
    """Return *text* with other values, each of which must stand in it once."""
    for old, new in values.items():
        assert text.count(old) == 1, f"{old!r} is not documented once"
        text = text.replace(old, new)
    return text
