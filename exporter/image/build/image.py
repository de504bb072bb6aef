"""Puts an image together: one card on one board, from the root partition that alike cards share."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.block_map import BLOCK_BYTES, block_map_text
from exporter.image.build import ext4, fat
from exporter.image.build.boards import Architecture, Board
from exporter.image.build.boot import boot_files
from exporter.image.build.partitions import DATA_BYTES, MIB, Layout, lay_out, table_script
from exporter.image.build.regions import copy_region, map_of, pack, read_region
from exporter.image.build.root_partition import OnStep, RootPartition
from exporter.image.build.root_tree import RootTree
from exporter.image.build.tools import run_tool
from exporter.image.card.files import (
    BOOT_LABEL,
    DATA_LABEL,
    DATA_OPTIONS,
    MIN_DATA_BYTES,
    Card,
    CardFile,
    card_files,
    kernel_arguments,
)

_LEVEL: Final = 9


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        image: the raw image; it is sparse.
        packed: the same by Zstandard; None: it was not asked for.
        block_map: which blocks of it hold anything.
        mapped_bytes: how many bytes those are.
    """

    image: Path
    packed: Path | None
    block_map: Path
    layout: Layout
    mapped_bytes: int


def write_image(
    card: Card,
    board: Board,
    architecture: Architecture,
    root: RootPartition,
    image: Path,
    on_step: OnStep,
    *,
    is_packed: bool,
) -> Written:
    """Write an image and its block map; what was there gives way when the new one is complete.

    Args:
        card: what it carries.
        board: that it starts.
        architecture: of its programs.
        root: of its architecture and `Card.system`.
        image: the file; the others lie beside it.
        on_step: told of every step.
        is_packed: write it as ``.zst`` too.

    Raises:
        BuildError: a tool is missing, or something does not fit.
        CardError: something cannot be on a card.
    """
    files = card_files(card)
    time_s = root.about.time_s
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".image-") as name:
        scratch = Path(name)
        boot, data, raw = scratch / "boot.fat", scratch / "data.ext4", scratch / image.name
        on_step("making the boot partition")
        boot_content = boot_files(root.boot_parts(), board, architecture, kernel_arguments(card))
        boot_content |= {str(file.place): file.content for file in files if file.partition == "boot"}
        layout = lay_out(root.about.size_bytes, _data_bytes(files))
        fat.make_fat(boot_content, BOOT_LABEL, layout.boot.size, time_s, boot)
        on_step("making the data partition")
        tree = RootTree(scratch / "data", time_s)
        tree.folder.mkdir()
        try:
            tree.lay_files(file for file in files if file.partition == "data")
            tree.clamp()
            seed = f"{root.about.key} data"
            wanted = ext4.FileSystem(DATA_LABEL, layout.data.size, DATA_OPTIONS, seed, time_s, has_journal=True)
            ext4.make_ext4(tree.folder, wanted, data)
        finally:
            tree.remove()
        ext4.verify_ext4(data)
        on_step("writing the image")
        placed = (
            (boot, read_region(boot, fat.used_ranges(boot)), layout.boot.start),
            (root.file_system, root.about.region, layout.root.start),
            (data, read_region(data, ext4.used_ranges(data)), layout.data.start),
        )
        table = _start(raw, layout, root.about.key)
        with raw.open("r+b") as out:
            for source, region, offset in placed:
                copy_region(source, region, out.fileno(), offset)
        block_map = map_of(layout.image_bytes, table, [(region, offset) for _, region, offset in placed])
        packed = None
        if is_packed:
            on_step("packing the image")
            packed = image.with_name(image.name + ".zst")
            new = scratch / packed.name
            pack(raw, 0, layout.root.start, new, _LEVEL)
            with new.open("ab") as out, root.packed.open("rb") as frame:
                while chunk := frame.read(MIB):
                    out.write(chunk)
            pack(raw, layout.data.start, layout.data.end, new, _LEVEL)
            _take_place(new, packed)
        _take_place(raw, image)
    map_place = image.with_name(image.name.removesuffix(".img") + ".bmap")
    map_place.write_bytes(block_map_text(block_map))
    return Written(image, packed, map_place, layout, block_map.mapped_bytes)


def _data_bytes(files: tuple[CardFile, ...]) -> int:
    content = sum(-(-len(file.content) // BLOCK_BYTES) * BLOCK_BYTES for file in files if file.partition == "data")
    return max(DATA_BYTES, MIN_DATA_BYTES + content * 11 // 10)


def _start(raw: Path, layout: Layout, seed: str) -> bytes:
    """Make a sparse file with its table of partitions, and return its first block."""
    with raw.open("xb") as file:
        file.truncate(layout.image_bytes)
    run_tool(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(raw)], time_s=0, given=table_script(layout, seed)
    )
    with raw.open("rb") as file:
        return file.read(BLOCK_BYTES)


def _take_place(new: Path, place: Path) -> None:
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.replace(place)
