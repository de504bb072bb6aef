"""Runs commands on a board by the user's own ``ssh``: his agent, his keys, his configuration, his jump hosts."""

import contextlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from exporter.image.over_ssh.errors import BoardError
from exporter.image.over_ssh.target import SshTarget
from exporter.image.over_ssh.words import SSH_FAILED, explained

OnLine = Callable[[str], None]

_OPTIONS: Final = ("-T", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
# Asked once for a password or a touch of a key, whatever is run afterwards.
_SHARED: Final = ("-o", "ControlMaster=auto", "-o", "ControlPersist=60")


class Connection:
    """One board, for as many commands as are needed."""

    def __init__(self, target: SshTarget, options: Sequence[str]) -> None:
        """Remember how it is reached; see `connect`."""
        self._target = target
        self._options = tuple(options)

    def run(self, command: str, given: bytes, on_line: OnLine | None = None) -> tuple[int, bytes]:
        """Run a command there.

        Args:
            command: for the login shell there.
            given: on its standard input.
            on_line: is told of each line that it prints, as it comes.

        Returns:
            Its exit code, and what it printed.

        Raises:
            BoardError: the board cannot be reached, or the connection broke.
        """
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                ["ssh", *self._options, *self._target.arguments, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
            )
            printed = _talk(process, given, on_line)
            code = process.wait()
            said.seek(0)
            words = said.read().decode(errors="replace")
        if code == SSH_FAILED:
            raise BoardError(explained(self._target, words))
        if words.strip() and code:
            printed += words.encode()
        return code, printed

    def close(self) -> None:
        """End what is shared between the commands."""
        subprocess.run(
            ["ssh", *self._options, "-O", "exit", *self._target.arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )


@contextmanager
def connect(target: SshTarget, *, accepts_new_host_key: bool) -> Iterator[Connection]:
    """Open a way to a board; its host key is checked in any case.

    Args:
        target: where it is.
        accepts_new_host_key: a board that was never seen is believed; one that was must still be the same.

    Raises:
        BoardError: there is no ssh here.
    """
    if shutil.which("ssh") is None:
        raise BoardError("ssh is missing: sudo apt-get install openssh-client")
    checking = "accept-new" if accepts_new_host_key else "yes"
    with tempfile.TemporaryDirectory(prefix="fieldloop-") as folder:
        shared = (*_SHARED, "-o", f"ControlPath={Path(folder) / 'ssh'}")
        connection = Connection(target, ("-o", f"StrictHostKeyChecking={checking}", *_OPTIONS, *shared))
        try:
            yield connection
        finally:
            connection.close()


def _talk(process: "subprocess.Popen[bytes]", given: bytes, on_line: OnLine | None) -> bytes:
    """Give a program its input while its output is read: neither may wait for the other."""
    if process.stdin is None or process.stdout is None:
        raise AssertionError("both are pipes")
    writer = threading.Thread(target=_give, args=(process.stdin, given))
    writer.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if on_line is not None:
            on_line(line.decode(errors="replace").rstrip("\r\n"))
    writer.join()
    process.stdout.close()
    return b"".join(lines)


def _give(stdin: BinaryIO, given: bytes) -> None:
    # The other side may end without having read all.
    with contextlib.suppress(BrokenPipeError):
        stdin.write(given)
    with contextlib.suppress(BrokenPipeError):
        stdin.close()
