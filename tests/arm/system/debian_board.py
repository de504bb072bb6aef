"""An image with the layout of Raspberry Pi OS whose root is a whole Debian of arm64: a board that has a system already.

Its kernel, with modules and initrd, is that of a card that we built; all else is Debian's own, and nothing of ours.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from exporter.image.build.boot import INITRD, KERNEL
from exporter.image.emulation.partitions import Partition, load_partitions
from exporter.proof.emulated import roots_folder
from tests.debian_machine import Root, base_archive
from tests.raspberry_image import LINES, PATH, Layout, System, make_image
from tests.ssh_board import let_in, write_file

PACKAGES: Final = ("apt", "kmod", "openssh-server", "openssl", "passwd", "python3", "sudo", "systemd-sysv", "udev")
ROOT_BYTES: Final = 1280 << 20
_FSTAB: Final = """\
LABEL=rootfs / ext4 defaults,noatime 0 1
LABEL=bootfs /boot/firmware vfat defaults 0 2
"""
_NETWORK: Final = "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"
# The initrd finds a root by its label, and a firmware of Raspberry Pi's that makes room first is not there.
_LINE: Final = LINES["bookworm"].replace("root=PARTUUID=4e639091-02", "root=LABEL=rootfs").split(" init=")[0]


def make_debian_image(folder: Path, card: Path, key: Path) -> Path:
    """Make it; who has the key may log in as ``pi``, who may be root.

    Args:
        folder: exists; the image is written there.
        card: image of a card of arm64, whence the kernel comes.
        key: private; its public one lies beside it.
    """
    root = Root(_new(folder / "root"), base_archive(roots_folder(os.environ), PACKAGES, "arm64"), "arm64")
    boot, system = load_partitions(card)[:2]
    _take_modules(card, system, root.folder / "usr/lib", folder)
    let_in(root, key)
    write_file(root, "etc/fstab", _FSTAB, 0o644)
    write_file(root, "etc/hostname", "raspberrypi\n", 0o644)
    write_file(root, "etc/systemd/network/80-dhcp.network", _NETWORK, 0o644)
    root.run("systemctl", "enable", "systemd-networkd")
    (root.folder / "boot/firmware").mkdir(parents=True, exist_ok=True)
    source = f"{card}@@{boot.start_bytes}"
    files = {name: _output("mcopy", "-i", source, f"::/{name}", "-") for name in (KERNEL, INITRD)}
    files["cmdline.txt"] = f"{_LINE}\n".encode()
    files["config.txt"] = f"[all]\narm_64bit=1\nkernel={KERNEL}\ninitramfs {INITRD} followkernel\n".encode()
    return make_image(folder, Layout(boot_bytes=256 << 20), System(root.folder, ROOT_BYTES, files))


def _take_modules(card: Path, partition: Partition, into: Path, scratch: Path) -> None:
    file = scratch / "card-root.ext4"
    try:
        _output(
            "dd",
            f"if={card}",
            f"of={file}",
            "bs=1M",
            f"skip={partition.start_bytes >> 20}",
            f"count={partition.size_bytes >> 20}",
            "conv=sparse",
        )
        _output("debugfs", "-R", f"rdump /usr/lib/modules {into}", str(file))
    finally:
        file.unlink(missing_ok=True)
    assert list(into.glob("modules/*/modules.dep"))


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _output(tool: str, *arguments: str) -> bytes:
    program = shutil.which(tool, path=PATH)
    assert program is not None, tool
    return subprocess.run([program, *arguments], check=True, capture_output=True).stdout
