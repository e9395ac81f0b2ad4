"""Sets the headers of every response, and those that let other sites read it (CORS)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.web.server import Request

from buildbot_selfserve.auth import csrf

#: A page runs only scripts of our own, and nobody may frame it; nobody keeps a copy.
EVERY = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # not even blindly, as an image or a script; what CORS lets in does not ask this
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Vary": "Accept, Accept-Encoding, Cookie, Origin",
    "X-Content-Type-Options": "nosniff",
    # for browsers that do not know frame-ancestors
    "X-Frame-Options": "DENY",
}
#: The same as Twisted keeps it: a copy of each is made for every answer.
_RAW = [(name.encode(), [value.encode()]) for name, value in EVERY.items()]
#: What scripts of other sites may see of an answer, beyond what they always may.
EXPOSED = ("ETag", "Link", "Location", "Retry-After", "WWW-Authenticate")
#: What they may send.
ACCEPTED = (
    "Accept",
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "X-Requested-With",
)
#: Seconds for which a browser need not ask again what it may send.
REMEMBERED = 600


def put_on(master: Any, request: Request) -> None:
    """Set the headers that every answer has.

    Scripts of a page elsewhere may read it if ``c['www']['allowed_origins']`` names their site; of
    the visitor's own credentials they have the use only where that names it in particular.
    """
    set_header = request.responseHeaders.setRawHeaders
    for name, values in _RAW:
        set_header(name, values)
    if request.getHeader(b"origin") is None:
        return
    origin = csrf.origin_of(request)
    if origin is None or not csrf.may_read(master, origin):
        return
    request.setHeader("Access-Control-Allow-Origin", origin)
    request.setHeader("Access-Control-Expose-Headers", ", ".join(EXPOSED))
    if csrf.is_trusted(master, origin):
        request.setHeader("Access-Control-Allow-Credentials", "true")


def answer_options(request: Request, methods: Iterable[str]) -> bytes:
    """Answer OPTIONS: which *methods* there are; and to a browser's question beforehand, what a
    script of a site that may read us may send.
    """
    allowed = ", ".join(methods)
    request.setResponseCode(204)
    request.setHeader("Allow", allowed)
    asks = request.getHeader(b"access-control-request-method")
    if asks and request.responseHeaders.hasHeader("Access-Control-Allow-Origin"):
        request.setHeader("Access-Control-Allow-Methods", allowed)
        request.setHeader("Access-Control-Allow-Headers", ", ".join(ACCEPTED))
        request.setHeader("Access-Control-Max-Age", str(REMEMBERED))
    return b""
