"""Starts one image on the terminal, and leaves it as it was unless told to write to it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from exporter.image.emulation.boot_files import extract_boot_files
from exporter.image.emulation.command_line import PROGRAM, Card, Forward, Start, qemu_arguments
from exporter.image.emulation.errors import EmulationError
from exporter.image.emulation.machines import Machine
from exporter.image.emulation.overlay import card_bytes, create_overlay, prepare_overlay, remove_overlay
from exporter.image.emulation.raw_image import raw_image
from exporter.image.emulation.unnamed_files import unnamed_files
from exporter.image.programs import find_program

Keep = Literal["overlay", "nothing", "image"]


@dataclass(frozen=True, slots=True)
class BootRequest:
    """What is to be started.

    Attributes:
        keep: where what the guest writes goes: an overlay beside the image, nowhere, or the image itself.
        fresh: forget the overlay that is there.
        more_arguments: of the kernel.
        reboots: a restart of the guest starts it again, with the command line that it was started with; else it ends.
    """

    image: Path
    machine: Machine
    keep: Keep = "overlay"
    fresh: bool = False
    forwards: tuple[Forward, ...] = ()
    memory_mib: int | None = None
    cpus: int | None = None
    more_arguments: str = ""
    reboots: bool = True


def overlay_folder(image: Path) -> Path:
    """Return the folder beside an image in which what a guest wrote is kept."""
    return image.with_name(image.name + ".card")


def boot_on_terminal(request: BootRequest) -> NoReturn:
    """Become QEMU with an image, and its console on this terminal.

    There is no process of ours besides: a signal reaches QEMU, its exit code is this program's, and what it starts
    from has no name, so that nothing is left of it however it ends.

    Raises:
        ImageError: the image cannot be taken.
        EmulationError: a program is missing, or the image cannot be started on this machine.
    """
    program = find_program(PROGRAM, EmulationError)
    with unnamed_files() as new_file:
        image = raw_image(request.image, overlay_folder(request.image), writes=request.keep == "image")
        card = _card(request, image, new_file)
        written = card.path if request.keep == "overlay" else None
        start = Start(
            request.machine,
            extract_boot_files(image, request.machine, new_file, request.more_arguments, written),
            card,
            request.forwards,
            memory_mib=request.memory_mib,
            cpus=request.cpus,
            reboots=request.reboots,
        )
        os.execv(program, [program, *qemu_arguments(start)])  # noqa: S606 - that is what it is for


def _card(request: BootRequest, image: Path, new_file: Callable[[str], Path]) -> Card:
    if request.keep == "image":
        size = image.stat().st_size
        if request.machine.name == "raspi3b" and size != card_bytes(size):
            raise EmulationError(
                f"{image} is no power of two, as this machine's cards are: truncate --size {card_bytes(size)} {image}"
            )
        return Card(image.resolve(), "raw")
    if request.keep == "nothing":
        overlay = new_file("overlay")
        create_overlay(image, overlay)
        return Card(overlay, "qcow2")
    kept = overlay_folder(request.image)
    if request.fresh:
        remove_overlay(kept)
    return Card(prepare_overlay(image, kept).resolve(), "qcow2")
