"""What job requests take beside their target, as keyword arguments of the clients."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypedDict

#: Shell patterns of names: several, or a text with one a line.
Patterns = str | Sequence[str]


class JobOptions(TypedDict, total=False):
    """Of every job request."""

    key: str | None
    if_plan: str | None


class Priority(JobOptions, total=False):
    """Of what creates requests."""

    priority: int | None


class Changed(Priority, total=False):
    """Of what is built again."""

    count: int | None
    properties: Mapping[str, Any] | None


class Rebuild(Changed, total=False):
    """Of rebuilds."""

    same_revision: bool


class Selectors(JobOptions, total=False):
    """Of what is about several builders."""

    builders: Patterns | None
    tags: Patterns | None
    exclude_builders: Patterns | None


class Hold(Selectors, total=False):
    """Of a hold."""

    above: int | None


class SelectedBuilds(Selectors, Priority, total=False):
    """Of what creates requests for several builders."""


class Rerun(SelectedBuilds, Changed, total=False):
    """Of a rerun of what failed."""

    states: Sequence[str] | None


class Backfill(Priority, total=False):
    """Of a backfill."""

    revision: str | None
    good: str | None
    max: int | None
    times: int | None
    order: str | None
    force: bool


class Bisect(JobOptions, total=False):
    """Of a bisection."""

    revision: str | None
    good: str | None
    max: int | None
    confirm: int | None
    properties: Mapping[str, Any] | None


class NewBuilds(SelectedBuilds, total=False):
    """Of new builds at a revision."""

    properties: Mapping[str, Any] | None
    files: Sequence[str] | None
    category: str | None
    project: str | None


class OneBuild(Priority, total=False):
    """Of a build with one builder."""

    properties: Mapping[str, Any] | None
    files: Sequence[str] | None
