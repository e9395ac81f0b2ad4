"""The commands that ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from buildbot_selfserve.client.command import checkout
from buildbot_selfserve.client.command import completion
from buildbot_selfserve.client.command.group import DONE
from buildbot_selfserve.client.command.group import FAILED
from buildbot_selfserve.client.command.group import TIMED_OUT
from buildbot_selfserve.client.command.group import Function
from buildbot_selfserve.client.command.group import Page
from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.command.selecting import selection_of
from buildbot_selfserve.client.command.selecting import selectors
from buildbot_selfserve.client.command.selecting import with_options
from buildbot_selfserve.client.command.times import moment
from buildbot_selfserve.client.command.waiting import progress
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.errors import WaitTimedOut
from buildbot_selfserve.client.rows import Done
from buildbot_selfserve.client.rows import is_passed_over
from buildbot_selfserve.client.sync import Client
from buildbot_selfserve.state_words import ACTION_WORDS

branch_argument = click.argument(
    "branch", cls=checkout.BranchHere, shell_complete=completion.branches
)
revision_argument = click.argument("revision", cls=checkout.RevisionHere, type=checkout.resolved)
_WHOLE = click.IntRange(min=0)


#: A revision of a branch; without it, the newest push; without both, what is checked out here.
place_arguments = with_options(
    click.argument("branch", required=False, shell_complete=completion.branches),
    click.argument("revision", required=False, type=checkout.resolved),
)


def place(client: Client, branch: str | None, revision: str | None) -> tuple[str, str]:
    """Return the branch and the revision that ``place_arguments`` mean.

    A hash that stands alone is a revision of the branch that is checked out, unless there is a
    branch of that name.

    :raises NotFound: nothing was pushed to the branch
    """
    if branch is None:
        return checkout.branch(), checkout.revision()
    if revision is not None:
        return branch, revision
    if checkout.looks_like_revision(branch) and branch not in client.branches():
        return checkout.branch(), checkout.resolved(branch)
    found = client.pushes(branch, limit=1)
    if not found:
        raise NotFound(f"Nothing was pushed to branch {branch}")
    return branch, found[0]["revision"]


def place_page(branch: str | None, revision: str | None, **more: Any) -> Page:
    """Return the page of the revision that ``place_arguments`` mean."""
    branch, revision = place(invocation().client(), branch, revision)
    return Page((branch, "rev", revision))


def action(text: str) -> str:
    """Return the name of the only action whose words begin with *text*, or else *text*."""
    fitting = [
        name for name, words in ACTION_WORDS.items() if words.lower().startswith(text.lower())
    ]
    is_name = any(name.startswith(text) for name in ACTION_WORDS)
    return fitting[0] if len(fitting) == 1 and not is_name else text


def _moment_option(name: str, help: str) -> Callable[[Function], Function]:
    return click.option(name, type=moment, metavar="TIME", help=help)


@command(
    "branches",
    example="selfserve branches",
    page=lambda: Page(),
)
def branches() -> None:
    """List the branches."""
    asked = invocation()
    found = asked.client().branches()
    if asked.json:
        asked.screen.value(found)
        return
    columns = ("BRANCH", "TYPE", "REPOSITORY")
    rows = ((name, one["repo_type"], one["repo"]) for name, one in found.items())
    asked.screen.table(columns, rows)


@command(
    "builders",
    example="selfserve builders main",
    page=lambda branch: Page((branch, "builders")),
)
@branch_argument
def builders(branch: str) -> None:
    """List the builders of a branch."""
    asked = invocation()
    asked.screen.names(asked.client().builders(branch))


@command(
    "builds",
    example="selfserve builds main --date 2026-11-24",
    page=lambda branch, date, limit: Page((branch,), {"date": date, "limit": limit}),
)
@branch_argument
@click.option("--date", metavar="YYYY-MM-DD", help="Day to list; today by default.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of rows.")
def builds(branch: str, date: str | None, limit: int | None) -> None:
    """List the builds and requests of a day, newest first."""
    asked = invocation()
    asked.screen.rows(asked.client().builds(branch, date=date, limit=limit))


@command(
    "why",
    example="selfserve why main 8",
    page=lambda branch, request_id: Page((branch, "request", str(request_id))),
)
@branch_argument
@click.argument("request_id", metavar="REQUEST", type=_WHOLE)
def why(branch: str, request_id: int) -> None:
    """Show why a build request waits.

    What matters most comes first.
    """
    asked = invocation()
    asked.screen.why(asked.client().why(branch, request_id))


def _queue_page(branch: str | None, **selected: tuple[str, ...]) -> Page:
    names = {
        "exclude_builders" if name == "exclude" else name: value for name, value in selected.items()
    }
    query = {name: "\n".join(patterns) for name, patterns in names.items()}
    return Page((*([] if branch is None else [branch]), "pending"), query)


@command(
    "queue",
    example="selfserve queue main --builders 'linux-*'",
    page=_queue_page,
)
@click.argument("branch", required=False, shell_complete=completion.branches)
@selectors
def queue(
    branch: str | None,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Show what waits, and why.

    Without BRANCH, show what waits on all branches. At most 200 requests are listed.
    """
    asked = invocation()
    found = asked.client().queue(
        branch,
        builders=builders or None,
        tags=tags or None,
        exclude_builders=exclude or None,
    )
    asked.screen.queue(found)


