import hashlib
import lzma
from pathlib import Path

import pytest

from exporter.image.block_map import BlockMap, BlockRange
from exporter.image.errors import FlashError, ImageError
from exporter.image.flashing import HEAD_BYTES, flash
from exporter.image.image_file import inspect_image
from tests.unit.exporter.image.disks_of_memory import BROKEN, GONE, MIB, LyingCard, MemoryDisk, example_image, starts

DISK_BYTES = 16 * MIB


def test_a_disk_holds_the_image_and_nothing_is_changed_behind_it(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES)
    behind = bytes(disk.content[image.file_bytes :])
    raw = image.path.read_bytes()
    done = flash(image, disk)
    assert disk.held == raw + behind
    assert done.sha256 == hashlib.sha256(raw).hexdigest()
    assert done.image_bytes == image.file_bytes


def test_short_writes_are_carried_on(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES, most_bytes=100_003)
    flash(image, disk)
    assert disk.held[: image.file_bytes] == image.path.read_bytes()


def test_zeros_that_are_there_are_not_written_again(tmp_path: Path):
    image, disk = example_image(tmp_path, size=40 * MIB), MemoryDisk(48 * MIB)
    disk.content[:] = bytes(len(disk.content))
    done = flash(image, disk)
    assert done.zero_bytes == 32 * MIB
    assert done.written_bytes == 8 * MIB
    assert disk.held[: image.file_bytes] == image.path.read_bytes()


@pytest.mark.parametrize("errno_", [BROKEN, GONE])
def test_a_write_that_fails_anywhere_leaves_a_disk_that_starts_nothing_and_can_be_flashed_again(
    tmp_path: Path, errno_: int
):
    image = example_image(tmp_path)
    whole = MemoryDisk(DISK_BYTES)
    flash(image, whole)
    for number in range(2, whole.writes + 1):
        disk = MemoryDisk(DISK_BYTES, fails={number: errno_})
        with pytest.raises(FlashError, match="the disk is gone" if errno_ == GONE else "cannot write"):
            flash(image, disk)
        assert not starts(disk.held), f"write {number} of {whole.writes}"
        flash(image, disk)
        assert disk.held[: image.file_bytes] == image.path.read_bytes()


def test_the_same_image_goes_on_where_an_earlier_try_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exporter.image.flashing.SYNC_BYTES", 4 * MIB)
    image = example_image(tmp_path, tuple(bytes([number + 1]) * MIB for number in range(35)), size=40 * MIB)
    whole = MemoryDisk(48 * MIB)
    flash(image, whole)
    disk = MemoryDisk(48 * MIB, fails={whole.writes - 6: BROKEN})
    with pytest.raises(FlashError):
        flash(image, disk)
    done = flash(image, disk)
    assert done.resumed_bytes >= 16 * MIB
    assert done.written_bytes <= 24 * MIB
    assert disk.held[: image.file_bytes] == image.path.read_bytes()


def test_another_image_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("exporter.image.flashing.SYNC_BYTES", 4 * MIB)
    image = example_image(tmp_path, size=40 * MIB)
    disk = MemoryDisk(48 * MIB, fails={10: BROKEN})
    with pytest.raises(FlashError):
        flash(image, disk)
    (tmp_path / "other").mkdir()
    other = example_image(tmp_path / "other", (b"other",), size=40 * MIB)
    assert flash(other, disk).resumed_bytes == 0
    assert disk.held[: other.file_bytes] == other.path.read_bytes()


def test_a_disk_whose_written_part_was_changed_meanwhile_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("exporter.image.flashing.SYNC_BYTES", 4 * MIB)
    image = example_image(tmp_path, tuple(b"x" * MIB for _ in range(35)), size=40 * MIB)
    whole = MemoryDisk(48 * MIB)
    flash(image, whole)
    disk = MemoryDisk(48 * MIB, fails={whole.writes - 6: BROKEN})
    with pytest.raises(FlashError):
        flash(image, disk)
    disk.content[5 * MIB] ^= 1
    with pytest.raises(FlashError, match="does not hold what was written"):
        flash(image, disk)
    assert not starts(disk.held)
    assert flash(image, disk).resumed_bytes == 0
    assert disk.held[: image.file_bytes] == image.path.read_bytes()


