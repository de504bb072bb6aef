"""Brings one listed file to its place; a download that was cut off, by whatever, goes on where it was.

What lies there of it is nothing but a saving: the file counts when its length and hash are those that are listed. A
beginning that the rest does not go with (a power cut spoiled it, a server lied) costs one more download, from the
start.
"""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from tuf.api.exceptions import DownloadLengthMismatchError, LengthOrHashMismatchError
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined] # documented there

logger = logging.getLogger(__name__)

_DIGEST: Final = "sha256"


class Road(Protocol):
    """Brings files from some byte on, if it can."""

    def fetch_from(self, url: str, first: int) -> tuple[int, Iterator[bytes]]:
        """Return the place where the chunks begin, `first` or 0, and the chunks."""
        ...


def download(road: Road, url: str, target: TargetFile, partial: Path, into: Path) -> None:
    """Fetch a file to ``into``.

    Args:
        road: brings it.
        url: where it is.
        target: what is listed.
        partial: folder for beginnings; on the same disk as `into`.
        into: replaced when the file is whole and the right one.

    Raises:
        LengthOrHashMismatchError: it is not the listed file.
        DownloadLengthMismatchError: it is longer.
        OSError: the disk is full or broken.
        Exception: whatever the road raises; what came until then is kept.
    """
    partial.mkdir(parents=True, exist_ok=True)
    part = partial / target.hashes[_DIGEST]
    while True:
        kept_bytes = _kept(part, target.length)
        try:
            _receive(road, url, target, part, kept_bytes)
            with part.open("rb") as file:
                target.verify_length_and_hashes(file)
        except (DownloadLengthMismatchError, LengthOrHashMismatchError):
            part.unlink(missing_ok=True)
            if kept_bytes == 0:
                raise
            logger.warning("%s: its first %d bytes are not those of the rest: from the start", target.path, kept_bytes)
        else:
            break
    part.replace(into)


def _receive(road: Road, url: str, target: TargetFile, part: Path, kept_bytes: int) -> None:
    if kept_bytes == target.length > 0:
        return
    begins_at, chunks = road.fetch_from(url, kept_bytes)
    if kept_bytes and begins_at == kept_bytes:
        logger.info("%s: going on at byte %d of %d", target.path, kept_bytes, target.length)
    # Unbuffered: what came is kept though this process may be killed at any moment.
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        file.truncate(begins_at)
        file.seek(begins_at)
        received_bytes = begins_at
        for chunk in chunks:
            received_bytes += len(chunk)
            if received_bytes > target.length:
                raise DownloadLengthMismatchError(f"more than the {target.length} bytes that are listed")
            _write_all(file.fileno(), chunk)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _kept(part: Path, length: int) -> int:
    """Return how many bytes lie there; more than there may be are none."""
    try:
        kept_bytes = part.stat().st_size
    except FileNotFoundError:
        return 0
    return kept_bytes if kept_bytes <= length else 0
