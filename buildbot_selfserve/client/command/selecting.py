"""The options that select builders."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Collection
from typing import Any

import click

from buildbot_selfserve.client.command import completion

#: Which builders are meant, of several.
_SELECTORS = tuple(
    click.option(
        f"--{name}",
        name.replace("-", "_"),
        metavar="PATTERN",
        multiple=True,
        help=f"{text}; a shell pattern, may be repeated.",
        shell_complete=completion.builders if name != "tags" else None,
    )
    for name, text in (
        ("builders", "Only builders with this name"),
        ("tags", "Only builders with this tag"),
        ("exclude", "No builders with this name"),
    )
)


def with_options(
    *options: Callable[..., Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds *options*, in their order."""
    return lambda function: functools.reduce(
        lambda made, option: option(made), reversed(options), function
    )


selectors = with_options(*_SELECTORS)


def selection_of(
    builders: Collection[str], tags: Collection[str], exclude: Collection[str]
) -> dict[str, Any]:
    """Return what the options select, as the clients take it."""
    return {
        "builders": list(builders) or None,
        "tags": list(tags) or None,
        "exclude_builders": list(exclude) or None,
    }
