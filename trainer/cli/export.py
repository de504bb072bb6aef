"""The command ``fieldloop export``: a model of a file, or a version of this project's registry."""

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli import (
    MAX_BYTES,
    MAX_LOSS,
    ArrayOption,
    LossOption,
    MetricOption,
    NameOption,
    OnOption,
    OutOption,
    OutputsOption,
    ReportJsonOption,
    SizeOption,
    TargetOption,
    ToOption,
    TrustOption,
    VersionOption,
    export_command,
)
from trainer.cli.options import ProjectOption

app = typer.Typer(add_completion=False)


@app.command("export")
def export(  # noqa: PLR0913, PLR0917 - typer calls it by name
    model: Annotated[
        str,
        typer.Argument(
            metavar="FILE|VERSION",
            help="A file (skops, ONNX, LightGBM's or XGBoost's own; pickle if trusted); or champion, previous or 3 of "
            "this project's model, NAME/3 or NAME@champion.",
        ),
    ],
    rows: Annotated[
        Path | None,
        typer.Option(help="Of a file: CSV or Parquet in time order, rows that the model was not trained on."),
    ] = None,
    out: OutOption = Path("export"),
    target: TargetOption = None,
    to: ToOption = None,
    name: NameOption = "model",
    version: VersionOption = 1,
    metric: MetricOption = None,
    max_parity_loss: LossOption = MAX_LOSS,
    max_size_bytes: SizeOption = MAX_BYTES,
    outputs: OutputsOption = None,
    on: OnOption = None,
    project: ProjectOption = Path(),
    *,
    trust_pickle: TrustOption = False,
    c_array: ArrayOption = False,
    as_json: ReportJsonOption = False,
) -> None:
    """Convert a model for devices, prove each variant against the original, and pack a bundle from those that pass.

    A version of the registry is proved on the rows of its own run, by the limits of its project.
    """
    file = Path(model)
    if not file.exists():
        _export_version(project, model, tuple(to or ()), out, as_json=as_json)
        return
    if rows is None:
        raise typer.BadParameter(f"a file needs --rows: {model} cannot be proved without rows")
    export_command(
        file,
        rows,
        out,
        target,
        to,
        name,
        version,
        metric,
        max_parity_loss,
        max_size_bytes,
        outputs,
        on,
        trust_pickle=trust_pickle,
        c_array=c_array,
        as_json=as_json,
    )


def _export_version(project: Path, reference: str, variants: tuple[str, ...], out: Path, *, as_json: bool) -> None:
    from rich.console import Console

    from exporter.proof.report import report_json
    from exporter.proof.report_text import report_view
    from trainer.errors import ProjectError
    from trainer.pipeline.reexporting import export_version
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry

    try:
        loaded = load_project(project)
    except ProjectError as error:
        raise ProjectError(f"{reference}: no such file; and no version of a project here: {error}") from error
    version = open_registry(loaded).resolve(reference, loaded.project.name)
    exported = export_version(loaded, version, variants, out)
    if as_json:
        typer.echo(report_json(exported.report).decode(), nl=False)
        return
    Console().print(report_view(exported.report))
    typer.echo(f"{version.name}/{version.version} again, in {out}; what the registry holds is as it was")
