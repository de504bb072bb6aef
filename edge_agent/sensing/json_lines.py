"""Reads rows from lines of JSON: a file, a file that grows, or standard input.

A line is an object of feature names and values, or an array in the manifest's order. A line that is neither still has
a number: its row is refused and counted, and the next line is read.
"""

import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_agent.errors import SourceError
from edge_agent.scoring.schema import RawRow, Unreadable
from edge_agent.sensing.followed_files import FollowedFiles
from edge_agent.sensing.json_rows import MAX_ROW_BYTES, parse_row
from edge_agent.sensing.source import SourceRow, take_ready

logger = logging.getLogger(__name__)

STANDARD_INPUT: Final = "-"
MAX_LINE_BYTES: Final = MAX_ROW_BYTES

_CHUNK_BYTES: Final = 1 << 16
_POLL_S: Final = 0.05


class JsonLines:
    """Lines of JSON; implements `edge_agent.sensing.source.Source`.

    The number of a row is the number of its line, 0 for the first. Standard input cannot be read again: there the
    first line takes the cursor as its number.

    A file that is followed may be rotated: truncated, or replaced by a new one of its name. Then the new content is
    read from its beginning, and its lines go on with the numbers. What is rotated while nobody follows is found again
    with the help of ``marks`` (`edge_agent.sensing.followed_files`), or its loss is told.
    """

    def __init__(
        self,
        path: Path | str,
        features: Sequence[str],
        *,
        cursor: int = 0,
        follow: bool = False,
        marks: Path | None = None,
    ) -> None:
        """Open ``path``, and go to the line that the cursor names.

        Args:
            path: a file, or ``-`` for standard input.
            features: the names of the features, in the manifest's order.
            cursor: number of the first row that is not yet counted.
            follow: whether the file still grows: then its end is no end.
            marks: file in which it is remembered which file had the name; None: it is not.

        Raises:
            SourceError: it cannot be read.
        """
        self._features = tuple(features)
        self._path = path
        self._name = "standard input" if str(path) == STANDARD_INPUT else str(path)
        self._closed = threading.Event()
        self._buffer = bytearray()
        # Where the search for the next newline goes on, so that a long line is searched once.
        self._searched = 0
        self._oversize = False
        self._at_end = False
        self._owns = str(path) != STANDARD_INPUT
        self._files = FollowedFiles(Path(path), marks if follow and self._owns else None)
        # Number of the first line of the file that is read, and the files that come after it.
        self._first = 0
        self._later: list[Path] = []
        try:
            self._descriptor = self._open_first(cursor) if self._owns else sys.stdin.fileno()
            is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except (OSError, ValueError) as error:
            msg = f"{self._name}: cannot be read: {error}"
            raise SourceError(msg) from error
        self._follow = follow and is_file
        self._polls = not is_file
        self._line = self._first
        if is_file and self._owns:
            self._skip_to(cursor)
        self._line = max(self._line, cursor)

    @property
    def at_end(self) -> bool:
        """Whether the last line was given."""
        return self._at_end

    def next_row(self, timeout_s: float) -> SourceRow | None:
        """Return the row of the next line; see `Source.next_row`."""
        while (line := self._take_line(timeout_s)) is not None:
            number = self._line
            self._line += 1
            # A blank line has a number, like any other, but it is no row.
            if line.strip() or self._oversize:
                return SourceRow(number, self._values_of(line))
        return None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        """Return the rows that are there; see `Source.ready_rows`."""
        return take_ready(self, limit)

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._at_end = True
        if self._owns:
            self._owns = False
            os.close(self._descriptor)

    def _open_first(self, cursor: int) -> int:
        path = Path(self._path)
        begin = self._files.begin_at(cursor)
        first, *self._later = begin.files
        try:
            descriptor = os.open(first, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # A rotation comes in between.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._first = begin.first
        return descriptor

    def _skip_to(self, cursor: int) -> None:
        """Read over the lines that are counted already."""
        while self._line < cursor and (self._take_line(0.0)) is not None:
            self._line += 1
            self._oversize = False
        if self._follow and self._line < cursor and not self._at_end:
            logger.error(
                "%s: has %d lines where %d were counted: its content is new, and is read from its beginning; "
                "what was there and not counted is lost",
                self._name,
                self._line - self._first,
                cursor - self._first,
            )
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._buffer.clear()
            self._searched = 0
            self._first = cursor
        if self._follow:
            self._files.note(self._descriptor, self._first)

    def _values_of(self, line: bytes) -> RawRow:
        if self._oversize:
            self._oversize = False
            return Unreadable()
        return parse_row(line, self._features)

    def _take_line(self, timeout_s: float) -> bytes | None:
        """Return the next whole line; None when none came in time, or at the end."""
        waited_s = 0.0
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                return self._cut(end)
            self._searched = len(self._buffer)
            if self._searched > MAX_LINE_BYTES:
                self._oversize = True
                self._buffer.clear()
                self._searched = 0
            chunk = self._read(timeout_s)
            if chunk:
                self._buffer += chunk
            elif chunk is None:
                return None
            elif not self._follow or self._reopen_if_rotated():
                # The last line needs no newline where nothing can follow it.
                if self._buffer or self._oversize:
                    return self._cut(len(self._buffer))
                if not self._follow:
                    self._at_end = True
                    return None
            elif waited_s >= timeout_s:
                return None
            else:
                self._closed.wait(_POLL_S)
                waited_s += _POLL_S

    def _read(self, timeout_s: float) -> bytes | None:
        """Return what comes next, nothing at the end; None when nothing came in time, or the source is closed."""
        if self._closed.is_set() or (self._polls and not select.select([self._descriptor], [], [], timeout_s)[0]):
            return None
        try:
            return os.read(self._descriptor, _CHUNK_BYTES)
        except OSError as error:
            if self._closed.is_set():
                return None
            msg = f"{self._name}: cannot be read any more: {error.strerror or error}"
            raise SourceError(msg) from error

    def _reopen_if_rotated(self) -> bool:
        """At the end of a file that is followed: go to the beginning of what took its place, if something did."""
        try:
            opened, read = os.fstat(self._descriptor), os.lseek(self._descriptor, 0, os.SEEK_CUR)
            if opened.st_size < read:
                os.lseek(self._descriptor, 0, os.SEEK_SET)
                self._begin_file()
                return True
            self._files.note(self._descriptor, self._first)
            if self._later:
                self._take_the_place(os.open(self._later.pop(0), os.O_RDONLY | os.O_CLOEXEC))
                return True
            # Until its new file is there, a writer may go on in the old one: that is read to its end first.
            if os.path.samestat(opened, Path(self._path).stat()) or os.fstat(self._descriptor).st_size > read:
                return False
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            # Renamed, and the new one is not there yet.
            return False
        self._take_the_place(descriptor)
        return True

    def _take_the_place(self, descriptor: int) -> None:
        os.dup2(descriptor, self._descriptor, inheritable=False)
        os.close(descriptor)
        self._begin_file()

    def _begin_file(self) -> None:
        # What the last file ended with, without a newline, is a line of its own.
        self._first = self._line + (1 if self._buffer or self._oversize else 0)
        self._files.note(self._descriptor, self._first)

    def _cut(self, end: int) -> bytes:
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line
