"""Puts a resource under the master's web root, at a path of one or several segments.

Buildbot mounts plugins at ``/plugins/KEY`` only; ours answers where the operator says.
"""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource
from twisted.web.resource import NoResource
from twisted.web.resource import Resource


class _Directory(Resource):
    """A segment on the way to us; nothing answers there."""

    def render(self, request: Any) -> bytes:
        page: bytes = NoResource().render(request)
        return page


class Mount:
    """Where a resource is mounted now, if anywhere."""

    def __init__(self) -> None:
        self._where: tuple[Resource, bytes, IResource] | None = None

    def move(self, web_root: Resource, segments: tuple[str, ...], resource: IResource) -> None:
        """Mount *resource* at *segments* below *web_root*, and nowhere else."""
        self.remove()
        *directories, last = (segment.encode() for segment in segments)
        parent = web_root
        for name in directories:
            child = parent.children.get(name)
            if not isinstance(child, _Directory):
                child = _Directory()
                parent.putChild(name, child)
            parent = child
        parent.putChild(last, resource)
        self._where = (parent, last, resource)

    def remove(self) -> None:
        """Take the resource away from where it is."""
        if self._where is None:
            return
        parent, name, resource = self._where
        if parent.children.get(name) is resource:
            parent.delEntity(name)
        self._where = None
