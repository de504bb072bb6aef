"""Tells what system an image holds, by its files alone: nothing of it runs."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from exporter.image.customise.boot_partition import BootPartition
from exporter.image.customise.errors import CustomiseError
from exporter.image.customise.programs import run_program
from exporter.image.emulation.partitions import Partition, load_partitions

Mechanism = Literal["firstrun", "cloud-init"]

_LINUX: Final = 0x83
# The last for machines that emulate nothing, where people try what a board would do.
_LOADERS: Final = {
    "ld-linux-aarch64.so.1": "arm64",
    "ld-linux-armhf.so.3": "armhf",
    "ld-linux-x86-64.so.2": "amd64",
}
_NEEDED: Final = ("cmdline.txt", "config.txt")
_SUITE: Final = re.compile(r'^VERSION_CODENAME="?([a-z]+)"?$', re.MULTILINE)
# Before it, the boot partition lay elsewhere, and Python was older than the agent's.
_SUITES: Final = ("bookworm", "trixie")
# What the firmware of trixie's images finds from the end of 2025 on (pi-gen, stage2/04-cloud-init).
_SEED: Final = frozenset({"user-data", "meta-data"})


@dataclass(frozen=True, slots=True)
class FoundSystem:
    """A Raspberry Pi OS.

    Attributes:
        architecture: Debian's name of its programs'.
        suite: Debian's name of the release that it is made of.
        release: first line of its ``issue.txt``; empty: there is none.
        mechanism: what it runs as it starts for the first time.
    """

    boot: BootPartition
    architecture: str
    suite: str
    release: str
    mechanism: Mechanism


def find_system(image: Path, name: Path) -> FoundSystem:
    """Look into a raw image.

    Args:
        image: raw.
        name: what people know it by.

    Raises:
        ImageError: it is no image of a disk.
        CustomiseError: it holds no Raspberry Pi OS, or one that cannot be customised.
    """
    partitions = load_partitions(image)
    fat = next((each for each in partitions if each.is_fat), None)
    root = next((each for each in partitions if each.kind == _LINUX), None)
    if fat is None or root is None:
        raise CustomiseError(f"{name} has not the two partitions of Raspberry Pi OS (a FAT, and one of Linux)")
    boot = BootPartition(image, fat)
    names = boot.names()
    if missing := [each for each in _NEEDED if each not in names]:
        raise CustomiseError(f"{name}: there is no {missing[0]} on its boot partition: is it Raspberry Pi OS?")
    suite = _suite(image, root, name)
    return FoundSystem(
        boot=boot,
        architecture=_architecture(image, root, name),
        suite=suite,
        release=boot.read("issue.txt").decode(errors="replace").partition("\n")[0] if "issue.txt" in names else "",
        mechanism="cloud-init" if names >= _SEED and _is_there(image, root, "/usr/bin/cloud-init") else "firstrun",
    )


def _suite(image: Path, root: Partition, name: Path) -> str:
    text = _debugfs(image, root, "cat /usr/lib/os-release").decode(errors="replace")
    found = _SUITE.search(text)
    suite = found[1] if found else ""
    if suite not in _SUITES:
        raise CustomiseError(
            f"{name} holds {suite or 'no system that tells its release'}; what can be customised is Raspberry Pi OS "
            f"of {' and '.join(_SUITES)}"
        )
    return suite


def _architecture(image: Path, root: Partition, name: Path) -> str:
    for loader, architecture in _LOADERS.items():
        if _is_there(image, root, f"/usr/lib/{loader}"):
            return architecture
    raise CustomiseError(f"{name}: its programs are neither for arm64 nor for armhf; is it Raspberry Pi OS?")


def _is_there(image: Path, root: Partition, path: str) -> bool:
    return b"Inode:" in _debugfs(image, root, f"stat {path}")


def _debugfs(image: Path, root: Partition, request: str) -> bytes:
    return run_program(["debugfs", "-R", request, f"{image}?offset={root.start_bytes}"])
