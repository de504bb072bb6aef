"""The list that Raspberry Pi Imager reads (``os_list``): people flash with the tool they know.

Imager checks the unpacked image against ``extract_sha256``, and asks nothing about the system: ``init_format`` is
``none``, as our images bring their identity, network and keys with them.
"""

import hashlib
from typing import Final

from msgspec import Struct

from exporter.image.image_file import ImageFile, open_image

_READ_BYTES: Final = 4 << 20
# The tags of Imager's own list (`imager.devices`) for what our images start.
DEVICE_TAGS: Final = (
    "pi3-64bit",
    "pi4-64bit",
    "pi3-32bit",
    "pi4-32bit",
    "pi5-64bit",
    "pi5-32bit",
    "pi1-32bit",
    "pi2-32bit",
)
DEFAULT_ICON: Final = "icons/use_custom.png"


class ImagerEntry(Struct, frozen=True):
    """One system of the list, by Imager's own names; sizes in bytes."""

    name: str
    description: str
    icon: str
    url: str
    extract_size: int
    extract_sha256: str
    image_download_size: int
    image_download_sha256: str
    release_date: str
    init_format: str
    devices: tuple[str, ...]


class ImagerList(Struct, frozen=True):
    """The whole file."""

    os_list: tuple[ImagerEntry, ...]


def imager_entry(
    image: ImageFile, *, name: str, description: str, url: str, release_date: str, devices: tuple[str, ...], icon: str
) -> ImagerEntry:
    """Return an image's entry; the image is read to its end, as a file and unpacked.

    Args:
        image: what to list.
        name: shown in the list.
        description: shown under the name.
        url: where Imager fetches it: https, http or file.
        release_date: as YYYY-MM-DD.
        devices: boards it starts, by Imager's tags.
        icon: URL of a picture of 40 × 40 pixels.

    Raises:
        ImageError: it is damaged.
    """
    whole, packed, size_bytes = hashlib.sha256(), hashlib.sha256(), 0
    with image.path.open("rb") as file:
        while part := file.read(_READ_BYTES):
            packed.update(part)
    with open_image(image) as raw:
        while part := raw.read(_READ_BYTES):
            whole.update(part)
            size_bytes += len(part)
    return ImagerEntry(
        name=name,
        description=description,
        icon=icon,
        url=url,
        extract_size=size_bytes,
        extract_sha256=whole.hexdigest(),
        image_download_size=image.file_bytes,
        image_download_sha256=packed.hexdigest(),
        release_date=release_date,
        init_format="none",
        devices=devices,
    )
