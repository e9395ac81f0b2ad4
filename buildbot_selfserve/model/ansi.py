"""Text with terminal escape sequences, as runs of one style each.

Colours (SGR, ECMA-48) become the names of CSS classes; all other sequences are dropped. The names
are those of the sixteen usual colours: what has 256 or 16 million gets the nearest of them, because
a page of ours has no styles of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from typing import NamedTuple

#: The sixteen colours, in the order of their numbers, and what each is like in red, green, blue.
COLOURS = (
    ("black", (0, 0, 0)),
    ("red", (205, 49, 49)),
    ("green", (13, 188, 121)),
    ("yellow", (229, 229, 16)),
    ("blue", (36, 114, 200)),
    ("magenta", (188, 63, 188)),
    ("cyan", (17, 168, 205)),
    ("white", (229, 229, 229)),
    ("bright-black", (102, 102, 102)),
    ("bright-red", (241, 76, 76)),
    ("bright-green", (35, 209, 139)),
    ("bright-yellow", (245, 245, 67)),
    ("bright-blue", (59, 142, 234)),
    ("bright-magenta", (214, 112, 214)),
    ("bright-cyan", (41, 184, 219)),
    ("bright-white", (255, 255, 255)),
)
#: Steps of the colour cube in the palette of 256.
_CUBE = (0, 95, 135, 175, 215, 255)

#: A control sequence; a string that a terminal does not show, up to its end; the choice of a
#: character set; any other sequence. One that is cut off loses what tells that it is one.
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)(?P<arguments>[0-?]*)(?P<more>[ -/]*)(?P<final>[@-~])?"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])(?:[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c))?"
    r"|\x1b[ -/]+[0-~]?"
    r"|\x1b[0-~]?"
)


class Run(NamedTuple):
    """Text in one style.

    :param style: names of CSS classes with blanks between them; empty for plain text
    """

    text: str
    style: str = ""


@dataclass(frozen=True)
class Style:
    """What a terminal has been told of the text to come.

    :param front: the number of a colour, ``None`` for the usual one; so is *back*
    """

    front: int | None = None
    back: int | None = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    inverse: bool = False
    struck: bool = False

    @property
    def classes(self) -> str:
        """Return the names of its CSS classes."""
        front, back = (self.back, self.front) if self.inverse else (self.front, self.back)
        if self.inverse and back is None:
            back = 7
        # a background has a text colour that can be read on it
        colour = f"on-{COLOURS[back][0]}" if back is not None else ""
        if not colour and front is not None:
            colour = f"in-{COLOURS[front][0]}"
        flags = ("bold", "dim", "italic", "underline", "struck")
        return " ".join(filter(None, (colour, *(name for name in flags if getattr(self, name)))))


PLAIN = Style()

_SET = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "struck"}
_UNSET = {
    21: ("bold",),
    22: ("bold", "dim"),
    23: ("italic",),
    24: ("underline",),
    27: ("inverse",),
    29: ("struck",),
}
#: The colours that have codes of their own; the usual ones are ``None``.
_FRONT: dict[int, int | None] = {
    **{30 + number: number for number in range(8)},
    39: None,
    **{90 + number: 8 + number for number in range(8)},
}
_BACK = {code + 10: colour for code, colour in _FRONT.items()}


def runs(text: str, style: Style = PLAIN) -> tuple[tuple[Run, ...], Style]:
    """Return *text* as runs, and the style of the text behind it.

    :param style: that of the text before it
    """
    found: list[Run] = []
    begin = 0
    for match in _ESCAPE.finditer(text):
        _add(found, text[begin : match.start()], style)
        begin = match.end()
        if match["final"] == "m" and not match["more"]:
            style = _changed(style, match["arguments"])
    _add(found, text[begin:], style)
    return tuple(found), style


def plain(text: str) -> str:
    """Return *text* without escape sequences."""
    return _ESCAPE.sub("", text)


def cut(some: tuple[Run, ...], longest: int) -> tuple[Run, ...]:
    """Return the first *longest* characters of *some* runs."""
    kept = []
    for run in some:
        if longest <= 0:
            break
        kept.append(Run(run.text[:longest], run.style))
        longest -= len(run.text)
    return tuple(kept)


def _add(found: list[Run], text: str, style: Style) -> None:
    if text:
        found.append(Run(text, style.classes))


def _changed(style: Style, arguments: str) -> Style:
    """Return *style* after an SGR sequence with these *arguments*."""
    if not all(one in "0123456789;:" for one in arguments):
        return style  # of some terminal's own
    fields = iter(arguments.split(";"))
    for field in fields:
        code, *more = map(_number, field.split(":"))
        if code in (38, 48):
            # what belongs to a colour stands behind colons, or in the next fields
            colour = _palette(_without_space(more) if more else map(_number, fields))
            style = replace(style, front=colour) if code == 38 else replace(style, back=colour)
        elif code == 0:
            style = PLAIN
        elif code in _SET:
            style = replace(style, **{_SET[code]: True})
        elif code in _UNSET:
            style = replace(style, **dict.fromkeys(_UNSET[code], False))
        else:
            style = _coloured(style, code)
    return style


def _without_space(more: list[int]) -> Iterator[int]:
    """Return the *more* of a colour without the colour space, which may stand before its parts."""
    return iter([more[0], *more[2:]] if more[0] == 2 and len(more) > 4 else more)


def _number(text: str) -> int:
    # no number of SGR has more digits, and Python reads none with over 4,300
    return int(text[:4] or "0")


def _coloured(style: Style, code: int) -> Style:
    if code in _FRONT:
        return replace(style, front=_FRONT[code])
    if code in _BACK:
        return replace(style, back=_BACK[code])
    return style


def _palette(codes: Iterator[int]) -> int | None:
    """Return the colour that is meant by what follows 38 or 48."""
    kind = next(codes, 0)
    if kind == 2:
        red, green, blue = (min(next(codes, 0), 255) for _ in range(3))
        return _nearest((red, green, blue))
    if kind != 5:
        return None
    number = next(codes, 0)
    if number < len(COLOURS):
        return number
    if number >= 232:
        grey = min(8 + 10 * (number - 232), 255)
        return _nearest((grey, grey, grey))
    number -= 16
    return _nearest((_CUBE[number // 36], _CUBE[number // 6 % 6], _CUBE[number % 6]))


def _nearest(colour: tuple[int, int, int]) -> int:
    def distance(number: int) -> int:
        return sum((a - b) ** 2 for a, b in zip(COLOURS[number][1], colour, strict=True))

    return min(range(len(COLOURS)), key=distance)
