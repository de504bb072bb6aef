"""The table of partitions: boot, root, data, each on a boundary of 4 MiB, data last because it grows."""

import hashlib
from dataclasses import dataclass
from typing import Final

MIB: Final = 1 << 20
SECTOR_BYTES: Final = 512
ALIGNED_BYTES: Final = 4 * MIB
# Room for two kernels: a newer one is written beside the one that runs.
BOOT_BYTES: Final = 128 * MIB
# Grows to the end of the card at the first start.
DATA_BYTES: Final = 64 * MIB
_FAT: Final = "c"
_LINUX: Final = "83"


@dataclass(frozen=True, slots=True)
class Partition:
    """One of them, in bytes of the image."""

    start: int
    size: int
    kind: str

    @property
    def end(self) -> int:
        """The first byte behind it."""
        return self.start + self.size


@dataclass(frozen=True, slots=True)
class Layout:
    """All of them."""

    boot: Partition
    root: Partition
    data: Partition

    @property
    def image_bytes(self) -> int:
        """The size of the image."""
        return self.data.end


def lay_out(root_bytes: int, data_bytes: int = DATA_BYTES) -> Layout:
    """Return where the partitions lie; the root's place depends on nothing that differs between cards.

    Args:
        root_bytes: of the root file system.
        data_bytes: of the data partition before it grows.
    """
    boot = Partition(ALIGNED_BYTES, BOOT_BYTES, _FAT)
    root = Partition(boot.end, _aligned(root_bytes), _LINUX)
    return Layout(boot, root, Partition(root.end, _aligned(data_bytes), _LINUX))


def table_script(layout: Layout, seed: str) -> bytes:
    """Return what sfdisk is told.

    Args:
        layout: of the partitions.
        seed: whence the disk's identifier comes, so that the same image has the same.
    """
    identifier = hashlib.sha256(seed.encode()).hexdigest()[:8]
    lines = ["label: dos", f"label-id: 0x{identifier}", "unit: sectors", ""]
    lines += [
        f"start={each.start // SECTOR_BYTES}, size={each.size // SECTOR_BYTES}, type={each.kind}"
        for each in (layout.boot, layout.root, layout.data)
    ]
    return ("\n".join(lines) + "\n").encode()


def _aligned(size: int) -> int:
    return -(-size // ALIGNED_BYTES) * ALIGNED_BYTES
