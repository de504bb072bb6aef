"""A disk in memory that can fail as real ones do, and images to write to it."""

import errno
import os
from pathlib import Path
from typing import Final

from exporter.image.image_file import ImageFile, inspect_image

MIB: Final = 1 << 20


class MemoryDisk:
    """Holds bytes; writes at most `most_bytes` at once.

    Attributes:
        fails: errno at the write with this number, from one on.
        held: what was on the medium at the last sync; a cut loses the rest.
    """

    def __init__(self, size: int, *, most_bytes: int = 1 << 30, fails: dict[int, int] | None = None) -> None:
        self.content = bytearray(os.urandom(4096) * (-(-size // 4096)))[:size]
        self.held = bytes(self.content)
        self.writes = 0
        self._most_bytes = most_bytes
        self._fails = fails or {}

    def write_at(self, data: memoryview, offset: int) -> int:
        self.writes += 1
        if self.writes in self._fails:
            raise OSError(self._fails[self.writes], os.strerror(self._fails[self.writes]))
        part = data[: min(self._most_bytes, len(self.content) - offset)]
        self.content[offset : offset + len(part)] = part
        return len(part)

    def read_at(self, size: int, offset: int) -> bytes:
        return bytes(self.content[offset : offset + size])

    def sync(self) -> None:
        self.held = bytes(self.content)


class LyingCard(MemoryDisk):
    """Says that it holds more than it does: what goes beyond lands at its start again."""

    def __init__(self, size: int, real_size: int) -> None:
        super().__init__(size)
        self._real_size = real_size

    def write_at(self, data: memoryview, offset: int) -> int:
        return super().write_at(data, offset % self._real_size)

    def read_at(self, size: int, offset: int) -> bytes:
        return super().read_at(size, offset % self._real_size)


def example_image(folder: Path, pieces: tuple[bytes, ...] = (), *, size: int = 10 * MIB + 512) -> ImageFile:
    """Write a raw image: a boot sector, noise, a hole of zeros, noise."""
    noise = os.urandom(MIB)
    raw = bytearray(size)
    raw[: 2 * MIB] = noise * 2
    raw[510:512] = b"\x55\xaa"
    raw[9 * MIB : 9 * MIB + 1000] = noise[:1000]
    for number, piece in enumerate(pieces):
        raw[(3 + number) * MIB : (3 + number) * MIB + len(piece)] = piece
    path = folder / "card.img"
    path.write_bytes(raw)
    return inspect_image(path)


def starts(content: bytes) -> bool:
    """Tell whether a computer would start from a disk."""
    return content[510:512] == b"\x55\xaa"


GONE: Final = errno.ENODEV
BROKEN: Final = errno.EIO
