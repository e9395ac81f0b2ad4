"""Mounts a resource under the master's web root, at a path of one or several segments.

Buildbot mounts plugins at ``/plugins/KEY`` only; ours answers where the operator says.
"""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource
from twisted.web.resource import Resource


class _Directory(Resource):
    """A segment on the way to us; nothing answers there."""

    def __init__(self, nothing: IResource) -> None:
        Resource.__init__(self)
        self._nothing = nothing

    def getChild(self, path: bytes, request: Any) -> IResource:
        return self._nothing

    def render(self, request: Any) -> Any:
        return self._nothing.render(request)


class Mount:
    """Where a resource is mounted now, if anywhere.

    :param nothing: answers at the segments on the way to it
    """

    def __init__(self, nothing: IResource) -> None:
        self._nothing = nothing
        self._where: tuple[Resource, bytes, IResource] | None = None

    def move(self, web_root: Resource, segments: tuple[str, ...], resource: IResource) -> None:
        """Mount *resource* at *segments* below *web_root*, and nowhere else."""
        self.remove()
        *directories, last = (segment.encode() for segment in segments)
        parent = web_root
        for name in directories:
            child = parent.children.get(name)
            if not isinstance(child, _Directory):
                child = _Directory(self._nothing)
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
