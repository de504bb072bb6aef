"""Joins this terminal with the console of a board that runs in the background."""

import contextlib
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exporter.image.emulation.command_line import CONSOLE_SOCKET
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.process import connected

# Ctrl-], as telnet has it.
LEAVE: Final = b"\x1d"
_BLOCK_BYTES: Final = 4096


def join_console(folder: Path, given: int, shown: int) -> None:
    """Hand on what is typed and what is said, until the board ends, `LEAVE` is typed, or input ends.

    Args:
        folder: of the board.
        given: descriptor of the input.
        shown: descriptor of the output.

    Raises:
        EmulationError: the board does not run, or somebody else has its console.
    """
    try:
        with connected(folder, CONSOLE_SOCKET) as link, _raw(given):
            link.settimeout(None)
            # Not before every key goes through: what is typed until then is lost.
            os.write(shown, f"{folder.name}: Ctrl-] leaves\r\n".encode())
            _hand_on(link, given, shown)
    except OSError as error:
        raise EmulationError(f"{folder.name} has no console to join: it does not run ({error.strerror})") from error


def _hand_on(link: socket.socket, given: int, shown: int) -> None:
    while True:
        readable, _, _ = select.select([link.fileno(), given], [], [])
        if link.fileno() in readable:
            said = link.recv(_BLOCK_BYTES)
            if not said:
                return
            os.write(shown, said)
        if given in readable:
            typed = os.read(given, _BLOCK_BYTES)
            if not typed or LEAVE in typed:
                return
            link.sendall(typed)


@contextlib.contextmanager
def _raw(given: int) -> Iterator[None]:
    """Let every key through, also those that would stop this program."""
    if not os.isatty(given):
        yield
        return
    before = termios.tcgetattr(given)
    tty.setraw(given)
    try:
        yield
    finally:
        termios.tcsetattr(given, termios.TCSADRAIN, before)
        sys.stdout.write("\r\n")
