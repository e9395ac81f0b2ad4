"""Sorted columns that need little memory and are fast to search.

A row of Python objects takes ten times the memory of its numbers in arrays. Nearly all new rows
belong at the end, where insertion is cheap; large batches are appended, and sorted at the next
read. Ids have 31 bits, as Buildbot's columns do.
"""

from __future__ import annotations

import bisect
import sys
from array import array
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import groupby
from itertools import islice
from operator import eq
from operator import itemgetter
from operator import le
from operator import lt
from typing import TypeVar

from buildbot_selfserve.model import are_hashes

_Ordered = TypeVar("_Ordered", int, tuple[int, int])

#: Up to this many new rows are inserted one by one; more are appended and sorted.
FEW = 100
#: Bits of a value when key and value are packed into one number.
_VALUE_BITS = 32
_VALUE = 2**_VALUE_BITS - 1
#: The highest key that has room in an array of small numbers.
_MOST = 2**31 - 1


class Pairs:
    """Pairs of a key and a value, sorted by both, without duplicates.

    :param long: keys may have more than 31 bits, as times do from 2038 on
    """

    def __init__(self, *, long: bool = False) -> None:
        self._keys = array("q" if long else "i")
        self._values = array("i")
        self._in_order = True

    def __len__(self) -> int:
        self.sort()
        return len(self._keys)

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add pairs of a key and a value."""
        new = list(pairs)
        if new:
            self.extend(*zip(*new, strict=True))

    def extend(self, keys: Sequence[int], values: Sequence[int]) -> None:
        """Add keys with their values; many are sorted at the next read, if they need to be."""
        if self._in_order and len(keys) <= FEW:
            self._insert(zip(keys, values, strict=True))
            return
        self._in_order = self._in_order and self._follow(keys, values)
        self._keys.extend(keys)
        self._values.extend(values)

    def _follow(self, keys: Sequence[int], values: Sequence[int]) -> bool:
        """Return whether these pairs are in order and come after those that are here."""
        if self._keys and (keys[0] < self._keys[-1] or values[0] <= self._values[-1]):
            return False
        return ascend(keys, le) and ascend(values)

    def _insert(self, new: Iterable[tuple[int, int]]) -> None:
        for key, value in new:
            low, high = self._span(key, key + 1)
            where = bisect.bisect_left(self._values, value, low, high)
            if where == high or self._values[where] != value:
                self._keys.insert(where, key)
                self._values.insert(where, value)

    def sort(self) -> None:
        """Sort what was appended; otherwise the next read does."""
        if self._in_order:
            return
        # packed numbers sort in half the time of tuples, with a third of the memory
        both = _packed(self._keys, self._values)
        both.sort()
        self._keys, self._values = _unpacked(_once(both), self._keys.typecode)
        self._in_order = True

    def between(self, low: int, high: int) -> array[int]:
        """Return the values of keys from *low* to below *high*."""
        begin, end = self._span(low, high)
        return self._values[begin:end]

    def items_between(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return keys from *low* to below *high*, with their values."""
        begin, end = self._span(low, high)
        return list(zip(self._keys[begin:end], self._values[begin:end], strict=True))

    def newest(self, count: int) -> list[tuple[int, int]]:
        """Return the *count* highest keys with their values."""
        self.sort()
        return list(zip(self._keys[-count:], self._values[-count:], strict=True))

    def descending(self, below: int | None) -> Iterator[tuple[int, int]]:
        """Yield keys and values, the highest key first; only keys *below* that, unless ``None``."""
        self.sort()
        end = len(self._keys) if below is None else bisect.bisect_left(self._keys, below)
        for where in range(end - 1, -1, -1):
            yield self._keys[where], self._values[where]

    def of(self, key: int) -> array[int]:
        """Return the values of *key*."""
        return self.between(key, key + 1)

    def _span(self, low: int, high: int) -> tuple[int, int]:
        if not self._in_order:
            self.sort()
        begin = bisect.bisect_left(self._keys, low)
        return begin, bisect.bisect_left(self._keys, high, begin)


#: Where the halves of a number lie that is packed into eight bytes.
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)


def _packed(keys: array[int], values: array[int]) -> list[int]:
    """Return keys and values, none of them negative, as numbers that sort as the pairs do."""
    if keys.typecode == "q":
        try:
            keys = array("i", keys)
        except OverflowError:  # times after 2038
            return [key << _VALUE_BITS | value for key, value in zip(keys, values, strict=True)]
    # arrays copy each half at once; to pack the numbers one by one takes five times as long
    halves = array("i", bytes(2 * keys.itemsize * len(keys)))
    halves[_LOW::2], halves[_HIGH::2] = values, keys
    return memoryview(halves).cast("B").cast("q").tolist()


def _unpacked(both: list[int], typecode: str) -> tuple[array[int], array[int]]:
    """Return keys and values of numbers that were packed."""
    if both and both[-1] >> _VALUE_BITS > _MOST:
        keys = array(typecode, (one >> _VALUE_BITS for one in both))
        return keys, array("i", (one & _VALUE for one in both))
    halves = array("i", array("q", both).tobytes())
    return array(typecode, halves[_HIGH::2]), halves[_LOW::2]


