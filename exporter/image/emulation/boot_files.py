"""Takes kernel, initrd, device tree and command line out of an image's boot partition: by mtools, without a mount."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.emulation.boot_config import choose_boot_names, kernel_arguments, parse_config
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import Machine
from exporter.image.emulation.partitions import Partition, load_partitions
from exporter.image.emulation.tools import run_program

_CONFIG: Final = "config.txt"
_COMMAND_LINE: Final = "cmdline.txt"
_MAGIC_OFFSET: Final = 0x24
_MAGIC: Final = b"\x18\x28\x6f\x01"


@dataclass(frozen=True, slots=True)
class BootFiles:
    """What a machine starts, as files of this machine.

    Attributes:
        arguments: the kernel's command line.
        is_32bit: the kernel is one of 32-bit ARM.
    """

    kernel: Path
    initrd: Path | None
    device_tree: Path | None
    arguments: str
    is_32bit: bool = False


def extract_boot_files(
    image: Path, machine: Machine, place: Callable[[str], Path], more: str = "", written: Path | None = None
) -> BootFiles:
    """Copy out what a machine needs.

    Args:
        image: raw image of a whole card.
        machine: that is to start it.
        place: says where a file of a name goes; another program finds it there, too.
        more: further arguments of the kernel.
        written: overlay with what a board wrote over the image: it starts from what is on its card by now.

    Raises:
        ImageError: it is no image of a card.
        EmulationError: it has no boot partition, or too little on it.
    """
    with _boot_partition(image, written) as source:
        return _extract(source, image, machine, place, more)


def _extract(source: str, image: Path, machine: Machine, place: Callable[[str], Path], more: str) -> BootFiles:
    listed = run_program("mdir", ["-i", source, "-b", "::/"], image)
    files = {line.strip().removeprefix("::/") for line in listed.splitlines()}
    config = _text(source, _CONFIG, image) if _CONFIG in files else ""
    if _COMMAND_LINE not in files:
        raise EmulationError(f"{image} has no {_COMMAND_LINE} on its boot partition: is it the image of a Pi?")
    names = choose_boot_names(parse_config(config, machine.sections), files, machine, image)
    kernel = _copy(source, names.kernel, place("kernel"), image)
    return BootFiles(
        kernel=kernel,
        initrd=None if names.initrd is None else _copy(source, names.initrd, place("initrd"), image),
        device_tree=None
        if names.device_tree is None
        else _copy(source, names.device_tree, place("device-tree.dtb"), image),
        arguments=kernel_arguments(_text(source, _COMMAND_LINE, image), machine, more),
        is_32bit=_is_32bit(kernel),
    )


@contextmanager
def _boot_partition(image: Path, written: Path | None) -> Iterator[str]:
    """Give the boot partition as mtools call it."""
    boot = next((partition for partition in load_partitions(image) if partition.is_fat), None)
    if boot is None:
        raise EmulationError(f"{image} has no boot partition (FAT): is it the image of a Raspberry Pi?")
    if written is None:
        yield f"{image}@@{boot.start_bytes}"
        return
    # mtools do not read overlays.
    with tempfile.TemporaryDirectory(dir=written.parent) as folder:
        yield str(_copy_partition(written, boot, Path(folder) / "boot"))


def _copy_partition(overlay: Path, partition: Partition, into: Path) -> Path:
    # What divides both: a partition of a card begins and ends on MiB.
    block = (partition.start_bytes | partition.size_bytes) & -(partition.start_bytes | partition.size_bytes)
    end = (partition.start_bytes + partition.size_bytes) // block
    options = ["-f", "qcow2", "-O", "raw", f"bs={block}", f"skip={partition.start_bytes // block}", f"count={end}"]
    run_program("qemu-img", ["dd", *options, f"if={overlay}", f"of={into}"], overlay)
    return into


def _is_32bit(kernel: Path) -> bool:
    """Tell by the magic number of a zImage (Linux, Documentation/arch/arm/booting.rst)."""
    with kernel.open("rb") as file:
        file.seek(_MAGIC_OFFSET)
        return file.read(len(_MAGIC)) == _MAGIC


def _text(source: str, name: str, image: Path) -> str:
    # Standard output, which a file name of `-` stands for.
    return run_program("mcopy", ["-i", source, f"::/{name}", "-"], image)


def _copy(source: str, name: str, target: Path, image: Path) -> Path:
    run_program("mcopy", ["-n", "-o", "-i", source, f"::/{name}", str(target)], image)
    return target
