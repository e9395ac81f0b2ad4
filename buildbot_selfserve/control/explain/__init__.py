"""Explains why build requests wait.

In the reactor, ``collect`` reads the state that only the master's live objects have. In a reader,
``reasons``, ``queue`` and ``eta`` combine this state with the pending requests in the database.
"""

from __future__ import annotations