@command(
    "rev",
    example="selfserve rev main 9d92304f",
    page=lambda branch, revision, **more: Page((branch, "rev", revision)),
)
@branch_argument
@revision_argument
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of rows.")
@click.option("--patched", is_flag=True, help="Include builds of this revision with a patch.")
def rev(branch: str, revision: str, limit: int | None, patched: bool) -> None:
    """List the builds and requests at a revision.

    A hash may be shortened to its first six digits.
    """
    asked = invocation()
    found = asked.client().revision(branch, revision, limit=limit, patched=patched)
    asked.screen.rows(found)


@command(
    "user",
    example="selfserve user main ada@example.org",
    page=lambda branch, user: Page((branch, "user", user)),
)
@branch_argument
@click.argument("user")
def user(branch: str, user: str) -> None:
    """List the builds and requests of a user.

    These are the builds of their changes, and those that they requested.
    """
    asked = invocation()
    found = asked.client().user(branch, user)
    if asked.json:
        asked.screen.value(found)
        return
    asked.screen.rows([*found["pending"], *found["running"], *found["builds"]])


@command(
    "permissions",
    example="selfserve permissions main --builders 'linux-*'",
    page=lambda branch, **more: Page((branch, "permissions")),
)
@branch_argument
@selectors
def permissions(
    branch: str, builders: tuple[str, ...], tags: tuple[str, ...], exclude: tuple[str, ...]
) -> None:
    """List what you may do on a branch, and why not the rest.

    With options that select builders, the answer is about those.
    """
    asked = invocation()
    found = asked.client().permissions(branch, **selection_of(builders, tags, exclude))
    asked.screen.permissions(found)


@command(
    "is-done",
    example="selfserve is-done main 9d92304f --stable-delay 0 --wait 600",
    page=lambda branch, revision, **more: Page((branch, "rev", revision)),
)
@branch_argument
@revision_argument
@click.option(
    "--stable-delay",
    type=_WHOLE,
    metavar="SECONDS",
    help="Seconds after its last build ended until a revision is done; the server's default is"
    " 180.",
)
@click.option(
    "--wait",
    type=_WHOLE,
    default=0,
    metavar="SECONDS",
    help="Maximum number of seconds to wait until it is done.",
)
@click.option(
    "--appear",
    type=_WHOLE,
    default=0,
    metavar="SECONDS",
    help="With --wait: seconds for which the revision may still be unknown, as after a push.",
)
def is_done(branch: str, revision: str, stable_delay: int | None, wait: int, appear: int) -> int:
    """Show whether a revision is done, and whether it passed.

    It is done when everything at it has ended. The verdict counts the latest result of each
    builder. The exit status is 0 if it passed, 1 if it failed or if some builder has built nothing
    there, and 3 if it was not done in time (without --wait, at once).
    """
    asked = invocation()
    client, screen = asked.client(), asked.screen
    try:
        if wait:
            with progress(screen) as say:
                done = client.wait(
                    branch,
                    revision,
                    timeout=wait,
                    stable_delay=stable_delay,
                    appear=appear,
                    progress=say,
                )
        else:
            done = client.is_done(branch, revision, stable_delay=stable_delay)
    except WaitTimedOut as late:
        screen.done(branch, revision, late.done)
        raise
    screen.done(branch, revision, done)
    return done_status(done)


def done_status(done: Done) -> int:
    """Return the exit status that tells how a revision went."""
    if not (done["job_complete"] or is_passed_over(done)):
        return TIMED_OUT
    return DONE if done["verdict"] == "passed" else FAILED


