"""Which disks this machine has, and which of them an image may be written to.

The decision is a pure function of what ``lsblk`` tells. It is no lock: what got mounted since, the kernel refuses to
open exclusively, see `target`.
"""

import subprocess
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from exporter.image.errors import DiskError

_COLUMNS: Final = "PATH,TYPE,SIZE,MODEL,VENDOR,TRAN,RM,HOTPLUG,RO,MOUNTPOINTS"
_WHOLE: Final = frozenset({"disk", "loop"})
# A machine that loses one of these stops, or does not start again.
_SYSTEM_PLACES: Final = ("/", "/boot", "/efi", "/usr", "/var", "/etc", "/home", "/nix", "[SWAP]")


class Disk(Struct, frozen=True):
    """A whole disk, as the kernel shows it.

    Attributes:
        path: its device, for example ``/dev/sdb``.
        size_bytes: 0 for a reader without a card.
        model: vendor and model, empty if it does not say.
        transport: how it is attached (usb, sata, nvme, mmc), empty if unknown.
        removable: it can be taken out while the machine runs.
        read_only: the kernel refuses writes to it.
        mounted: where it and what lies on it is mounted; ``[SWAP]`` for swap.
        part_of: kinds of volumes that are made of it: crypt, lvm, raid1.
    """

    path: str
    size_bytes: int
    model: str = ""
    transport: str = ""
    removable: bool = False
    read_only: bool = False
    mounted: tuple[str, ...] = ()
    part_of: tuple[str, ...] = ()

    @property
    def is_system(self) -> bool:
        """Whether this machine runs from it."""
        return any(place in _SYSTEM_PLACES or place.startswith("/boot/") for place in self.mounted)

    def __str__(self) -> str:
        described = " ".join(filter(None, (self.model, f"({self.transport})" if self.transport else "")))
        return f"{self.path}, {size_text(self.size_bytes)}{', ' + described if described else ''}"


def size_text(size_bytes: int) -> str:
    """Return a size as it is printed on a card: powers of ten."""
    if size_bytes >= 10**9:
        return f"{size_bytes / 10**9:.1f} GB"
    return f"{size_bytes / 10**6:.1f} MB"


def refusal_of(disk: Disk, image_bytes: int | None, *, allow_fixed: bool) -> str | None:
    """Return why an image may not be written to a disk, None if it may.

    Args:
        disk: the disk.
        image_bytes: size of the unpacked image; None if that is not known beforehand.
        allow_fixed: the user insists on a disk that cannot be taken out. Nobody can insist on a system disk.
    """
    path, where = disk.path, ", ".join(disk.mounted)
    unmount = f"sudo umount {' '.join(disk.mounted)}"
    sizes = f"{size_text(disk.size_bytes)}, the image has {size_text(image_bytes or 0)}"
    # The first that holds is told: the graver ones stand above.
    reasons = (
        (disk.is_system, f"{path} holds this machine's {where}: it is never written to"),
        (disk.mounted, f"{path} is mounted at {where}: unmount it first ({unmount})"),
        (disk.part_of, f"{path} is part of a volume ({', '.join(disk.part_of)}): take it out of that first"),
        (disk.size_bytes == 0, f"{path} has no medium: put the card in"),
        (disk.read_only, f"{path} is read-only: look at the lock switch of the card or its adapter"),
        (disk.size_bytes < (image_bytes or 0), f"{path} is too small: {sizes}"),
        (
            not disk.removable and not allow_fixed,
            f"{path} cannot be taken out of this machine: if it is the right one, add --allow-fixed-disk",
        ),
    )
    return next((reason for holds, reason in reasons if holds), None)


def list_disks() -> tuple[Disk, ...]:
    """Return the disks of this machine.

    Raises:
        DiskError: ``lsblk`` is missing or too old.
    """
    return _listed(())


def find_disk(path: str) -> Disk:
    """Return the disk with this device.

    Raises:
        DiskError: there is no such disk, or it is a partition.
    """
    found = _listed((path,))
    if not found:
        raise DiskError(f"{path} is no whole disk: name the disk, not a partition of it (fieldloop image disks)")
    return found[0]


def parse_disks(told: bytes) -> tuple[Disk, ...]:
    """Return the whole disks of ``lsblk --json --bytes``.

    Raises:
        DiskError: it is not what lsblk writes.
    """
    try:
        listed = msgspec.json.decode(told)["blockdevices"]
        return tuple(_disk_of(node) for node in listed if node["type"] in _WHOLE)
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise DiskError("lsblk told nothing that can be read: util-linux 2.37 or newer is needed") from error


def _listed(paths: tuple[str, ...]) -> tuple[Disk, ...]:
    command = ["lsblk", "--json", "--bytes", "--output", _COLUMNS, *(("--", *paths) if paths else ())]
    try:
        told = subprocess.run(command, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise DiskError("lsblk is not installed: it is in the package util-linux") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise DiskError(f"lsblk cannot tell of {' '.join(paths) or 'the disks'}: {said}") from error
    return parse_disks(told.stdout)


def _disk_of(node: dict[str, Any]) -> Disk:
    below = list(_below(node))
    mounted = [place for each in (node, *below) for place in each.get("mountpoints") or () if place]
    return Disk(
        path=node["path"],
        size_bytes=int(node["size"] or 0),
        model=" ".join(filter(None, ((node.get(key) or "").strip() for key in ("vendor", "model")))),
        transport=node.get("tran") or "",
        removable=bool(node["rm"] or node["hotplug"]),
        read_only=bool(node["ro"]),
        mounted=tuple(dict.fromkeys(mounted)),
        part_of=tuple(dict.fromkeys(each["type"] for each in below if each["type"] != "part")),
    )


def _below(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in node.get("children") or ():
        yield child
        yield from _below(child)
