"""Who is asking."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from buildbot.www.auth import NoAuth
from buildbot.www.auth import RemoteUserAuth
from buildbot.www.auth import TwistedICredAuthBase
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import LoginFailed
from twisted.cred.portal import IRealm
from twisted.cred.portal import Portal
from twisted.web.error import Error as WebError
from twisted.web.server import Request
from zope.interface import Interface
from zope.interface import implementer

from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.model import Site
from buildbot_selfserve.web.sessions import session_cookie

#: Where Buildbot looks for the name under which somebody's builds run (buildbot/www/rest.py).
NAME_FIELDS = ("email", "username", "full_name")


@dataclass(frozen=True)
class Identity:
    """Who somebody is, as Buildbot's authorization wants to know it.

    :param via: how we know: ``session``, ``basic``, ``remote_user`` or ``anonymous``
    :param user_info: what a session of Buildbot's would hold
    """

    via: str
    user_info: dict[str, Any]

    @property
    def name(self) -> str | None:
        """Return the name under which their builds run, ``None`` for nobody."""
        if self.via == "anonymous":
            return None
        names = (self.user_info.get(field) for field in NAME_FIELDS)
        return next((str(name) for name in names if name), None)


async def identify(master: Any, request: Request, *, reads: bool = False) -> Identity:
    """Return who sent *request*: Basic credentials first, then a proxy's word, then a session.

    :param reads: nobody in particular will do
    :raises Unauthorized: the credentials are wrong, or of a kind that this master does not take
    """
    auth = master.www.auth
    header = (request.getHeader(b"authorization") or b"").strip() or None
    # a proxy that checked a password may pass it on to a master that takes none
    if header is not None and (takes_passwords(master) or not _is_basic(header)):
        return await _by_header(auth, header)
    try:
        await auth.maybeAutoLogin(request)
    except WebError as error:
        # RemoteUserAuth without the proxy's header
        if reads:
            return Identity("anonymous", {"anonymous": True})
        raise Unauthorized("Nobody knows who you are", _text(error.message)) from error
    via = "remote_user" if isinstance(auth, RemoteUserAuth) else "session"
    return from_session(master, request, via)


def from_session(master: Any, request: Request, via: str = "session") -> Identity:
    """Return whom Buildbot's session cookie names, if there is one."""
    if via == "session" and request.getCookie(session_cookie(request)) is None:
        return Identity("anonymous", {"anonymous": True})  # asking for a session would make one
    user_info = dict(master.www.getUserInfos(request))
    return Identity("anonymous" if user_info.get("anonymous") else via, user_info)


def takes_passwords(master: Any) -> bool:
    """Whether this master can check a user name and a password."""
    return isinstance(master.www.auth, TwistedICredAuthBase)


def door_url(master: Any, site: Site, path: str, door: str) -> str:
    """Return where a visitor of *path* can log in or out; empty where Buildbot has no such page.

    Both end in Buildbot's own pages; the script in ``static`` leads from there to *path*.

    :param door: ``login`` or ``logout``
    """
    if isinstance(master.www.auth, NoAuth | RemoteUserAuth):
        return ""
    back = "/self-serve" + path.removeprefix(site.root)
    return f"{site.prefix}/auth/{door}?redirect={quote(back, safe='')}"


async def _by_header(auth: Any, header: bytes) -> Identity:
    if not _is_basic(header):
        # without their first word: it may be the secret itself
        raise Unauthorized("These credentials are of a kind that is not taken here")
    _, *values = header.split(None, 1)
    value = values[0] if values else b""
    try:
        user, colon, password = base64.b64decode(value.strip(), validate=True).partition(b":")
    except binascii.Error:
        user = colon = password = b""
    user_info = await _checked(auth, user, password) if colon else None
    if user_info is None:
        raise Unauthorized("Wrong user name or password")
    return Identity("basic", user_info)


def _is_basic(header: bytes) -> bool:
    return header.lower().split(None, 1)[:1] == [b"basic"]


class _IUserName(Interface):
    """The avatar of somebody whose password was right: their name."""


@implementer(IRealm)
class _UserNames:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return _IUserName, avatarId, lambda: None


async def _checked(auth: Any, user: bytes, password: bytes) -> dict[str, Any] | None:
    """Ask the checkers of Buildbot's login page; return what a session would then hold."""
    checkers = [
        checker for checker in auth.checkers if IUsernamePassword in checker.credentialInterfaces
    ]
    if not checkers:
        return None
    portal = Portal(_UserNames(), checkers)
    try:
        _, name, _ = await portal.login(UsernamePassword(user, password), None, _IUserName)
        user_info = {"username": name.decode("utf-8") if isinstance(name, bytes) else name}
    except (LoginFailed, UnicodeDecodeError):
        return None
    if auth.userInfoProvider is not None:
        # as AuthBase.updateUserInfo does for a session
        user_info.update(await auth.userInfoProvider.getUserInfo(user_info["username"]))
    return user_info


def _text(raw: bytes | str | None) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw or ""
