"""A Debian that is logged in at: a user ``pi`` who may be root, as Raspberry Pi OS has him."""

import socket
from pathlib import Path

from tests.debian_machine import Root

SUDOERS = "etc/sudoers.d/010_pi-nopasswd"


def let_in(root: Root, key: Path) -> None:
    """Make the user, with a key whose public one lies beside it.

    Args:
        root: with a server of SSH and sudo.
        key: private.
    """
    root.run("useradd", "--create-home", "--shell", "/bin/bash", "pi")
    write_file(root, SUDOERS, "pi ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    write_file(root, "home/pi/.ssh/authorized_keys", key.with_name(f"{key.name}.pub").read_text())
    root.run("chown", "--recursive", "pi:pi", "/home/pi/.ssh")


def write_file(root: Root, path: str, text: str, mode: int = 0o600) -> None:
    """Write a file in it."""
    place = root.folder / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    place.chmod(mode)


def answers_ssh(port: int) -> bool:
    """Tell whether a server of SSH answers at a port of this machine; QEMU alone says nothing."""
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as there:
            return there.recv(4) == b"SSH-"
    except OSError:
        return False
