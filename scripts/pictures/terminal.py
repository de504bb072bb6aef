"""Runs a command on a terminal of its own, and makes a picture of what stands on its screen."""

import io
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Iterator, Mapping, Sequence
from fcntl import ioctl
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from edge_agent.durable import replace_file

COLUMNS: Final = 116
_ROWS: Final = 30
_TOKEN: Final = re.compile(r"\x1b\[(?P<numbers>[?\d;]*)(?P<order>[A-Za-z])|(?P<move>[\r\n])|(?P<text>[^\x1b\r\n]+)")
# A picture that fetches letters from elsewhere is another one in a year.
_FONTS: Final = re.compile(r"@font-face \{\{.*?\}\}\s*", re.DOTALL)
_ASKS: Final = "[y/N]:"
_BLOCK_BYTES: Final = 65536


class Screen:
    """What stands on a terminal, for programs that clear a line before they write it anew, as rich does."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self._lines = [""]
        self._row = 0
        self._is_at_start = True

    def take(self, said: str) -> None:
        """Show what a program wrote."""
        for token in _TOKEN.finditer(said):
            if token["order"] is not None:
                self._obey(token["order"], token["numbers"], token[0])
            elif token["move"] == "\n":
                self._row += 1
                self._lines += [""] * (self._row + 1 - len(self._lines))
            elif token["move"] == "\r":
                self._is_at_start = True
            else:
                self._write(token["text"])

    def _obey(self, order: str, numbers: str, whole: str) -> None:
        if order == "m":
            self._write(whole)
        elif order == "K":
            self._lines[self._row] = ""
        elif order == "A":
            self._row = max(0, self._row - int(numbers or 1))

    def _write(self, text: str) -> None:
        self._lines[self._row] = text if self._is_at_start else self._lines[self._row] + text
        self._is_at_start = False

    @property
    def text(self) -> str:
        """Its lines, with the colours as a terminal is told them."""
        return "\n".join(self._lines).rstrip()


def screens(
    command: Sequence[str], *, shown: str, folder: Path, answer: str = "", more: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a command, and yield its screen each time that something was written.

    Args:
        command: is run.
        shown: what was typed to start it, above all else.
        folder: where it runs.
        answer: typed when it is asked for.
        more: variables of its environment.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(more or {})}
    screen = Screen()
    screen.take(f"$ {shown}\n\r")
    with subprocess.Popen(command, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        while said := _read(ours):
            screen.take(said.decode(errors="replace"))
            if screen.text.endswith(_ASKS):
                os.write(ours, answer.encode())
            yield screen.text
    os.close(ours)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, screen.text)


def write_picture(text: str, path: Path, title: str) -> None:
    """Make a picture (SVG) of a screen."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(text))
    form = _FONTS.sub("", CONSOLE_SVG_FORMAT)
    replace_file(path, console.export_svg(title=title, code_format=form, unique_id=path.stem).encode())


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, _BLOCK_BYTES)
    except OSError:
        # Linux says so when nobody has the other end any more.
        return b""
