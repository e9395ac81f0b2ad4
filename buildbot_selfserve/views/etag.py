"""Adds entity tags to responses, answers 304 to clients that have them, and compresses."""

from __future__ import annotations

import gzip
import hashlib

from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response

#: A body with fewer bytes than this is not compressed.
SMALLEST_PACKED = 1024
#: The gzip level: speed matters more than the last percent.
GZIP_LEVEL = 2


def tagged(read_request: ReadRequest, whole: Response) -> Response:
    """Return *whole* with its entity tag, or a 304 if the client has it already."""
    # the quickest hash of megabytes; nobody gains from two bodies with the same tag
    digest = hashlib.sha1(whole.body, usedforsecurity=False)
    # headers are part of the tag, as the links of an unchanged part can change
    digest.update(repr((whole.content_type, whole.headers)).encode())
    tag = f'"{digest.hexdigest()}{"-gzip" if read_request.gzip else ""}"'
    headers = (("ETag", tag), *whole.headers)
    if tag in read_request.known or "*" in read_request.known:
        return Response(304, "", b"", headers)
    return _packed(read_request, whole._replace(headers=headers))


def _packed(read_request: ReadRequest, answer: Response) -> Response:
    if not read_request.gzip or len(answer.body) < SMALLEST_PACKED:
        return answer
    body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
    return answer._replace(body=body, headers=(*answer.headers, ("Content-Encoding", "gzip")))