def test_a_card_that_lies_about_its_size_is_found_out(tmp_path: Path):
    disk = LyingCard(DISK_BYTES, real_size=4 * MIB)
    with pytest.raises(FlashError, match="its size is a lie"):
        flash(example_image(tmp_path), disk)
    assert not starts(disk.held)


def test_a_disk_that_ends_too_early_is_told(tmp_path: Path):
    disk = MemoryDisk(6 * MIB)
    with pytest.raises(FlashError, match="too small") as caught:
        flash(example_image(tmp_path), disk)
    assert caught.value.offset == 6 * MIB
    assert not starts(disk.held)


def test_a_damaged_image_leaves_a_disk_that_starts_nothing(tmp_path: Path):
    raw = example_image(tmp_path).path.read_bytes()
    packed = bytearray(lzma.compress(raw))
    packed[len(packed) * 9 // 10] ^= 1
    path = tmp_path / "damaged.img.xz"
    path.write_bytes(packed)
    disk = MemoryDisk(DISK_BYTES)
    with pytest.raises(ImageError, match="is damaged"):
        flash(inspect_image(path), disk)
    assert not starts(disk.held)


def test_an_image_that_ends_early_is_refused(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES)
    with image.path.open("r+b") as file:
        file.truncate(9 * MIB)
    with pytest.raises(ImageError, match=r"ended after 9,437,184 of 10,486,272 bytes"):
        flash(image, disk)
    assert not starts(disk.held)


def map_of(raw: bytes, *stretches: tuple[int, int]) -> BlockMap:
    return BlockMap(
        len(raw), tuple(BlockRange(start, end, hashlib.sha256(raw[start:end]).hexdigest()) for start, end in stretches)
    )


def test_what_a_block_map_leaves_out_is_not_written(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES)
    raw, before = image.path.read_bytes(), bytes(disk.content)
    blocks = map_of(raw, (0, 3 * MIB), (9 * MIB, 9 * MIB + 4096), (10 * MIB, len(raw)))
    done = flash(image, disk, blocks=blocks)
    for each in blocks.ranges:
        assert disk.held[each.start : each.end] == raw[each.start : each.end]
    assert disk.held[3 * MIB : 9 * MIB] == before[3 * MIB : 9 * MIB]
    assert done.unmapped_bytes == len(raw) - blocks.mapped_bytes
    assert done.written_bytes == blocks.mapped_bytes


def test_an_image_that_is_not_the_one_of_its_block_map_is_refused(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES)
    raw = image.path.read_bytes()
    other = raw[: 5 * MIB] + b"?" + raw[5 * MIB + 1 :]
    with pytest.raises(ImageError, match="not the one of its block map"):
        flash(image, disk, blocks=map_of(other, (0, 3 * MIB), (4 * MIB, 6 * MIB)))
    assert not starts(disk.held)
    with pytest.raises(ImageError, match="its block map was made for"):
        flash(image, disk, blocks=map_of(raw + bytes(4096), (0, 3 * MIB)))
    assert not starts(disk.held)


def test_the_head_is_mapped_whatever_the_map_says(tmp_path: Path):
    image, disk = example_image(tmp_path), MemoryDisk(DISK_BYTES)
    raw = image.path.read_bytes()
    flash(image, disk, blocks=map_of(raw, (0, 4096)))
    assert disk.held[:HEAD_BYTES] == raw[:HEAD_BYTES]


def test_progress_tells_both_halves_to_their_ends(tmp_path: Path):
    told: list[tuple[str, int, int | None]] = []
    image = example_image(tmp_path)
    flash(image, MemoryDisk(DISK_BYTES), on_progress=lambda *step: told.append(step))
    assert told[2] == ("write", image.file_bytes, image.file_bytes)
    assert told[-1] == ("verify", image.file_bytes - HEAD_BYTES, image.file_bytes - HEAD_BYTES)
