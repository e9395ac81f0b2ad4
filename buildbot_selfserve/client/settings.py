"""Where self-serve is, and who asks: arguments, environment, configuration file, netrc.

What is said first in that order holds. The password or token of a file goes only to the server
that the file names.
"""

from __future__ import annotations

import base64
import configparser
import io
import logging
import netrc
import os
import re
import stat
import tempfile
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from urllib.parse import SplitResult
from urllib.parse import urlsplit

from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.texts import decoded

#: Where self-serve answers on a master unless its operator says otherwise.
USUAL_PATH = "/self-serve"
SECTION = "selfserve"
KEYS = ("url", "token", "user", "password")

_DEFAULT_PORTS = {"http": 80, "https": 443}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Credentials:
    """Who asks: a token, or a user and a password. What is secret is not shown.

    :raises Misconfigured: neither of them, or a text that no header can carry
    """

    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.token is not None:
            if not re.fullmatch(r"[\x21-\x7e]+", self.token):
                raise Misconfigured("A token may contain only visible ASCII characters, no spaces")
        elif not self.user or self.password is None:
            raise Misconfigured("Give either a token, or a user and a password")
        elif ":" in self.user:
            raise Misconfigured("A user name cannot contain a colon")
        else:
            self.header()

    def header(self) -> str:
        """Return the value of the Authorization header.

        What the environment has as bytes that are no UTF-8 is sent as these bytes.

        :raises Misconfigured: there are characters that no bytes stand for
        """
        if self.token is not None:
            return f"Bearer {self.token}"
        try:
            whole = f"{self.user}:{self.password}".encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise Misconfigured("The user or the password is not valid text") from None
        return "Basic " + base64.b64encode(whole).decode()


@dataclass(frozen=True)
class Settings:
    """Where self-serve is, and who asks.

    :param url: the URL of self-serve itself, without a slash at the end
    :param credentials: ``None`` for nobody in particular
    :param source: what says them
    """

    url: str
    credentials: Credentials | None = None
    source: str = field(default="", compare=False)


def load(
    url: str | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    warn: Callable[[str], object] = _log.warning,
) -> Settings:
    """Find out where self-serve is, and who asks.

    :param url: what the environment and the file say of the place does not count then
    :param config: the configuration file; ``None``: what ``SELFSERVE_CONFIG`` names, or the usual
        one, which need not exist
    :param environ: ``None`` for that of this process
    :param warn: called with a sentence about a file that others can read
    :raises Misconfigured: nobody says where it is, or something is said wrongly
    """
    environ = os.environ if environ is None else environ
    path, named = _config_path(config, environ)
    written = _read_config(path, named, warn) if path else {}
    given = url or environ.get("SELFSERVE_URL") or written.get("url")
    if not given:
        raise Misconfigured(
            "The URL of self-serve is not set",
            f"run selfserve login, or set SELFSERVE_URL, or url in"
            f" {path or 'a configuration file'}, to something like"
            " https://ci.example.org/self-serve",
        )
    whole = complete_url(given)
    if credentials := _of_environment(environ):
        secret = "USER" if credentials.token is None else "TOKEN"
        return Settings(whole, credentials, f"SELFSERVE_{secret}")
    if path and (credentials := _of_file(written, whole, path)):
        return Settings(whole, credentials, str(path))
    return Settings(whole, _of_netrc(whole, environ, warn), "your netrc")


