"""Self-serve for Buildbot: see, rebuild and cancel builds over HTTP.

The rooms, from the ground up: what is said (errors, model, permissions), how it is asked for
(config, params, routes), what is done (resources, history, control, journal), where it runs
(jobs, readers), how it travels (web), and what puts it together (plugin).
"""

from __future__ import annotations

from importlib import resources

__version__ = resources.files(__name__).joinpath("VERSION").read_text(encoding="utf-8").strip()
