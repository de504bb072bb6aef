"""Appends answers to a file, one JSON object a line (`edge_agent.sensing.answers`), and bounds what the files take.

Once the file has its greatest size it is renamed to ``<name>.1``, an older ``<name>.1`` to ``<name>.2``, and so on; the
one that is too many is removed. All files together take at most (files + 1) × size, and the lines of one flush.

After a cut the rows of the window that was not yet durable are scored again, so their lines stand twice: ids are the
same, and a reader takes the last line of an id.
"""

import contextlib
import logging
import os
import threading
from collections import deque
from pathlib import Path
from typing import Final

from broker.messages import BundleRef
from edge_agent.durable import make_folder, sync_folder
from edge_agent.errors import RowError, SettingsError
from edge_agent.scoring.scorer import Prediction
from edge_agent.sensing.answers import answer_of, encode_answer

MAX_WAITING_LINES: Final = 100_000
ROOMY_LINES: Final = MAX_WAITING_LINES // 2
MAX_FILE_BYTES: Final = 8 << 20
KEPT_FILES: Final = 4

_TAIL_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class JsonLinesSink:
    """A file of answers; implements `edge_agent.sensing.sink.Sink`.

    Attributes:
        has_room: see `Sink.has_room`; False from half of what may wait on, until the next flush.
        lost: answers that were dropped because the disk refused them for too long.
    """

    def __init__(self, path: Path, *, max_file_bytes: int = MAX_FILE_BYTES, kept_files: int = KEPT_FILES) -> None:
        """Open ``path`` for appending, and cut off a line that an earlier process did not finish.

        Args:
            path: the file; its folder is made if missing.
            max_file_bytes: size at which the next flush begins a new file.
            kept_files: older files that are kept beside it; those of an earlier, greater number are removed.

        Raises:
            SettingsError: the file cannot be written.
        """
        self.has_room = True
        self.lost = 0
        self._path = path
        self._max_file_bytes = max_file_bytes
        self._kept_files = kept_files
        # Lines wait here, those that were written together in one piece with their number, so that the scoring thread
        # never waits for the disk; a deque needs no lock.
        self._waiting: deque[tuple[bytes, int]] = deque()
        # Lines put there and not dropped, and lines taken off it by a flush: each is written by one thread alone.
        self._put = 0
        self._flushed = 0
        # Lines that the disk did not take, the first of them from the very byte where it stopped.
        self._unfinished: list[bytes] = []
        self._is_refused = False
        self._flushing = threading.Lock()
        try:
            make_folder(path.parent)
            self._descriptor = _open(path)
            _cut_torn_line(self._descriptor)
            sync_folder(path.parent)
        except OSError as error:
            msg = f"{path}: answers cannot be written there: {error.strerror or error}; choose another sink.path"
            raise SettingsError(msg) from error

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer; see `Sink.write`."""
        self.write_lines(encode_answer(answer_of(prediction_id, row, at_utc_s, bundle, prediction)) + b"\n", 1)

    def write_lines(self, lines: bytes, n: int) -> None:
        """Take the answers of rows that were scored together; see `LineSink.write_lines`."""
        if self._put - self._flushed + n > MAX_WAITING_LINES:
            self._make_room(n)
        self._waiting.append((lines, n))
        self._put += n
        if self._put - self._flushed > ROOMY_LINES and not self._is_refused:
            self.has_room = False

    def refuse(self, row: int, error: RowError) -> None:
        """Let it be: a refused row has no answer."""

    def flush(self) -> None:
        """Make every answer taken so far durable; see `Sink.flush`."""
        with self._flushing:
            was_refused = bool(self._unfinished)
            self._take_waiting()
            if was_refused:
                self._drop_over_bound()
            try:
                if self._unfinished:
                    self._write_unfinished()
            except OSError:
                self._is_refused = True
                raise
            else:
                self._is_refused = False
            finally:
                self.has_room = True

    def close(self) -> None:
        """Flush, and close the file; see `Sink.close`."""
        try:
            self.flush()
        except OSError as error:
            _log.error("%s: the last answers could not be written: %s", self._path, error)
        os.close(self._descriptor)

    def _take_waiting(self) -> None:
        # `write` may take some off the full queue in between.
        with contextlib.suppress(IndexError):
            for _ in range(len(self._waiting)):
                lines, n = self._waiting.popleft()
                self._unfinished.append(lines)
                self._flushed += n

    def _write_unfinished(self) -> None:
        if self._is_file_full():
            self._rotate()
        data = b"".join(self._unfinished)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fdatasync(self._descriptor)
        finally:
            self._unfinished = data.splitlines(keepends=True)

    def _make_room(self, n: int) -> None:
        """Drop the oldest lines that wait, so that ``n`` more find room."""
        # A flush by the other thread may empty it in between.
        with contextlib.suppress(IndexError):
            while self._put - self._flushed + n > MAX_WAITING_LINES:
                _, dropped = self._waiting.popleft()
                self._put -= dropped
                self.lost += dropped

    def _drop_over_bound(self) -> None:
        """Drop the oldest lines that the disk did not take; the first may stand there in part, and is finished."""
        sizes = [lines.count(b"\n") for lines in self._unfinished]
        too_many, last = sum(sizes) - MAX_WAITING_LINES, 1
        while too_many > 0 and last < len(sizes):
            self.lost += sizes[last]
            too_many -= sizes[last]
            last += 1
        del self._unfinished[1:last]

    def _is_file_full(self) -> bool:
        return os.fstat(self._descriptor).st_size >= self._max_file_bytes and self._is_at_line_end()

    def _is_at_line_end(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        return size == 0 or os.pread(self._descriptor, 1, size - 1) == b"\n"

    def _rotate(self) -> None:
        """Begin a new file. Each step is one rename, so a cut leaves every line in one of the files.

        Raises:
            OSError: the folder refuses; the old file goes on.
        """
        for path, number in _older_files(self._path):
            if number >= self._kept_files:
                path.unlink(missing_ok=True)
        # From the oldest on, so that no rename meets a file.
        for path, number in sorted(_older_files(self._path), key=lambda file: -file[1]):
            path.rename(_numbered(self._path, number + 1))
        # Somebody may have moved it already.
        with contextlib.suppress(FileNotFoundError):
            if self._kept_files:
                self._path.rename(_numbered(self._path, 1))
            else:
                self._path.unlink()
        descriptor = _open(self._path)
        os.close(self._descriptor)
        self._descriptor = descriptor
        sync_folder(self._path.parent)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _older_files(path: Path) -> list[tuple[Path, int]]:
    """Return the rotated files of ``path`` that are there, with their numbers."""
    begin = f"{path.name}."
    endings = ((each, each.name.removeprefix(begin)) for each in path.parent.iterdir() if each.name.startswith(begin))
    return [(each, int(ending)) for each, ending in endings if ending.isdecimal() and not ending.startswith("0")]


def _cut_torn_line(descriptor: int) -> None:
    """Shorten the file to its last whole line."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, _TAIL_BYTES, start)
    # A power cut may leave zeros where a part did not reach the disk: nothing from there on was synced.
    tail = tail.partition(b"\0")[0]
    if len(tail) < size - start or (tail and not tail.endswith(b"\n")):
        os.ftruncate(descriptor, start + tail.rfind(b"\n") + 1)
