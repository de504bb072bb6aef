"""The command ``fieldloop bundle``."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)

Bundle = Annotated[Path, typer.Argument(help="Folder of a bundle, or its packed file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

DIFFERENT = 1


@app.command("pack")
def pack(
    folder: Annotated[Path, typer.Argument(help="Folder of a bundle, with nothing else in it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File; by default NAME-VERSION.bundle.")] = None,
) -> None:
    """Pack a bundle's folder into one file: the same folder gives the same bytes."""
    from exporter.bundles.archive import pack_folder

    place = pack_folder(folder, out)
    typer.echo(f"packed {place}, {place.stat().st_size} bytes")


@app.command("unpack")
def unpack(
    file: Annotated[Path, typer.Argument(help="A packed bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that is not there yet.")],
) -> None:
    """Unpack a bundle into a new folder, each file checked against the manifest."""
    from exporter.bundles.archive import unpack_file

    typer.echo(f"unpacked {unpack_file(file, out)} into {out}")


@app.command("inspect")
def inspect(bundle: Bundle, *, as_json: AsJson = False) -> None:
    """Tell what is in a bundle; nothing of it is run."""
    import msgspec

    from exporter.bundles.description import describe, description_text
    from exporter.bundles.source import read_bundle

    with read_bundle(bundle) as source:
        description = describe(source)
    typer.echo(msgspec.json.encode(description).decode() if as_json else description_text(description))


@app.command("verify")
def verify(bundle: Bundle, *, as_json: AsJson = False) -> None:
    """Check all of a bundle and run its golden rows; ends with 3 if it is wrong, with 11 if a runtime is missing."""
    import msgspec

    from exporter.bundles.description import printable
    from exporter.bundles.proof import verify_bundle
    from exporter.errors import UnprovenError

    proof = verify_bundle(bundle)
    if as_json:
        typer.echo(msgspec.json.encode(proof).decode())
    else:
        for check in proof.checks:
            typer.echo(printable(f"{check.verdict:9} {check.what:12} {check.detail}"))
    if failure := proof.failure:
        raise failure
    if unproven := proof.having("unproven"):
        names = ", ".join(check.what for check in unproven)
        raise UnprovenError(f"{proof.bundle}: nothing is wrong, but {names} could not be proved here")


@app.command("diff")
def diff(before: Bundle, after: Bundle, *, as_json: AsJson = False) -> None:
    """Tell what differs between two bundles; 0: nothing, 1: something."""
    import msgspec

    from exporter.bundles.description import printable
    from exporter.bundles.difference import compare_manifests, compare_materials
    from exporter.bundles.materials import load_sbom
    from exporter.bundles.source import read_bundle

    with read_bundle(before) as old, read_bundle(after) as new:
        differences = compare_manifests(old.manifest, new.manifest) + compare_materials(load_sbom(old), load_sbom(new))
    if as_json:
        typer.echo(msgspec.json.encode(differences).decode())
    else:
        for each in differences:
            typer.echo(printable(f"{each.part}: {each.before} → {each.after}"))
    if differences:
        raise typer.Exit(DIFFERENT)
