"""A Debian that stands for Raspberry Pi OS on a board: its systemd is real, its architecture may be another."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from exporter.proof.emulated import roots_folder
from tests.debian_machine import HERE, NSPAWN, Machine, Root, base_archive
from tests.ports import free_port
from tests.raspberry_image import boot_partition
from tests.waiting import wait_until

PACKAGES = ("apt", "openssh-server", "openssl", "passwd", "python3", "sudo", "systemd-sysv")
FIRMWARE = "boot/firmware"
_FIRST_RUN_S = 300
_EMULATED_FIRST_RUN_S = 1800
# Of systemd and all that it loads.
SYSTEMD = ("./lib64", "./usr/lib64", "./usr/lib/x86_64-linux-gnu", "./usr/lib/systemd", "./usr/bin/systemctl",
           "./usr/bin/journalctl")  # fmt: skip
# qemu writes the code that it runs, and calls the kernel for itself.
EMULATED = "[Service]\nMemoryDenyWriteExecute=no\nSystemCallFilter=\n"


def make_board(folder: Path, port: int | None = None, architecture: str = HERE) -> Root:
    """Unpack it; its server of SSH listens on this port, else on any: its network is this machine's."""
    cache = roots_folder(os.environ)
    root = Root(folder, base_archive(cache, PACKAGES, architecture), architecture)
    if architecture != HERE:
        # qemu's user mode can be no first process: that one is of this machine's processor, and all else is not.
        archive = str(base_archive(cache, PACKAGES))
        take = ("tar", "--directory", str(folder), "--keep-directory-symlink", "--extract", "--file", archive)
        subprocess.run([*take, *SYSTEMD], check=True)
        drop_in = folder / "etc/systemd/system/fieldloop-agent.service.d/emulated.conf"
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(EMULATED)
    settings = f"Port {port or free_port()}\nListenAddress 127.0.0.1\n"
    (folder / "etc/ssh/sshd_config.d/test.conf").write_text(settings)
    return root


class SshClient:
    """An ssh with a configuration of its own; that of the user of this machine is not touched.

    Attributes:
        programs: folder with it.
        known_hosts: the host keys that are known to it; none at first.
    """

    def __init__(self, folder: Path, key: Path, port: int, user: str) -> None:
        """Lay it into a folder.

        Args:
            folder: exists.
            key: private.
            port: of the board, on this machine's loopback.
            user: there; the board is called ``my-board``.
        """
        self.programs, self.known_hosts = folder / "programs", folder / "known_hosts"
        self.programs.mkdir()
        self.known_hosts.write_text("")
        config = folder / "ssh_config"
        lines = (f"UserKnownHostsFile {self.known_hosts}", f"IdentityFile {key}", "IdentitiesOnly yes")
        alias = ("Host my-board", "HostName 127.0.0.1", f"Port {port}", f"User {user}")
        config.write_text("\n".join((*alias, "Host *", *lines, "GlobalKnownHostsFile /dev/null", "")))
        ssh = self.programs / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh", path=os.defpath)} -F {config} "$@"\n')
        ssh.chmod(0o755)


class SshBoard:
    """A board that runs, with a server of SSH on a port of this machine's loopback, and a user ``pi``."""

    def __init__(self, folder: Path, key: Path) -> None:
        """Start it.

        Args:
            folder: exists; gets its root, and the configuration of ssh of who logs in.
            key: private; its public one lies beside it.
        """
        (folder / "board").mkdir()
        self.port = free_port()
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
        self.client = SshClient(folder, key, self.port, "pi")

    @property
    def programs(self) -> Path:
        """Folder with the ssh of who logs in."""
        return self.client.programs

    @property
    def known_hosts(self) -> Path:
        """The host keys that are known to who logs in."""
        return self.client.known_hosts

    def write(self, path: str, text: str, root: Root | None = None, mode: int = 0o600) -> None:
        """Write a file on it."""
        place = (self.machine if root is None else root).folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(mode)

    def _answers(self) -> bool:
        return has_ssh(self.port)


def has_ssh(port: int) -> bool:
    """Whether a server of SSH answers there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as there:
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
        timeout=_FIRST_RUN_S if board.architecture == HERE else _EMULATED_FIRST_RUN_S,
        start_new_session=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
