"""Appends answers to a file, one JSON object a line.

``{"id": …, "row": …, "at": …, "bundle": "name/version", "label": … or "value": …, "confidence": …}``

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

import msgspec

from broker.messages import BundleRef
from edge_agent.durable import make_folder, sync_folder
from edge_agent.errors import SettingsError
from edge_agent.scoring.scorer import Prediction

MAX_WAITING_LINES: Final = 100_000

_ENCODER: Final = msgspec.json.Encoder()
_TAIL_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class JsonLinesSink:
    """A file of answers; implements `edge_agent.sensing.sink.Sink`.

    Attributes:
        lost: answers that were dropped because the disk refused them for too long.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path`` for appending, and cut off a line that an earlier process did not finish.

        Raises:
            SettingsError: the file cannot be written.
        """
        self.lost = 0
        self._path = path
        # Lines wait here, so that the scoring thread never waits for the disk; a deque needs no lock.
        self._waiting: deque[bytes] = deque()
        self._unfinished = b""
        self._flushing = threading.Lock()
        try:
            make_folder(path.parent)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            _cut_torn_line(self._descriptor)
            sync_folder(path.parent)
        except OSError as error:
            msg = f"{path}: answers cannot be written there: {error.strerror or error}; choose another sink.path"
            raise SettingsError(msg) from error

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        """Take one answer; see `Sink.write`."""
        line: dict[str, str | float | None] = {"id": prediction_id, "row": row, "at": at_utc_s, "bundle": str(bundle)}
        if prediction.label is None:
            line["value"] = prediction.value
        else:
            line["label"] = prediction.label
        line["confidence"] = prediction.confidence
        if len(self._waiting) >= MAX_WAITING_LINES:
            # A flush by the other thread may empty it in between.
            with contextlib.suppress(IndexError):
                self._waiting.popleft()
                self.lost += 1
        self._waiting.append(_ENCODER.encode(line) + b"\n")

    def flush(self) -> None:
        """Make every answer taken so far durable; see `Sink.flush`."""
        with self._flushing:
            lines: list[bytes] = []
            # `write` may take one off the full queue in between.
            with contextlib.suppress(IndexError):
                for _ in range(len(self._waiting)):
                    lines.append(self._waiting.popleft())  # noqa: PERF401 - what was taken is kept when it ends early
            data = self._unfinished + b"".join(lines)
            if not data:
                return
            try:
                while data:
                    data = data[os.write(self._descriptor, data) :]
                os.fdatasync(self._descriptor)
            finally:
                # What the disk did not take goes first the next time, from the very byte where it stopped.
                self._unfinished, *rest = data.splitlines(keepends=True) or [b""]
                self._waiting.extendleft(reversed(rest))

    def close(self) -> None:
        """Flush, and close the file; see `Sink.close`."""
        try:
            self.flush()
        except OSError as error:
            _log.error("%s: the last answers could not be written: %s", self._path, error)
        os.close(self._descriptor)


def _cut_torn_line(descriptor: int) -> None:
    """Shorten the file to its last whole line."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, _TAIL_BYTES, start)
    # A power cut may leave zeros where a part did not reach the disk: nothing from there on was synced.
    tail = tail.partition(b"\0")[0]
    if len(tail) < size - start or (tail and not tail.endswith(b"\n")):
        os.ftruncate(descriptor, start + tail.rfind(b"\n") + 1)
