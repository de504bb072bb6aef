"""Decides from config.txt and the list of its files what a boot partition starts: pure functions over text.

Read as the firmware does (Raspberry Pi documentation, config.txt): a line in brackets is a filter for what follows it,
the last of two settings counts, ``initramfs`` has no equals sign.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import Machine

# What the firmware of a 64-bit board starts if nobody says otherwise, then what Debian's raspi-firmware writes.
_KERNELS: Final = ("kernel8.img",)
_FILTER: Final = re.compile(r"\[([\w+=.-]+)\]")


@dataclass(frozen=True, slots=True)
class BootNames:
    """Files of a boot partition, as it calls them.

    Attributes:
        device_tree: None where the machine makes its own.
    """

    kernel: str
    initrd: str | None
    device_tree: str | None


def parse_config(text: str, sections: Collection[str]) -> dict[str, str]:
    """Return the settings of a config.txt that apply.

    Args:
        text: the file's content.
        sections: the filters that let through.
    """
    settings: dict[str, str] = {}
    applies = True
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if found := _FILTER.fullmatch(line):
            applies = found[1] in sections
        elif applies and line.startswith("initramfs "):
            settings["initramfs"] = line.split()[1]
        elif applies and "=" in line:
            key, _, value = line.partition("=")
            settings[key.strip()] = value.strip()
    return settings


def choose_boot_names(settings: dict[str, str], files: Collection[str], machine: Machine, image: Path) -> BootNames:
    """Choose what is started.

    Args:
        settings: from `parse_config`.
        files: names of all files at the top of the partition.
        machine: that is to start them.
        image: named when something is missing.

    Raises:
        EmulationError: the partition lacks a kernel, or what its config.txt names.
    """
    prefix = settings.get("os_prefix", "")
    kernel = settings.get("kernel") or _first(_KERNELS, files, prefix) or _newest("vmlinuz", files)
    if kernel is None:
        raise EmulationError(f"{image} has no kernel on its boot partition: is it the image of a Raspberry Pi?")
    initrd = settings.get("initramfs") or _newest("initrd", files)
    names = BootNames(
        prefix + kernel,
        None if initrd is None else prefix + initrd,
        None if machine.device_tree is None else prefix + settings.get("device_tree", machine.device_tree),
    )
    missing = [name for name in (names.kernel, names.initrd, names.device_tree) if name is not None]
    if absent := [name for name in missing if name not in files and "/" not in name]:
        raise EmulationError(f"{image} has no {', '.join(absent)} on its boot partition: is it made for this board?")
    return names


def kernel_arguments(text: str, machine: Machine, more: str = "") -> str:
    """Return the command line of an image, with the console of the machine in place of its own.

    Args:
        text: content of cmdline.txt.
        machine: that starts it.
        more: put at the end.
    """
    kept = [word for word in text.split() if not word.startswith("console=")]
    # QEMU's board has no VideoCore, and the driver waits for its answer for ever; its watchdog resets when it is armed.
    quirks = ["module_blacklist=vchiq", "systemd.watchdog_sec=0"] if machine.name == "raspi3b" else []
    return " ".join([f"console={machine.kernel_console}", *kept, *quirks, *more.split()])


def _first(names: Collection[str], files: Collection[str], prefix: str) -> str | None:
    return next((name for name in names if prefix + name in files), None)


def _newest(stem: str, files: Collection[str]) -> str | None:
    """Return the last name of a kind by its version's numbers."""
    found = [name for name in files if name.startswith(stem)]
    return max(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default=None)
