"""The ssh of this machine, with configuration and known hosts of its own, not those of who runs the tests."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

ALIAS: Final = "my-board"
_RUN_S: Final = 120


class SshClient:
    """Who logs in as ``pi`` at a port of this machine's loopback.

    Attributes:
        port: of the board's server.
        programs: folder with the ssh that belongs in front of ``PATH``.
        known_hosts: file of the host keys that are known.
    """

    def __init__(self, folder: Path, key: Path, port: int) -> None:
        """Know no host.

        Args:
            folder: exists.
            key: private.
            port: of the board's server.
        """
        self.port = port
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text("")
        config = folder / "ssh_config"
        lines = (f"UserKnownHostsFile {self.known_hosts}", f"IdentityFile {key}", "IdentitiesOnly yes")
        alias = (f"Host {ALIAS}", "HostName 127.0.0.1", f"Port {port}", "User pi")
        config.write_text("\n".join((*alias, "Host *", *lines, "GlobalKnownHostsFile /dev/null", "")))
        ssh = self.programs / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh", path=os.defpath)} -F {config} "$@"\n')
        ssh.chmod(0o755)

    @property
    def path(self) -> str:
        """``PATH`` for who installs."""
        return f"{self.programs}:/usr/sbin:/usr/bin:/sbin:/bin"

    @property
    def address(self) -> str:
        """The board, as the command takes it."""
        return f"ssh://pi@127.0.0.1:{self.port}"

    def run(self, command: str) -> str:
        """Run a command there, and return what it printed; the board is known."""
        words = [str(self.programs / "ssh"), "-o", "BatchMode=yes", ALIAS, command]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=_RUN_S).stdout
