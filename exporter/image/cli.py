"""The commands ``fieldloop image``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.failures import exit_codes
from exporter.image.build.cli import boards_command, build_command
from exporter.image.card.card_cli import card_command
from exporter.image.customise.cli import customise_command
from exporter.image.emulation.boot_cli import boot_command

if TYPE_CHECKING:
    from exporter.image.block_map import BlockMap
    from exporter.image.disks import Disk
    from exporter.image.flashing import OnProgress

app = typer.Typer(
    no_args_is_help=True,
    help="Build SD-card images, write them, start them emulated, list them for Raspberry Pi Imager.",
)
app.command("build")(build_command)
app.command("boards")(boards_command)
app.command("boot")(boot_command)
app.command("card")(card_command)
app.command("customise")(customise_command)

Image = Annotated[Path, typer.Argument(help="Image of a whole disk: raw, .zst or .xz.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AllowFixed = Annotated[
    bool, typer.Option("--allow-fixed-disk", help="Also take a disk that cannot be taken out. Never the system's.")
]


@app.command("disks")
def disks(*, as_json: AsJson = False) -> None:
    """List the disks of this machine, and which of them an image may be written to."""
    with exit_codes():
        import msgspec

        from exporter.image.disks import list_disks, refusal_of

        found = list_disks()
        refusals = [refusal_of(disk, None, allow_fixed=False) for disk in found]
        if as_json:
            rows = [
                {**msgspec.to_builtins(disk), "refused": refusal} for disk, refusal in zip(found, refusals, strict=True)
            ]
            typer.echo(msgspec.json.encode(rows).decode())
            return
        for disk, refusal in zip(found, refusals, strict=True):
            if disk.size_bytes:
                typer.echo(f"{'   ' if refusal else ' * '}{disk}{f'  -  {refusal}' if refusal else ''}")
        if all(refusals):
            typer.echo("no disk that can be taken out: put the card in, and ask again")


@app.command("flash")
def flash_command(
    image: Image,
    disk: Annotated[
        Path | None, typer.Argument(help="Device of the card, for example /dev/sdb; or a file. Without: you are asked.")
    ] = None,
    block_map: Annotated[
        Path | None,
        typer.Option("--bmap", help="Block map of the image; by default the one beside it, if there is one."),
    ] = None,
    *,
    whole: Annotated[bool, typer.Option("--whole", help="Write every block, whatever a block map says.")] = False,
    allow_fixed: AllowFixed = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write an image to a card, and read it back; the card does not start before that went well."""
    with exit_codes():
        import msgspec

        from exporter.image.disks import size_text
        from exporter.image.errors import DiskError
        from exporter.image.flashing import flash
        from exporter.image.image_file import inspect_image
        from exporter.image.target import open_target

        found = inspect_image(image)
        blocks = None if whole else _block_map_of(image, block_map)
        image_bytes = found.size_bytes if blocks is None else blocks.image_bytes
        if disk is None:
            disk = _asked_disk(image_bytes, allow_fixed=allow_fixed)
        is_disk = disk.is_block_device()
        if disk.exists() and not is_disk and not disk.is_file():
            raise DiskError(f"{disk} is neither a disk nor a file")
        described = _taken_disk(disk, image_bytes, allow_fixed=allow_fixed) if is_disk else f"the file {disk}"
        if not yes and not typer.confirm(
            f"Everything on {described} will be lost. Write {image.name} to it?", err=True
        ):
            raise typer.Exit(1)
        with open_target(disk, is_disk=is_disk) as target, _progress(quiet=as_json) as on_progress:
            done = flash(found, target, blocks=blocks, on_progress=on_progress)
        if as_json:
            typer.echo(msgspec.json.encode({"disk": str(disk), **msgspec.to_builtins(done)}).decode())
            return
        typer.echo(
            f"{image.name} is on {disk}, read back and right: {size_text(done.image_bytes)}, sha256 {done.sha256}"
        )
        typer.echo(
            f"  written {size_text(done.written_bytes)}, zeros that were there {size_text(done.zero_bytes)}, "
            f"not mapped {size_text(done.unmapped_bytes)}"
            + (f", taken over from the try before {size_text(done.resumed_bytes)}" if done.resumed_bytes else "")
        )


