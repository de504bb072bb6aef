"""Chooses what of a card's root partition suits Raspberry Pi OS: watchdog, bounded journal, time, who may be root."""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from exporter.image.card.contents import PLAIN, CardFile
from exporter.image.card.description import Card
from exporter.image.card.network_files import TIME, network_files
from exporter.image.card.root_files import root_files
from exporter.image.customise.errors import CustomiseError

_SUITABLE: Final = frozenset(
    map(
        PurePosixPath,
        (
            "/etc/sudoers.d/fieldloop",
            "/etc/sysctl.d/fieldloop.conf",
            "/etc/systemd/journald.conf.d/fieldloop.conf",
            "/etc/systemd/system.conf.d/fieldloop.conf",
            "/etc/systemd/timesyncd.conf.d/10-fieldloop.conf",
        ),
    )
)
_TIME: Final = PurePosixPath("/etc/systemd/timesyncd.conf.d/20-card.conf")
SSHD: Final = PurePosixPath("/etc/ssh/sshd_config.d/10-fieldloop.conf")
_KEYS_ONLY: Final = b"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin no\n"


def system_files(card: Card) -> Iterator[CardFile]:
    """Yield the files that make Raspberry Pi OS behave as a card of ours.

    Raises:
        CardError: something in the card cannot be.
        CustomiseError: something in it takes an image of ours.
    """
    if card.system.security_updates:
        raise CustomiseError(
            "system.security_updates: what installs them is not in Raspberry Pi OS, and there is no network at its "
            "first start; leave it out, and install unattended-upgrades later"
        )
    yield from (file for file in root_files(card.system) if file.path in _SUITABLE)
    yield from (
        CardFile(_TIME, file.content, file.mode, "root") for file in network_files(card.network) if file.path == TIME
    )
    if card.ssh_keys:
        yield CardFile(SSHD, _KEYS_ONLY, PLAIN, "root")


def hostname_of(card: Card) -> str | None:
    """Return what the board is to be called; None: it keeps the name that the image has."""
    device = card.settings.device
    # Names of hosts have no underscore.
    return None if "*" in device else device.replace("_", "-")
