"""Finds the programs that images are made, read and started with; names the Debian package of one that is missing."""

import os
import shutil
from collections.abc import Mapping
from typing import Final

from exporter.errors import ExporterError

# Where a user's search path has no folders of the administrator's programs.
ADMINISTRATORS: Final = ":/usr/local/sbin:/usr/sbin:/sbin"
# Those whose package has another name.
_PACKAGES: Final[Mapping[str, str]] = {
    "debugfs": "e2fsprogs",
    "mcopy": "mtools",
    "mdel": "mtools",
    "mdeltree": "mtools",
    "mdir": "mtools",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mmd": "mtools",
    "mren": "mtools",
    "newuidmap": "uidmap",
    "qemu-img": "qemu-utils",
    "qemu-system-aarch64": "qemu-system-arm ipxe-qemu",
    "sfdisk": "fdisk",
}


def find_program(name: str, error: type[ExporterError]) -> str:
    """Return the path of a program.

    Args:
        name: of the program.
        error: raised with the name of its package where it is missing.
    """
    found = shutil.which(name, path=os.environ.get("PATH", "") + ADMINISTRATORS)
    if found is None:
        raise error(f"{name} is missing: sudo apt-get install --no-install-recommends {_PACKAGES.get(name, name)}")
    return found
