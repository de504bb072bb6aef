"""A board in a container: the root of a card, read-only, with its data partition; only kernel and disks are missing."""

import shutil
import socket
import subprocess
from pathlib import Path
from typing import Final

from exporter.image.card.files import ROOT_FOLDERS, Card, CardFile, card_files, card_links, root_commands
from tests.debian_machine import Machine, Root

# What stands for a disk in the table of mounts: a container has none.
_OF_DISKS: Final = "LABEL="


class Board:
    """A board that is switched on and off; its data partition is a folder."""

    def __init__(self, folder: Path, archive: Path, package: Path, card: Card) -> None:
        """Make it from a Debian, the agent's package and a card."""
        (folder / "root").mkdir()
        self.data = folder / "data"
        self.data.mkdir()
        self.root = Root(folder / "root", archive)
        self.root.installs(package)
        for mount_point in ROOT_FOLDERS:
            (self.root.folder / mount_point.relative_to("/")).mkdir(parents=True, exist_ok=True)
        for file in card_files(card):
            self._lay(file)
        for link in card_links(card.system):
            place = self.root.folder / link.path.relative_to("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.unlink(missing_ok=True)
            place.symlink_to(link.target)
        for command in root_commands(card.system):
            self.root.run(*command)
        table = self.root.folder / "etc/fstab"
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(line for line in lines if not line.startswith(_OF_DISKS)))
        self.machine: Machine | None = None

    def start(self, machine_id: str) -> Machine:
        """Switch it on; it is told a machine id, as the kernel makes one up for a root that has none."""
        self.machine = Machine(self.root, ("--read-only", f"--bind={self.data}:/data", f"--uuid={machine_id}"))
        return self.machine

    def stop(self) -> None:
        """Switch it off."""
        if self.machine is not None:
            self.machine.stop()
            self.machine = None

    def _lay(self, file: CardFile) -> None:
        top = {"root": self.root.folder, "data": self.data, "boot": self.root.folder / "boot/firmware"}[file.partition]
        place = top / file.place
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        place.write_bytes(file.content)
        place.chmod(file.mode)


def ssh(key: Path, user: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a board by SSH; the board's network is this machine's."""
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]
    words = ["ssh", "-q", "-i", str(key), *options, "-o", "IdentitiesOnly=yes", f"{user}@127.0.0.1", *command]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def can_log_in() -> bool:
    """Tell whether a board can listen for SSH here, and somebody can come."""
    if shutil.which("ssh") is None:
        return False
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", 22)) != 0