def config_path(config: Path | None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the configuration file, which need not exist.

    :param config: as for :func:`load`, and *environ*
    :raises Misconfigured: there is no home for it
    """
    path, _ = _config_path(config, os.environ if environ is None else environ)
    if path is None:
        raise Misconfigured("There is no home folder", "name a file with SELFSERVE_CONFIG")
    return path


def written_in(path: Path, warn: Callable[[str], object] = _log.warning) -> Mapping[str, str]:
    """Return what stands in the configuration file; nothing if there is none.

    :raises Misconfigured: it cannot be read, or is no configuration file
    """
    return _read_config(path, path.exists(), warn)


def of_netrc(
    url: str,
    warn: Callable[[str], object] = _log.warning,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """Return the credentials that netrc has for the host of *url*.

    :raises Misconfigured: netrc has no credentials for that host
    """
    found = _of_netrc(url, os.environ if environ is None else environ, warn)
    if found is None:
        host = urlsplit(url).hostname
        line = f"machine {host} login NAME password PASSWORD"
        raise Misconfigured(f"netrc has no user for {host}", f"add a line {line}")
    return found


def save(path: Path, found: Settings) -> None:
    """Write a configuration file that only its owner can read, whole or not at all.

    :raises Misconfigured: it cannot be written, or the password cannot stand in it
    """
    values = {"url": found.url}
    if (who := found.credentials) is not None:
        given = {"token": who.token, "user": who.user, "password": who.password}
        values |= {name: value for name, value in given.items() if value is not None}
    parser = configparser.ConfigParser(interpolation=None)
    parser[SECTION] = values
    text = io.StringIO()
    parser.write(text)
    again = configparser.ConfigParser(interpolation=None)
    try:
        again.read_string(text.getvalue())
        data = text.getvalue().encode()
    except (configparser.Error, UnicodeEncodeError):
        again.clear()
    if again != parser:
        raise Misconfigured(
            "This password cannot stand in a configuration file",
            "use netrc, or set SELFSERVE_USER and SELFSERVE_PASSWORD",
        )
    try:
        _write(path.resolve(), data)
    except (OSError, RuntimeError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be written", _reason(error)) from None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # its mode is right from the beginning (tempfile makes files so)
    handle, written = tempfile.mkstemp(dir=path.parent, prefix=".selfserve-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(written).replace(path)
    finally:
        Path(written).unlink(missing_ok=True)


def complete_url(url: str) -> str:
    """Return *url* as the URL of self-serve; of a server without a path, that of its usual place.

    :raises Misconfigured: it is not a valid URL, or has extra parts
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
        (parts.hostname or "").encode("idna")
        url.encode()
    except ValueError:
        raise Misconfigured("The URL of self-serve is invalid") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise Misconfigured("The URL of self-serve must begin with http:// or https:// and a host")
    if parts.username is not None or parts.query or parts.fragment:
        # without the URL itself: a password may stand in it
        raise Misconfigured(
            "The URL of self-serve has extra parts",
            "remove user, password, query and fragment",
        )
    path = parts.path.rstrip("/") or USUAL_PATH
    # an empty port is none
    return f"{parts.scheme}://{parts.netloc.removesuffix(':')}{path}"


def origin(parts: SplitResult) -> tuple[str, str, int | None]:
    """Return scheme, host and port of a URL."""
    return (
        parts.scheme,
        parts.hostname or "",
        parts.port or _DEFAULT_PORTS.get(parts.scheme),
    )


def _config_path(config: Path | None, environ: Mapping[str, str]) -> tuple[Path | None, bool]:
    """Return the path of the configuration file, and whether somebody named it."""
    if config is not None:
        return config, True
    if environ.get("SELFSERVE_CONFIG"):
        return _expanded(environ["SELFSERVE_CONFIG"]), True
    base = environ.get("XDG_CONFIG_HOME", "")
    # a relative path counts as none (XDG Base Directory Specification)
    home = _home(environ)
    folder = Path(base) if base.startswith("/") else home and home / ".config"
    return folder and folder / "selfserve" / "config.ini", False


def _expanded(text: str) -> Path:
    """Return a path that may begin with somebody's home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # there is no such user
        return Path(text)


def _home(environ: Mapping[str, str]) -> Path | None:
    """Return the home, which not everybody has."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path("~").expanduser()
    except RuntimeError:
        return None


def _read_config(path: Path, named: bool, warn: Callable[[str], object]) -> Mapping[str, str]:
    """Return what the configuration file says; only one that somebody *named* must be there."""
    # a percent sign in a password is one
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string("\n".join(decoded(path.read_bytes()).splitlines()))
    except (OSError, ValueError) as error:  # a path may hold what no path can
        _unread(path, error, named, warn)
        return {}
    except configparser.Error as error:
        # without its text, which repeats the line
        line = getattr(error, "lineno", None) or next(
            (number for number, _ in getattr(error, "errors", ())), None
        )
        where = f"line {line}" if line else "its structure"
        raise Misconfigured(
            f"{path} is not a valid configuration file",
            f"check {where}; it must begin with [{SECTION}]",
        ) from None
    values = dict(parser[SECTION]) if parser.has_section(SECTION) else {}
    unknown = sorted(set(values) - set(KEYS)) + sorted(set(parser.sections()) - {SECTION})
    if unknown:
        raise Misconfigured(
            f"{path} has an unknown setting {unknown[0]!r}",
            f"use {', '.join(KEYS)}, in a section [{SECTION}]",
        )
    if "token" in values or "password" in values:
        _warn_of_readers(path, warn)
    return values


def _of_environment(environ: Mapping[str, str]) -> Credentials | None:
    names = {key: f"SELFSERVE_{key.upper()}" for key in KEYS}
    return _credentials({key: environ.get(name) for key, name in names.items()}, names)


def _of_file(written: Mapping[str, str], url: str, path: Path) -> Credentials | None:
    """Return the credentials in the file, if they are for the server that is asked."""
    credentials = _credentials(written, {key: f"{key} in {path}" for key in KEYS})
    if credentials is None:
        return None
    if not written.get("url"):
        raise Misconfigured(
            f"{path} has credentials but no url", "add the url of the server that they are for"
        )
    theirs = urlsplit(complete_url(written["url"]))
    return credentials if origin(theirs) == origin(urlsplit(url)) else None


def _credentials(values: Mapping[str, str | None], names: Mapping[str, str]) -> Credentials | None:
    """Return the credentials in *values*: a token before a user and a password.

    :param names: how to call each to people
    :raises Misconfigured: one of user and password is missing, or what is there cannot be sent
    """
    if values.get("token"):
        return _named(names["token"], {"token": values["token"]})
    missing = [key for key in ("user", "password") if not values.get(key)]
    if len(missing) == 1:
        raise Misconfigured(f"{names[missing[0]]} is missing", "set both user and password")
    if missing:
        return None
    where = f"{names['user']} or {names['password']}"
    return _named(where, {"user": values["user"], "password": values["password"]})


def _named(where: str, given: Mapping[str, str | None]) -> Credentials:
    """Return credentials.

    :raises Misconfigured: they cannot be sent; it says *where* they stand
    """
    try:
        return Credentials(**given)
    except Misconfigured as error:
        raise Misconfigured(f"{where} is invalid", error.msg) from None


def _of_netrc(
    url: str, environ: Mapping[str, str], warn: Callable[[str], object]
) -> Credentials | None:
    named = environ.get("NETRC")
    home = _home(environ)
    path = _expanded(named) if named else home and home / ".netrc"
    if path is None:
        return None
    try:
        entry = netrc.netrc(str(path)).authenticators(urlsplit(url).hostname or "")
    except (OSError, ValueError, netrc.NetrcParseError) as error:
        _unread(path, error, bool(named), warn)
        return None
    if entry is None or not entry[0] or not entry[2]:
        return None
    _warn_of_readers(path, warn)
    return Credentials(user=entry[0], password=entry[2])


def _unread(path: Path, error: Exception, named: bool, warn: Callable[[str], object]) -> None:
    """Go on without a file that cannot be read.

    :param named: somebody said that it is to be read, so that there is no going on
    """
    if named:
        missing = isinstance(error, FileNotFoundError)
        told = f"There is no {path}" if missing else f"{path} cannot be read"
        raise Misconfigured(told, "" if missing else _reason(error)) from None
    # a home that is no folder has no files
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        warn(f"{path} is ignored because it cannot be read: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, netrc.NetrcParseError):
        return f"check line {error.lineno}"  # without its text, which may repeat a password
    if isinstance(error, OSError):
        return error.strerror or ""
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else "not a valid file name"


def _warn_of_readers(path: Path, warn: Callable[[str], object]) -> None:
    if os.name == "posix" and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        warn(f"{path} contains a secret but other users can read it: chmod 600 {path}")
