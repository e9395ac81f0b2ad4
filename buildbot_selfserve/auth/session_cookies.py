"""Buildbot's session cookie: its name, and taking out a broken or expired one."""

from __future__ import annotations

from typing import Any

import jwt
from buildbot.www.auth import SESSION_SECRET_ALGORITHM
from buildbot.www.auth import build_cookie_name
from twisted.web.server import Request


def session_cookie(request: Request) -> bytes:
    """Return the name of Buildbot's session cookie in *request*."""
    sitepath = getattr(request, "sitepath", [])  # Twisted sets it when it looks for the resource
    name: bytes = build_cookie_name(request.isSecure(), sitepath)
    return name


def forget_broken(master: Any, request: Request) -> None:
    """Take a session cookie out of *request* that this master has not signed, or that is over.

    Buildbot takes it for none as well, but first logs whatever anybody may send as an error, with
    its traceback (buildbot/www/auth.py, parse_user_info_from_token).
    """
    name = session_cookie(request)
    token = request.getCookie(name)
    if token is None:
        return
    try:
        jwt.decode(token, master.www.site.session_secret, algorithms=[SESSION_SECRET_ALGORITHM])
    except Exception:
        # anybody may send anything; nested deeply enough, it is a RecursionError
        del request.received_cookies[name]
