"""``selfserve-token``: makes an API token, and shows how to configure it."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import secrets
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from buildbot.config.errors import ConfigErrors
from buildbot.config.errors import capture_config_errors
from buildbot.secrets.providers.file import SecretInAFile

from buildbot_selfserve.buildbot_private import config_arguments
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import SelfServeToken

if TYPE_CHECKING:
    from buildbot_selfserve.auth.permission_preview import Needs

#: What every token begins with: those who look for leaked secrets know one when they see it.
PREFIX = "selfserve_"
#: Bytes of randomness in a token.
RANDOM_BYTES = 32
#: A file with a secret is for its owner's eyes only.
MODE = 0o600
#: The exit code if nobody reads the output, as of what a signal ends.
UNREAD = 141
#: Stands for the folder of the secrets in what is printed when nobody has said which it is.
SOMEWHERE = Path("/path/to/secrets")
#: Likewise for the URL.
SOMEWHERE_URL = "http://localhost:8010/self-serve"
_LIMITS = ("actions", "branches", "builders")
_NOT_FOR_FILES = re.compile(r"[^A-Za-z0-9._-]+")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a token; return the exit code.

    It is 0, 1 if something cannot be written, 2 for a wrong argument, and 141 if nobody reads.
    """
    if sys.stdout is None:
        print("selfserve-token: The output is closed", file=sys.stderr)
        return 1
    try:
        try:
            return _make(arguments)
        finally:
            sys.stdout.flush()  # here, as at its end Python would only say that it is ignored
    except OSError as error:
        # what Python would write at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return UNREAD
        print(f"selfserve-token: The output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


def _make(arguments: Sequence[str] | None) -> int:
    parser = make_parser()
    options = parser.parse_args(arguments)
    limits = {key: getattr(options, key) for key in _LIMITS if getattr(options, key) is not None}
    if options.expires is not None:
        limits["expires"] = options.expires
    with capture_config_errors() as errors:
        token = SelfServeToken(options.name, "...", **limits)
    if errors.errors:
        parser.error("\n".join(errors.errors))
    try:
        config = None if options.master is None else _config_of(options.master)
    except ConfigErrors as config_errors:
        wrong = f"{options.master} has no valid configuration, see buildbot checkconfig:"
        parser.error("\n".join([wrong, *config_errors.errors]))
    selfserve = _configured(config)
    end = token.end(selfserve.timezone)
    if end is not None and end <= datetime.datetime.now(datetime.timezone.utc):
        parser.error(f"--expires: {options.expires} is over")
    if options.replace and options.secrets_dir is None:
        parser.error("--replace needs --secrets-dir")
    secret = PREFIX + secrets.token_urlsafe(RANDOM_BYTES)
    if options.only_secret:
        print(secret)
        return 0
    # what master.cfg names is found from elsewhere, too
    path = (options.secrets_dir or SOMEWHERE).absolute() / _file_name(options.name)
    if options.secrets_dir is None:
        print(_by_hand(path, secret))
    else:
        try:
            _write(path, secret, replace=options.replace)
        except OSError as error:
            print(f"selfserve-token: {_why(path, error)}", file=sys.stderr)
            return 1
        print(f"The secret is in {path}.")
    print(_in_master_cfg(options, path, limits, config))
    if token.actions != ():
        print(_roles(token) if config is None else _needed(token, config))
    print(_trying(options.url or _url(config, selfserve), path))
    return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    parser = argparse.ArgumentParser(
        prog="selfserve-token",
        description="Create an API token for self-serve and print how to configure it.",
        epilog="Exit status: 0 created, 1 cannot write the file or the output, 2 wrong arguments.",
    )
    parser.add_argument(
        "name", help="name of the token, in the journal and for the rules of www.authz"
    )
    parser.add_argument(
        "--secrets-dir",
        type=Path,
        metavar="DIR",
        help="write the secret to a file in this folder, the dirname of a SecretInAFile; by"
        " default, print the secret and what to do with it",
    )
    parser.add_argument(
        "--master",
        type=Path,
        metavar="DIR",
        help="folder of the master: read its master.cfg, as buildbot checkconfig does, and tell"
        " what to add to it, and which roles its rules want for what the token is for",
    )
    parser.add_argument("--replace", action="store_true", help="replace an existing secret")
    for key in _LIMITS:
        parser.add_argument(
            f"--{key}",
            nargs="*",
            metavar="NAME",
            help=f"names or patterns of the {key} that it is limited to",
        )
    parser.add_argument(
        "--expires",
        metavar="WHEN",
        help="date on which it expires, such as 2030-12-31, or date and time",
    )
    parser.add_argument(
        "--url",
        help="URL of self-serve, for the command that tries the token; by default that of --master,"
        f" else {SOMEWHERE_URL}",
    )
    parser.add_argument("--only-secret", action="store_true", help="print only a new secret")
    return parser


def _file_name(name: str) -> str:
    return f"selfserve-{_NOT_FOR_FILES.sub('-', name)}"


def _write(path: Path, secret: str, *, replace: bool) -> None:
    """Write *secret* to *path*, whole or not at all.

    :raises OSError: it cannot be written, or is there already
    """
    # its mode is right from the beginning (tempfile makes files so)
    handle, written = tempfile.mkstemp(dir=path.parent, prefix=".selfserve-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(handle, MODE)
            file.write(secret + "\n")
        if replace:
            Path(written).replace(path)
        else:
            os.link(written, path)  # fails where there is one
    finally:
        Path(written).unlink(missing_ok=True)


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return f"{path} is there already; --replace writes over it"
    if isinstance(error, FileNotFoundError):
        folder = path.parent
        return f"{folder} does not exist; make it with: mkdir -p -m 700 {shlex.quote(str(folder))}"
    return f"{path} cannot be written: {error.strerror}"


def _by_hand(path: Path, secret: str) -> str:
    return f"""\
The secret, which is shown only now:

    {secret}

Put it into a file of its owner's only, in the folder of your secrets provider. Paste it into this,
then press Enter and Ctrl-D:

    install -m 600 /dev/stdin {shlex.quote(str(path))}"""


def _in_master_cfg(
    options: argparse.Namespace, path: Path, limits: dict[str, str | list[str]], config: Any
) -> str:
    """Return what to write into master.cfg.

    :param config: what it says by now, ``None`` if that is not known
    """
    if options.replace:
        return "Now run `buildbot reconfig`. The old secret is good until then, and no longer.\n"
    given = [repr(options.name), f"util.Secret({path.name!r})"]
    given += [f"{key}={value!r}" for key, value in limits.items()]
    token = f"util.SelfServeToken({', '.join(given)})"
    lines = [*_provider_lines(path.parent, config), *_token_lines(token, config)]
    return "\n".join(["\nIn master.cfg, then `buildbot reconfig`:", *lines, ""])


def _provider_lines(folder: Path, config: Any) -> list[str]:
    """Return what lets the master find the secrets in *folder*; nothing if it does already."""
    providers = None if config is None else config.secretsProviders
    dirname = f"dirname={str(folder)!r}"
    if providers == []:
        return ["", f'    c["secretsProviders"] = [secrets.SecretInAFile({dirname})]']
    if any(_reads(one, folder) for one in providers or ()):
        return []
    unless = ", unless it has this folder" if providers is None else ""
    return [
        "",
        f'    # add to the list c["secretsProviders"]{unless}',
        # Buildbot takes only one of each name
        f'    secrets.SecretInAFile(name="selfserve", {dirname}),',
    ]


def _reads(provider: Any, folder: Path) -> bool:
    arguments, named = config_arguments(provider)
    dirname: Any = named.get("dirname", next(iter(arguments), None))
    return isinstance(provider, SecretInAFile) and Path(dirname).resolve() == folder.resolve()


def _token_lines(token: str, config: Any) -> list[str]:
    """Return what declares *token* beside what is declared already."""
    where = 'c["www"]["plugins"]["selfserve"]'
    beside = [
        "",
        f"    # add to tokens=[...] of the util.SelfServe(...) in {where}",
        f"    {token},",
    ]
    if config is None:
        return beside
    plugins = config.www.get("plugins") or {}
    selfserve = _configured(config)
    if selfserve is not plugins.get("selfserve"):
        value = f"util.SelfServe(\n        tokens=[{token}],\n    )"
        if not plugins:
            where, value = 'c["www"]["plugins"]', f'{{"selfserve": {value}}}'
        return ["", f"    {where} = {value}"]
    if selfserve.tokens:
        return beside
    return ["", f"    # add to the util.SelfServe(...) in {where}", f"    tokens=[{token}],"]


def _configured(config: Any) -> SelfServe:
    """Return how self-serve is configured, the defaults where *config* does not say."""
    plugins = (None if config is None else config.www.get("plugins")) or {}
    selfserve = plugins.get("selfserve")
    # what else may stand there says nothing
    return selfserve if isinstance(selfserve, SelfServe) else SelfServe()


def _url(config: Any, selfserve: SelfServe) -> str:
    if config is None:
        return SOMEWHERE_URL
    return f"{config.buildbotURL.rstrip('/')}/{selfserve.path}"


def _config_of(folder: Path) -> Any:
    """Return the configuration of the master in *folder*.

    :raises ConfigErrors: its master.cfg is wrong, or there is none
    """
    # it takes a second to import, for which who does not ask need not wait
    from buildbot_selfserve.auth import needed_roles

    return needed_roles.config_of(folder)


def _needed(token: SelfServeToken, config: Any) -> str:
    """Return which roles the rules of *config* want for what *token* is for."""
    from buildbot_selfserve.auth import needed_roles

    found = needed_roles.by_action(token, needed_roles.authz_of(config))
    roles = dict.fromkeys(role for needs in found.values() for role in needs.roles)
    if not roles:
        return "For what it is for, the rules of www.authz want no role that it has not.\n"
    width = max(map(len, found))
    lines = [f"    {action:{width}}  {_in_words(needs)}\n" for action, needs in found.items()]
    return f"""\
What it needs by the rules of www.authz:

{"".join(lines)}
It has these roles with a line in roleMatchers of util.Authz:

    {token.role_matcher(roles)}
"""


def _in_words(needs: Needs) -> str:
    if not needs.roles:
        return "no role"
    where = "" if needs.always else ", for some builders, branches or owners"
    return f"role {' or '.join(map(repr, needs.roles))}{where}"


def _roles(token: SelfServeToken) -> str:
    return f"""\
To the rules of www.authz it is a user of its name, without a role. If they want one for what it is
for, add a line to roleMatchers of util.Authz (--master DIR tells which role):

    {token.role_matcher(["..."])}
"""


def _trying(url: str, path: Path) -> str:
    # from the file into curl: an argument would be seen by all who can list processes
    return f"""\
What it may do, on a branch main:

    sed 's/^/Authorization: Bearer /' {shlex.quote(str(path))} |
      curl -H @- -H 'Accept: application/json' {shlex.quote(f"{url.rstrip('/')}/main/permissions")}
"""


if __name__ == "__main__":
    sys.exit(main())
