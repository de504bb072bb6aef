"""Starts one image on the terminal, and leaves it as it was unless told to write to it."""

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Literal

from exporter.image.emulation.boot_files import extract_boot_files
from exporter.image.emulation.command_line import PROGRAM, Card, Forward, Start, qemu_arguments
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import Machine
from exporter.image.emulation.overlay import card_bytes, prepare_overlay, remove_overlay
from exporter.image.emulation.raw_image import raw_image
from exporter.image.programs import find_program

Keep = Literal["overlay", "nothing", "image"]
_TERM_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class BootRequest:
    """What is to be started.

    Attributes:
        keep: where what the guest writes goes: an overlay beside the image, nowhere, or the image itself.
        fresh: forget the overlay that is there.
        more_arguments: of the kernel.
    """

    image: Path
    machine: Machine
    keep: Keep = "overlay"
    fresh: bool = False
    forwards: tuple[Forward, ...] = ()
    memory_mib: int | None = None
    cpus: int | None = None
    more_arguments: str = ""


def overlay_folder(image: Path) -> Path:
    """Return the folder beside an image in which what a guest wrote is kept."""
    return image.with_name(image.name + ".card")


def boot_on_terminal(request: BootRequest) -> int:
    """Start an image with its console on this terminal, wait for its end, and return QEMU's exit code.

    Raises:
        ImageError: the image cannot be taken.
        EmulationError: a program is missing, or the image cannot be started on this machine.
    """
    program = find_program(PROGRAM, EmulationError)
    with tempfile.TemporaryDirectory(prefix="fieldloop-boot-") as name:
        folder = Path(name)
        image = raw_image(request.image, overlay_folder(request.image), writes=request.keep == "image")
        start = Start(
            request.machine,
            extract_boot_files(image, request.machine, folder, request.more_arguments),
            _card(request, image, folder),
            request.forwards,
            memory_mib=request.memory_mib,
            cpus=request.cpus,
        )
        return _run([program, *qemu_arguments(start)])


def _card(request: BootRequest, image: Path, folder: Path) -> Card:
    if request.keep == "image":
        size = image.stat().st_size
        if request.machine.name == "raspi3b" and size != card_bytes(size):
            raise EmulationError(
                f"{image} is no power of two, as this machine's cards are: truncate --size {card_bytes(size)} {image}"
            )
        return Card(image.resolve(), "raw")
    if request.keep == "nothing":
        return Card(prepare_overlay(image, folder), "qcow2")
    kept = overlay_folder(request.image)
    if request.fresh:
        remove_overlay(kept)
    return Card(prepare_overlay(image, kept).resolve(), "qcow2")


def _run(command: Sequence[str]) -> int:
    # Ctrl-C belongs to the guest; QEMU hands it on.
    with _ignored(signal.SIGINT), subprocess.Popen(command) as process, _ends(process):
        return process.wait()


@contextlib.contextmanager
def _ends(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End QEMU by its id when this program is told to end, or fails."""

    def told(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    before = signal.signal(signal.SIGTERM, told)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_TERM_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextlib.contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)
