"""What an image is written to: a disk, or a file in its place; and how its errors are told."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol

from exporter.image.errors import DiskError, FlashError

_GONE: Final = frozenset({errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM})


class Target(Protocol):
    """A disk, or a file in the place of one: reads and writes that may be short, and errors of the kernel."""

    def write_at(self, data: memoryview, offset: int) -> int:
        """Write some of ``data``; return how many bytes."""
        ...

    def read_at(self, size: int, offset: int) -> bytes:
        """Read at most ``size`` bytes, of the medium if that can be had."""
        ...

    def sync(self) -> None:
        """Return once everything is on the medium, and let go of what is cached of it."""
        ...


class _OpenTarget:
    """A disk or a file that is open for one flash."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write_at(self, data: memoryview, offset: int) -> int:
        return os.pwrite(self._descriptor, data, offset)

    def read_at(self, size: int, offset: int) -> bytes:
        return os.pread(self._descriptor, size, offset)

    def sync(self) -> None:
        os.fsync(self._descriptor)
        # Clean pages go; what is read next comes from the medium.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def open_target(path: Path, *, is_disk: bool) -> Iterator[Target]:
    """Open what an image is written to.

    Args:
        path: device of a whole disk, or a file, which is made if it is not there.
        is_disk: it is a disk: opened exclusively, so that the kernel refuses it while anything of it is mounted.

    Raises:
        DiskError: it is in use, may not be written by this user, or is gone.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | (os.O_EXCL if is_disk else os.O_CREAT)
    try:
        descriptor = os.open(path, flags, 0o644)
    except OSError as error:
        raise DiskError(_opening_failed(path, error)) from error
    try:
        yield _OpenTarget(descriptor)
    finally:
        os.close(descriptor)


def _opening_failed(path: Path, error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{path} may not be written by this user: run the command with sudo"
    if error.errno == errno.EBUSY:
        return f"{path} is in use: unmount what is mounted of it, close what has it open"
    return f"{path} cannot be opened: {error.strerror}"


def write_all(target: Target, data: bytes | memoryview, offset: int) -> None:
    """Write all of ``data``.

    Raises:
        FlashError: the disk cannot, or ends.
    """
    rest = memoryview(data)
    while rest:
        try:
            count = target.write_at(rest, offset)
        except OSError as error:
            raise _failed("write", error, offset) from error
        if count == 0:
            raise FlashError(f"the disk ends at byte {offset:,}: it is too small for this image", offset=offset)
        rest = rest[count:]
        offset += count


def read_all(target: Target, size: int, offset: int) -> bytes:
    """Read ``size`` bytes, or up to the end of the disk.

    Raises:
        FlashError: the disk cannot.
    """
    parts: list[bytes] = []
    while size > 0:
        try:
            part = target.read_at(size, offset)
        except OSError as error:
            raise _failed("read", error, offset) from error
        if not part:
            break
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def sync_all(target: Target, offset: int) -> None:
    """Return once everything is on the medium; ``offset`` says where in the disk it was when it cannot.

    Raises:
        FlashError: the disk could not take something that was written before.
    """
    try:
        target.sync()
    except OSError as error:
        raise _failed("write", error, offset) from error


def _failed(what: Literal["read", "write"], error: OSError, offset: int) -> FlashError:
    if error.errno in _GONE:
        return FlashError(f"the disk is gone, at byte {offset:,}: put it in again and flash it again", offset=offset)
    if error.errno == errno.ENOSPC:
        return FlashError(f"the disk ends at byte {offset:,}: it is too small for this image", offset=offset)
    return FlashError(
        f"the disk cannot {what} at byte {offset:,}: {error.strerror}; try another reader, or another card",
        offset=offset,
    )
