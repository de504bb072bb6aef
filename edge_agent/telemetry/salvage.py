"""Reads what can still be read of a damaged spool, row by row; it changes nothing in it.

A database of which one page is broken still gives all that lies on the others.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from msgspec import Struct

from broker.topics import RULES, Channel

# More records than a spool holds; it bounds how long is searched where the numbers make no sense.
MAX_SEARCHED: Final = 200_000

_MAX_NUMBER: Final = 2**53


class SalvagedRecord(Struct, frozen=True):
    """A record as its table has it; its body is not checked yet."""

    sequence: int
    channel: Channel
    body: bytes
    parts: int


class DamagedSpool:
    """A damaged database, opened for reading."""

    def __init__(self, path: Path) -> None:
        """Open ``path``; what it holds is looked at later."""
        self._database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def numbers(self) -> dict[str, int]:
        """Return the numbers of the spool; none where they cannot be read."""
        rows = self._read("SELECT name, value FROM number")
        return {n: v for n, v in rows if isinstance(n, str) and isinstance(v, int) and 0 <= v <= _MAX_NUMBER}

    def notes(self) -> dict[str, bytes]:
        """Return the notes; none where they cannot be read."""
        rows = self._read("SELECT name, value FROM note")
        return {n: v for n, v in rows if isinstance(n, str) and isinstance(v, bytes)}

    def records(self, after: int) -> Iterator[SalvagedRecord]:
        """Yield every record over a sequence that can be read, by ascending sequence."""
        ends = self._read("SELECT max(sequence) FROM record") + self._read("SELECT max(seq) FROM sqlite_sequence")
        last = max((end for (end,) in ends if isinstance(end, int)), default=0)
        for sequence in range(max(after, last - MAX_SEARCHED) + 1, last + 1):
            for channel, body, parts in self._read(
                "SELECT channel, body, parts FROM record WHERE sequence = ?", (sequence,)
            ):
                if channel in _SPOOLED and isinstance(body, bytes) and isinstance(parts, int):
                    yield SalvagedRecord(sequence, Channel(channel), body, parts)

    def _read(self, query: str, parameters: tuple[int, ...] = ()) -> list[Any]:
        try:
            return self._database.execute(query, parameters).fetchall()
        except sqlite3.Error:
            return []


_SPOOLED: Final = {channel.value for channel in Channel if RULES[channel].spooled}
