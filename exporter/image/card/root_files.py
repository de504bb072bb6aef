"""The root partition: what it adds to Debian's packages. It is mounted read-only, and the same on all alike cards."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.contents import BOOT_LABEL, DATA_LABEL, PLAIN, ROOT_LABEL, CardFile, CardLink
from exporter.image.card.description import System

# Beside the kernel, the firmware and the agent's package, which are the builder's.
_PACKAGES: Final = ("ca-certificates", "e2fsprogs", "fdisk", "openssl", "systemd-resolved", "systemd-sysv", "systemd-timesyncd", "udev")
_UNITS: Final = PurePosixPath("/etc/systemd/system")

_FSTAB: Final = f"""\
LABEL={ROOT_LABEL} / ext4 ro,noatime 0 0
LABEL={DATA_LABEL} /data ext4 rw,noatime,nofail,x-systemd.growfs 0 2
LABEL={BOOT_LABEL} /boot/firmware vfat ro,noauto,umask=077 0 0
"""


def root_packages(system: System) -> tuple[str, ...]:
    """Return the Debian packages that a root needs, sorted."""
    more = []
    if system.ssh_user is not None:
        more += ["openssh-server", "sudo"]
    if system.has_wifi:
        more += ["wpasupplicant"]
    if system.security_updates:
        more += ["unattended-upgrades"]
    return tuple(sorted((*_PACKAGES, *more)))


def root_files(system: System) -> Iterator[CardFile]:
    """Yield the files of the root partition."""
    yield _file("/etc/fstab", _FSTAB)
    yield _file("/etc/machine-id", "")


def enabled_units(system: System) -> Iterator[CardLink]:
    """Yield the links that have units started."""
    for unit in ("systemd-networkd.service", "systemd-resolved.service"):
        yield CardLink(_UNITS / "multi-user.target.wants" / unit, f"/usr/lib/systemd/system/{unit}")


def masked_units(system: System) -> Iterator[CardLink]:
    """Yield the links that keep units from being started."""
    for unit in ("systemd-logind.service",):
        yield CardLink(_UNITS / unit, "/dev/null")


def _file(path: str, text: str, mode: int = PLAIN) -> CardFile:
    return CardFile(PurePosixPath(path), text.encode(), mode, "root")
