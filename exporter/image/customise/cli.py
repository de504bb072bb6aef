"""The command ``fieldloop image customise``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exporter.failures import exit_codes
from exporter.image.claims import FleetOption, claim_of

if TYPE_CHECKING:
    from exporter.image.customise.package import AgentPackage

PackageOption = Annotated[
    list[Path] | None,
    typer.Option("--package", help="Debian package of the agent, repeatable; by default those in build/deb."),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help="Name of the device; by default what the files say.")
]
ClaimOption = Annotated[
    Path | None, typer.Option("--claim", help="File with a claim token; by default the one that the files name.")
]
CardOption = Annotated[Path, typer.Option("--card", help="What the board is given.")]
PACKAGES: Final = Path("build") / "deb"


def customise_command(  # noqa: PLR0913 - options of a command
    ctx: typer.Context,
    image: Annotated[Path, typer.Argument(help="Image of Raspberry Pi OS: raw, .zst or .xz.")],
    *,
    card: CardOption = Path("card.toml"),
    device: DeviceOption = None,
    claim: ClaimOption = None,
    fleet: FleetOption = None,
    package: PackageOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The copy, raw or .zst; by default IMAGE-fieldloop.img.")
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the image itself, which must not be .xz.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Put agent, identity, settings, network and SSH keys into an image of Raspberry Pi OS, for its first start."""
    with exit_codes():
        import msgspec

        from exporter.image.customise.customising import Wanted, customise
        from exporter.image.customise.errors import CustomiseError
        from exporter.image.disks import size_text

        if in_place and (out is not None or image.suffix == ".xz"):
            raise CustomiseError("--in-place replaces an image that is raw or .zst, and takes no --out")
        into = image if in_place else out or _beside(image)
        if not in_place and into.exists() and into.samefile(image):
            raise CustomiseError(f"{into} is the image itself: name another file, or say --in-place")
        if into.suffix == ".xz":
            raise CustomiseError(f"{into}: the copy is written raw, or as .zst")
        with claim_of(ctx, claim, fleet, device) as token:
            done = customise(image, into, Wanted(card, load_packages(package), device, token))
        if as_json:
            typer.echo(msgspec.json.encode(done).decode())
            return
        typer.echo(f"wrote {into}: {done.device} on {done.release or 'Raspberry Pi OS'} ({done.architecture})")
        typer.echo(
            f"  at its first start, by {done.mechanism}: the agent, its settings and its bundle, without a network"
        )
        typer.echo(f"  {size_text(done.added_bytes)} on its boot partition, {size_text(done.free_bytes)} free there")


def load_packages(named: list[Path] | None) -> "tuple[AgentPackage, ...]":
    """Load the packages that were named, or those that `make deb` has built."""
    from exporter.image.customise.package import load_package

    paths = named if named is not None else sorted(PACKAGES.glob("fieldloop-agent_*.deb"))
    return tuple(load_package(path) for path in paths)


def _beside(image: Path) -> Path:
    unpacked = image.with_suffix("") if image.suffix in {".zst", ".xz"} else image
    return unpacked.with_name(f"{unpacked.stem}-fieldloop.img")