def _once(numbers: list[_Ordered]) -> list[_Ordered]:
    """Return sorted *numbers* without duplicates."""
    if any(map(eq, numbers, islice(numbers, 1, None))):
        return [one for one, _ in groupby(numbers)]
    return numbers


def ascend(numbers: Sequence[int], order: Callable[[int, int], bool] = lt) -> bool:
    """Return whether each of *numbers* is higher than the one before.

    :param order: ``le`` where it may also be the same
    """
    return all(map(order, numbers, islice(numbers, 1, None)))


class Ids:
    """Sorted ids; the index of an id is the index of its row in the columns beside this one."""

    def __init__(self) -> None:
        self._ids = array("i")

    def __len__(self) -> int:
        return len(self._ids)

    def where(self, one: int) -> int | None:
        """Return the index of an id, ``None`` if it is missing."""
        ids = self._ids
        if not ids or one > ids[-1] or one < ids[0]:
            return None
        # few ids are skipped, and an id cannot be further on than if none were
        end = one - ids[0]
        if end < len(ids) and ids[end] == one:
            return end
        where = bisect.bisect_left(ids, one, 0, min(end, len(ids)))
        return where if ids[where] == one else None

    def __getitem__(self, wheres: slice) -> array[int]:
        return self._ids[wheres]

    @property
    def last(self) -> int:
        """Return the highest id, 0 if there is none."""
        return self._ids[-1] if self._ids else 0

    def beside(self, ids: Sequence[int], column: Sequence[int]) -> list[int | None]:
        """Return what stands in *column* beside each of *ids*, ``None`` for each missing id."""
        first, last = (self._ids[0], self._ids[-1]) if self._ids else (0, -1)
        if ids and last - first + 1 == len(self._ids) and first <= min(ids) <= max(ids) <= last:
            return [column[one - first] for one in ids]  # no id is skipped
        wheres = map(self.where, ids)
        return [None if where is None else column[where] for where in wheres]

    def at(self, where: int) -> int:
        """Return the id at an index."""
        return self._ids[where]

    def are_newer(self, ids: Sequence[int]) -> bool:
        """Return whether *ids* are ascending and all higher than the present ids."""
        return not ids or (ids[0] > self.last and ascend(ids))

    def extend(self, ids: Iterable[int]) -> None:
        """Add ascending ids that are higher than all present ids."""
        self._ids.extend(ids)

    def append(self, one: int) -> None:
        """Add an id that is higher than all present ids."""
        self._ids.append(one)

    def insert(self, one: int) -> int:
        """Add a missing id; return the index at which to insert its row."""
        if not self._ids or one > self._ids[-1]:
            self._ids.append(one)
            return len(self._ids) - 1
        where = bisect.bisect_left(self._ids, one)
        self._ids.insert(where, one)
        return where

    def before(self, one: int | None) -> int:
        """Return the number of ids below *one*, of all ids if ``None``."""
        return len(self._ids) if one is None else bisect.bisect_left(self._ids, one)

    def cut(self, count: int) -> None:
        """Remove the first *count* ids."""
        del self._ids[:count]


#: The first byte of an entry of ``Texts``: up to _SHORT, it is the number of bytes of text that
#: follow; _LONG means that the length of the text follows; from _HEXADECIMAL on, the excess is the
#: number of bytes that follow, which stand for twice as many digits.
_SHORT, _LONG, _HEXADECIMAL = 126, 127, 128
#: The number of bytes of that length.
_LENGTH = 4
#: The bytes of a hash of Git or Mercurial, as nearly all texts are.
_HASH = 20
_HASH_BEGIN = bytes([_HEXADECIMAL + _HASH])
#: Room for one, and how many are added at once if there is nothing else among them.
_ENTRY, _AT_ONCE = _HASH_BEGIN + bytes(_HASH), 500


