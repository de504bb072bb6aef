"""Opens and reads files that come from elsewhere: only plain ones, and without ever waiting for a writer."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edge_agent.errors import BundleError, StorageError


@contextmanager
def open_plain(path: Path) -> Iterator[BinaryIO]:
    """Open a plain file for reading.

    Raises:
        BundleError: it is not there, or no plain file; the message names it.
    """
    try:
        # Without blocking: a pipe that nobody writes to must not keep us.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{path}: is no plain file")
    with os.fdopen(descriptor, "rb") as file:
        yield file


def read_at(file: BinaryIO, offset: int, n_bytes: int) -> bytes:
    """Read some bytes; fewer where the file ends.

    Raises:
        StorageError: it cannot be read now.
    """
    try:
        file.seek(offset)
        return file.read(n_bytes)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}") from error
