"""Block maps: which blocks of an image hold anything, each range with its SHA-256 (the ``.bmap`` of bmaptool, 2.0).

Blocks outside the map may hold anything on the disk: whoever made the map promises that nothing reads them.
"""

import hashlib
import re
from itertools import pairwise
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from msgspec import Struct

from exporter.image.errors import ImageError

BLOCK_BYTES: Final = 4096
_MAX_BYTES: Final = 16 << 20
_RANGE: Final = re.compile(r"\s*(\d{1,15})(?:\s*-\s*(\d{1,15}))?\s*")
_CHECKSUM: Final = re.compile(rb"(<BmapFileChecksum>\s*)([0-9a-f]{64})(\s*</BmapFileChecksum>)")


class BlockRange(Struct, frozen=True):
    """Bytes ``start`` to ``end`` (not included) of an image, and their SHA-256 in hex."""

    start: int
    end: int
    sha256: str


class BlockMap(Struct, frozen=True):
    """What of an image must be written, in its order and without overlaps."""

    image_bytes: int
    ranges: tuple[BlockRange, ...]

    @property
    def mapped_bytes(self) -> int:
        """How many bytes must be written."""
        return sum(each.end - each.start for each in self.ranges)


def load_block_map(path: Path) -> BlockMap:
    """Read a ``.bmap``.

    Raises:
        ImageError: it cannot be read, or is not what it says.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > _MAX_BYTES:
        raise ImageError(f"{path} is too large for a block map: at most {_MAX_BYTES >> 20} MiB")
    return parse_block_map(text, str(path))


def parse_block_map(text: bytes, what: str) -> BlockMap:
    """Parse a ``.bmap`` of version 2, whose checksum covers its own text.

    Raises:
        ImageError: it is damaged, of another version, or contradicts itself.
    """
    if b"<!" in text.replace(b"<!--", b""):
        raise ImageError(f"{what} declares a document type, which no block map has")
    checksum = _CHECKSUM.search(text)
    if checksum is None or hashlib.sha256(_unsigned(text)).hexdigest().encode() != checksum[2]:
        raise ImageError(f"{what} is damaged, or no block map of version 2: its own checksum is wrong")
    try:
        root = ET.fromstring(text)  # noqa: S314 - nothing is declared in it, see above
        version, kind = root.attrib["version"], (root.findtext("ChecksumType") or "").strip()
        image_bytes, block_bytes = (int(root.findtext(name) or "") for name in ("ImageSize", "BlockSize"))
        ranges = tuple(_range_of(node, block_bytes, image_bytes) for node in root.iterfind("BlockMap/Range"))
    except (ET.ParseError, KeyError, ValueError) as error:
        raise ImageError(f"{what} is no block map: {error}") from error
    if not version.startswith("2.") or kind != "sha256":
        raise ImageError(f"{what}: version {version} with {kind or 'no'} checksums; version 2 with sha256 is read")
    for before, after in pairwise(ranges):
        if before.end > after.start:
            raise ImageError(f"{what}: the range at byte {after.start:,} begins before the one before it ends")
    return BlockMap(image_bytes, ranges)


def block_map_text(blocks: BlockMap) -> bytes:
    """Write a block map as bmaptool reads it."""
    lines = [
        '<?xml version="1.0" ?>',
        '<bmap version="2.0">',
        f"  <ImageSize>{blocks.image_bytes}</ImageSize>",
        f"  <BlockSize>{BLOCK_BYTES}</BlockSize>",
        f"  <BlocksCount>{-(-blocks.image_bytes // BLOCK_BYTES)}</BlocksCount>",
        f"  <MappedBlocksCount>{-(-blocks.mapped_bytes // BLOCK_BYTES)}</MappedBlocksCount>",
        "  <ChecksumType>sha256</ChecksumType>",
        f"  <BmapFileChecksum>{'0' * 64}</BmapFileChecksum>",
        "  <BlockMap>",
        *(f'    <Range chksum="{each.sha256}">{_blocks_of(each)}</Range>' for each in blocks.ranges),
        "  </BlockMap>",
        "</bmap>",
        "",
    ]
    text = "\n".join(lines).encode()
    digest = hashlib.sha256(text).hexdigest().encode()
    return _CHECKSUM.sub(rb"\g<1>" + digest + rb"\g<3>", text)


def _unsigned(text: bytes) -> bytes:
    return _CHECKSUM.sub(rb"\g<1>" + b"0" * 64 + rb"\g<3>", text)


def _blocks_of(each: BlockRange) -> str:
    first, last = each.start // BLOCK_BYTES, -(-each.end // BLOCK_BYTES) - 1
    return str(first) if first == last else f"{first}-{last}"


def _range_of(node: ET.Element, block_bytes: int, image_bytes: int) -> BlockRange:
    told = _RANGE.fullmatch(node.text or "")
    if told is None or block_bytes <= 0:
        raise ValueError(f"range {node.text!r}")
    first, last = int(told[1]), int(told[2] or told[1])
    start, end = first * block_bytes, min((last + 1) * block_bytes, image_bytes)
    if start >= end:
        raise ValueError(f"range {node.text!r} holds nothing of the image's {image_bytes} bytes")
    return BlockRange(start, end, node.attrib["chksum"])
