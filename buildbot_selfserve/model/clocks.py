"""How far the clocks of several masters may be apart."""

from __future__ import annotations

#: Seconds by which the clock of one master may be ahead of another's. What is further ahead was
#: written before a clock was set back.
CLOCK_SLACK = 60
