"""The command ``fieldloop image boot``."""

from pathlib import Path
from typing import Annotated

import typer

from exporter.failures import exit_codes


def boot_command(  # noqa: PLR0913 - typer calls it by name
    image: Annotated[Path, typer.Argument(help="Image of a card: raw, .zst or .xz. It is not written to.")],
    machine: Annotated[
        str, typer.Option(help="virt, which is faster, or raspi3b, a Raspberry Pi 3B with its own device tree.")
    ] = "virt",
    forward: Annotated[
        list[str] | None,
        typer.Option("--forward", help="HOST:GUEST, a port of this machine that leads to the board; repeatable."),
    ] = None,
    memory: Annotated[int | None, typer.Option(min=64, help="MiB; raspi3b has 1024.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, max=8, help="Processors; raspi3b has 4.")] = None,
    append: Annotated[str, typer.Option(help="Further arguments of the kernel.")] = "",
    *,
    snapshot: Annotated[bool, typer.Option("--snapshot", help="Keep nothing of what the board writes.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what it wrote before: a card just flashed.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Let the board write to the image itself.")] = False,
    no_reboot: Annotated[
        bool, typer.Option("--no-reboot", help="End where the board restarts: the next start reads its card anew.")
    ] = False,
) -> None:
    """Start an image in an emulated board, with its console on this terminal. Ctrl-A X ends it.

    The board reaches this machine as 10.0.2.2. What it writes is kept beside the image, in IMG.card.
    """
    with exit_codes():
        from exporter.image.emulation.booting import BootRequest, boot_on_terminal
        from exporter.image.emulation.command_line import parse_forward
        from exporter.image.emulation.machines import find_machine

        if snapshot + fresh + write > 1:
            raise typer.BadParameter("--snapshot, --fresh and --write exclude each other")
        request = BootRequest(
            image,
            find_machine(machine),
            keep="nothing" if snapshot else "image" if write else "overlay",
            fresh=fresh,
            forwards=tuple(parse_forward(text) for text in forward or ()),
            memory_mib=memory,
            cpus=cpus,
            more_arguments=append,
            reboots=not no_reboot,
        )
        typer.echo(f"{image.name} on {machine}: Ctrl-A X ends it, Ctrl-A H helps; it sees this machine as 10.0.2.2")
        boot_on_terminal(request)
