"""The command ``fieldloop image card``: what a card would carry, before one is made."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from exporter.failures import exit_codes

# By Debian's name for the architecture of a board, that of the agent.
_ARCHITECTURES: Final = {"arm64": "aarch64", "armhf": "armv7"}
_SHOWN: Final = ("data", "root")


def card_command(
    card: Annotated[Path, typer.Argument(help="What the board is given.")] = Path("card.toml"),
    device: Annotated[str | None, typer.Option("--device", help="Its name, in place of what the files say.")] = None,
    claim: Annotated[Path | None, typer.Option("--claim", help="File with its claim token, the same.")] = None,
    architecture: Annotated[Literal["arm64", "armhf"], typer.Option("--arch", help="Of the board.")] = "arm64",
    runtimes: Annotated[
        list[str] | None, typer.Option("--runtime", help="That the board has, repeatable: native, onnx, tflite.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check card.toml and all that it names, and list what a card would carry; nothing is written."""
    with exit_codes():
        import msgspec

        from edge_agent.scoring.selection import Device
        from exporter.image.card.files import card_files, root_packages
        from exporter.image.card.loading import load_card

        board = Device(_ARCHITECTURES[architecture], tuple(runtimes or ["native"]))
        read = load_card(card, board, device=device, token=claim)
        files = card_files(read)
        packages = root_packages(read.system)
        if as_json:
            told = [
                {
                    "path": str(file.path),
                    "partition": file.partition,
                    "mode": f"{file.mode:o}",
                    "bytes": len(file.content),
                }
                for file in files
            ]
            typer.echo(msgspec.json.encode({"files": told, "packages": packages}).decode())
            return
        typer.echo(f"{card}: good; device {read.settings.device} of fleet {read.settings.fleet}")
        for partition in _SHOWN:
            typer.echo(f"on the {partition} partition:")
            for file in files:
                if file.partition == partition:
                    typer.echo(f"  {file.mode:o}  {len(file.content):>9}  {file.path}")
        typer.echo(f"packages beside kernel, firmware and agent: {', '.join(packages)}")
