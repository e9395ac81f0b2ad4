"""The commands that have something done: job requests."""

from __future__ import annotations

import json
from typing import Any

import click

from buildbot_selfserve.client.command import completion
from buildbot_selfserve.client.command.group import DONE
from buildbot_selfserve.client.command.group import FAILED
from buildbot_selfserve.client.command.group import Command
from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.command.reads import branch_argument
from buildbot_selfserve.client.command.reads import revision_argument
from buildbot_selfserve.client.rows import Receipt
from buildbot_selfserve.client.rows import went_wrong

_ID = click.IntRange(min=1)
build_option = click.option("--build", "build_id", type=_ID, metavar="ID", help="ID of the build.")
request_option = click.option(
    "--request", "request_id", type=_ID, metavar="ID", help="ID of the build request."
)
priority_option = click.option(
    "--priority", type=int, help="Priority. Higher is built first; most requests have 0."
)
key_option = click.option(
    "--key",
    help="Idempotency key: a job request already sent with this key is not repeated.",
)


def named_value(text: str) -> tuple[str, Any]:
    """Return a property: ``NAME=TEXT``, or ``NAME:=JSON`` for anything but a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.rstrip(":"):
        raise click.BadParameter(f"{text!r} must be like NAME=TEXT or NAME:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except ValueError:
        raise click.BadParameter(f"the value after {name}= is not JSON") from None


def _one_of(**given: object) -> None:
    """Return if exactly one of some options is given.

    :raises click.UsageError: there are none, or several
    """
    if sum(value is not None for value in given.values()) != 1:
        raise click.UsageError(f"Give one of {', '.join(f'--{name}' for name in given)}.")


def _shown(receipt: Receipt) -> int:
    invocation().screen.receipt(receipt)
    return FAILED if went_wrong(receipt) else DONE


@command("rebuild", example="selfserve rebuild main --build 2 --count 2")
@branch_argument
@build_option
@request_option
@click.option("--count", type=_ID, help="Number of new builds; 1 by default.")
@priority_option
@key_option
def rebuild(
    branch: str,
    build_id: int | None,
    request_id: int | None,
    count: int | None,
    priority: int | None,
    key: str | None,
) -> int:
    """Rebuild a build or a request."""
    _one_of(build=build_id, request=request_id)
    client = invocation().client()
    if build_id is not None:
        again = client.rebuild_build(branch, build_id, count=count, priority=priority, key=key)
        return _shown(again)
    assert request_id is not None
    again = client.rebuild_request(branch, request_id, count=count, priority=priority, key=key)
    return _shown(again)


@command("cancel", example="selfserve cancel main --request 7")
@branch_argument
@build_option
@request_option
@click.option("--revision", metavar="REVISION", help="Cancel everything at this revision.")
@key_option
def cancel(
    branch: str,
    build_id: int | None,
    request_id: int | None,
    revision: str | None,
    key: str | None,
) -> int:
    """Cancel a build, a request or a revision.

    A running build is stopped. For a revision, everything pending or running is cancelled.
    """
    _one_of(build=build_id, request=request_id, revision=revision)
    client = invocation().client()
    if build_id is not None:
        return _shown(client.cancel_build(branch, build_id, key=key))
    if request_id is not None:
        return _shown(client.cancel_request(branch, request_id, key=key))
    assert revision is not None
    return _shown(client.cancel_revision(branch, revision, key=key))


# a negative priority looks like an option
@command(
    "reprioritize",
    example="selfserve reprioritize main --request 8 5",
    context_settings={"ignore_unknown_options": True},
)
@branch_argument
@click.option(
    "--request",
    "request_id",
    type=_ID,
    metavar="ID",
    required=True,
    help="ID of the build request.",
)
@click.argument("priority", type=int)
@key_option
def reprioritize(branch: str, request_id: int, priority: int, key: str | None) -> int:
    """Change the priority of a pending request.

    Higher is built first; most requests have 0.
    """
    return _shown(invocation().client().reprioritize(branch, request_id, priority, key=key))


@command(
    "build",
    example="selfserve build main 9d92304f --builder tests --property mode=full --file a.c",
)
@branch_argument
@revision_argument
@click.option("--builder", help="Build with this builder only.", shell_complete=completion.builders)
@click.option(
    "--property",
    "properties",
    type=named_value,
    metavar="NAME=TEXT",
    multiple=True,
    help="Set a property: NAME=TEXT or NAME:=JSON. Needs --builder.",
)
@click.option("--file", "files", multiple=True, help="Name of a changed file. Needs --builder.")
@priority_option
@key_option
def build(
    branch: str,
    revision: str,
    builder: str | None,
    properties: tuple[tuple[str, Any], ...],
    files: tuple[str, ...],
    priority: int | None,
    key: str | None,
) -> int:
    """Build a revision.

    Without --builder, build everything that the schedulers would build on a push.
    """
    if builder is None and (properties or files):
        raise click.UsageError("--property and --file need --builder.")
    client = invocation().client()
    if builder is None:
        return _shown(client.build(branch, revision, priority=priority, key=key))
    given = dict(properties)
    if len(given) < len(properties):
        raise click.UsageError("A property is given twice.")
    receipt = client.build_with(
        branch,
        revision,
        builder,
        properties=given or None,
        files=files or None,
        priority=priority,
        key=key,
    )
    return _shown(receipt)


def _set_command(name: str) -> Command:
    @command(name, example=f"selfserve {name} main 9d92304f")
    @branch_argument
    @revision_argument
    @priority_option
    @key_option
    def build_named(branch: str, revision: str, priority: int | None, key: str | None) -> int:
        return _built(branch, revision, name, priority, key)

    build_named.help = f"Build a revision with the set {name}."
    return build_named


@command("set", example="selfserve set main 9d92304f weekly")
@branch_argument
@revision_argument
@click.argument("name")
@priority_option
@key_option
def build_set(branch: str, revision: str, name: str, priority: int | None, key: str | None) -> int:
    """Build a revision with a set of builders.

    NAME is nightly, pgo or a set configured for the branch.
    """
    return _built(branch, revision, name, priority, key)


def _built(branch: str, revision: str, name: str, priority: int | None, key: str | None) -> int:
    client = invocation().client()
    return _shown(client.build_set(branch, revision, name, priority=priority, key=key))


COMMANDS = [
    rebuild,
    cancel,
    reprioritize,
    build,
    _set_command("nightly"),
    _set_command("pgo"),
    build_set,
]
