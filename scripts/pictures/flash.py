"""``python -m scripts.pictures.flash``: the pictures of docs/guides/flash.md.

The commands are real, the image is one of random bytes, and the card is a file. Only the disks are not this machine's:
``lsblk`` tells of a laptop's, with a card in its reader.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from scripts.pictures.terminal import screens, write_picture

PICTURES: Final = Path("docs/guides/pictures")
_FIELDLOOP: Final = (sys.executable, "-P", "-m", "trainer.cli")
_IMAGE_BYTES: Final = 512 << 20
_PIECE_BYTES: Final = 8 << 20
_DISKS: Final = {
    "blockdevices": [
        {
            "path": "/dev/nvme0n1",
            "type": "disk",
            "size": 512110190592,
            "model": "Samsung SSD 980",
            "vendor": None,
            "tran": "nvme",
            "rm": False,
            "hotplug": False,
            "ro": False,
            "mountpoints": [None],
            "children": [{"path": "/dev/nvme0n1p2", "type": "part", "mountpoints": ["/"]}],
        },
        {
            "path": "/dev/sda",
            "type": "disk",
            "size": 31914983424,
            "model": "MassStorageClass",
            "vendor": "Generic-",
            "tran": "usb",
            "rm": True,
            "hotplug": True,
            "ro": False,
            "mountpoints": [None],
        },
        {
            "path": "/dev/sdb",
            "type": "disk",
            "size": 64023257088,
            "model": "Flash Drive",
            "vendor": "Samsung",
            "tran": "usb",
            "rm": True,
            "hotplug": True,
            "ro": False,
            "mountpoints": [None],
            "children": [{"path": "/dev/sdb1", "type": "part", "mountpoints": ["/media/pictures"]}],
        },
    ]
}


def main() -> None:
    """Make them all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_picture(_listed(folder), PICTURES / "disks.svg", "Which disk")
        image = _make_image(folder)
        seen = list(_flashed(image, _empty_card(folder)))
        on_its_way = [text for text in seen if "writing" in text and "reading back" not in text]
        write_picture(on_its_way[len(on_its_way) * 2 // 3], PICTURES / "writing.svg", "On its way")
        write_picture(seen[-1], PICTURES / "written.svg", "Written, and read back")


def _listed(folder: Path) -> str:
    programs = folder / "programs"
    programs.mkdir()
    (programs / "lsblk").write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(_DISKS)}\nEND\n", encoding="ascii")
    (programs / "lsblk").chmod(0o755)
    path = {"PATH": f"{programs}:{os.environ['PATH']}"}
    return list(screens((*_FIELDLOOP, "image", "disks"), shown="fieldloop image disks", folder=folder, more=path))[-1]


def _make_image(folder: Path) -> Path:
    image = folder / "card.img"
    chance = random.Random(1)
    with image.open("wb") as file:
        for start in range(0, _IMAGE_BYTES, _PIECE_BYTES):
            # Half of a card's image is empty.
            file.write(chance.randbytes(_PIECE_BYTES) if start % (2 * _PIECE_BYTES) == 0 else bytes(_PIECE_BYTES))
    table = "start=4MiB, size=64MiB, type=c\nstart=68MiB, size=256MiB, type=83\n"
    subprocess.run(["sfdisk", "-q", str(image)], input=table, text=True, check=True)
    return image


def _empty_card(folder: Path) -> Path:
    card = folder / "card"
    with card.open("wb") as file:
        file.truncate(_IMAGE_BYTES)
    return card


def _flashed(image: Path, card: Path) -> Iterator[str]:
    command = (*_FIELDLOOP, "image", "flash", image.name, card.name)
    shown = f"fieldloop image flash {image.name} {card.name}"
    return screens(command, shown=shown, folder=image.parent, answer="y\n")


if __name__ == "__main__":
    main()
