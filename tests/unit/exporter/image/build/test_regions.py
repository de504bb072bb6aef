import os
import sys
from pathlib import Path

from exporter.image.block_map import block_map_text, parse_block_map
from exporter.image.build.regions import copy_region, map_of, pack, read_region

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 4096


def test_a_region_is_copied_to_its_place_and_nothing_beside_it(tmp_path: Path):
    source, image = tmp_path / "part", tmp_path / "image"
    source.write_bytes(b"a" * BLOCK + b"b" * BLOCK + b"c" * BLOCK)
    image.write_bytes(bytes(6 * BLOCK))
    region = read_region(source, [(0, BLOCK), (2 * BLOCK, 3 * BLOCK)])
    with image.open("r+b") as out:
        copy_region(source, region, out.fileno(), 2 * BLOCK)
    assert image.read_bytes() == bytes(2 * BLOCK) + b"a" * BLOCK + bytes(BLOCK) + b"c" * BLOCK + bytes(BLOCK)


def test_the_map_of_an_image_has_its_table_and_every_region_where_it_lies(tmp_path: Path):
    source = tmp_path / "part"
    source.write_bytes(os.urandom(40 << 20))
    region = read_region(source, [(0, 33 << 20)])
    made = map_of(64 << 20, bytes(BLOCK), [(region, 4 << 20)])
    assert parse_block_map(block_map_text(made), "map") == made
    assert [(each.start >> 20, each.end >> 20) for each in made.ranges[1:]] == [(4, 20), (20, 36), (36, 37)]
    assert made.mapped_bytes == (33 << 20) + BLOCK


def test_frames_in_a_row_unpack_as_one_file(tmp_path: Path):
    source, packed = tmp_path / "image", tmp_path / "image.zst"
    source.write_bytes(os.urandom(9 << 20) + bytes(3 << 20))
    pack(source, 0, 5 << 20, packed, 3)
    pack(source, 5 << 20, 12 << 20, packed, 3)
    with zstd.open(packed, "rb") as file:
        assert file.read() == source.read_bytes()
