"""The commands ``fieldloop image build`` and ``fieldloop image boards``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exporter.failures import exit_codes
from exporter.image.claims import FleetOption, claim_of

if TYPE_CHECKING:
    from exporter.image.build.building import Built
    from exporter.image.build.root_partition import OnStep

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def build_command(  # noqa: PLR0913, PLR0917 - options of a command
    ctx: typer.Context,
    board: Annotated[str, typer.Option(help="The board, as fieldloop image boards lists them.")],
    card: Annotated[Path, typer.Option(help="What the card carries.")] = Path("card.toml"),
    device: Annotated[str | None, typer.Option(metavar="ID", help="Device, in place of what the card says.")] = None,
    claim: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File of its claim token, in place of what the card says.")
    ] = None,
    fleet: FleetOption = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The image; default: BOARD-ID.img.")] = None,
    arch: Annotated[Literal["arm64", "armhf"], typer.Option(help="Of the programs on it.")] = "arm64",
    suite: Annotated[Literal["bookworm", "trixie"], typer.Option(help="Of Debian.")] = "bookworm",
    runtime: Annotated[
        str | None,
        typer.Option(help="Beside the native engine: onnxruntime, ai-edge-litert or tflite-runtime."),
    ] = None,
    agent_package: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Debian package of the agent; default: what make deb wrote to build/deb."),
    ] = None,
    mirror: Annotated[str | None, typer.Option(metavar="URL", help="Of Debian; default: this machine's.")] = None,
    security_mirror: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Of its security updates; default: this machine's; none: without updates."),
    ] = None,
    *,
    zst: Annotated[bool, typer.Option("--zst", help="Write IMAGE.zst, too.")] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Take Debian's packages as they are today, not as they were kept.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the image of a card: a Debian for the board, the agent, and all that makes it this device's."""
    with exit_codes():
        import os

        import msgspec

        from edge_agent.clock import SystemClock
        from exporter.image.build.building import BuildOptions, Surroundings, build_image

        with claim_of(ctx, claim, fleet, device) as token, _steps(quiet=as_json) as on_step:
            options = BuildOptions(
                board=board,
                card=card,
                image=out or Path(f"{board}-{device or 'claim'}.img"),
                device=device,
                claim=token,
                architecture=arch,
                suite=suite,
                runtime=runtime,
                package=agent_package,
                mirror=mirror,
                security_mirror=security_mirror,
                is_packed=zst,
                anew=anew,
            )
            built = build_image(options, Surroundings(os.environ, SystemClock(), on_step))
        typer.echo(msgspec.json.encode(built).decode() if as_json else _told(built))


def boards_command(*, as_json: AsJson = False) -> None:
    """List the boards that images are built for, with the suites whose kernel knows them."""
    import msgspec

    from exporter.image.build.boards import BOARDS

    if as_json:
        typer.echo(msgspec.json.encode(list(BOARDS.values())).decode())
        return
    for board in BOARDS.values():
        typer.echo(f"{board.name:8} {board.title:36} {', '.join(board.suites):18} {', '.join(board.architectures)}")


def _told(built: "Built") -> str:
    from exporter.image.disks import size_text

    packed = "" if built.packed_bytes is None else f", {size_text(built.packed_bytes)} as {built.packed}"
    return (
        f"wrote {built.image} in {built.seconds:.0f} s: {built.device} on {built.board}\n"
        f"  Debian {built.suite}, Linux {built.kernel}, root {built.root} {'kept' if built.root_was_kept else 'made'}\n"
        f"  {size_text(built.image_bytes)}, of which {size_text(built.mapped_bytes)} are written to a card{packed}\n"
        f"  {built.block_map}: block map; {built.sbom}: packages\n"
        f"fieldloop image flash {built.packed or built.image}"
    )


@contextmanager
def _steps(*, quiet: bool) -> "Iterator[OnStep]":
    if quiet:
        yield lambda _step: None
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("building") as status:

        def tell(step: str) -> None:
            if not console.is_terminal:
                console.print(step, markup=False, highlight=False)
            status.update(step)

        yield tell
