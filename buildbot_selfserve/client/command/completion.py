"""What the shell offers for a word: names that the server knows, asked for in haste."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from buildbot_selfserve.client import settings
from buildbot_selfserve.client.command import checkout
from buildbot_selfserve.client.sync import Client

#: Seconds for which somebody waits who has pressed the tab key.
HASTE = 1.0

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def branches(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the branches."""
    return _offered(ctx, typed, lambda client: client.branches())


def builders(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the builders of the branch."""
    # an option whose value is being typed keeps click from telling the arguments apart
    given = ctx.params.get("branch") or next(iter(ctx.args), None)

    def ask(client: Client) -> Iterable[str]:
        if given is None or checkout.looks_like_revision(given):
            return client.builders(checkout.branch())
        return client.builders(given)

    return _offered(ctx, typed, ask)


def _offered(
    ctx: click.Context, typed: str, ask: Callable[[Client], Iterable[str]]
) -> list[CompletionItem]:
    names: list[str] = []

    def look() -> None:
        # nobody wants to read of what goes wrong while they type
        with contextlib.suppress(Exception):
            # the options of a line that is still being typed are not parsed: the environment's
            found = settings.load(warn=lambda text: None)
            names.extend(ask(Client.from_settings(found, patience=0, timeout=HASTE)))

    # the time-outs of the client are those of each silence, not of the whole
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(HASTE)
    return [
        CompletionItem(name)
        for name in list(names)
        if name.startswith(typed) and name.isprintable()
    ]
