"""A farm in a folder: n alike cards of one image, each in an emulated board of its own that runs in the background.

The cards differ in nothing: who a board is, it finds out at its first start, from the claim token that its image
carries and the machine id that it makes itself. Stopped and started again it is the same board with the same card.
"""

import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from edge_agent.clock import Clock
from edge_agent.durable import make_folder
from exporter.image.emulation.boot_files import BootFiles, extract_boot_files
from exporter.image.emulation.command_line import Card, Forward, Start
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.farm_state import BoardState, load_board, load_boards, pick_names, write_board
from exporter.image.emulation.machines import MACHINES, machine_of_board
from exporter.image.emulation.overlay import prepare_overlay
from exporter.image.emulation.process import POWER_DOWN_S, end, start_in_background
from exporter.image.emulation.raw_image import raw_image

_BOOT_FOLDER: Final = "boot"


@dataclass(frozen=True, slots=True)
class FarmRequest:
    """Which boards are to run.

    Attributes:
        board: key of `machines.BOARDS`.
        image: of their cards; None: the one that the farm's boards of this kind have.
        guest_ports: of each board, to be reached from here; each gets a free port of this machine.
    """

    n: int
    board: str
    image: Path | None = None
    guest_ports: tuple[int, ...] = ()
    memory_mib: int | None = None
    cpus: int | None = None
    more_arguments: str = ""
    reboots: bool = True


def farm_up(farm: Path, request: FarmRequest) -> Iterator[BoardState]:
    """Let n boards of a kind run, and yield each once it does; those that run already are left alone.

    Args:
        farm: folder; made if missing.
        request: what is asked for.

    Raises:
        ImageError: the image cannot be taken.
        EmulationError: a program is missing, there is no image, or a board did not start.
    """
    machine = machine_of_board(request.board)
    boards = {board.name: board for board in load_boards(farm)}
    names = pick_names(boards.values(), request.board, request.n)
    image = _image(request, [boards[name] for name in names if name in boards])
    if all(name in boards and boards[name].is_running for name in names):
        yield from (boards[name] for name in names)
        return
    make_folder(farm)
    raw = raw_image(image, farm).resolve()
    boot = farm / _BOOT_FOLDER / machine.name
    shutil.rmtree(boot, ignore_errors=True)
    make_folder(boot)
    files = extract_boot_files(raw, machine, boot.resolve().joinpath, request.more_arguments)
    for name in names:
        board = boards.get(name)
        if board is None or not board.is_running:
            board = _start(farm / name, board or _new_board(name, request, image), raw, files, request)
        yield board


def farm_down(
    farm: Path, names: Sequence[str], clock: Clock, *, forget: bool, power_down_s: float = POWER_DOWN_S
) -> Iterator[tuple[str, bool]]:
    """Stop boards, and yield the name of each and whether it stopped by itself; else its power was cut.

    Args:
        farm: its folder.
        names: of the boards; none: all.
        clock: for the deadlines.
        forget: remove what they wrote, and their folders.
        power_down_s: how long a guest may take to stop by itself.

    Raises:
        EmulationError: there is no board of a name.
    """
    boards = [load_board(farm / name) for name in names] or list(load_boards(farm))
    for board in boards:
        folder = farm / board.name
        by_itself = board.process is None or end(
            board.process,
            folder,
            clock,
            has_power_button=MACHINES[board.machine].has_power_button,
            power_down_s=power_down_s,
        )
        if forget:
            shutil.rmtree(folder)
        yield board.name, by_itself
    if forget and farm.is_dir() and not load_boards(farm):
        shutil.rmtree(farm / _BOOT_FOLDER, ignore_errors=True)


def _image(request: FarmRequest, boards: Sequence[BoardState]) -> Path:
    if request.image is not None:
        return request.image.resolve()
    if not boards:
        raise EmulationError(
            f"which image? fieldloop farm up --image IMG -n {request.n}; fieldloop image build makes one"
        )
    return Path(boards[0].image)


def _new_board(name: str, request: FarmRequest, image: Path) -> BoardState:
    machine = machine_of_board(request.board)
    return BoardState(name, machine.name, str(image), request.memory_mib, request.cpus)


def _start(folder: Path, board: BoardState, raw: Path, files: BootFiles, request: FarmRequest) -> BoardState:
    make_folder(folder)
    ports = request.guest_ports or tuple(forward.guest_port for forward in board.forwards)
    forwards = tuple(Forward(_free_port(), port) for port in ports)
    card = Card(prepare_overlay(raw, folder).resolve(), "qcow2")
    start = Start(
        MACHINES[board.machine],
        files,
        card,
        forwards,
        console="socket",
        memory_mib=board.memory_mib,
        cpus=board.cpus,
        reboots=request.reboots,
    )
    # Before it starts: a board that nobody knows of could not be stopped.
    write_board(folder, msgspec.structs.replace(board, forwards=forwards, process=None))
    board = msgspec.structs.replace(board, forwards=forwards, process=start_in_background(start, folder))
    write_board(folder, board)
    return board


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
