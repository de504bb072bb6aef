"""Keeps what an emulated board writes beside its image: a copy-on-write overlay, as large as a card would be.

An overlay holds differences only: once its image changes it is worth nothing, and is refused.
"""

from pathlib import Path
from typing import Final

import msgspec

from edge_agent.durable import make_folder, replace_file
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.tools import run_program
from exporter.image.errors import ImageError

CARD: Final = "card.qcow2"
_BASE: Final = "base.json"


class Base(msgspec.Struct, frozen=True):
    """What an overlay was made over.

    Attributes:
        image: absolute path.
    """

    image: str
    size_bytes: int
    changed_ns: int


def card_bytes(image_bytes: int) -> int:
    """Return the size of the card for an image: the next power of two, which is all that QEMU's SD cards come in."""
    return 1 << max(image_bytes - 1, 1).bit_length()


def prepare_overlay(image: Path, folder: Path) -> Path:
    """Return the overlay in a folder; it is made if there is none.

    Args:
        image: raw image of a whole card.
        folder: made if missing; holds one overlay.

    Raises:
        ImageError: the image cannot be read.
        EmulationError: the overlay that is there belongs to another image, or to this one as it was before.
    """
    base = _base_of(image)
    overlay, about = folder / CARD, folder / _BASE
    if overlay.exists() and about.exists():
        made_over = msgspec.json.decode(about.read_bytes(), type=Base)
        if made_over != base:
            raise EmulationError(
                f"{folder} was started from {made_over.image}, which has changed since or is another image than "
                f"{base.image}: begin anew with --fresh, or name another folder"
            )
        return overlay
    make_folder(folder)
    replace_file(about, msgspec.json.encode(base))
    _create(base, overlay)
    return overlay


def create_overlay(image: Path, overlay: Path) -> None:
    """Make an overlay that nobody will come back to.

    Args:
        image: as above.
        overlay: is overwritten.

    Raises:
        ImageError: the image cannot be read.
        EmulationError: the overlay cannot be written.
    """
    _create(_base_of(image), overlay)


def remove_overlay(folder: Path) -> None:
    """Forget what a board wrote."""
    (folder / CARD).unlink(missing_ok=True)
    (folder / _BASE).unlink(missing_ok=True)


def _create(base: Base, overlay: Path) -> None:
    arguments = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", base.image, str(overlay)]
    run_program("qemu-img", [*arguments, str(card_bytes(base.size_bytes))], overlay)


def _base_of(image: Path) -> Base:
    try:
        status = image.stat()
    except OSError as error:
        raise ImageError(f"{image} cannot be read: {error.strerror}") from error
    return Base(str(image.resolve()), status.st_size, status.st_mtime_ns)