class Texts:
    """A column of texts; lower-case hexadecimal texts take half a byte per digit."""

    def __init__(self) -> None:
        self._begins = array("Q")
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, where: int) -> str:
        begin = self._begins[where]
        kind = self._bytes[begin]
        begin += 1
        if kind >= _HEXADECIMAL:
            return self._bytes[begin : begin + kind - _HEXADECIMAL].hex()
        if kind == _LONG:
            kind = int.from_bytes(self._bytes[begin : begin + _LENGTH], "big")
            begin += _LENGTH
        return self._bytes[begin : begin + kind].decode("utf-8", "surrogatepass")

    def extend(self, texts: Sequence[str]) -> None:
        """Add *texts* at the end."""
        for begin in range(0, len(texts), _AT_ONCE):
            some = texts[begin : begin + _AT_ONCE]
            if are_hashes(some):
                self._extend(bytes.fromhex("".join(some)))
            else:
                self._begins.extend(map(self._put, some))

    def _extend(self, digits: bytes) -> None:
        """Add hashes: byte by byte of all of them, which takes a fraction of one by one."""
        entries = bytearray(_ENTRY * (len(digits) // _HASH))
        for where in range(_HASH):
            entries[where + 1 :: len(_ENTRY)] = digits[where::_HASH]
        begin = len(self._bytes)
        self._bytes += entries
        self._begins.extend(range(begin, len(self._bytes), len(_ENTRY)))

    def insert(self, where: int, text: str) -> None:
        """Insert a text before index *where*."""
        self._begins.insert(where, self._put(text))

    def _put(self, text: str) -> int:
        begin = len(self._bytes)
        digits = _digits(text)
        if len(digits) == _HASH:
            self._bytes += _HASH_BEGIN + digits
        elif digits:
            self._bytes += bytes((_HEXADECIMAL + len(digits),)) + digits
        else:
            data = text.encode("utf-8", "surrogatepass")
            if len(data) <= _SHORT:
                self._bytes.append(len(data))
            else:
                self._bytes.append(_LONG)
                self._bytes += len(data).to_bytes(_LENGTH, "big")
            self._bytes += data
        return begin


def _digits(text: str) -> bytes:
    """Return the bytes that *text* spells in lower-case hexadecimal; empty if it does not."""
    try:
        digits = bytes.fromhex(text)
    except ValueError:
        return b""
    return digits if digits.hex() == text and len(digits) < _HEXADECIMAL else b""


#: The number of bytes of each text in the sorted column.
_HEAD = 8
#: More texts than this with the same first bytes are searched by bisection.
FEW_SAME = 4


class ByText:
    """Numbers, found by their text or its beginning.

    Only the first bytes of each text are stored, as a number; the full text comes from *text_of*.

    :param text_of: returns the text of a number, which never changes
    """

    def __init__(self, text_of: Callable[[int], str]) -> None:
        self._text_of = text_of
        self._heads = array("Q")
        self._numbers = array("i")
        self._in_order = True

    def add(self, new: Sequence[tuple[str, int]]) -> None:
        """Add pairs of a text and its number; ``text_of`` must know the numbers already."""
        if new:
            self.extend(*zip(*new, strict=True))

    def extend(self, texts: Sequence[str], numbers: Sequence[int]) -> None:
        """Add texts with their numbers; many are sorted at the next read."""
        if len(texts) <= FEW:
            self.sort()
            self._insert(zip(texts, numbers, strict=True))
            return
        self._in_order = False
        self._heads.extend(_heads(texts))
        self._numbers.extend(numbers)

    def _insert(self, new: Iterable[tuple[str, int]]) -> None:
        for text, number in new:
            head = _head(text)
            begin = bisect.bisect_left(self._heads, head)
            end = bisect.bisect_right(self._heads, head, begin)
            where = bisect.bisect_right(self._numbers, text, begin, end, key=self._text_of)
            self._heads.insert(where, head)
            self._numbers.insert(where, number)

    def sort(self) -> None:
        """Sort what was appended; otherwise the next read does."""
        if self._in_order:
            return
        both = [
            head << _VALUE_BITS | number
            for head, number in zip(self._heads, self._numbers, strict=True)
        ]
        both.sort()
        self._heads = array("Q", (one >> _VALUE_BITS for one in both))
        self._numbers = array("i", (one & _VALUE for one in both))
        del both
        for begin, end in _runs(self._heads):
            numbers = sorted(self._numbers[begin:end], key=self._text_of)
            self._numbers[begin:end] = array("i", numbers)
        self._in_order = True

    def starting(self, text: str, whole: bool) -> Iterator[tuple[str, int]]:
        """Yield the texts that begin with *text* (if *whole*, equal it), with their numbers."""
        if not self._in_order:
            self.sort()
        heads, numbers, text_of = self._heads, self._numbers, self._text_of
        data = text[:_HEAD].encode("utf-8", "surrogatepass")[:_HEAD]
        missing = 8 * (_HEAD - len(data))
        low = high = int.from_bytes(data, "big") << missing
        if not whole:
            high |= (1 << missing) - 1
        begin = bisect.bisect_left(heads, low)
        end = bisect.bisect_right(heads, high, begin)
        if end - begin > FEW_SAME:
            begin = bisect.bisect_left(numbers, text, begin, end, key=text_of)
        for where in range(begin, end):
            found = text_of(numbers[where])
            if found == text if whole else found.startswith(text):
                yield found, numbers[where]
            elif found > text:
                return


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each run of equal numbers."""
    begin = 0
    for where, _ in filter(itemgetter(1), enumerate(map(eq, numbers, islice(numbers, 1, None)))):
        if where < begin:
            continue
        begin = bisect.bisect_right(numbers, numbers[where], where)
        yield where, begin


def _heads(texts: Sequence[str]) -> Iterable[int]:
    """Return the ``_head`` of each of *texts*."""
    begins = "".join([text[:_HEAD] for text in texts])
    if not begins.isascii() or min(map(len, texts)) < _HEAD:
        return map(_head, texts)
    heads = array("Q", begins.encode())
    if sys.byteorder == "little":
        heads.byteswap()
    return heads


def _head(text: str) -> int:
    """Return the first bytes of *text* as a number that sorts as the text does."""
    data = text[:_HEAD].encode("utf-8", "surrogatepass")[:_HEAD]
    return int.from_bytes(data, "big") << 8 * (_HEAD - len(data))
