"""The command that writes the configuration, once it is known to be right."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from buildbot_selfserve.client import settings
from buildbot_selfserve.client.command.group import Invocation
from buildbot_selfserve.client.command.group import command
from buildbot_selfserve.client.command.group import invocation
from buildbot_selfserve.client.errors import Denied
from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.errors import Unauthorized
from buildbot_selfserve.client.settings import Credentials
from buildbot_selfserve.client.settings import Settings
from buildbot_selfserve.client.sync import Client
from buildbot_selfserve.client.texts import decoded

#: More than that is no secret.
LONGEST_SECRET = 10_000


@command("login", example="selfserve login https://ci.example.org/self-serve")
@click.argument("where", metavar="[URL]", required=False)
@click.option("--with-token", is_flag=True, help="Read the API token from the standard input.")
@click.option("--user", metavar="NAME", help="Use a user name, and a password in place of a token.")
@click.option(
    "--netrc", is_flag=True, help="Write only the URL; your netrc has a user and a password."
)
def login(where: str | None, with_token: bool, user: str | None, netrc: bool) -> None:
    """Write the configuration file, and check it.

    It has the URL of self-serve and your credentials. What you do not give is asked for, the API
    token or the password without showing it. Nothing is written unless the server knows you. Only
    you can read the file.
    """
    asked = invocation()
    if (with_token, user is not None, netrc).count(True) > 1:
        raise click.UsageError("Give one of --with-token, --user, --netrc.")
    path = settings.config_path(asked.config)
    written = settings.written_in(path, asked.screen.complain)
    url = settings.complete_url(where or asked.url or _known_url(written.get("url")))
    credentials = settings.of_netrc(url, asked.screen.complain) if netrc else _secret(user)
    who = _checked(asked, Settings(url, credentials))
    settings.save(path, Settings(url, None if netrc else credentials))
    _report(asked, url, who, path)


def _known_url(written: str | None) -> str:
    """Return the URL that the environment or the file has, or ask for it."""
    known = os.environ.get("SELFSERVE_URL") or written
    if known:
        return known
    if not sys.stdin.isatty():
        raise click.UsageError("Give the URL of self-serve.")
    answer: str = click.prompt("URL of self-serve, such as https://ci.example.org", err=True)
    return answer


def _secret(user: str | None) -> Credentials:
    """Return the credentials that somebody types, or that come on the standard input."""
    what = "API token" if user is None else f"Password of {user}"
    if sys.stdin.isatty():
        secret = click.prompt(what, hide_input=True, err=True)
    else:
        try:
            secret = decoded(sys.stdin.buffer.read(LONGEST_SECRET)).rstrip("\r\n")
        except UnicodeDecodeError:
            raise Misconfigured("The standard input is not UTF-8 text") from None
    if not secret.strip():
        raise click.UsageError(f"{what}: give it on the standard input, or in a terminal.")
    return Credentials(token=secret.strip()) if user is None else Credentials(None, user, secret)


def _checked(asked: Invocation, found: Settings) -> str | None:
    """Return who the server says that we are; ``None`` if it has no branches to ask about.

    :raises Denied: it does not know
    """
    client = Client.from_settings(found, patience=asked.patience)
    client.pause = asked.screen.pause
    try:
        branch = next(iter(client.branches()), None)
        who = None if branch is None else client.permissions(branch)["who"]
    except Unauthorized as error:
        # without the advice to log in
        raise Denied(error.msg, error.detail, status=error.status) from None
    if branch is not None and who is None:
        raise Denied("The server does not know you", "use an API token")
    return who


def _report(asked: Invocation, url: str, who: str | None, path: Path) -> None:
    screen = asked.screen
    if screen.as_json:
        screen.value({"url": url, "who": who, "config": str(path)})
    else:
        name = "" if who is None else f" as {who}"
        screen.line(f"Logged in to {url}{name}. The configuration is in {path}.")
    for name in ("SELFSERVE_URL", "SELFSERVE_TOKEN", "SELFSERVE_USER"):
        value = os.environ.get(name)
        if value and (name != "SELFSERVE_URL" or value.rstrip("/") != url):
            screen.complain(f"{name} is set, and is used in place of what is in the file")


COMMANDS = [login]
