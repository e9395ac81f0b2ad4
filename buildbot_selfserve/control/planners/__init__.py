"""The planners, one verb per file. Each reads, and returns a ``Plan`` of what would be done.

A planner writes nothing. Writes by custom schedulers are recorded in the plan.
"""

from __future__ import annotations