@command(
    "jobs",
    example="selfserve jobs --who ada --since 2026-11-24",
    page=lambda **filters: Page(("jobs",), filters),
)
@click.option("--num", type=click.IntRange(min=1), help="Maximum number of job requests.")
@click.option("--offset", type=_WHOLE, help="Number of job requests to skip, newest first.")
@click.option("--who", help="Show only the job requests of this user.")
@click.option(
    "--action",
    type=action,
    help="Show only actions that begin with this, such as cancel, rerun or rebuild_build.",
)
@click.option("--branch", help="Show only this branch.", shell_complete=completion.branches)
@click.option(
    "--revision",
    metavar="REV",
    type=checkout.resolved,
    help="Show only what was about this revision.",
)
@click.option(
    "--request",
    "request_id",
    metavar="ID",
    type=_WHOLE,
    help="Show only what made, changed or ended this build request, or was about it.",
)
@click.option(
    "--build",
    "build_id",
    metavar="ID",
    type=_WHOLE,
    help="Show only what made, changed or ended this build, or was about it.",
)
@_moment_option(
    "--since",
    "Only job requests from this time on: epoch seconds, like 2026-11-24T10:30 in your timezone, or"
    " a day like 2026-11-24 in the server's.",
)
@_moment_option("--until", "Only job requests up to this time, or the end of this day.")
def jobs(**filters: Any) -> None:
    """List the job requests, newest first.

    Each shows who requested what, and how it ended.
    """
    asked = invocation()
    asked.screen.jobs(asked.client().jobs(**filters))


@command(
    "job",
    example="selfserve job 6",
    page=lambda job_id: Page(("jobs", str(job_id))),
)
@click.argument("job_id", metavar="ID", type=_WHOLE)
def job(job_id: int) -> int:
    """Show one job request.

    It tells what became of each build request, and what that has come to by now. The exit status
    is 1 if it failed, and 3 if it has not ended.
    """
    asked = invocation()
    found = asked.client().job(job_id)
    asked.screen.job(found)
    return {"ok": DONE, "running": TIMED_OUT}.get(found["status"], FAILED)


def _pushes_page(branch: str | None, author: str | None, limit: int | None) -> Page:
    if branch is None and author is not None:
        return Page(("user", author, "pushes"), {"limit": limit})
    here = checkout.branch() if branch is None else branch
    return Page((here, "pushes"), {"author": author, "limit": limit})


@command(
    "pushes",
    example="selfserve pushes main --limit 10",
    page=_pushes_page,
)
@click.argument("branch", required=False, shell_complete=completion.branches)
@click.option("--author", help="Show only pushes of this author; without a branch, on all.")
@click.option("--limit", type=click.IntRange(min=1), help="Maximum number of pushes.")
def pushes(branch: str | None, author: str | None, limit: int | None) -> None:
    """List the pushes of a branch, newest first, with what fails.

    Without a branch and an author, it is the branch that is checked out here.
    """
    asked = invocation()
    if branch is None and author is not None:
        found = asked.client().user_pushes(author, limit=limit)
    else:
        here = checkout.branch() if branch is None else branch
        found = asked.client().pushes(here, limit=limit, author=author)
    asked.screen.pushes(found)


@command(
    "status",
    example="selfserve status main 9d92304f",
    page=place_page,
)
@place_arguments
@click.option(
    "--base",
    metavar="REVISION",
    type=checkout.resolved,
    help="Compare with this revision of the branch.",
)
def status(branch: str | None, revision: str | None, base: str | None) -> int:
    """Show whether a revision is good, one line a builder.

    What needs attention comes first: what this revision broke, then what failed before, too.
    Without a revision, it is the newest push of the branch; without a branch, the commit that is
    checked out here. The exit status is 0 if it passed, 1 if it failed or if some builder has built
    nothing there, and 3 while builds are waiting or running.
    """
    asked = invocation()
    client = asked.client()
    branch, revision = place(client, branch, revision)
    found = client.health(branch, revision, base=base)
    asked.screen.health(branch, found)
    return verdict_status(found["verdict"])


def verdict_status(verdict: str) -> int:
    """Return the exit status that tells of a verdict."""
    if verdict in ("pending", "running"):
        return TIMED_OUT
    return DONE if verdict == "passed" else FAILED


@command("last-green", example="selfserve last-green main --builders 'linux-*'")
@branch_argument
@selectors
@click.option("--max", "most", type=click.IntRange(min=1), help="Number of revisions to look at.")
def last_green(
    branch: str,
    builders: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    most: int | None,
) -> None:
    """Print the newest revision at which all builders passed.

    With options that select builders, all of these.

    The exit status is 6 if there is none.
    """
    asked = invocation()
    found = asked.client().last_green(branch, **selection_of(builders, tags, exclude), max=most)
    if asked.json:
        asked.screen.value(found)
    else:
        asked.screen.names([found["revision"]])


@command("holds", example="selfserve holds main")
@branch_argument
def holds(branch: str) -> None:
    """List the holds of a branch."""
    asked = invocation()
    asked.screen.holds(asked.client().holds(branch))


COMMANDS = [
    pushes,
    status,
    last_green,
    branches,
    builders,
    builds,
    rev,
    user,
    permissions,
    is_done,
    why,
    queue,
    holds,
    jobs,
    job,
]
