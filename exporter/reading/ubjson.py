"""Parses Universal Binary JSON (draft 12), the binary form of XGBoost's model files.

A file is untrusted input: a length is checked against the bytes that are left before anything is made of it, and
depth is bounded.
"""

from typing import Any, Final

import numpy as np

_NUMBERS: Final = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_CONSTANTS: Final = {b"Z": None, b"T": True, b"F": False}
_MAX_DEPTH: Final = 64


class UbjsonError(ValueError):
    """The bytes are no Universal Binary JSON."""


def parse_ubjson(data: bytes) -> Any:
    """Return the value that the bytes hold; arrays of numbers as numpy arrays.

    Raises:
        UbjsonError: they hold none, or something behind it.
    """
    parser = _Parser(data)
    value = parser.value(parser.marker(), 0)
    if parser.place != len(data):
        raise UbjsonError(f"{len(data) - parser.place} bytes behind the end")
    return value


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def marker(self) -> bytes:
        """Return the next type, over no-ops."""
        while (found := self._take(1)) == b"N":
            pass
        return found

    def value(self, kind: bytes, depth: int) -> Any:
        """Return the value of a type."""
        if depth > _MAX_DEPTH:
            raise UbjsonError(f"deeper than {_MAX_DEPTH} levels")
        if kind in _NUMBERS:
            return self._numbers(kind, 1)[0].item()
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind in (b"S", b"H"):
            return self._text()
        if kind == b"C":
            return self._take(1).decode("latin-1")
        if kind == b"[":
            return self._array(depth)
        if kind == b"{":
            return self._object(depth)
        raise UbjsonError(f"unknown type {kind!r} at byte {self.place - 1}")

    def _array(self, depth: int) -> Any:
        kind, count = self._header()
        if kind in _NUMBERS:
            return self._numbers(kind, count or 0)
        found: list[Any] = []
        while count is None or len(found) < count:
            item = kind or self.marker()
            if item == b"]" and count is None:
                break
            found.append(self.value(item, depth + 1))
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._header()
        found: dict[str, Any] = {}
        n_read = 0
        while count is None or n_read < count:
            if count is None and self._peek() == b"}":
                self._take(1)
                break
            key = self._text()
            found[key] = self.value(kind or self.marker(), depth + 1)
            n_read += 1
        return found

    def _header(self) -> tuple[bytes | None, int | None]:
        """Return the type and number of the items, where they are given in front."""
        kind = None
        if self._peek() == b"$":
            self._take(1)
            kind = self._take(1)
            if self._peek() != b"#":
                raise UbjsonError(f"a type without a count at byte {self.place}")
        if self._peek() != b"#":
            return None, None
        self._take(1)
        count = self._length()
        # Constants take no byte each: a count alone could ask for any amount of memory.
        if kind in _CONSTANTS or count > len(self._data) - self.place:
            raise UbjsonError(f"{count} items in {len(self._data) - self.place} bytes")
        return kind, count

    def _text(self) -> str:
        return self._take(self._length()).decode("utf-8")

    def _length(self) -> int:
        kind = self._take(1)
        if kind not in (b"i", b"U", b"I", b"l", b"L"):
            raise UbjsonError(f"a length of type {kind!r} at byte {self.place - 1}")
        length = int(self._numbers(kind, 1)[0])
        if length < 0:
            raise UbjsonError(f"a length of {length} at byte {self.place}")
        return length

    def _numbers(self, kind: bytes, count: int) -> Any:
        dtype = np.dtype(_NUMBERS[kind])
        found = np.frombuffer(self._take(count * dtype.itemsize), dtype=dtype)
        return found.astype(dtype.newbyteorder("="))

    def _peek(self) -> bytes:
        return self._data[self.place : self.place + 1]

    def _take(self, count: int) -> bytes:
        found = self._data[self.place : self.place + count]
        if len(found) != count:
            raise UbjsonError(f"ends at byte {len(self._data)}, {count} more were expected at byte {self.place}")
        self.place += count
        return found
