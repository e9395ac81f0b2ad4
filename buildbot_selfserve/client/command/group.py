"""What all commands share: options, errors, exit statuses, help with an example."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import sys
import threading
import traceback
import webbrowser
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import TypeVar
from urllib.parse import urlencode

import click

from buildbot_selfserve import __version__
from buildbot_selfserve.client import settings
from buildbot_selfserve.client.command import checkout
from buildbot_selfserve.client.command.parameters import name_options
from buildbot_selfserve.client.command.show import Screen
from buildbot_selfserve.client.errors import BadRequest
from buildbot_selfserve.client.errors import ClientError
from buildbot_selfserve.client.errors import Denied
from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.errors import NotFound
from buildbot_selfserve.client.errors import NotSelfServe
from buildbot_selfserve.client.errors import PlanChanged
from buildbot_selfserve.client.errors import Unauthorized
from buildbot_selfserve.client.errors import Unavailable
from buildbot_selfserve.client.errors import Unreachable
from buildbot_selfserve.client.errors import WaitTimedOut
from buildbot_selfserve.client.exchange import segment
from buildbot_selfserve.client.sync import Client

DONE, FAILED, USAGE, TIMED_OUT, REFUSED, NOT_NOW, NOT_FOUND = range(7)
#: A mistake of ours, no room for the output, an end by Ctrl-C, and nobody who reads: none says
#: anything of builds.
BROKEN, UNWRITTEN, INTERRUPTED, UNREAD = 70, 74, 130, 141
#: What writing fails with where there is no room.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Seconds in which Ctrl-C ends it in good order.
GRACE = 2.0

#: What went wrong, as an exit status.
STATUS: dict[type[ClientError], int] = {
    Misconfigured: USAGE,
    WaitTimedOut: TIMED_OUT,
    Denied: REFUSED,
    Unavailable: NOT_NOW,
    Unreachable: NOT_NOW,
    NotFound: NOT_FOUND,
    NotSelfServe: NOT_FOUND,
    PlanChanged: FAILED,
    BadRequest: NOT_FOUND,
}

EPILOG = """\
Run selfserve login once, or set SELFSERVE_URL to the URL of self-serve, and SELFSERVE_TOKEN, or
SELFSERVE_USER and SELFSERVE_PASSWORD, to your credentials. netrc works too.

In a git checkout, a branch that is left out is the one that is checked out, and a revision HEAD.

\b
Exit status:
  0   done, or the builds passed
  1   the builds failed or were not all made, or part of what was asked was not done
  2   wrong usage, or wrong settings
  3   the wait timed out, or what was asked about has not ended
  4   refused: not logged in, or not allowed
  5   the server cannot be reached, or cannot do it now
  6   not found, or a bad request
"""

Function = TypeVar("Function", bound=Callable[..., Any])


class Page(NamedTuple):
    """A page of self-serve.

    :param path: the segments below the URL of self-serve, as text
    :param query: what is ``None`` or empty is left out
    """

    path: tuple[str, ...] = ()
    query: Mapping[str, Any] = {}


class Invocation:
    """One run of the command: its options, and what it talks with."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.config: Path | None = None
        self.patience = 30.0
        self.json = False
        self.wide = False
        self.urls = False
        self.web = False
        #: what says who asks; empty if nothing does
        self.source = ""
        #: what was not said because it is checked out here: a branch, and perhaps a revision
        self.checked_out: list[str] = []

    @functools.cached_property
    def screen(self) -> Screen:
        """Return what to show things on."""
        return Screen(self.json, self.wide, self.urls)

    def client(self) -> Client:
        """Return a client of the server that was meant.

        :raises Misconfigured: nobody says where it is, or something is said wrongly
        """
        screen = self.screen
        found = settings.load(self.url, self.config, warn=screen.complain)
        self.source = found.source if found.credentials else ""
        client = Client.from_settings(found, patience=self.patience)
        client.pause = screen.pause
        return client

    def open(self, page: Page) -> None:
        """Open *page* in a browser; where there is none, print its URL.

        :raises Misconfigured: nobody says where self-serve is
        """
        given = {name: value for name, value in page.query.items() if value}
        query = urlencode(given, errors="surrogatepass")
        url = "/".join([self.client().url, *map(segment, page.path)]) + (query and f"?{query}")
        self.screen.complain(f"opening {url}")
        if not webbrowser.open(url):
            self.screen.complain("no browser was found; open it yourself")
            self.screen.names([url])


def invocation() -> Invocation:
    """Return the run of the command that goes on."""
    found = click.get_current_context().find_object(Invocation)
    assert found is not None  # the group made it
    return found


def _keep(context: click.Context, option: click.Parameter, value: Any) -> None:
    kept = context.ensure_object(Invocation)
    # an option of the group is not undone by the default of its command
    if value is not None and value is not False and option.name is not None:
        setattr(kept, option.name, value)


