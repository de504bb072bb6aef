"""What lies on the boot partition: firmware, kernel, initrd, device trees, and what firmware and kernel are told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.image.build.boards import Architecture, Board
from exporter.image.build.initrd import make_initrd
from exporter.image.build.kernel import Modules
from exporter.image.build.root_tree import RootTree
from exporter.image.errors import BuildError

KERNEL: Final = "vmlinuz"
INITRD: Final = "initrd.img"
CONFIG: Final = "config.txt"
COMMAND_LINE: Final = "cmdline.txt"
# The last one is the system's own: the serial port on pins 8 and 10, which is Linux's ttyS1 on these boards, and on the
# fifth, where it has a connector of its own, ttyAMA10.
_CONSOLES: Final = ("tty0", "ttyS1,115200")
_FIFTH_CONSOLES: Final = ("tty0", "ttyAMA10,115200")

# `upstream_kernel` has the firmware take the trees by Linux's names; without `enable_uart` the serial port's clock
# follows that of the processor.
_CONFIG: Final = """\
# Written by fieldloop image build: {title}.
{bits}enable_uart=1
upstream_kernel=1
disable_splash=1
boot_delay=0
kernel={kernel}
initramfs {initrd} followkernel
"""


@dataclass(frozen=True, slots=True)
class BootParts:
    """What boards of one architecture and suite have in common: kernel, initrd, trees and firmware, by name."""

    files: Mapping[str, bytes]


def boot_parts(tree: RootTree, modules: Modules, trees: Sequence[str], firmware: Sequence[str]) -> BootParts:
    """Take the parts of a boot partition from what lies beside a root.

    Args:
        tree: with `RootTree.board`.
        modules: from `take_modules`.
        trees: names of device trees; those that the kernel does not have are left out.
        firmware: names of files of raspi-firmware.

    Raises:
        BuildError: a file of the firmware is not there.
    """
    version = tree.kernel_version
    loaded = [(path.name, (tree.modules_folder / path).read_bytes()) for path in modules.at_start()]
    busybox = (tree.board / "usr/bin/busybox").read_bytes()
    files = {
        KERNEL: (tree.board / "boot" / f"vmlinuz-{version}").read_bytes(),
        INITRD: make_initrd(busybox, loaded, tree.time_s),
    }
    described = tree.board / "usr/lib" / f"linux-image-{version}"
    for name in trees:
        found = next(described.rglob(f"{name}.dtb"), None)
        if found is not None:
            files[found.name] = found.read_bytes()
    for name in firmware:
        place = tree.board / "usr/lib/raspi-firmware" / name
        if not place.is_file():
            raise BuildError(f"raspi-firmware of this suite has no {name}")
        files[name] = place.read_bytes()
    return BootParts(files)


def boot_files(
    parts: BootParts, board: Board, architecture: Architecture, arguments: Sequence[str]
) -> dict[str, bytes]:
    """Return the files of one board's boot partition, by name.

    Args:
        parts: of its architecture and suite.
        board: which.
        architecture: of its programs.
        arguments: for the kernel, beside its consoles.

    Raises:
        BuildError: the suite's kernel has no device tree of the board.
    """
    trees = [f"{name}.dtb" for name in board.trees]
    if missing := [name for name in trees if name not in parts.files]:
        raise BuildError(f"{board.title}: the kernel has no {', '.join(missing)}")
    names = (KERNEL, INITRD, *trees, *board.firmware)
    bits = "arm_64bit=1\n" if architecture == "arm64" else "arm_64bit=0\n"
    config = _CONFIG.format(title=board.title, bits=bits, kernel=KERNEL, initrd=INITRD)
    return {
        **{name: parts.files[name] for name in names},
        CONFIG: config.encode(),
        COMMAND_LINE: command_line(board, arguments),
    }


def command_line(board: Board, arguments: Sequence[str]) -> bytes:
    """Return ``cmdline.txt``: one line, which the firmware gives to the kernel."""
    consoles = _CONSOLES if board.firmware else _FIFTH_CONSOLES
    return (" ".join([*(f"console={name}" for name in consoles), *arguments]) + "\n").encode()


def load_parts(folder: Path) -> BootParts:
    """Read parts that were kept in a folder."""
    return BootParts({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
