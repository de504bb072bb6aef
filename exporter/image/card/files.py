"""Every file of a card, and what the root file system below them must have: the whole of what `exporter.image.build` asks.

The root partition is a function of `Card.system` alone, so that cards that differ in anything else share it.
"""

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
from exporter.image.card.root_files import enabled_units, masked_units, root_files, root_packages

__all__ = [
    "BOOT",
    "BOOT_LABEL",
    "DATA",
    "DATA_LABEL",
    "DATA_OPTIONS",
    "ROOT_LABEL",
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
    "root_packages",
]

# How mke2fs must make the data partition, whose first size says nothing of what it grows to.
DATA_OPTIONS: Final = ("-t", "ext4", "-b", "4096", "-i", "65536", "-m", "1", "-L", DATA_LABEL)


def card_files(card: Card) -> tuple[CardFile, ...]:
    """Return every file of a card, in the order of their paths; those of the root partition depend on its system alone.

    Raises:
        CardError: something in it cannot be on a card; the message says what.
    """
    return tuple(sorted((*root_files(card.system), *data_files(card)), key=lambda file: file.path))


def card_links(system: System) -> tuple[CardLink, ...]:
    """Return the links of the root partition: units that start, and units that never do."""
    return tuple(sorted((*enabled_units(system), *masked_units(system)), key=lambda link: link.path))


def kernel_arguments(card: Card) -> tuple[str, ...]:
    """Return what the kernel is told on every board, beside its consoles."""
    arguments = [f"root=LABEL={ROOT_LABEL}", "rootfstype=ext4", "ro", "rootwait", "fsck.repair=yes", "panic=10", "quiet"]
    if card.network.country is not None:
        arguments.append(f"cfg80211.ieee80211_regdom={card.network.country}")
    return tuple(arguments)