@app.command("imager-list")
def imager_list_command(
    image: Image,
    *,
    url: Annotated[str | None, typer.Option(help="Where Imager fetches the image; by default this file.")] = None,
    name: Annotated[str | None, typer.Option(help="Name in the list; by default the file's.")] = None,
    description: Annotated[str, typer.Option(help="Line below the name.")] = "A Fieldloop device",
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Board it starts, by Imager's tag, repeatable: pi3-64bit.")
    ] = None,
    icon: Annotated[str | None, typer.Option(help="URL of an icon.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; by default IMAGE.rpi-imager-manifest.")] = None,
) -> None:
    """Write the list that Raspberry Pi Imager opens: rpi-imager --repo FILE."""
    with exit_codes():
        from datetime import UTC, datetime

        import msgspec

        from edge_agent.durable import replace_file
        from exporter.image.image_file import inspect_image
        from exporter.image.imager_list import DEFAULT_ICON, DEVICE_TAGS, ImagerList, imager_entry

        devices = tuple(device or ("pi3-64bit", "pi4-64bit"))
        if unknown := sorted(set(devices) - set(DEVICE_TAGS)):
            raise typer.BadParameter(f"{', '.join(unknown)}: Imager's tags are {', '.join(DEVICE_TAGS)}")
        entry = imager_entry(
            inspect_image(image),
            name=name or image.name.split(".")[0],
            description=description,
            url=url or image.resolve().as_uri(),
            release_date=f"{datetime.fromtimestamp(image.stat().st_mtime, UTC):%Y-%m-%d}",
            devices=devices,
            icon=icon or DEFAULT_ICON,
        )
        place = out or image.with_name(image.name + ".rpi-imager-manifest")
        replace_file(place, msgspec.json.format(msgspec.json.encode(ImagerList((entry,))), indent=2) + b"\n")
        typer.echo(f"wrote {place}: rpi-imager --repo {place.resolve().as_uri()}")


def _block_map_of(image: Path, named: Path | None) -> "BlockMap | None":
    from exporter.image.block_map import load_block_map

    beside = _block_map_beside(image)
    place = named or beside
    return load_block_map(place) if named is not None or place.exists() else None


def _block_map_beside(image: Path) -> Path:
    unpacked = image.with_suffix("") if image.suffix in {".zst", ".xz"} else image
    return unpacked.with_name(unpacked.name.removesuffix(".img") + ".bmap")


def _asked_disk(image_bytes: int | None, *, allow_fixed: bool) -> Path:
    from exporter.image.disks import list_disks, refusal_of
    from exporter.image.errors import DiskError

    fit = [disk for disk in list_disks() if refusal_of(disk, image_bytes, allow_fixed=allow_fixed) is None]
    if not fit:
        raise DiskError("no disk here that fits: fieldloop image disks tells why")
    for number, disk in enumerate(fit, start=1):
        typer.echo(f"  {number}  {disk}", err=True)
    chosen = typer.prompt("Which one", type=int, err=True)
    if not 1 <= chosen <= len(fit):
        raise DiskError(f"there is no disk {chosen} in the list")
    return Path(fit[chosen - 1].path)


def _taken_disk(path: Path, image_bytes: int | None, *, allow_fixed: bool) -> "Disk":
    from exporter.image.disks import find_disk, refusal_of
    from exporter.image.errors import DiskError

    disk = find_disk(str(path))
    if refusal := refusal_of(disk, image_bytes, allow_fixed=allow_fixed):
        raise DiskError(refusal)
    return disk


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[OnProgress]":
    if quiet:
        yield lambda _phase, _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        tasks = {}

        def tell(phase: str, done: int, total: int | None) -> None:
            if phase not in tasks:
                tasks[phase] = shown.add_task({"write": "writing", "verify": "reading back"}[phase], total=total)
            shown.update(tasks[phase], completed=done, total=total)

        yield tell
