"""A Debian that stands for Raspberry Pi OS on a board: its systemd is real, its architecture is this machine's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.proof.emulated import roots_folder
from tests.debian_machine import NSPAWN, Machine, Root, base_archive
from tests.ports import free_port
from tests.raspberry_image import boot_partition
from tests.ssh_board import answers_ssh, let_in, write_file
from tests.ssh_client import SshClient
from tests.waiting import wait_until

PACKAGES = ("apt", "openssh-server", "openssl", "passwd", "python3", "sudo", "systemd-sysv")
FIRMWARE = "boot/firmware"
_FIRST_RUN_S = 300


def make_board(folder: Path, port: int | None = None) -> Root:
    """Unpack it; its server of SSH listens on this port, else on any: its network is this machine's."""
    root = Root(folder, base_archive(roots_folder(os.environ), PACKAGES))
    settings = f"Port {port or free_port()}\nListenAddress 127.0.0.1\n"
    (folder / "etc/ssh/sshd_config.d/test.conf").write_text(settings)
    return root


class SshBoard:
    """A board that runs, with a server of SSH on a port of this machine's loopback, and a user ``pi``."""

    def __init__(self, folder: Path, key: Path) -> None:
        """Start it.

        Args:
            folder: exists; gets its root, and the configuration of ssh of who logs in.
            key: private; its public one lies beside it.
        """
        (folder / "board").mkdir()
        self.ssh = SshClient(folder, key, free_port())
        root = make_board(folder / "board", self.ssh.port)
        let_in(root, key)
        self.machine = Machine(root)
        try:
            wait_until(lambda: answers_ssh(self.ssh.port), 60, "its server of SSH answers")
        except AssertionError:
            self.machine.stop()
            raise

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file on it."""
        write_file(self.machine, path, text, mode)


def insert(image: Path, board: Root) -> Path:
    """Put a raw image's boot partition where the board mounts it, and return the folder."""
    firmware = board.folder / FIRMWARE
    shutil.rmtree(firmware, ignore_errors=True)
    firmware.mkdir(parents=True)
    boot = boot_partition(image)
    target = f"{image}@@{boot.partition.start_bytes}"
    subprocess.run(["mcopy", "-s", "-m", "-i", target, "::/*", str(firmware)], check=True)
    # As the mount of a FAT has it.
    for path in (firmware, *firmware.rglob("*")):
        path.chmod(0o755)
    return firmware


def start_first(board: Root) -> None:
    """Start systemd with the words of the board's own command line that are for it, and wait until it has ended.

    One is another: what would restart a board would start this machine's first run again, so it ends instead.
    """
    if shutil.which("systemd-nspawn") is None:
        pytest.skip("no systemd-nspawn here: sudo apt-get install systemd-container")
    line = (board.folder / FIRMWARE / "cmdline.txt").read_text().split()
    words = [word.replace("=reboot", "=poweroff") for word in line if word.startswith("systemd.")]
    command = ["systemd-nspawn", "--quiet", "--directory", str(board.folder), *NSPAWN, *words]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_FIRST_RUN_S,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
