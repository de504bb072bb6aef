import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.image.block_map import BlockMap, BlockRange, block_map_text, load_block_map, parse_block_map
from exporter.image.errors import ImageError

SHA256 = hashlib.sha256(b"").hexdigest()
BLOCKS = BlockMap(
    40_000, (BlockRange(0, 4096, SHA256), BlockRange(8192, 16384, SHA256), BlockRange(36864, 40000, SHA256))
)


def signed(text: bytes) -> bytes:
    """Put the right sum into a map whose text was changed."""
    start = text.index(b"<BmapFileChecksum>") + len(b"<BmapFileChecksum>")
    blank = text[:start] + b"0" * 64 + text[start + 64 :]
    return text[:start] + hashlib.sha256(blank).hexdigest().encode() + text[start + 64 :]


def test_a_block_map_comes_back_as_it_was_written():
    assert parse_block_map(block_map_text(BLOCKS), "card.bmap") == BLOCKS
    assert BLOCKS.mapped_bytes == 4096 + 8192 + 3136


@pytest.mark.parametrize("place", [0, 100, 200, 500, -20])
def test_a_changed_byte_is_noticed(place: int):
    text = bytearray(block_map_text(BLOCKS))
    text[place] ^= 1
    with pytest.raises(ImageError, match="is damaged"):
        parse_block_map(bytes(text), "card.bmap")


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (b'version="2.0"', b'version="1.4"', "version 1.4"),
        (b">sha256<", b">sha1<", "with sha1 checksums"),
        (b">2-3<", b">0-3<", "begins before the one before it ends"),
        (b">2-3<", b">3-2<", "holds nothing"),
        (b">2-3<", b">2 3<", "is no block map"),
        (b">9<", b">10<", "holds nothing"),
        (b"<BlockSize>4096<", b"<BlockSize>0<", "is no block map"),
        (b'<?xml version="1.0" ?>', b'<?xml version="1.0" ?><!DOCTYPE a [<!ENTITY b "c">]>', "document type"),
    ],
)
def test_a_map_that_contradicts_itself_is_refused(before: bytes, after: bytes, reason: str):
    text = block_map_text(BLOCKS)
    assert before in text
    with pytest.raises(ImageError, match=reason):
        parse_block_map(signed(text.replace(before, after)), "card.bmap")


def test_a_missing_map_is_told(tmp_path: Path):
    with pytest.raises(ImageError, match="cannot be read"):
        load_block_map(tmp_path / "none.bmap")


@pytest.mark.skipif(shutil.which("bmaptool") is None, reason="bmap-tools are not installed")
def test_bmaptool_writes_what_is_read_and_reads_what_is_written(tmp_path: Path):
    image, bmap, copy = tmp_path / "card.img", tmp_path / "card.bmap", tmp_path / "copy.img"
    with image.open("wb") as file:
        file.write(b"a" * 8192)
        file.seek(1 << 20)
        file.write(b"b" * 5000)
    subprocess.run(["bmaptool", "create", str(image), "-o", str(bmap)], check=True, capture_output=True)
    blocks = load_block_map(bmap)
    assert blocks.image_bytes == (1 << 20) + 5000
    raw = image.read_bytes()
    for each in blocks.ranges:
        assert hashlib.sha256(raw[each.start : each.end]).hexdigest() == each.sha256
    bmap.write_bytes(block_map_text(blocks))
    subprocess.run(["bmaptool", "copy", "--bmap", str(bmap), str(image), str(copy)], check=True, capture_output=True)
    assert copy.read_bytes() == raw
