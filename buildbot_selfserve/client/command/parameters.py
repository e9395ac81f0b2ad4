"""Says what is wrong with a parameter of the API in words of the options that were typed."""

from __future__ import annotations

import re
from collections.abc import Mapping

import click
from click.core import ParameterSource

from buildbot_selfserve.client.errors import BadRequest

#: Parameters of the API whose options and arguments are called otherwise, as click knows those.
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "builder_name": ("builder",),
    "exclude_builders": ("exclude",),
    "expires": ("seconds", "until"),
    "Idempotency-Key": ("key",),
    "max": ("most",),
    "properties": ("properties", "property_files", "without"),
    "stableDelay": ("stable_delay",),
}
#: What the server advises, and how it is typed.
_ADVICE = (
    (re.compile(r"\braise max\b"), "raise --max"),
    (re.compile(r"\bname a good one\b"), "name a good one with --good"),
    (re.compile(r"\bwith force=1\b"), "with --force"),
    (re.compile(r"\bname one with revision\b"), "name one with --revision"),
    (re.compile(r"\bwithout same_revision\b"), "without --same-revision"),
    (re.compile(r"\bThis Idempotency-Key\b"), "This --key"),
    # the forms that a program would send
    (re.compile(r"(?<=days from now): epoch seconds, or ISO .*"), ""),
    (re.compile(r"\bmust be a JSON object\b"), "must give properties"),
    (re.compile(r"\ba JSON list of (?=at most)"), ""),
)


def name_options(error: BadRequest, context: click.Context) -> None:
    """Let *error* speak of the options and arguments that were typed, where it is about them."""
    name = error.msg.removeprefix("Bad ")
    typed = " or ".join(_typed(name, context))
    expected = error.detail.removeprefix(f"{name} ")
    if typed and name != error.msg and expected != error.detail:
        error.msg, error.detail = f"{typed} {expected}", ""
    for pattern, words in _ADVICE:
        error.msg, error.detail = pattern.sub(words, error.msg), pattern.sub(words, error.detail)


def _typed(name: str, context: click.Context) -> list[str]:
    """Return the options and arguments that were typed and say what the parameter *name* is."""
    return [
        one.opts[0] if isinstance(one, click.Option) else one.human_readable_name
        for one in context.command.params
        if one.name in _OPTIONS.get(name, (name,))
        and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE
    ]
