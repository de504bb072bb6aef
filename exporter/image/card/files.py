"""Every file of a card, and what the root below them must have: what an image is built from, beside Debian.

The root partition is a function of `Card.system` alone, so that cards that differ in anything else share it.
"""

import hashlib
from typing import Final

from exporter.image.card.contents import (
    BOOT,
    BOOT_LABEL,
    DATA,
    DATA_LABEL,
    ROOT_LABEL,
    CardFile,
    CardLink,
    Partition,
)
from exporter.image.card.data_files import data_files
from exporter.image.card.description import Card, System
from exporter.image.card.root_files import root_files
from exporter.image.card.root_system import (
    ROOT_FOLDERS,
    ROOT_REMOVED,
    enabled_units,
    masked_units,
    root_commands,
    root_links,
    root_packages,
)

__all__ = [
    "BOOT",
    "BOOT_LABEL",
    "DATA",
    "DATA_LABEL",
    "DATA_OPTIONS",
    "MIN_DATA_BYTES",
    "ROOT_FOLDERS",
    "ROOT_LABEL",
    "ROOT_REMOVED",
    "Card",
    "CardFile",
    "CardLink",
    "Partition",
    "System",
    "card_files",
    "card_links",
    "enabled_units",
    "kernel_arguments",
    "masked_units",
    "root_commands",
    "root_packages",
]

# How mke2fs must make the data partition: blocks and inodes for what it grows to, not for what it is at first.
DATA_OPTIONS: Final = ("-t", "ext4", "-b", "4096", "-i", "65536", "-m", "1", "-L", DATA_LABEL)
# Beside what lies on it: the agent stops fetching bundles where less than 16 MiB would be left.
MIN_DATA_BYTES: Final = 64 << 20
_MACHINE_ID_DIGITS: Final = 32


def card_files(card: Card) -> tuple[CardFile, ...]:
    """Return every file of a card, in the order of their paths; those of the root partition depend on its system alone.

    Raises:
        CardError: something in it cannot be on a card; the message says what.
    """
    return tuple(sorted((*root_files(card.system), *data_files(card)), key=lambda file: file.path))


def card_links(system: System) -> tuple[CardLink, ...]:
    """Return the links of the root partition: units that start, units that never do, files of the data partition."""
    return tuple(sorted(root_links(system), key=lambda link: link.path))


def kernel_arguments(card: Card) -> tuple[str, ...]:
    """Return what the kernel is told on every board, beside its consoles; it differs from card to card."""
    arguments = [
        f"root=LABEL={ROOT_LABEL}",
        "rootfstype=ext4",
        "ro",
        "rootwait",
        # Interfaces are eth0 and wlan0 on every board.
        "net.ifnames=0",
        # Nobody is there to be asked.
        "fsck.repair=yes",
        "panic=10",
        "quiet",
    ]
    settings = card.settings
    if "*" not in settings.device:
        name = f"{settings.fleet}/{settings.device}"
        machine_id = hashlib.sha256(f"fieldloop machine {name}".encode()).hexdigest()[:_MACHINE_ID_DIGITS]
        # Names have no dots and no more than 63 characters; what a host's has not is the underscore.
        hostname = settings.device.replace("_", "-")
        arguments += [f"systemd.machine_id={machine_id}", f"systemd.hostname={hostname}"]
    return tuple(arguments)
