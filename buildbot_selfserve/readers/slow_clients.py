"""Cuts off clients that take long answers too slowly while others wait for room."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.readers.bodies import Body

#: Bytes per second; a client that takes less may be cut off while others wait for room.
SLOWEST = 64 * 1024


def make_room(bodies: Iterable[Body], lacking: int) -> None:
    """Cut off the slowest clients until *lacking* bytes are free, or no client is too slow.

    A text is freed when all its clients are cut off, so its pace is that of its fastest client.
    """
    by_text: dict[int, list[Body]] = {}
    for body in bodies:
        by_text.setdefault(body.text_number, []).append(body)
    paces = {number: max(one.pace() for one in its) for number, its in by_text.items()}
    for number in sorted(paces, key=paces.__getitem__):
        if lacking <= 0 or paces[number] >= SLOWEST:
            return
        lacking -= by_text[number][0].length
        for body in by_text[number]:
            body.lose()
