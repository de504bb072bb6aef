"""What a root must be before its files are put there: packages, folders, accounts; and which units start on it."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.contents import CardLink
from exporter.image.card.description import System
from exporter.image.card.network_files import LINKS as NETWORK_LINKS
from exporter.image.card.root_files import UNITS

# Beside the kernel, the firmware and the agent's package, which are the builder's.
_PACKAGES: Final = (
    "ca-certificates",
    "e2fsprogs",
    "fdisk",  # grows the data partition
    "openssl",  # enrols
    "passwd",
    "systemd-resolved",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
)
_SSH: Final = ("openssh-server", "sudo")
# The radios' firmware is the builder's.
_WIFI: Final = ("wireless-regdb", "wpasupplicant")
_UPDATES: Final = ("unattended-upgrades",)

# Mount points, which nobody can make on a root that is read only.
ROOT_FOLDERS: Final = tuple(map(PurePosixPath, ("/data", "/boot/firmware", "/etc/fieldloop", "/var/lib/fieldloop")))
# Patterns of what packages leave that no two cards may have in common, or that changes with each build.
ROOT_REMOVED: Final = ("/etc/ssh/ssh_host_*", "/var/lib/systemd/random-seed", "/var/lib/systemd/timesync/clock")

_STARTED: Final = {
    "systemd-networkd.service": "multi-user.target",
    "systemd-resolved.service": "multi-user.target",
    "systemd-timesyncd.service": "sysinit.target",
    "fieldloop-agent.service": "multi-user.target",
    "fieldloop-grow-data.service": "multi-user.target",
    "fieldloop-machine-id.service": "multi-user.target",
}
# The others' units lie among a card's files.
_OF_PACKAGES: Final = frozenset({"systemd-networkd.service", "systemd-timesyncd.service", "fieldloop-agent.service"})
_STARTED_FOR_SSH: Final = {"fieldloop-ssh.socket": "sockets.target", "fieldloop-ssh-keys.service": "multi-user.target"}

# What a board without screen, keyboard and passwords does not need, each of it time at its start.
_MASKED: Final = {
    "getty.target": "nobody can log in at a console: there is no password",
    "systemd-logind.service": "needs D-Bus, which is not there",
    "systemd-update-utmp.service": "who was logged in lies in memory only",
    "systemd-update-utmp-runlevel.service": "the same",
    "systemd-rfkill.socket": "its word would lie on the root; without it radios are on",
    "systemd-rfkill.service": "the same",
    "systemd-pstore.service": "a Raspberry Pi has no store for a dying kernel's words",
    "dev-hugepages.mount": "nothing uses it",
    "dev-mqueue.mount": "nothing uses it",
    "sys-kernel-debug.mount": "for developers of kernels",
    "sys-kernel-tracing.mount": "for developers of kernels",
    "sys-kernel-config.mount": "for gadgets, which a board here is not",
    "sys-fs-fuse-connections.mount": "nothing uses it",
    "proc-sys-fs-binfmt_misc.automount": "nothing uses it",
    "e2scrub_all.timer": "for volumes of LVM",
    "e2scrub_reap.service": "the same",
    "dpkg-db-backup.timer": "the root is read only",
    "systemd-repart.service": "loads modules for disks that are none of these; the data partition grows by itself",
    "systemd-remount-fs.service": "the kernel mounts the root as it stays",
    "wpa_supplicant.service": "the one for D-Bus; ours is started by its interface",
}
_MASKED_JOURNAL: Final = ("systemd-journal-flush.service",)
_MASKED_UPDATES: Final = ("apt-daily.timer", "apt-daily-upgrade.timer")
_MASKED_SSH: Final = ("ssh.service", "ssh.socket")


def root_packages(system: System) -> tuple[str, ...]:
    """Return the Debian packages that a root needs, sorted."""
    more = (*(_SSH if system.ssh_user else ()), *(_WIFI if system.has_wifi else ()))
    return tuple(sorted((*_PACKAGES, *more, *(_UPDATES if system.security_updates else ()))))


def root_commands(system: System) -> tuple[tuple[str, ...], ...]:
    """Return what is to be run in the root once its files lie there."""
    return (("systemd-sysusers", "/usr/lib/sysusers.d/fieldloop-card.conf"),) if system.ssh_user else ()


def enabled_units(system: System) -> tuple[str, ...]:
    """Return the units that start, sorted."""
    return tuple(sorted(_started(system)))


def masked_units(system: System) -> tuple[str, ...]:
    """Return the units that never start, sorted."""
    more = [] if system.journal == "kept" else [*_MASKED_JOURNAL]
    if not system.security_updates:
        more += _MASKED_UPDATES
    if system.ssh_user is not None:
        more += _MASKED_SSH
    masked = {*_MASKED, *more}
    if system.security_updates:
        # The root is looked at, and mounted as its table says.
        masked.discard("systemd-remount-fs.service")
    return tuple(sorted(masked))


def root_links(system: System) -> Iterator[CardLink]:
    """Yield the links of the root partition."""
    for unit, target in _started(system).items():
        folder = PurePosixPath("/usr/lib/systemd/system") if unit in _OF_PACKAGES else UNITS
        yield CardLink(UNITS / f"{target}.wants" / unit, str(folder / unit))
    for unit in masked_units(system):
        yield CardLink(UNITS / unit, "/dev/null")
    for path, file in NETWORK_LINKS:
        yield CardLink(path, str(file))
    yield CardLink(PurePosixPath("/etc/resolv.conf"), "/run/systemd/resolve/stub-resolv.conf")


def _started(system: System) -> dict[str, str]:
    return _STARTED | (_STARTED_FOR_SSH if system.ssh_user is not None else {})
