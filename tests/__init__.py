"""Tests against real masters with real workers and real databases."""

#: Seconds that a test waits for what must happen, however busy the machine is.
from __future__ import annotations

PATIENCE = 300.0
