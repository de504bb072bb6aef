"""Gives an image that QEMU can start from: packed ones are unpacked once, into a folder beside them."""

import os
from pathlib import Path
from typing import Final

from edge_agent.durable import make_folder, replacing
from exporter.image.emulation.errors import EmulationError
from exporter.image.image_file import inspect_image, open_image

_UNPACKED: Final = "unpacked.img"
_BLOCK_BYTES: Final = 1 << 20


def raw_image(image: Path, folder: Path, *, writes: bool = False) -> Path:
    """Return the raw form of an image.

    Args:
        image: raw, .zst or .xz.
        folder: for the unpacked form; made if needed.
        writes: it is to be written to, which a packed one cannot.

    Raises:
        ImageError: it is missing, damaged, or no image of a disk.
        EmulationError: it is packed, and to be written to.
    """
    found = inspect_image(image)
    if found.packing == "raw":
        return image
    if writes:
        raise EmulationError(f"{image} is packed: unpack it first, if the board is to write to it")
    target = folder / _UNPACKED
    if not target.exists() or target.stat().st_mtime_ns < image.stat().st_mtime_ns:
        make_folder(folder)
        with open_image(found) as raw, replacing(target) as file:
            while block := raw.read(_BLOCK_BYTES):
                if block.count(0) < len(block):
                    file.write(block)
                else:
                    file.seek(len(block), os.SEEK_CUR)
            file.truncate(file.tell())
    return target
