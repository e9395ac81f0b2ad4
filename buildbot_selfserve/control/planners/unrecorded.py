"""Shows schedulers changes, sourcestamps and state objects that are not recorded yet.

They have negative ids. The real master finds them by these ids, because a scheduler class in
master.cfg may have kept a reference to it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from buildbot.db.changes import ChangeModel
from buildbot.db.model import Model
from buildbot.db.sourcestamps import SourceStampModel
from buildbot.util import epoch2datetime
from twisted.internet import defer

from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Stamp

#: The id of no object.
NO_OBJECT = -1
_ids = itertools.count(-2, -1)
_changes: dict[int, ChangeModel] = {}
_stamps: dict[int, SourceStampModel] = {}
#: Object ids by name and class, and the reverse. Schedulers keep the ids, so they are never
#: dropped; there are as many as schedulers have names.
_object_ids: dict[tuple[str, str], int] = {}
_objects: dict[int, tuple[str, str]] = {}


class Unrecorded:
    """The changes and sourcestamps of one plan."""

    def __init__(self, master: Any) -> None:
        _watch(master)
        self._change_ids: list[int] = []
        self._stamp_ids: dict[tuple[tuple[str, Any], ...], int] = {}

    def change_id(self, change: NewChange, sourcestamp_id: int | None = None) -> int:
        """Return an id by which the master finds *change*.

        :param sourcestamp_id: its sourcestamp, if recorded
        """
        place = change.sourcestamp
        if sourcestamp_id is None:
            sourcestamp_id = self.sourcestamp_id(place.at(change.revision))
        number = next(_ids)
        _changes[number] = ChangeModel(
            changeid=number,
            author=change.author,
            committer=change.committer,
            comments=change.comments,
            branch=place.branch,
            revision=change.revision,
            revlink=change.revlink,
            when_timestamp=epoch2datetime(int(time.time()) if change.when is None else change.when),
            category=change.category,
            sourcestampid=sourcestamp_id,
            repository=place.repository,
            codebase=place.codebase,
            project=place.project,
            files=list(change.files),
            properties=dict(change.properties),
        )
        self._change_ids.append(number)
        return number

    def sourcestamp_id(self, stamp: Mapping[str, Any]) -> int:
        """Return an id by which the master finds the sourcestamp *stamp*.

        :param stamp: the arguments of ``db.sourcestamps.findSourceStampId``
        """
        whole: dict[str, Any] = {
            "branch": None,
            "revision": None,
            "repository": "",
            "project": "",
            "codebase": "",
        }
        whole |= {name: value for name, value in stamp.items() if value is not None}
        key = tuple(sorted(whole.items()))
        if key not in self._stamp_ids:
            number = self._stamp_ids[key] = next(_ids)
            _stamps[number] = SourceStampModel(
                ssid=number, created_at=epoch2datetime(int(time.time())), **whole
            )
        return self._stamp_ids[key]

    def planned(self, stamp: Stamp) -> Stamp:
        """Return *stamp* for a plan: the fields of an unrecorded sourcestamp, else the id."""
        if not isinstance(stamp, int) or stamp not in _stamps:
            return stamp
        one = _stamps[stamp]
        place = Sourcestamp(one.branch, one.codebase, one.repository, one.project)
        return place.at(one.revision)

    def forget(self) -> None:
        """Drop the changes and sourcestamps of this plan."""
        for number in self._change_ids:
            _changes.pop(number, None)
        for number in self._stamp_ids.values():
            _stamps.pop(number, None)


async def object_id(master: Any, name: str, class_name: str) -> int:
    """Return the id of a state object, or a negative one if it is not recorded.

    ``db.state.getObjectId`` would record the object.
    """
    key = (name, class_name)
    found: int | None = await master.db.pool.do(_object, master.db.state, *key)
    if found is not None:
        return found
    if key not in _object_ids:
        number = _object_ids[key] = next(_ids)
        _objects[number] = key
    return _object_ids[key]


async def get_state(master: Any, object_id: int, *args: Any, **kwargs: Any) -> Any:
    """Return the result of ``db.state.getState`` without recording an object.

    :raises KeyError: there is neither such a state nor a default
    """
    if object_id in _objects:
        key = _objects[object_id]
        found = await master.db.pool.do(_object, master.db.state, *key)
        object_id = NO_OBJECT if found is None else found
    return await master.db.state.getState(object_id, *args, **kwargs)


def _object(connection: sa.Connection, state: Any, name: str, class_name: str) -> int | None:
    objects = Model.objects
    query = sa.select(objects.c.id).where(
        objects.c.name == state.ensureLength(objects.c.name, name),
        objects.c.class_name == class_name,
    )
    found: int | None = connection.execute(query).scalar()
    return found


def _watch(master: Any) -> None:
    """Patch the real master, so that it finds unrecorded changes, sourcestamps and objects."""
    changes, stamps = master.db.changes, master.db.sourcestamps
    if hasattr(changes, "selfserve_watched"):
        return
    changes.selfserve_watched = True
    changes.getChange = _first(_changes.get, changes.getChange)
    changes.getChangeFromSSid = _first(_change_of, changes.getChangeFromSSid)
    stamps.getSourceStamp = _first(_stamps.get, stamps.getSourceStamp)
    state = master.db.state
    for name in ("getState", "setState", "atomicCreateState"):
        setattr(state, name, _of_object(state, getattr(state, name)))


def _change_of(sourcestamp_id: int) -> ChangeModel | None:
    found = [one for one in _changes.values() if one.sourcestampid == sourcestamp_id < 0]
    return found[-1] if found else None


def _first(look_up: Callable[[int], Any], real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls *look_up*, and *real* if that finds nothing."""

    def get(key: int, *args: Any, **kwargs: Any) -> Any:
        found = look_up(key)
        return real(key, *args, **kwargs) if found is None else defer.succeed(found)

    return get


def _of_object(state: Any, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return *real*, preceded by recording an unrecorded object, as Buildbot would."""

    def call(objectid: int, *args: Any, **kwargs: Any) -> Any:
        if objectid not in _objects:
            return real(objectid, *args, **kwargs)
        recorded = state.getObjectId(*_objects[objectid])
        return recorded.addCallback(real, *args, **kwargs)

    return call
