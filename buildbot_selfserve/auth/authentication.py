"""Identifies who sends a request: API token, Basic credentials, proxy or session."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult
from urllib.parse import quote
from urllib.parse import urlsplit

from buildbot.www.auth import NoAuth
from buildbot.www.auth import RemoteUserAuth
from buildbot.www.auth import TwistedICredAuthBase
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm
from twisted.cred.portal import Portal
from twisted.internet import defer
from twisted.web.error import Error as WebError
from twisted.web.server import Request
from zope.interface import Interface
from zope.interface import implementer

from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.session_cookies import session_cookie
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import user_key

#: Where Buildbot looks for the name under which somebody's builds run (buildbot/www/rest.py).
NAME_FIELDS = ("email", "username", "full_name")


@dataclass(frozen=True)
class Identity:
    """A user, as Buildbot's authorization needs to know them.

    :param via: how the user was authenticated: ``session``, ``basic``, ``remote_user``,
        ``anonymous``, or ``token:NAME``
    :param user_info: what a session of Buildbot's would hold
    :param token: the API token that was sent, with its limits
    """

    via: str
    user_info: dict[str, Any]
    token: SelfServeToken | None = None

    @property
    def name(self) -> str | None:
        """Return the name that owns the user's builds, ``None`` if anonymous."""
        return next(iter(self.names), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Return all names by which Buildbot knows the user, that one first."""
        if self.via == "anonymous":
            return ()
        by_key: dict[str, str] = {}
        for field in NAME_FIELDS:
            name = str(self.user_info.get(field) or "")
            if name:
                by_key.setdefault(user_key(name), name)
        return tuple(by_key.values())


NOBODY = Identity("anonymous", {"anonymous": True})


async def identify(
    master: Any, tokens: Tokens, request: Request, *, reads: bool = False
) -> Identity:
    """Return the identity of the sender of *request*.

    An API token comes first, then Basic credentials, a proxy's word, and a session.

    :param reads: allow anonymous users
    :raises Unauthorized: the credentials are wrong, or of a kind that this master does not take
    """
    shown = await credentials_of(master, tokens, request)
    if isinstance(shown, Identity):
        return shown
    auth = master.www.auth
    if shown is not None:
        return Identity("basic", await _known_of(auth, shown))
    try:
        with custom_code.named(_auth_name(auth), auth, WebError, UnicodeDecodeError):
            await defer.maybeDeferred(auth.maybeAutoLogin, request)
    except (WebError, UnicodeDecodeError) as error:
        # RemoteUserAuth without the proxy's header, or with a name that is no text
        if reads:
            return NOBODY
        raise Unauthorized("Buildbot does not know who you are", _why(error)) from error
    via = "remote_user" if isinstance(auth, RemoteUserAuth) else "session"
    return from_session(master, request, via)


async def credentials_of(master: Any, tokens: Tokens, request: Request) -> Identity | str | None:
    """Return the identity that the credentials of *request* prove.

    :return: who showed a token, the name of who showed a password, or ``None`` without credentials
    :raises Unauthorized: they are wrong, or of a kind that this master does not take
    """
    header = (request.getHeader(b"authorization") or b"").strip() or None
    if header is not None and tokens and _scheme(header) == b"bearer":
        return with_token(await tokens.named_by(header[len(b"bearer") :]))
    # a proxy that checked a password may pass it on to a master that takes none
    if header is not None and (takes_passwords(master) or _scheme(header) != b"basic"):
        return await _by_header(master.www.auth, header)
    return None


def from_session(master: Any, request: Request, via: str = "session") -> Identity:
    """Return the identity in Buildbot's session cookie, if there is one."""
    if via == "session" and request.getCookie(session_cookie(request)) is None:
        return NOBODY  # asking for a session would make one
    user_info = dict(master.www.getUserInfos(request))
    return Identity("anonymous" if user_info.get("anonymous") else via, user_info)


def schemes(master: Any, tokens: Tokens) -> list[str]:
    """Return the schemes of an Authorization header that this master takes."""
    return [*(["Basic"] if takes_passwords(master) else []), *(["Bearer"] if tokens else [])]


def takes_passwords(master: Any) -> bool:
    """Whether this master can check a user name and a password."""
    return isinstance(master.www.auth, TwistedICredAuthBase)


def page_of(site: Site, request: Request, path: str) -> str:
    """Return the path and query of the page that *request*, whose path is *path*, was made on.

    That of a form is where its Referer says; without one, the page of the branch.
    """
    if request.method in (b"GET", b"HEAD"):
        query = request.uri.partition(b"?")[2].decode("ascii", "replace")
        return f"{path}?{query}" if query else path
    before = _parts(request.getHeader(b"referer") or b"")
    if before is not None and before.path.startswith(f"{site.root}/"):
        return before._replace(scheme="", netloc="", fragment="").geturl()
    branch = path.removeprefix(f"{site.root}/").partition("/")[0]
    return f"{site.root}/{branch}"


def _parts(url: bytes) -> SplitResult | None:
    try:
        return urlsplit(url.decode("ascii"))
    except ValueError:
        return None


def door_url(master: Any, site: Site, path: str, door: str) -> str:
    """Return where a visitor of *path* can log in or out; empty where Buildbot has no such page.

    Both are Buildbot's own; ``auth/login_redirects.py`` leads from there to *path*.

    :param path: with the query, if any
    :param door: ``login`` or ``logout``
    """
    if isinstance(master.www.auth, NoAuth | RemoteUserAuth):
        return ""
    back = "/self-serve" + path.removeprefix(site.root)
    return f"{site.prefix}/auth/{door}?redirect={quote(back, safe='')}"


async def _by_header(auth: Any, header: bytes) -> str:
    """Return the name of the user whose password is right."""
    if _scheme(header) == b"bearer":
        instead = "use a user name and a password" if isinstance(auth, TwistedICredAuthBase) else ""
        raise Unauthorized("This Buildbot takes no API tokens", instead)
    if _scheme(header) != b"basic":
        # without their first word: it may be the secret itself
        raise Unauthorized("Authorization scheme not accepted here")
    _, *values = header.split(None, 1)
    value = values[0] if values else b""
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
    except binascii.Error:
        user = colon = password = b""
    name = await _checked(auth, user, password) if colon else None
    if name is None:
        raise Unauthorized("Wrong user name or password")
    return name


def _scheme(header: bytes) -> bytes:
    return header.lower().split(None, 1)[0]


def with_token(token: SelfServeToken) -> Identity:
    """Return the identity of *token*: a user of its name, who owns the builds that it requests."""
    return Identity(token.via, {"username": token.name, "email": token.name}, token)


class _IUserName(Interface):
    """The avatar of somebody whose password was right: their name."""


@implementer(IRealm)
class _UserNames:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return _IUserName, avatarId, lambda: None


async def _checked(auth: Any, user: bytes, password: bytes) -> str | None:
    """Ask the checkers of Buildbot's login page; return the user's name if they know it."""
    checkers = [
        checker for checker in auth.checkers if IUsernamePassword in checker.credentialInterfaces
    ]
    if not checkers:
        return None
    portal = Portal(_UserNames(), checkers)
    try:
        with custom_code.named(_auth_name(auth), auth, LoginFailed):
            _, name, _ = await portal.login(UsernamePassword(user, password), None, _IUserName)
        return name.decode("utf-8") if isinstance(name, bytes) else str(name)
    except (LoginFailed, UnicodeDecodeError):
        return None


async def _known_of(auth: Any, name: str) -> dict[str, Any]:
    """Return what a session of the user *name* would hold."""
    user_info: dict[str, Any] = {"username": name}
    provider = auth.userInfoProvider
    if provider is not None:
        # as AuthBase.updateUserInfo does for a session
        with custom_code.named(f"the userInfoProvider {type(provider).__name__}", provider):
            user_info.update(await defer.maybeDeferred(provider.getUserInfo, name))
    return user_info


def _auth_name(auth: Any) -> str:
    return f"{type(auth).__name__} in c['www']['auth']"


def _why(error: WebError | UnicodeDecodeError) -> str:
    raw = (
        error.message
        if isinstance(error, WebError)
        else "the user name sent by the proxy is not UTF-8"
    )
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""
