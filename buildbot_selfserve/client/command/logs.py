"""The command that shows logs: why a build failed, what a step printed, what it prints now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from typing import NamedTuple

import click

from buildbot_selfserve.client.command import checkout
from buildbot_selfserve.client.command.group import DONE
from buildbot_selfserve.client.command.group import Invocation
from buildbot_selfserve.client.command.group import Page
from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.command.reads import branch_argument
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.rows import BuildDetail
from buildbot_selfserve.client.rows import Step
from buildbot_selfserve.client.rows import state
from buildbot_selfserve.client.sync import Client

#: Seconds between two looks at a log that grows.
LOOK = 2.0
#: Types of logs that are no text: HTML, and those whose text was deleted.
_NO_TEXT = ("h", "d")
_ID = re.compile("[0-9]{1,18}", re.ASCII)


class Wanted(NamedTuple):
    """A log that is to be shown."""

    step: Step
    name: str
    slug: str
    lines: int


class _BuildOrRevision(checkout.RevisionHere):
    """The id of a build, or a revision."""

    def stands_alone(self, text: str) -> bool:
        return bool(_ID.fullmatch(text)) or super().stands_alone(text)


def _page(branch: str, build: str, **more: Any) -> Page:
    return Page((branch, "build" if _ID.fullmatch(build) else "rev", build))


@command("log", example="selfserve log main 17 --failed", page=_page)
@branch_argument
@click.argument("build", cls=_BuildOrRevision, metavar="BUILD|REVISION", type=checkout.resolved)
@click.option("--step", help="Name or number of the step; by default the one that failed.")
@click.option("--log", "log_name", metavar="NAME", help="Name of the log of the step.")
@click.option("--failed", is_flag=True, help="Show the end of the log of the step that failed.")
@click.option(
    "--tail", type=click.IntRange(1, 10000), metavar="LINES", help="Show only the last lines."
)
@click.option("--follow", is_flag=True, help="Go on until the build ends.")
def log(
    branch: str, build: str, step: str | None, log_name: str | None, failed: bool, **how: Any
) -> int:
    """Show a log of a build, or why builds failed.

    Without --step, this is the log of the step that failed; if none has failed, that of the last
    step. With --follow it is the logs of all steps, as they are written.

    With --failed, a revision may stand in place of the build: then each of its failed builds is
    shown. Without both it is the commit that is checked out here. Colours are shown on a terminal
    only.
    """
    asked, tail = invocation(), how["tail"]
    if failed and (step is not None or log_name is not None or how["follow"]):
        raise click.UsageError("--failed shows the step that failed; it takes only --tail")
    if failed:
        _show_failed(asked, branch, build, tail)
        return DONE
    if not _ID.fullmatch(build):
        raise click.UsageError("use the id of a build; only --failed takes a revision")
    if how["follow"]:
        if asked.json:
            raise click.UsageError("--follow shows text; leave out --json")
        _follow(asked, branch, int(build), step, log_name, tail)
    else:
        _show(asked, branch, int(build), step, log_name, tail)
    return DONE


COMMANDS = [log]


def _show(
    asked: Invocation,
    branch: str,
    build_id: int,
    step: str | None,
    log_name: str | None,
    tail: int | None,
) -> None:
    """Show one log.

    :raises NotFound: there is none
    """
    client = asked.client()
    build = _build(client, branch, build_id)
    failed = build["failed_step"]
    found = list(_wanted(build, step, log_name))
    if step is None and failed is not None and failed["log"] is not None:
        name = failed["log"]["name"] if log_name is None else log_name
        found = list(_wanted(build, str(failed["number"]), name)) or found
    if not found:
        what = "no such log" if step or log_name else "no log with text"
        raise NotFound(f"Build {build_id} has {what}")
    chosen = found[-1]
    text = client.log(branch, build_id, chosen.step["number"], chosen.slug, tail=tail)
    if asked.json:
        told = {"build_id": build_id, "step": chosen.step["name"], "log": chosen.name}
        asked.screen.value({**told, "text": text})
    else:
        asked.screen.log_text(text)


def _follow(
    asked: Invocation,
    branch: str,
    build_id: int,
    step: str | None,
    log_name: str | None,
    tail: int | None,
) -> None:
    """Show what is in logs, and what comes, until the build ends."""
    client, screen = asked.client(), asked.screen
    #: the number of lines that were shown, by step and log
    shown: dict[tuple[int, str], int] = {}
    last = None
    begun = False
    while True:
        build = _build(client, branch, build_id)
        for one in _wanted(build, step, log_name):
            place = (one.step["number"], one.slug)
            # what is there when it begins may be long
            first = max(0, one.lines - tail) if tail is not None and not begun else 0
            offset = shown.get(place, first)
            if one.lines <= offset:
                continue
            if place != last and step is None:
                screen.heading(f"{one.step['name']}: {one.name}")
            last = place
            text = client.log(branch, build_id, *place, offset=offset)
            shown[place] = offset + text.count("\n")
            screen.log_text(text)
        if build["endtime"] is not None:
            return
        begun = True
        client.pause(LOOK, "")


def _build(client: Client, branch: str, build_id: int) -> BuildDetail:
    """Return a build with its steps.

    :raises NotFound: there is no such build, or the server knows nothing of steps
    """
    build = client.build_row(branch, build_id)
    if "steps" not in build:
        raise NotFound("This server does not show logs", "its version of self-serve is too old")
    return build


def _wanted(build: BuildDetail, step: str | None, log_name: str | None) -> Iterator[Wanted]:
    """Yield a log of each step that is meant: the one that is named, or the first with text."""
    for one in build["steps"]:
        if step is not None and step not in (str(one["number"]), one["name"]):
            continue
        logs = [
            log
            for log in one["logs"]
            if (log["type"] not in _NO_TEXT if log_name is None else _is_called(log, log_name))
        ]
        if logs:
            yield Wanted(one, logs[0]["name"], logs[0]["slug"], logs[0]["lines"])


def _is_called(log: Any, name: str) -> bool:
    return name in (log["slug"], log["name"])


def _show_failed(asked: Invocation, branch: str, what: str, tail: int | None) -> None:
    """Show the end of the log of each step because of which a build failed."""
    client, screen = asked.client(), asked.screen
    builds = [one for one in _builds(client, branch, what) if one["failed_step"] is not None]
    if asked.json:
        screen.value([_failed(build) for build in builds])
        return
    if not builds:
        screen.complain("no step has failed")
    for at, build in enumerate(builds):
        if at:
            screen.line("")
        step = build["failed_step"]
        assert step is not None
        screen.heading(f"{build['buildername']}, build {build['build_id']}, step {step['name']}")
        screen.line(step["state_string"])
        log = step["log"]
        if log is None:
            continue
        if tail is None:
            screen.log_lines(log["tail"])
            if note := log.get("note"):
                screen.line(note)
            continue
        screen.log_text(
            client.log(branch, build["build_id"], step["number"], log["name"], tail=tail)
        )


def _failed(build: BuildDetail) -> dict[str, Any]:
    return {name: build[name] for name in ("build_id", "buildername", "failed_step")}


def _builds(client: Client, branch: str, what: str) -> list[BuildDetail]:
    """Return the build of an id, or the builds of a revision that have failed."""
    if _ID.fullmatch(what):
        try:
            return [_build(client, branch, int(what))]
        except NotFound as error:
            # a revision may be a number, too
            if error.msg != f"Build {int(what)} not found on branch {branch}":
                raise
    rows = client.revision(branch, what)
    failed = [row for row in rows if state(row) in ("failure", "exception")]
    ids = (row.get("build_id") for row in failed)
    return [_build(client, branch, build_id) for build_id in ids if isinstance(build_id, int)]
