"""Explains why build requests wait.

``collect`` takes down in the reactor what only the master's live objects know; ``reasons`` and
``queue`` work out in a reader what that means for what the database says is pending.
"""

from __future__ import annotations