def _common(*, hidden: bool) -> list[click.Parameter]:
    """Return the options that may stand before the name of a command and after it."""
    shared: dict[str, Any] = {"callback": _keep, "expose_value": False, "default": None}
    return [
        click.Option(["--json"], is_flag=True, help="Print the server's JSON.", **shared),
        click.Option(
            ["--wide"],
            is_flag=True,
            hidden=hidden,
            help="Do not truncate tables to the width of the terminal.",
            **shared,
        ),
        click.Option(
            ["--urls"],
            is_flag=True,
            hidden=hidden,
            help="Show the URLs of what is listed; includes --wide.",
            **shared,
        ),
        click.Option(
            ["--url"], hidden=hidden, help="URL of self-serve. [env: SELFSERVE_URL]", **shared
        ),
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            hidden=hidden,
            help="Configuration file. [env: SELFSERVE_CONFIG]",
            **shared,
        ),
        click.Option(
            ["--patience"],
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            hidden=hidden,
            help="Seconds to retry while the server is not available; 30 by default.",
            **shared,
        ),
    ]


def _web() -> click.Option:
    """Return the option of commands that show what a page shows, too."""
    return click.Option(
        ["--web"],
        is_flag=True,
        help="Open the page in a browser.",
        callback=_keep,
        expose_value=False,
        default=None,
    )


class Command(click.Command):
    """A command with the common options, and an example at the end of its help."""

    def __init__(
        self, *args: Any, example: str, page: Callable[..., Page] | None = None, **more: Any
    ) -> None:
        more["params"] = [*more["params"], *[_web()] * (page is not None), *_common(hidden=True)]
        super().__init__(*args, **more)
        self.example = example
        self.page = page

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            args = [*self._checked_out(ctx, args), *args]
        return super().parse_args(ctx, args)

    def _checked_out(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the arguments that are left out because they are checked out here."""
        given, _, found_params = self.make_parser(ctx).parse_args(args=list(args))
        if any(one.is_eager for one in found_params):
            return []  # the help is wanted
        declared = [one for one in self.get_params(ctx) if isinstance(one, click.Argument)]
        values = [value for one in declared if isinstance(value := given.get(one.name), str)]
        try:
            found = checkout.completed(declared, values)
        except click.UsageError as error:
            error.ctx = ctx
            raise
        ctx.ensure_object(Invocation).checked_out = found
        return found

    def invoke(self, ctx: click.Context) -> Any:
        asked = ctx.ensure_object(Invocation)
        try:
            if self.page is None or not asked.web:
                return super().invoke(ctx)
            asked.open(self.page(**ctx.params))
        except BadRequest as error:
            name_options(error, ctx)
            raise
        return DONE

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Example"):
            # not write_text: a line that is broken cannot be pasted
            formatter.write(f"{'':>{formatter.current_indent}}{self.example}\n")


def command(
    name: str, *, example: str, page: Callable[..., Page] | None = None, **more: Any
) -> Callable[[Callable[..., int | None]], Command]:
    """Return a decorator that makes a command of a function, which returns the exit status.

    :param example: a line that may be typed as it is
    :param page: returns the page that shows the same, of the arguments of the function
    """

    def made(function: Callable[..., int | None]) -> Command:
        params = getattr(function, "__click_params__", [])[::-1]
        return Command(
            name,
            callback=function,
            example=example,
            page=page,
            params=params,
            help=(function.__doc__ or "").strip(),
            **more,
        )

    return made


class Group(click.Group):
    """All commands."""

    def __init__(self, name: str, commands: list[Command], help: str) -> None:
        version = click.version_option(__version__, message="%(prog)s %(version)s")
        super().__init__(
            name,
            commands=commands,
            help=help,
            epilog=EPILOG,
            params=_common(hidden=False),
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )
        version(self)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would make a 1 of it
            _drop_output()
            return UNREAD

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def run_group(group: Group) -> int:
    """Run *group* with the arguments of this process; return the exit status."""
    kept = Invocation()
    _open_everything()
    _write_everything()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # nobody ignores it
        signal.signal(signal.SIGINT, _interrupt)
    try:
        status = group.main(standalone_mode=False, prog_name="selfserve", obj=kept)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except ClientError as error:
        kept.screen.complain(_told(error, kept.source))
        return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            kept.screen.complain(f"The output cannot be written: {error.strerror}")
            _drop_output()
            return UNWRITTEN
        traceback.print_exc()
        return BROKEN
    return status if isinstance(status, int) else DONE


def _drop_output() -> None:
    """Drop what is left of the output, which Python writes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(*_: object) -> None:
    """End as Ctrl-C does, and a little later at all events.

    Python drops what is raised while it runs a callback of its own, as when something is freed.
    """
    late = threading.Timer(GRACE, os._exit, (INTERRUPTED,))
    late.daemon = True
    late.start()
    raise KeyboardInterrupt


def _open_everything() -> None:
    """Open what the shell has closed, as with ``>&-``: nothing comes from there, or arrives."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode, encoding="utf-8"))


def _write_everything() -> None:
    """Let the output take names that its encoding has no characters for."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _told(error: ClientError, source: str) -> str:
    """Return what went wrong, and what to do.

    :param source: what says who asks
    """
    if error.job_id is not None:
        return f"{error} (run selfserve job {error.job_id} to see how it ends)"
    if isinstance(error, Unauthorized) and source:
        return f"{error} (the credentials are those of {source})"
    if isinstance(error, Unauthorized):
        return f"{error} (run selfserve login, or set SELFSERVE_TOKEN)"
    return str(error)
