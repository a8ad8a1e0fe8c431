"""Bytes from strangers, read piece by piece: numbers of any length, names and digests, never beyond the end."""

from __future__ import annotations

from splitnet.errors import UpdateError

_SEVEN = 0x7F
_MORE = 0x80
MAX_NUMBER_BYTES = 5


class ByteReader:
    """What is left of some bytes."""

    def __init__(self, data: bytes) -> None:
        """Take all of them."""
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes. Raises UpdateError if there are fewer."""
        if count > len(self._data) - self._at:
            raise UpdateError("an update ends too early: it is damaged")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, most: int) -> int:
        """Return a number of 0 .. most (LEB128). Raises UpdateError if it is larger."""
        found = 0
        for position in range(MAX_NUMBER_BYTES):
            digit = self.take(1)[0]
            found |= (digit & _SEVEN) << 7 * position
            if not digit & _MORE:
                break
        else:
            raise UpdateError("an update has a number of too many bytes: it is damaged")
        if found > most:
            raise UpdateError(f"an update says {found} where at most {most} is possible: it is damaged, or hostile")
        return found

    def text(self, most_bytes: int) -> str:
        """Return a short ASCII text, printable. Raises UpdateError if it is none."""
        raw = self.take(self.number(most_bytes))
        if not raw.isascii() or not raw.decode("ascii").isprintable():
            raise UpdateError("an update has a name that no model has: it is damaged, or hostile")
        return raw.decode("ascii")

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data) - self._at)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)


def number_bytes(value: int) -> bytes:
    """Return a number from 0 on in LEB128 (DWARF, section 7.6)."""
    found = bytearray()
    while value > _SEVEN:
        found.append(value & _SEVEN | _MORE)
        value >>= 7
    found.append(value)
    return bytes(found)


def text_bytes(text: str) -> bytes:
    """Return a short ASCII text with its length before it."""
    return number_bytes(len(text)) + text.encode("ascii")


def zigzag(value: int) -> int:
    """Return a number from 0 on for any: 0, -1, 1, -2, ... become 0, 1, 2, 3, ..."""
    return 2 * value if value >= 0 else -2 * value - 1


def unzigzag(value: int) -> int:
    """Return the number that `zigzag` has made this one of."""
    return value // 2 if value % 2 == 0 else -(value + 1) // 2
