"""Reads what a board's console said, and goes on as it says more."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exporter.image.emulation.command_line import CONSOLE_LOG
from exporter.image.emulation.farm_state import load_board

_POLL_S: Final = 0.2


def console_text(farm: Path, name: str) -> str:
    """Return what a board's console said so far, of all its starts.

    Raises:
        EmulationError: there is no such board.
    """
    load_board(farm / name)
    log = farm / name / CONSOLE_LOG
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def follow_console(farm: Path, name: str) -> Iterator[str]:
    """Yield what a board's console said and says, until the board ends or somebody interrupts.

    Raises:
        EmulationError: there is no such board.
    """
    folder = farm / name
    load_board(folder)
    pause = threading.Event()
    with contextlib.suppress(KeyboardInterrupt), (folder / CONSOLE_LOG).open("rb") as log:
        while True:
            # Asked before the log is read: what was said last is then shown, too.
            runs = load_board(folder).is_running
            if said := log.read():
                yield said.decode("utf-8", "replace")
            elif not runs:
                return
            else:
                pause.wait(_POLL_S)
