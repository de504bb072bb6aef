"""The smallest card that starts as a real one does: Debian's own kernel for 64-bit boards, an initrd with busybox.

It has no root file system. What it does is told by its initrd: it says who it is and what it finds on its second
partition, counts its starts there, serves that over HTTP, and obeys a power button and the word restart.
"""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.proof import debian_root
from exporter.proof.emulated import roots_folder
from exporter.proof.places import NotRunError

TOOLS = {"depmod": "kmod", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "sfdisk": "fdisk", "mke2fs": "e2fsprogs"}
EMULATOR = {"qemu-system-aarch64": "qemu-system-arm", "qemu-img": "qemu-utils"}
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CARD_BYTES = 96 << 20
BOOT_START = 1 << 20
BOOT_BYTES = 64 << 20
DATA_START = BOOT_START + BOOT_BYTES
PACKAGES = ("linux-image-arm64", "busybox-static")
# virtio for QEMU's own machine; the card reader and the network on USB for its Raspberry Pi.
MODULES = (
    *("virtio_pci", "virtio_blk", "virtio_net", "gpio_pl061", "gpio_keys", "evdev"),
    *("sdhci_iproc", "bcm2835", "mmc_block", "bcm2835_wdt"),
    *("phy_generic", "dwc2", "usbnet", "cdc_ether"),
    *("crc32c_generic", "ext4"),
)
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in {modules}; do modprobe $module 2>/dev/null; done
echo tiny: command line $(cat /proc/cmdline)
for try in $(seq 300); do
    for disk in /dev/vda2 /dev/mmcblk0p2; do [ -b $disk ] && break 2; done
    usleep 100000
done
mount -t ext4 $disk /data && echo $(($(cat /data/starts) + 1)) > /data/starts && sync
disk_name=${disk#/dev/}
whole=${disk_name%2}
echo tiny: start $(cat /data/starts) from $disk, $(cat /sys/block/${whole%p}/size) sectors
for try in $(seq 300); do
    for link in eth0 usb0; do [ -d /sys/class/net/$link ] && break 2; done
    usleep 100000
done
ifconfig lo 127.0.0.1
ifconfig $link 10.0.2.15 up
mkdir -p /www
cp /data/starts /www/starts
httpd -p 80 -h /www
echo tiny: serves on $link
button=/dev/input/event0
[ -e $button ] && (dd if=$button bs=24 count=1 of=/dev/null 2>/dev/null; umount /data; poweroff -f) &
while true; do read line && echo tiny: heard $line; [ "$line" != restart ] || reboot -f; done
"""


def tiny_card(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the card, made once for its contents; a test that cannot have it is skipped with the reason.

    Args:
        environ: says where caches lie.
    """
    for tool, package in (TOOLS | EMULATOR).items():
        if shutil.which(tool, path=PATH) is None:
            pytest.skip(f"no {tool} here: sudo apt-get install {package}")
    key = hashlib.sha256(repr((PACKAGES, MODULES, INIT)).encode()).hexdigest()[:12]
    cache = roots_folder(environ)
    card = cache / f"tiny-card-{key}.img"
    if not card.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".new-") as folder:
            try:
                made = _make(Path(folder))
            except NotRunError as error:
                pytest.skip(f"no kernel for a card: {error}")
            made.rename(card)
    return card


def _make(folder: Path) -> Path:
    debian = folder / "debian"
    debian_root._unpack("arm64", PACKAGES, folder, debian)
    (kernel,) = (debian / "boot").glob("vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    boot = folder / "boot.fat"
    _run("mkfs.vfat", "-C", str(boot), str(BOOT_BYTES >> 10))
    tree = debian / "usr" / "lib" / f"linux-image-{version}" / "broadcom" / "bcm2837-rpi-3-b.dtb"
    initrd = folder / f"initrd.img-{version}"
    initrd.write_bytes(gzip.compress(_initrd(debian, version), 1, mtime=0))
    config, line = folder / "config.txt", folder / "cmdline.txt"
    config.write_text(f"arm_64bit=1\nkernel={kernel.name}\ninitramfs {initrd.name} followkernel\n")
    line.write_text("console=tty0 console=ttyS1,115200 quiet\n")
    _run("mcopy", "-i", str(boot), *map(str, (kernel, tree, initrd, config, line)), "::/")
    data = folder / "data"
    data.mkdir()
    (data / "starts").write_text("0\n")
    ext4 = folder / "data.ext4"
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(data), str(ext4), f"{(CARD_BYTES - DATA_START) >> 10}k")
    card = folder / "card.img"
    with card.open("wb") as file:
        file.truncate(CARD_BYTES)
        for part, start in ((boot, BOOT_START), (ext4, DATA_START)):
            file.seek(start)
            file.write(part.read_bytes())
    table = f"start={BOOT_START >> 9}, size={BOOT_BYTES >> 9}, type=c\nstart={DATA_START >> 9}, type=83\n"
    _run("sfdisk", "-q", str(card), given=f"label: dos\n{table}")
    return card


def _initrd(debian: Path, version: str) -> bytes:
    """Return a cpio archive (newc) with busybox, modules and the program that starts first."""
    _run("depmod", "-b", str(debian), version)
    modules = Path("lib/modules") / version
    needed = _with_what_they_need((debian / modules / "modules.dep").read_text(), MODULES)
    archive = io.BytesIO()
    folders = {parent for name in needed for parent in (modules / name).parents if parent != Path()}
    for path in sorted({*folders, *map(Path, ("bin", "data", "dev", "proc", "sys", "sbin"))}):
        _entry(archive, str(path), 0o040755, b"")
    listed = [
        name for name in ("modules.dep", "modules.alias", "modules.symbols") if (debian / modules / name).exists()
    ]
    for name in (*needed, *listed):
        _entry(archive, str(modules / name), 0o100644, (debian / modules / name).read_bytes())
    _entry(archive, "bin/busybox", 0o100755, (debian / "bin" / "busybox").read_bytes())
    _entry(archive, "init", 0o100755, INIT.replace("{modules}", " ".join(MODULES)).encode())
    _entry(archive, "TRAILER!!!", 0, b"")
    return archive.getvalue()


def _with_what_they_need(table: str, names: tuple[str, ...]) -> list[str]:
    lines = dict(line.split(":", 1) for line in table.splitlines())
    by_name = {Path(path).name.removesuffix(".ko").replace("-", "_"): path for path in lines}
    wanted = [by_name[name] for name in names if name in by_name]
    return sorted({*wanted, *(other for path in wanted for other in lines[path].split())})


def _entry(archive: io.BytesIO, name: str, mode: int, content: bytes) -> None:
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    archive.write(b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0")
    archive.write(b"\0" * (-archive.tell() % 4) + content)
    archive.write(b"\0" * (-archive.tell() % 4))


def _run(tool: str, *arguments: str, given: str | None = None) -> None:
    program = shutil.which(tool, path=PATH)
    assert program is not None
    subprocess.run([program, *arguments], check=True, capture_output=True, input=given, text=True)
