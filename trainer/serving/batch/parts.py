"""The parts of a run that are scored already: files, and a record that says what each must be.

A part is written, renamed, and then entered in the record with its SHA-256. Nothing is synced: a kill loses nothing
that was written, and what a power cut spoils has another hash and is scored again.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
from msgspec import Struct

from edge_agent.digest import sha256_of_file
from trainer.errors import BusyError
from trainer.serving.batch.scoring import ScoredPart
from trainer.serving.errors import ServingError

# Arrow ships no types: tables are Any.
# ruff: noqa: ANN401

FORMAT: Final = 1
_RECORD_NAME: Final = "progress.json"
_LOCK_NAME: Final = "lock"


class Job(Struct, frozen=True):
    """What a run is of: parts of another job are of no use to it.

    Attributes:
        rows: what the file of rows is: size, time of its last change, digest of its ends.
        model: reference and SHA-256 of the variant that scores.
        columns: of the answers, with their types.
        part_rows: rows of a part.
    """

    rows: str
    model: str
    columns: str
    part_rows: int
    format: int = FORMAT


class Part(Struct, frozen=True):
    """One part that is done.

    Attributes:
        refused: how many rows, by the rule that refused them.
        examples: number of the row, from 0, and reason, of the first that were.
    """

    sha256: str
    n_rows: int
    refused: dict[str, int]
    examples: tuple[tuple[int, str], ...]


class _Record(Struct, frozen=True):
    job: Job
    parts: tuple[Part, ...] = ()


class Parts:
    """The folder of the parts of one run, held by one process.

    Attributes:
        done: the parts that are there, in their order.
    """

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._job = job
        self.done: list[Part] = []

    def take_up(self) -> None:
        """Find the parts that an earlier run left, up to the first that is not what it was.

        Raises:
            ServingError: they are of another job.
        """
        record = self._read()
        if record is None:
            return
        if record.job != self._job:
            raise ServingError(f"{self._folder} holds parts of another run: {self._difference(record.job)}")
        for number, part in enumerate(record.parts):
            path = self.path(number)
            if not path.is_file() or sha256_of_file(path, path.stat().st_size) != part.sha256:
                break
            self.done.append(part)

    def put(self, scored: ScoredPart) -> None:
        """Write the next part."""
        _replace(self.path(len(self.done)), scored.data)
        digest = sha256(scored.data).hexdigest()
        self.done.append(Part(digest, scored.n_rows, scored.refused, scored.examples))
        _replace(self._folder / _RECORD_NAME, msgspec.json.encode(_Record(self._job, tuple(self.done))))

    def tables(self) -> Iterator[Any]:
        """Give the parts in their order, one at a time."""
        for number in range(len(self.done)):
            with pa.memory_map(str(self.path(number))) as file:
                yield pa.ipc.open_file(file).read_all()

    def path(self, number: int) -> Path:
        """Where a part lies."""
        return self._folder / f"part-{number:06}.arrow"

    def remove(self) -> None:
        """Remove all of it: the run is over."""
        shutil.rmtree(self._folder)

    def _read(self) -> _Record | None:
        try:
            return msgspec.json.decode((self._folder / _RECORD_NAME).read_bytes(), type=_Record)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            # Cut by a power failure: the parts say nothing without it.
            return None

    def _difference(self, other: Job) -> str:
        names = ("rows", "model", "columns", "part_rows", "format")
        for name in names:
            theirs, ours = getattr(other, name), getattr(self._job, name)
            if theirs != ours:
                return f"{name} {theirs}, now {ours}. Give the same again, or --restart"
        return "give --restart"


@contextmanager
def held_parts(folder: Path, job: Job, *, restart: bool) -> Iterator[Parts]:
    """Take the folder of a run's parts; made if missing.

    Args:
        folder: beside the file of answers.
        job: what the run is of.
        restart: throw away what is there.

    Raises:
        BusyError: another process works on it.
        ServingError: it holds parts of another job.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(f"{folder}: another process scores these rows; wait for it") from error
        if restart:
            for path in folder.glob("*.*"):
                path.unlink()
        parts = Parts(folder, job)
        parts.take_up()
        yield parts
    finally:
        os.close(descriptor)


def _replace(path: Path, data: Any) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_bytes(data)
    temporary.replace(path)
