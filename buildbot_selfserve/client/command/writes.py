"""The commands that have something done: job requests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from buildbot_selfserve.client.command import checkout
from buildbot_selfserve.client.command import completion
from buildbot_selfserve.client.command.group import DONE
from buildbot_selfserve.client.command.group import FAILED
from buildbot_selfserve.client.command.group import TIMED_OUT
from buildbot_selfserve.client.command.group import Command
from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.command.reads import branch_argument
from buildbot_selfserve.client.command.reads import revision_argument
from buildbot_selfserve.client.command.selecting import selection_of
from buildbot_selfserve.client.command.selecting import selectors
from buildbot_selfserve.client.command.selecting import with_options
from buildbot_selfserve.client.command.times import ending
from buildbot_selfserve.client.command.times import span
from buildbot_selfserve.client.rows import went_wrong
from buildbot_selfserve.client.texts import decoded

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

#: How a job request is sent: what all of them take.
_SENDING = (
    click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing."),
    click.option(
        "--if-plan",
        metavar="PLAN",
        help="Do it only if the plan is still this one, which --dry-run has shown.",
    ),
    key_option,
)

sending = with_options(*_SENDING)


def named_value(text: str) -> tuple[str, Any]:
    """Return a property: ``NAME=TEXT``, or ``NAME:=JSON`` for anything but a text."""
    name, equals, value = text.partition("=")
    if not equals or not name.rstrip(":"):
        raise click.BadParameter(f"{text!r} must be like NAME=TEXT or NAME:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], json.loads(value)
    except (ValueError, RecursionError):
        raise click.BadParameter(f"the value after {name}= is not JSON") from None


def property_file(path: str) -> dict[str, Any]:
    """Return the properties in a file: a JSON object."""
    try:
        found = json.loads(decoded(Path(path).read_bytes()))
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise click.BadParameter(f"{path} is not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise click.BadParameter(f"{path} is not JSON") from None
    if not isinstance(found, dict):
        raise click.BadParameter(f"{path} must have a JSON object of properties")
    return found


def new_priority(text: str) -> int | str:
    """Return a priority: a number, or ``next``."""
    try:
        return text if text == "next" else int(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} must be a whole number or next") from None


property_file_option = click.option(
    "--property-file",
    "property_files",
    type=property_file,
    metavar="FILE",
    multiple=True,
    help="Set the properties in a file, a JSON object.",
)
count_option = click.option("--count", type=_ID, help="Number of new builds; 1 by default.")
changing_options = with_options(
    click.option(
        "--property",
        "properties",
        type=named_value,
        metavar="NAME=TEXT",
        multiple=True,
        help="Change a property: NAME=TEXT or NAME:=JSON.",
    ),
    property_file_option,
    click.option("--without", metavar="NAME", multiple=True, help="Remove a property."),
)


def _properties(
    given: Collection[tuple[str, Any]],
    files: Collection[Mapping[str, Any]],
    without: Collection[str] = (),
) -> dict[str, Any] | None:
    """Return properties by name, with ``None`` for those to remove; ``None`` if there are none.

    :raises click.UsageError: one is given twice
    """
    pairs = [*given, *(pair for one in files for pair in one.items())]
    pairs += [(name, None) for name in without]
    properties = dict(pairs)
    if len(properties) < len(pairs):
        raise click.UsageError("A property is given twice.")
    return properties or None


def _one_of(**given: object) -> None:
    """Return if exactly one of some options is given.

    :raises click.UsageError: there are none, or several
    """
    if sum(value is not None for value in given.values()) != 1:
        raise click.UsageError(f"Give one of {', '.join(f'--{name}' for name in given)}.")


def _sent(
    act: Callable[..., Any],
    *target: Any,
    spared: Collection[str] = (),
    dry_run: bool,
    **options: Any,
) -> int:
    """Send a job request, and show what came of it; return the exit status.

    :param act: the method of the client
    :param spared: outcomes of requests with which all is well although nothing was done to them
    """
    if here := invocation().checked_out:
        invocation().screen.complain(f"at {' '.join(here)}, which is checked out here")
    answer = act(*target, dry_run=dry_run, **options)
    if dry_run:
        invocation().screen.plan(answer)
        return DONE
    invocation().screen.receipt(answer)
    return FAILED if went_wrong(answer, spared) else DONE


@command("rebuild", example="selfserve rebuild main --build 2 --count 2")
@branch_argument
@build_option
@request_option
@count_option
@priority_option
@changing_options
@click.option(
    "--same-revision",
    is_flag=True,
    help="Build the revision that the build found where none was named, not the newest commit.",
)
@sending
def rebuild(
    branch: str,
    build_id: int | None,
    request_id: int | None,
    properties: tuple[tuple[str, Any], ...],
    property_files: tuple[dict[str, Any], ...],
    without: tuple[str, ...],
    **options: Any,
) -> int:
    """Rebuild a build or a request.

    It keeps the properties that you do not change.
    """
    _one_of(build=build_id, request=request_id)
    options["properties"] = _properties(properties, property_files, without)
    client = invocation().client()
    if build_id is not None:
        return _sent(client.rebuild_build, branch, build_id, **options)
    return _sent(client.rebuild_request, branch, request_id, **options)


@command("rerun", example="selfserve rerun main 9d92304f --builders 'linux-*' --dry-run")
@branch_argument
@revision_argument
@click.option(
    "--states",
    metavar="STATE,...",
    help="Results to rerun: failure, exception, warnings, cancelled, retry; the first two by"
    " default.",
)
@selectors
@count_option
@priority_option
@changing_options
@sending
def rerun(
    branch: str,
    revision: str,
    states: str | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    properties: tuple[tuple[str, Any], ...],
    property_files: tuple[dict[str, Any], ...],
    without: tuple[str, ...],
    **options: Any,
) -> int:
    """Rerun what failed at a revision.

    Build with each builder whose latest result is a failure or an exception. What is waiting or
    running already is left out.
    """
    return _sent(
        invocation().client().rerun_failed,
        branch,
        revision,
        spared=("left_out",),
        states=None if states is None else [one.strip() for one in states.split(",")],
        properties=_properties(properties, property_files, without),
        **selection_of(builders, tags, exclude),
        **options,
    )


@command("fill", example="selfserve fill main 9d92304f --dry-run")
@branch_argument
@revision_argument
@selectors
@priority_option
@sending
def fill(
    branch: str,
    revision: str,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    **options: Any,
) -> int:
    """Build what is missing at a revision.

    That is what a push of it would build and has no result: what was never requested, or was
    cancelled or skipped.
    """
    return _sent(
        invocation().client().fill_missing,
        branch,
        revision,
        spared=("left_out",),
        **selection_of(builders, tags, exclude),
        **options,
    )


@command("backfill", example="selfserve backfill main tests --dry-run")
@branch_argument
@click.argument("builder", shell_complete=completion.builders)
@click.option(
    "--revision", metavar="REVISION", help="The bad revision; by default, the newest that fails."
)
@click.option(
    "--good",
    metavar="REVISION",
    help="The good revision; by default, the last one before it that passes.",
)
@click.option(
    "--max", "most", type=_ID, help="So many revisions may lie between the two; 19 by default."
)
@click.option("--times", type=_ID, help="Results wanted for each revision; 1 by default.")
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest", "halving"]),
    help="What to build first; halving by default: the middle of the largest gap.",
)
@click.option("--priority", type=int, help="Priority. Higher is built first; -1 by default.")
@click.option("--force", is_flag=True, help="Where nothing passes within --max, build all of it.")
@sending
def backfill(branch: str, builder: str, most: int | None, **options: Any) -> int:
    """Find out since when a builder fails.

    Build each revision between a good and a bad one that has no result. What is waiting or running
    already is left out.
    """
    act = invocation().client().backfill
    return _sent(act, branch, builder, spared=("left_out",), max=most, **options)


bisection_wait = click.option(
    "--wait",
    type=click.IntRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Maximum number of seconds to wait until it ends.",
)


@command("bisect", example="selfserve bisect main tests --confirm 2 --wait 3600")
@branch_argument
@click.argument("builder", shell_complete=completion.builders)
@click.option(
    "--revision", metavar="REVISION", help="The bad revision; by default, the newest that fails."
)
@click.option(
    "--good",
    metavar="REVISION",
    help="The good revision; by default, the last one before it that passes.",
)
@click.option(
    "--max", "most", type=_ID, help="So many revisions may lie between the two; 100 by default."
)
@click.option(
    "--confirm",
    type=click.IntRange(min=0),
    help="How often to rebuild the last good and the first bad revision to confirm; 1 by default.",
)
@click.option(
    "--property",
    "properties",
    type=named_value,
    metavar="NAME=TEXT",
    multiple=True,
    help="Property of the builds: NAME=TEXT or NAME:=JSON.",
)
@property_file_option
@bisection_wait
@sending
def bisect(
    branch: str,
    builder: str,
    most: int | None,
    properties: tuple[tuple[str, Any], ...],
    property_files: tuple[Any, ...],
    wait: int,
    **options: Any,
) -> int:
    """Find the revision that broke a builder.

    It goes on by itself: see `selfserve bisection`. With --wait, the exit status is 0 if the
    culprit was found, 1 if it ended in another way, and 3 if it has not ended in time.
    """
    options |= {"max": most, "properties": _properties(properties, property_files)}
    act: Callable[..., Any] = invocation().client().bisect
    if not wait or options["dry_run"]:
        return _sent(act, branch, builder, **options)
    return _bisection(branch, act(branch, builder, **options)["job_id"], wait)


@command("bisection", example="selfserve bisection main 12 --wait 3600")
@branch_argument
@click.argument("job_id", type=_ID, metavar="JOB")
@bisection_wait
@click.option("--stop", is_flag=True, help="Stop it, and cancel what it has requested.")
@sending
def bisection(branch: str, job_id: int, wait: int, stop: bool, **options: Any) -> int:
    """Show how far a bisection has come, or how it ended.

    JOB is the number that `selfserve bisect` has shown. The exit status is 0 if the culprit was
    found, 1 if it ended in another way, and 3 if it has not ended.
    """
    if stop:
        return _sent(
            invocation().client().stop_bisection,
            branch,
            job_id,
            spared=("already_complete",),
            **options,
        )
    if any(options.values()):
        raise click.UsageError("--dry-run, --if-plan and --key need --stop.")
    return _bisection(branch, job_id, wait)


def _bisection(branch: str, job_id: int, wait: int) -> int:
    """Show a bisection when it has ended, or when the time is over; return the exit status."""
    asked = invocation()
    found = asked.client().wait_for_bisection(branch, job_id, timeout=wait)
    asked.screen.bisection(found)
    if found["status"] == "running":
        return TIMED_OUT
    return DONE if found["status"] == "found" else FAILED


@command("cancel", example="selfserve cancel main --request 7")
@branch_argument
@build_option
@request_option
@click.option(
    "--revision",
    metavar="REVISION",
    type=checkout.resolved,
    help="Cancel everything at this revision.",
)
@selectors
@sending
def cancel(
    branch: str,
    build_id: int | None,
    request_id: int | None,
    revision: str | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    **options: Any,
) -> int:
    """Cancel a build, a request or a revision.

    A running build is stopped. For a revision, everything waiting or running is cancelled, or only
    that of some builders.
    """
    _one_of(build=build_id, request=request_id, revision=revision)
    if revision is None:
        _need_revision(builders, tags, exclude)
    client = invocation().client()
    if build_id is not None:
        return _sent(client.cancel_build, branch, build_id, **options)
    if request_id is not None:
        return _sent(client.cancel_request, branch, request_id, **options)
    selected = selection_of(builders, tags, exclude)
    return _sent(client.cancel_revision, branch, revision, **selected, **options)


def _need_revision(*selectors: tuple[str, ...]) -> None:
    if any(selectors):
        raise click.UsageError("--builders, --tags and --exclude need --revision.")


@command(
    "reprioritize",
    example="selfserve reprioritize main --request 8 5",
    context_settings={"ignore_unknown_options": True},
)
@branch_argument
@click.option("--request", "request_id", type=_ID, metavar="ID", help="ID of the build request.")
@click.option(
    "--revision",
    metavar="REVISION",
    type=checkout.resolved,
    help="Move everything that is waiting at this revision.",
)
@selectors
@click.argument("priority", type=new_priority)
@sending
def reprioritize(
    branch: str,
    request_id: int | None,
    revision: str | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    priority: int | str,
    **options: Any,
) -> int:
    """Change the priority of what is waiting.

    Higher is built first; most requests have 0. With next, it is built before all that wait for its
    builder now.
    """
    _one_of(request=request_id, revision=revision)
    client = invocation().client()
    if revision is None:
        _need_revision(builders, tags, exclude)
        return _sent(client.reprioritize, branch, request_id, priority, **options)
    selected = selection_of(builders, tags, exclude)
    return _sent(client.reprioritize_revision, branch, revision, priority, **selected, **options)


@command(
    "build",
    example="selfserve build main 9d92304f --builder tests --property mode=full --file a.c",
)
@branch_argument
@revision_argument
@click.option("--builder", help="Build with this builder only.", shell_complete=completion.builders)
@selectors
@click.option(
    "--property",
    "properties",
    type=named_value,
    metavar="NAME=TEXT",
    multiple=True,
    help="Set a property: NAME=TEXT or NAME:=JSON.",
)
@property_file_option
@click.option("--file", "files", multiple=True, help="Name of a changed file.")
@priority_option
@sending
def build(
    branch: str,
    revision: str,
    builder: str | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    properties: tuple[tuple[str, Any], ...],
    property_files: tuple[dict[str, Any], ...],
    files: tuple[str, ...],
    **options: Any,
) -> int:
    """Build a revision.

    Without --builder, build everything that the schedulers would build on a push, or only what
    --builders, --tags and --exclude select of it.
    """
    options |= {"properties": _properties(properties, property_files), "files": files or None}
    client = invocation().client()
    if builder is None:
        selected = selection_of(builders, tags, exclude)
        return _sent(client.build, branch, revision, **selected, **options)
    if builders or tags or exclude:
        raise click.UsageError("--builder goes without --builders, --tags and --exclude.")
    return _sent(client.build_with, branch, revision, builder, **options)


def _set_command(name: str) -> Command:
    @command(name, example=f"selfserve {name} main 9d92304f")
    @branch_argument
    @revision_argument
    @selectors
    @priority_option
    @sending
    def build_named(branch: str, revision: str, **options: Any) -> int:
        return _built(branch, revision, name, **options)

    build_named.help = f"Build a revision with the set {name}."
    return build_named


@command("set", example="selfserve set main 9d92304f weekly")
@branch_argument
@revision_argument
@click.argument("name")
@selectors
@priority_option
@sending
def build_set(branch: str, revision: str, name: str, **options: Any) -> int:
    """Build a revision with a set of builders.

    NAME is nightly, pgo or a set configured for the branch.
    """
    return _built(branch, revision, name, **options)


def _built(
    branch: str,
    revision: str,
    name: str,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    **options: Any,
) -> int:
    selected = selection_of(builders, tags, exclude)
    return _sent(invocation().client().build_set, branch, revision, name, **selected, **options)


# a negative priority looks like an option
@command("hold", example="selfserve hold main --reason 'the lab moves' --for 2h")
@branch_argument
@click.option("--reason", metavar="TEXT", required=True, help="Why; everybody sees it.")
@click.option(
    "--for", "seconds", type=span, metavar="SPAN", help="How long: like 90m, 2h or 3d; at most 30d."
)
@click.option(
    "--until",
    type=ending,
    metavar="TIME",
    help="When it ends: epoch seconds, or like 2026-11-24T10:30, in your timezone.",
)
@selectors
@click.option(
    "--above", type=int, metavar="N", help="Start what has this priority or a higher one."
)
@sending
def hold(
    branch: str,
    reason: str,
    seconds: int | None,
    until: int | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    **options: Any,
) -> int:
    """Keep waiting requests of a branch from starting for a while.

    New ones wait as well, and what runs goes on. A hold with the same builders is replaced. It ends
    by itself, after 30 days at most.
    """
    if (seconds is None) == (until is None):
        raise click.UsageError("Give one of --for, --until.")
    return _sent(
        invocation().client().hold,
        branch,
        spared=("left_out",),
        reason=reason,
        expires=until if seconds is None else int(time.time()) + seconds,
        **selection_of(builders, tags, exclude),
        **options,
    )


@command("release", example="selfserve release main")
@branch_argument
@selectors
@sending
def release(
    branch: str,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    **options: Any,
) -> int:
    """End the holds of a branch.

    With --builders, --tags or --exclude, end only the one with the same patterns.
    """
    selected = selection_of(builders, tags, exclude)
    return _sent(invocation().client().release, branch, **selected, **options)


COMMANDS = [
    rebuild,
    rerun,
    fill,
    backfill,
    bisect,
    bisection,
    cancel,
    reprioritize,
    build,
    _set_command("nightly"),
    _set_command("pgo"),
    build_set,
    hold,
    release,
]
