"""The command that follows a revision until all of it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.command.reads import done_status
from buildbot_selfserve.client.command.reads import place
from buildbot_selfserve.client.command.reads import place_arguments
from buildbot_selfserve.client.command.reads import place_page
from buildbot_selfserve.client.command.show import SHORT_REVISION
from buildbot_selfserve.client.command.show import Screen
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.errors import Unavailable
from buildbot_selfserve.client.errors import Unreachable
from buildbot_selfserve.client.errors import WaitTimedOut
from buildbot_selfserve.client.rows import FAILED_STATES
from buildbot_selfserve.client.rows import BuilderHealth
from buildbot_selfserve.client.rows import Done
from buildbot_selfserve.client.rows import Health
from buildbot_selfserve.client.sync import Client
from buildbot_selfserve.state_words import CHANGE_WORDS

#: Seconds after the last end in which what it triggers has begun.
STABLE_DELAY = 5
#: Seconds in which Buildbot should have seen a commit that is checked out here.
JUST_PUSHED = 60
#: Seconds for which a master may be away, as while it is restarted.
AWAY = 600.0
#: Longer than anybody waits.
ENDLESS = 10 * 365 * 86400
#: Changes that are worth a word.
_CHANGES = ("regressed", "still_failing", "fixed")


class News(NamedTuple):
    """What a builder has come to."""

    state: str
    name: str
    note: str


class Follower:
    """Tells what has begun and what has ended since it last looked, builder by builder."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[str, int | None]] | None = None

    def news(self, health: Health) -> Iterator[News]:
        """Yield what is new; at first, what runs and what has failed."""
        first, seen = self._seen is None, self._seen or {}
        self._seen = {
            one["buildername"]: (one["state"], one["build_id"]) for one in health["builders"]
        }
        for one in health["builders"]:
            state, name = one["state"], one["buildername"]
            if state in ("pending", "missing") or seen.get(name) == self._seen[name]:
                continue
            if not first or state == "running" or state in FAILED_STATES:
                yield News(state, name, _note(one))


def _note(one: BuilderHealth) -> str:
    build = None if one["build_id"] is None else f"build {one['build_id']}"
    step = None if one["failed_step"] is None else f"step {one['failed_step']}"
    # what runs is compared by what it was before
    is_told = one["state"] != "running" and one["change"] in _CHANGES
    change = CHANGE_WORDS[one["change"]] if is_told else None
    return ", ".join(filter(None, (step, build, change)))


@command("watch", example="selfserve watch main 9d92304f --timeout 1800", page=place_page)
@place_arguments
@click.option(
    "--stable-delay",
    type=click.IntRange(min=0),
    default=STABLE_DELAY,
    metavar="SECONDS",
    help=f"Seconds after its last build ended until a revision is done; {STABLE_DELAY} by default.",
)
@click.option(
    "--timeout",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Maximum number of seconds to watch; there is no limit by default.",
)
@click.option(
    "--appear",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="Seconds for which the revision may still be unknown, as after a push;"
    f" {JUST_PUSHED} by default for the commit that is checked out here, else 0.",
)
def watch(
    branch: str | None,
    revision: str | None,
    stable_delay: int,
    timeout: int | None,
    appear: int | None,
) -> int:
    """Follow a revision until everything at it has ended.

    It tells which builds begin and how they end. Without a revision, it is the newest push of the
    branch; without a branch, the commit that is checked out here. The exit status is that of
    is-done: 0 if it passed, 1 if it failed or if some builder has built nothing there, and 3 if it
    was not done in time.
    """
    asked = invocation()
    client, screen = asked.client(), asked.screen
    if appear is None:
        appear = JUST_PUSHED if branch is None else 0
    branch, revision = place(client, branch, revision)
    try:
        with screen.last_line() as say_now:
            watched = _Watched(client, screen, branch, revision)

            def look(done: Done) -> None:
                watched.look(done)
                say_now(watched.now)

            done = client.wait(
                branch,
                revision,
                timeout=ENDLESS if timeout is None else timeout,
                stable_delay=stable_delay,
                appear=appear,
                away=AWAY,
                progress=look,
            )
    except WaitTimedOut as late:
        screen.done(branch, revision, late.done)
        raise
    screen.done(branch, revision, done)
    if done["failing"]:
        why = f"selfserve log {branch} {revision[:SHORT_REVISION]} --failed"
        screen.complain(f"run {why} to see why")
    return done_status(done)


class _Watched:
    """A revision that is watched, and what is shown of it.

    :param branch: its branch
    """

    def __init__(self, client: Client, screen: Screen, branch: str, revision: str) -> None:
        self._client, self._screen = client, screen
        self._branch, self._revision = branch, revision
        self._follower = Follower()
        self._begun = False
        #: what runs and what waits
        self.now = ""

    def look(self, done: Done) -> None:
        """Show what has happened."""
        try:
            health = self._client.health(self._branch, self._revision)
        except (NotFound, Unavailable, Unreachable):
            return  # the wait knows better whether to go on
        if not self._begun and not self._screen.as_json:
            self._screen.health_line(self._branch, health)
        self._begun = True
        for news in self._follower.news(health):
            self._screen.event(*news)
        running = [one["buildername"] for one in health["builders"] if one["state"] == "running"]
        counted = f"{done['running']} running, {done['pending']} waiting"
        self.now = f"{counted}: {', '.join(running)}" if running else counted


COMMANDS = [watch]
