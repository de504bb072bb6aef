"""What lies on a card, as values: files and links, each with its place."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal

Partition = Literal["boot", "root", "data"]

# Labels of the three file systems: FAT takes 11 characters, ext4 16.
BOOT_LABEL: Final = "FIELDLOOP"
ROOT_LABEL: Final = "fieldloop-root"
DATA_LABEL: Final = "fieldloop-data"
# Where a card mounts them; the paths of `CardFile` begin with these.
BOOT: Final = PurePosixPath("/boot/firmware")
DATA: Final = PurePosixPath("/data")

PRIVATE: Final = 0o600
PLAIN: Final = 0o644
PROGRAM: Final = 0o755


@dataclass(frozen=True, slots=True)
class CardFile:
    """A file on a card; it belongs to root.

    Attributes:
        path: absolute, as the running board sees it: below `BOOT` on the boot partition, below `DATA` on the data
            partition.
        mode: permission bits; folders that are missing are made 0755.
    """

    path: PurePosixPath
    content: bytes
    mode: int
    partition: Partition

    @property
    def place(self) -> PurePosixPath:
        """Return the path within its partition, without the leading slash."""
        top = {"boot": BOOT, "root": PurePosixPath("/"), "data": DATA}[self.partition]
        return self.path.relative_to(top)


@dataclass(frozen=True, slots=True)
class CardLink:
    """A symbolic link on the root partition: a unit that starts, one that never does, or a file that lies on `DATA`.

    Attributes:
        path: absolute; what is there already gives way.
        target: what the link says.
    """

    path: PurePosixPath
    target: str
