"""Compares what people type for revisions and users.

The one place that says when two texts name the same commit, or the same person.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

#: The lengths of a hash: SHA-1 (Git, Mercurial) and SHA-256 (Git).
HASH_LENGTHS = (40, 64)
#: Hexadecimal digits that a hash may be abbreviated to (docs/migrating.md).
SHORTEST = 6
#: The fewest that Git itself takes: a build that was asked for with them says what it found.
SHORTEST_BUILT = 4

#: Whitespace, and what is as invisible and comes along when a text is copied from a page.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u2060\ufeff"
_HEXADECIMAL = re.compile("[0-9A-Fa-f]+")
_SMALL = re.compile("[0-9a-f]+")
_WHOLE = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_BRACKETED = re.compile(r"<([^<>]+)>")
_ADDRESS = re.compile(r"<([^<>]+)>\s*$")
_BARE_ADDRESS = re.compile(r"[^\s<>@]+@[^\s<>@]+")


def trimmed(text: str) -> str:
    """Return *text* without the blanks around it."""
    return text.strip(_BLANKS)


# -- revisions


def one_spelling(revision: str | None) -> str:
    """Return the spelling of *revision* under which it is known: that of a hash in small letters.

    Empty without a revision.
    """
    # nearly all are written so
    if revision and _WHOLE.fullmatch(revision):
        return revision
    text = trimmed(revision or "")
    return text.lower() if is_hash(text) else text


def are_hashes(texts: Sequence[str | None]) -> bool:
    """Whether each of *texts* is a hash of the shorter kind, in its one spelling."""
    # of thousands at once, that takes a fraction of asking for each
    known = list(filter(None, texts))
    if len(known) < len(texts) or set(map(len, known)) != {HASH_LENGTHS[0]}:
        return False
    return _SMALL.fullmatch("".join(known)) is not None


def is_hash(text: str) -> bool:
    """Whether *text* is a whole hash."""
    return len(text) in HASH_LENGTHS and _HEXADECIMAL.fullmatch(text) is not None


def may_abbreviate(text: str, shortest: int = SHORTEST) -> bool:
    """Whether *text* may be the beginning of a hash, with at least *shortest* digits."""
    longest = max(HASH_LENGTHS) - 1
    return shortest <= len(text) <= longest and _HEXADECIMAL.fullmatch(text) is not None


def is_abbreviation(text: str, shortest: int = SHORTEST) -> bool:
    """Whether *text* may be the beginning of a hash and is none itself.

    A whole hash of the shorter kind is itself, also where one of the longer kind begins so.
    """
    return len(text) not in HASH_LENGTHS and may_abbreviate(text, shortest)


def begins(text: str, revision: str) -> bool:
    """Whether *revision* is a hash that begins with the digits of *text*."""
    return is_hash(revision) and revision.lower().startswith(text.lower())


def means(text: str, revision: str) -> bool:
    """Whether *text* may stand for the whole *revision*."""
    text = one_spelling(text)
    return text == one_spelling(revision) or (may_abbreviate(text) and begins(text, revision))


# -- users


def user_key(user: str) -> str:
    """Return what *user* is compared by: a name with its case, an address without.

    :param user: a name, an address, or ``Name <address>``
    """
    user = trimmed(user)
    if _BARE_ADDRESS.fullmatch(user):
        return _address_key(user)
    whole = _ADDRESS.search(user)
    return user if whole is None else f"{user[: whole.start()]}<{_address_key(whole[1])}>"


@lru_cache(maxsize=1000)
def user_keys(user: str) -> frozenset[str]:
    """Return everything by which *user* is found: the whole name, and the addresses in it."""
    keys = {user_key(user)}
    last = _ADDRESS.search(trimmed(user))
    if last is not None:
        keys.add(_address_key(last[1]))
    keys.update(_address_key(one) for one in _BRACKETED.findall(user) if "@" in one)
    return frozenset(keys)


def has_address(user: str) -> bool:
    """Whether *user* is an address, or ends with one."""
    user = trimmed(user)
    return _BARE_ADDRESS.fullmatch(user) is not None or _ADDRESS.search(user) is not None


def _address_key(address: str) -> str:
    """Return *address* as it is compared: without case, and its domain as in a mail's envelope."""
    address = unicodedata.normalize("NFC", trimmed(address)).casefold()
    local, at, domain = address.rpartition("@")
    with suppress(UnicodeError):  # of what no mail could be sent to
        domain = domain.encode("idna").decode("ascii")
    return f"{local}{at}{domain}"
