"""A Debian that stands for Raspberry Pi OS on a board: its systemd is real, its architecture is this machine's."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from exporter.proof.emulated import roots_folder
from tests.debian_machine import NSPAWN, Machine, Root, base_archive
from tests.ports import free_port
from tests.raspberry_image import boot_partition
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
        self._folder = folder
        self.port = free_port()
        self._key = key
        root = make_board(folder / "board", self.port)
        root.run("useradd", "--create-home", "--shell", "/bin/bash", "pi")
        self.write("etc/sudoers.d/010_pi-nopasswd", "pi ALL=(ALL) NOPASSWD: ALL\n", root, 0o440)
        self.write("home/pi/.ssh/authorized_keys", key.with_name(f"{key.name}.pub").read_text(), root)
        root.run("chown", "--recursive", "pi:pi", "/home/pi/.ssh")
        self.machine = Machine(root)
        try:
            wait_until(self._answers, 60, "its server of SSH answers")
        except AssertionError:
            self.machine.stop()
            raise
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.forget()

    @property
    def known_hosts(self) -> Path:
        """The host keys that are known to who logs in."""
        return self._folder / "known_hosts"

    def forget(self) -> None:
        """Know no host key; ssh takes its own configuration, that of the user of this machine is not touched."""
        self.known_hosts.write_text("")
        config = self._folder / "ssh_config"
        lines = (f"UserKnownHostsFile {self.known_hosts}", f"IdentityFile {self._key}", "IdentitiesOnly yes")
        alias = ("Host my-board", "HostName 127.0.0.1", f"Port {self.port}", "User pi")
        config.write_text("\n".join((*alias, "Host *", *lines, "GlobalKnownHostsFile /dev/null", "")))
        ssh = self.programs / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh", path=os.defpath)} -F {config} "$@"\n')
        ssh.chmod(0o755)

    def write(self, path: str, text: str, root: Root | None = None, mode: int = 0o600) -> None:
        """Write a file on it."""
        place = (self.machine if root is None else root).folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as there:
                return there.recv(4) == b"SSH-"
        except OSError:
            return False


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
