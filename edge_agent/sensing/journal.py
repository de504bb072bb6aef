"""Keeps the rows that a live source accepted until they are counted: numbered, in files of bounded size.

A live source (MQTT, HTTP, a socket, a sensor) cannot be read again. What it accepted is appended here first, so that a
restart finds it, scores it again and counts it under its old number. The journal knows no row from inside: bytes.

A file is named after its first number, ``<number>.rows``, and holds ``length, CRC-32, payload`` for one row after the
other. Its name reserves `ROWS_PER_FILE` numbers, and is durable before any of them is given. Every start begins a file
behind what the last one reserved: even where a cut took the end of a file, no number is ever given to two rows.
"""

import itertools
import logging
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from edge_agent.durable import sync_folder

logger = logging.getLogger(__name__)

ROWS_PER_FILE: Final = 4096

_FILES: Final = 8
_HEAD: Final = struct.Struct("<II")
_NAME: Final = re.compile(r"^(0|[1-9]\d{0,15})\.rows$")


class JournalFullError(OSError):
    """As many rows are kept as may be: until some are counted, no more can be accepted."""


class Journal:
    """The rows of one live source; used by one thread at a time."""

    def __init__(
        self, folder: Path, cursor: int, counted: Callable[[], int], *, max_bytes: int, is_synced: bool
    ) -> None:
        """Look for what is there; no file is begun before the first row comes.

        A folder that cannot be made now, on a full disk say, is tried again with each row.

        Args:
            folder: made when the first row comes.
            cursor: number of the first row that is not yet counted.
            counted: tells the same later on; files below it are removed.
            max_bytes: bound of all files together.
            is_synced: whether rows survive a power cut once `append` returns; otherwise they survive the process.

        Raises:
            OSError: the folder is there and cannot be read.
        """
        self._folder = folder
        self._counted = counted
        self._max_bytes = max_bytes
        self._is_synced = is_synced
        self._descriptor: int | None = None
        self._sizes = {first: self._path_of(first).stat().st_size for first in _firsts_in(folder)}
        self._first = max(self._sizes, default=-ROWS_PER_FILE)
        self._next = max(cursor, self._first + ROWS_PER_FILE)
        # What a file of an earlier process misses at its end is unknown: nothing is appended to it.
        self._is_file_over = True
        self._remove_below(cursor)

    @property
    def size_bytes(self) -> int:
        """What all files take."""
        return sum(self._sizes.values())

    def replay(self, cursor: int) -> Iterator[tuple[int, bytes]]:
        """Return the rows that are kept now, from number ``cursor`` on; a file that was cut ends where it was cut.

        A file that cannot be read gives none: what comes after it is worth more than an end.
        """
        firsts = sorted(self._sizes)
        return self._rows_of(list(itertools.pairwise([*firsts, self._next])), cursor)

    def append(self, payloads: Sequence[bytes]) -> range:
        """Keep rows, `ROWS_PER_FILE` at most, and return their numbers.

        Raises:
            JournalFullError: there is no room for them now.
            OSError: the disk refuses. None of the rows was accepted.
        """
        data = b"".join(_HEAD.pack(len(payload), zlib.crc32(payload)) + payload for payload in payloads)
        self._make_room(len(data))
        if self._is_file_over or self._next + len(payloads) > self._first + ROWS_PER_FILE:
            self._begin_file()
        try:
            _write_all(self._descriptor, data)
            if self._is_synced and self._descriptor is not None:
                os.fdatasync(self._descriptor)
        except OSError:
            self._is_file_over = True
            raise
        finally:
            self._sizes[self._first] += len(data)
        numbers = range(self._next, self._next + len(payloads))
        self._next += len(payloads)
        self._is_file_over = self._sizes[self._first] >= self._max_bytes // _FILES
        return numbers

    def pass_over(self, n_rows: int) -> range:
        """Return numbers for rows that are not kept."""
        numbers = range(self._next, self._next + n_rows)
        self._next += n_rows
        # In a file, a row's place is its number.
        self._is_file_over = True
        return numbers

    def close(self) -> None:
        """Close the file; what is in it stays."""
        self._is_file_over = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _rows_of(self, files: Sequence[tuple[int, int]], cursor: int) -> Iterator[tuple[int, bytes]]:
        for first, following in files:
            try:
                data = self._path_of(first).read_bytes()
            except OSError as error:
                logger.log(logging.ERROR, "%s: cannot be read, its rows are lost: %s", self._path_of(first), error)
                continue
            # An append that failed may have left rows behind the file's end; their numbers went to others.
            numbered = zip(range(first, following), _payloads_in(data), strict=False)
            yield from (row for row in numbered if row[0] >= cursor)

    def _make_room(self, n_bytes: int) -> None:
        if self.size_bytes + n_bytes <= self._max_bytes:
            return
        counted = self._counted()
        if counted >= self._next:
            # Everything is counted: the last file, too, may go once another one stands.
            self._begin_file()
        self._remove_below(counted)
        if self.size_bytes + n_bytes > self._max_bytes:
            raise JournalFullError(f"{self._folder}: {self.size_bytes} bytes of rows wait to be counted")

    def _begin_file(self) -> None:
        self.close()
        self._remove_below(self._counted())
        self._folder.mkdir(parents=True, exist_ok=True)
        # Where nothing was accepted into the last file, its name serves again.
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path_of(self._next), flags, 0o600)
        self._first = self._next
        self._sizes[self._first] = 0
        sync_folder(self._folder)
        self._is_file_over = False

    def _remove_below(self, cursor: int) -> None:
        """Remove the files whose rows are all counted; the last file stays, for the numbers that it reserves."""
        firsts = sorted(self._sizes)
        for first, following in itertools.pairwise(firsts):
            if following <= cursor:
                self._path_of(first).unlink(missing_ok=True)
                del self._sizes[first]

    def _path_of(self, first: int) -> Path:
        return self._folder / f"{first}.rows"


def _firsts_in(folder: Path) -> list[int]:
    """Return the first numbers of a folder's files; anything else in it is left alone."""
    if not folder.exists():
        return []
    return [int(found[1]) for path in folder.iterdir() if (found := _NAME.match(path.name)) and path.is_file()]


def _payloads_in(data: bytes) -> Iterator[bytes]:
    """Yield the whole rows at the beginning of a file."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        payload = data[at + _HEAD.size : at + _HEAD.size + length]
        if len(payload) != length or zlib.crc32(payload) != checksum:
            return
        yield payload
        at += _HEAD.size + length


def _write_all(descriptor: int | None, data: bytes) -> None:
    if descriptor is None:
        raise OSError("the journal is closed")
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
