"""What is known of a farm between two commands: one folder, in it one folder for each board with what it was given."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.durable import replace_file
from exporter.image.emulation.command_line import Forward
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import MachineName
from exporter.image.emulation.process import Process

_BOARD_FILE: Final = "board.json"
_NUMBERED: Final = re.compile(r"(?P<stem>.+)-(?P<number>\d+)")


class BoardState(msgspec.Struct, frozen=True):
    """One emulated board.

    Attributes:
        name: of its folder: the board's key and a number.
        image: what it was made from.
        forwards: ports of this machine that lead to it.
        process: the last one; it may have ended.
    """

    name: str
    machine: MachineName
    image: str
    memory_mib: int | None = None
    cpus: int | None = None
    forwards: tuple[Forward, ...] = ()
    process: Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether its QEMU runs."""
        return self.process is not None and self.process.is_running


def load_boards(farm: Path) -> tuple[BoardState, ...]:
    """Return the boards of a farm in the order of their numbers; none if there is no farm.

    Raises:
        EmulationError: a board's file is damaged.
    """
    return tuple(sorted((load_board(path.parent) for path in farm.glob(f"*/{_BOARD_FILE}")), key=_order))


def load_board(folder: Path) -> BoardState:
    """Return the board of a folder.

    Raises:
        EmulationError: there is none, or its file is damaged.
    """
    try:
        return msgspec.json.decode((folder / _BOARD_FILE).read_bytes(), type=BoardState)
    except FileNotFoundError as error:
        raise EmulationError(f"{folder.parent} has no board {folder.name}: fieldloop farm list shows all") from error
    except msgspec.MsgspecError as error:
        raise EmulationError(f"{folder / _BOARD_FILE} is damaged: {error}; fieldloop farm down --forget") from error


def write_board(folder: Path, board: BoardState) -> None:
    """Keep a board's state."""
    replace_file(folder / _BOARD_FILE, msgspec.json.encode(board))


def pick_names(boards: Iterable[BoardState], stem: str, n: int) -> tuple[str, ...]:
    """Return the names of n boards of a kind: those that exist first, then new ones with the lowest free numbers."""
    numbers = sorted(_order(board)[1] for board in boards if _order(board)[0] == stem)
    free = (number for number in range(1, n + len(numbers) + 1) if number not in numbers)
    while len(numbers) < n:
        numbers.append(next(free))
    return tuple(f"{stem}-{number}" for number in sorted(numbers[:n]))


def _order(board: BoardState) -> tuple[str, int]:
    found = _NUMBERED.fullmatch(board.name)
    return (board.name, 0) if found is None else (found["stem"], int(found["number"]))
