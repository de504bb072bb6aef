"""The first file system of a start: busybox, the modules that reach the card, and a script that finds the root."""

import gzip
import lzma
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

_FOLDER: Final = 0o040755
_PROGRAM: Final = 0o100755
_PLAIN: Final = 0o100644
_LINK: Final = 0o120777
_TRAILER: Final = "TRAILER!!!"

# Waits for as long as it takes: a slow card is no reason to give up, and the watchdog is not armed yet. `switch_root`
# looks for init itself; a test for it here would follow an absolute link out of the root.
_INIT: Final = """\
#!/bin/sh
export PATH=/bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
root= flags=ro kind=ext4 init=/sbin/init
for word in $(cat /proc/cmdline); do
    case $word in
    root=*) root=${word#root=} ;;
    rootfstype=*) kind=${word#rootfstype=} ;;
    init=*) init=${word#init=} ;;
    rw) flags=rw ;;
    ro) flags=ro ;;
    esac
done
while read -r module; do insmod "/modules/$module" 2>/dev/null; done </modules/order
tries=0
while :; do
    case $root in
    LABEL=* | UUID=*) device=$(findfs "$root" 2>/dev/null) ;;
    *) device=$root ;;
    esac
    [ -b "$device" ] && mount -t "$kind" -o "$flags" "$device" /root && break
    tries=$((tries + 1))
    [ $((tries % 100)) -ne 0 ] || echo "initrd: waiting for $root" >/dev/console
    sleep 0.1
done
mount -o move /dev /root/dev
umount /proc /sys
exec switch_root /root "$init"
"""
_APPLETS: Final = ("cat", "findfs", "insmod", "mount", "sh", "sleep", "switch_root", "umount")


def make_initrd(busybox: bytes, modules: Sequence[tuple[str, bytes]], time_s: int) -> bytes:
    """Return an initrd, packed by gzip.

    Args:
        busybox: linked statically, for the board's architecture.
        modules: file name and content of what is loaded, in that order; packed or not.
        time_s: the time of its files, UTC seconds since 1970.
    """
    names = [(name.removesuffix(".xz"), _unpacked(name, data)) for name, data in modules]
    entries = dict.fromkeys(("bin", "dev", "modules", "proc", "root", "sys"), (_FOLDER, b""))
    entries |= {f"bin/{applet}": (_LINK, b"busybox") for applet in _APPLETS}
    entries["bin/busybox"] = (_PROGRAM, busybox)
    entries |= {f"modules/{name}": (_PLAIN, data) for name, data in names}
    entries["modules/order"] = (_PLAIN, "".join(f"{name}\n" for name, _ in names).encode())
    entries["init"] = (_PROGRAM, _INIT.encode())
    return gzip.compress(_cpio(entries, time_s), compresslevel=9, mtime=0)


def _unpacked(name: str, data: bytes) -> bytes:
    return lzma.decompress(data) if name.endswith(".xz") else data


def _cpio(entries: Mapping[str, tuple[int, bytes]], time_s: int) -> bytes:
    """Return an archive as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    parts = [
        _member(number, name, *entries[name], time_s)
        for number, name in enumerate(sorted(entries, key=PurePosixPath), start=1)
    ]
    return b"".join((*parts, _member(0, _TRAILER, 0, b"", 0)))


def _member(number: int, name: str, mode: int, data: bytes, time_s: int) -> bytes:
    links = 2 if mode == _FOLDER else 1
    fields = (number, mode, 0, 0, links, time_s, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
