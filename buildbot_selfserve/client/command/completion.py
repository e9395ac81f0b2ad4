"""What the shell offers for a word: names that the server knows, asked for in haste."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable

import click
from click.shell_completion import CompletionItem

from buildbot_selfserve.client import settings
from buildbot_selfserve.client.errors import ClientError
from buildbot_selfserve.client.sync import Client

#: Seconds for which somebody waits who has pressed the tab key.
HASTE = 2.0

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def branches(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the branches."""
    return _offered(ctx, typed, lambda client: client.branches())


def builders(ctx: click.Context, param: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the builders of the branch."""
    # an option whose value is being typed keeps click from telling the arguments apart
    branch = ctx.params.get("branch") or next(iter(ctx.args), None)
    return _offered(ctx, typed, lambda client: client.builders(branch) if branch else ())


def _offered(
    ctx: click.Context, typed: str, ask: Callable[[Client], Iterable[str]]
) -> list[CompletionItem]:
    try:
        # the options of a line that is still being typed are not parsed: those of the environment
        found = settings.load(warn=lambda text: None)
        names = ask(Client.from_settings(found, patience=0, timeout=HASTE))
    except ClientError:
        return []  # there is nobody to tell
    return [CompletionItem(name) for name in names if name.startswith(typed)]
