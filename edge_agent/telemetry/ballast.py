"""Keeps a little of the disk back: an agent must start also where something else has filled it.

To open a spool takes a few new blocks. Where there are none left, the ballast gives its own; once the agent is open it
takes back what is left of them, before anything else can, so that the next start has them too.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file

BALLAST_NAME: Final = "ballast"
BALLAST_BYTES: Final = 256 << 10
# A start needs 32 KB for the spool's index and some pages; less than this is not worth keeping.
LEAST_BYTES: Final = 64 << 10

_log = logging.getLogger(__name__)


class Ballast:
    """One file in the state folder."""

    def __init__(self, state: Path) -> None:
        """Do nothing yet."""
        self._path = state / BALLAST_NAME

    def release_if_full(self) -> None:
        """Give the space back if the disk has less than that left."""
        try:
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < BALLAST_BYTES and self._path.exists():
                self._path.unlink()
                _log.warning("%s: the disk is full; starting on what was kept back for this", self._path.parent)
        except OSError as error:
            _log.warning("%s: cannot be given back: %s", self._path, error)

    def keep(self) -> None:
        """Take the space, or as large a part of it as there is."""
        size_bytes = BALLAST_BYTES
        while size_bytes >= LEAST_BYTES and self._size_bytes() < size_bytes:
            # At random, so that no file system can store it in less.
            with contextlib.suppress(OSError):
                replace_file(self._path, os.urandom(size_bytes))
            size_bytes //= 2

    def _size_bytes(self) -> int:
        try:
            return self._path.stat().st_size
        except OSError:
            return 0
