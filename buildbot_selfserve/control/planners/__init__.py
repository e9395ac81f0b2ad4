"""The planners, one verb a file: each reads and returns a ``Plan`` of what would be done.

A planner writes nothing. What a scheduler of the operator's would write is recorded in the plan.
"""

from __future__ import annotations
