"""The value of the root page: what this API offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.answers import Parameter
from buildbot_selfserve.model.branches import ListedBranch


@dataclass(frozen=True)
class RouteText:
    """One route as the root page documents it."""

    method: str
    path: str
    text: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Manual:
    """The routes of this API, and the branches on which something last moved.

    :param more: how many branches there are besides
    """

    routes: tuple[RouteText, ...]
    branches: Sequence[ListedBranch]
    more: int


@dataclass(frozen=True)
class ApiDocument:
    """The OpenAPI document of this API."""

    document: dict[str, Any]
