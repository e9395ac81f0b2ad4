"""Uses one master for a long time, in all ways at once, and looks for what is left behind.

``python -m benchmarks.soak``, or ``make soak``. ``clients`` are those who use it, ``builders`` what
the master builds, ``verdict`` says what must be true at the end.
"""

from __future__ import annotations
