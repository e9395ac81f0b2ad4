"""Collects what is wrong with arguments: ``buildbot checkconfig`` names all of it at once."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping

from buildbot import config as buildbot_config

from buildbot_selfserve.params.texts import is_plain


class Checker:
    """Collects what is wrong with the arguments of one constructor."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def require(self, fine: object, key: str, value: object, expected: str) -> None:
        """Report *value* of *key* unless it is *fine*."""
        if not fine:
            buildbot_config.error(f"{self.owner}: {key}={value!r} must be {expected}")

    def secret(self, key: str, fine: object, expected: str) -> None:
        """Report *key* unless its value, which is not shown, is *fine*."""
        if not fine:
            buildbot_config.error(f"{self.owner}: {key}='...' must be {expected}")

    def unknown(self, arguments: Mapping[str, object], known: Iterable[str]) -> None:
        """Report arguments that do not exist."""
        for key in arguments:
            buildbot_config.error(
                f"{self.owner}: there is no argument {key!r}; it takes {', '.join(known)}"
            )

    def keywords(
        self, unexpected: tuple[object, ...], unknown: Mapping[str, object], known: Iterable[str]
    ) -> None:
        """Report arguments without a keyword, and those that do not exist."""
        for value in unexpected[:1]:
            buildbot_config.error(
                f"{self.owner}: {value!r} needs a keyword; it takes {', '.join(known)}"
            )
        self.unknown(unknown, known)

    def boolean(self, key: str, value: object) -> None:
        """Report *value* of *key* unless it is True or False."""
        self.require(isinstance(value, bool), key, value, "True or False")

    def text(self, key: str, value: object, *, optional: bool = True) -> None:
        """Report *value* of *key* unless it is a text, or ``None`` where it is *optional*."""
        fine = (value is None and optional) or (isinstance(value, str) and is_plain(value))
        self.require(fine, key, value, "a text" + (" or None" if optional else ""))

    def texts(self, key: str, value: object) -> None:
        """Report *value* of *key* unless it is a text, a list of texts, or ``None``."""
        several = list(value) if isinstance(value, list | tuple) else [value]
        fine = several and all(isinstance(one, str) and is_plain(one) for one in several)
        self.require(value is None or fine, key, value, "a text, a list of texts, or None")

    def number(self, key: str, value: object, minimum: float, maximum: float) -> None:
        """Report *value* of *key* unless it is a number between the two."""
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        fine = fine and minimum <= value <= maximum  # type: ignore[operator]
        self.require(fine, key, value, f"a number from {minimum:g} to {maximum:g}")

    def whole(self, key: str, value: object, minimum: int, maximum: int) -> None:
        """Report *value* of *key* unless it is a whole number between the two."""
        fine = isinstance(value, int) and not isinstance(value, bool)
        fine = fine and minimum <= value <= maximum  # type: ignore[operator]
        self.require(fine, key, value, f"a whole number from {minimum} to {maximum}")
