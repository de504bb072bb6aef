"""Reads an image as its raw bytes, whatever it is packed in; what it is packed in is told by its first bytes."""

import lzma
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal, cast

from msgspec import Struct

from exporter.image.errors import ImageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Packing = Literal["raw", "zst", "xz"]

SECTOR_BYTES: Final = 512
_ZST_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_XZ_MAGIC: Final = b"\xfd7zXZ\x00"
_XZ_FOOTER_BYTES: Final = 12
_HEADER_BYTES: Final = 18
_BOOT_SIGNATURE: Final = b"\x55\xaa"
_BROKEN: Final = (zstd.ZstdError, lzma.LZMAError, EOFError, OSError)


class ImageFile(Struct, frozen=True):
    """An image of a whole disk.

    Attributes:
        packing: what its bytes are packed in.
        size_bytes: of the raw image; None if only unpacking it would tell.
        file_bytes: of the file as it is.
    """

    path: Path
    packing: Packing
    size_bytes: int | None
    file_bytes: int


def inspect_image(path: Path) -> ImageFile:
    """Look at a file's ends.

    Raises:
        ImageError: it is missing, or no image of a disk.
    """
    try:
        with path.open("rb") as file:
            head = file.read(SECTOR_BYTES)
            file_bytes = os.fstat(file.fileno()).st_size
            packing = _packing_of(head)
            found = ImageFile(path, packing, _size_of(packing, head, file, file_bytes), file_bytes)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    with open_image(found) as raw:
        verify_boot_sector(raw.read(SECTOR_BYTES), path)
    return found


def verify_boot_sector(sector: bytes, path: Path) -> None:
    """Check that raw bytes begin like a disk with partitions.

    Raises:
        ImageError: they do not.
    """
    if len(sector) < SECTOR_BYTES or sector[-2:] != _BOOT_SIGNATURE:
        raise ImageError(f"{path} is no image of a disk: raw, .zst and .xz are read, unpack anything else first")


@contextmanager
def open_image(image: ImageFile) -> Iterator[BinaryIO]:
    """Open an image's raw bytes.

    Raises:
        ImageError: at a read, if what it is packed in is damaged or ends early.
    """
    with image.path.open("rb") as file:
        try:
            if image.packing == "zst":
                with zstd.open(file, "rb") as raw:
                    yield cast("BinaryIO", raw)
            elif image.packing == "xz":
                with lzma.open(file, "rb") as raw:
                    yield cast("BinaryIO", raw)
            else:
                yield file
        except _BROKEN as error:
            raise ImageError(
                f"{image.path} is damaged at byte {file.tell():,} of {image.file_bytes:,}: {error}"
            ) from error


def _packing_of(head: bytes) -> Packing:
    if head.startswith(_ZST_MAGIC):
        return "zst"
    return "xz" if head.startswith(_XZ_MAGIC) else "raw"


def _size_of(packing: Packing, head: bytes, file: BinaryIO, file_bytes: int) -> int | None:
    if packing == "raw":
        return file_bytes
    return _zst_size(head) if packing == "zst" else _xz_size(file)


def _zst_size(head: bytes) -> int | None:
    try:
        return zstd.get_frame_info(head[:_HEADER_BYTES]).decompressed_size
    except zstd.ZstdError:
        return None


def _xz_size(file: BinaryIO) -> int | None:
    """Return the sum of an index's sizes (.xz file format 1.2.1, section 4); None for several streams, or padding."""
    file.seek(-_XZ_FOOTER_BYTES, os.SEEK_END)
    footer = file.read()
    if footer[-2:] != b"YZ":
        return None
    index_bytes = (int.from_bytes(footer[4:8], "little") + 1) * 4
    file.seek(-_XZ_FOOTER_BYTES - index_bytes, os.SEEK_END)
    index = file.read(index_bytes)
    numbers = _numbers(index[1:])
    try:
        blocks = [(next(numbers), next(numbers)) for _ in range(next(numbers))]
    except StopIteration:
        return None
    # One stream takes the whole file: header, blocks padded to four bytes, index, footer.
    used = _XZ_FOOTER_BYTES + sum(-(-packed // 4) * 4 for packed, _ in blocks) + index_bytes + _XZ_FOOTER_BYTES
    return sum(size for _, size in blocks) if index[0] == 0 and used == file.seek(0, os.SEEK_END) else None


def _numbers(coded: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in coded:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that another byte follows
            yield number
            number = shift = 0
