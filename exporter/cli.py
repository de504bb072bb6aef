"""The command ``fieldloop export``, and the others of this package beside it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from exporter.failures import exit_codes
from exporter.repository.cli import app as repository_app

Outputs = Literal["probabilities", "logits"]

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(repository_app, name="repository")


@app.command("export")
def export_command(  # noqa: PLR0913, PLR0917 - typer calls it by name
    model: Annotated[
        Path, typer.Argument(help="A fitted model: skops, ONNX, or LightGBM's or XGBoost's own; pickle if trusted.")
    ],
    rows: Annotated[Path, typer.Option(help="CSV or Parquet in time order: rows the model was not trained on.")],
    out: Annotated[Path, typer.Option(help="Folder for the variants, the report and the bundle.")],
    target: Annotated[
        str | None, typer.Option(help="Column of the truth; without, variants are judged by agreement.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option(help="Variant to make, repeatable; auto: all.")] = None,
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "model",
    version: Annotated[int, typer.Option(min=1, help="Version of the bundle.")] = 1,
    metric: Annotated[str | None, typer.Option(help="Metric of quality; by default accuracy, r2 or agreement.")] = None,
    max_parity_loss: Annotated[float, typer.Option(help="Quality that an int8 variant may lose.")] = 0.005,
    max_size_bytes: Annotated[int, typer.Option(help="Greatest size of a variant.")] = 4 << 20,
    outputs: Annotated[
        Outputs | None, typer.Option(help="What an ONNX graph answers; without, it is found out on the rows.")
    ] = None,
    on: Annotated[
        list[str] | None, typer.Option(help="Also run under emulation, for correctness: arm64, armhf; repeatable.")
    ] = None,
    *,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Load a pickle or joblib file, which RUNS CODE that the file brings.")
    ] = False,
    c_array: Annotated[bool, typer.Option("--c-array", help="Write tflite-int8 as a C header, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Convert a model for devices, prove each variant against the original, and pack a bundle from those that pass."""
    with exit_codes():
        from rich.console import Console

        from exporter.export import ExportLimits
        from exporter.from_files import ExportJob, export_files
        from exporter.proof.proving import Surroundings
        from exporter.proof.report import ExportReport, report_json
        from exporter.proof.report_text import report_view

        limits = ExportLimits(max_size_bytes=max_size_bytes, max_parity_loss=max_parity_loss)
        job = ExportJob(
            model, rows, target, tuple(to or ["auto"]), name, version, metric, limits, trust_pickle, outputs
        )
        job = ExportJob(model, rows, target, tuple(to or ["auto"]), name, version, metric, limits, trust_pickle)

        def tell(report: ExportReport) -> None:
            if as_json:
                typer.echo(report_json(report).decode(), nl=False)
            else:
                Console().print(report_view(report))
                typer.echo(f"report: {out / 'report.html'}")

        emulated = [name.strip() for names in on or [] for name in names.split(",")]
        outcome = export_files(job, out, tell, Surroundings.with_emulated(emulated))
        if c_array:
            from exporter.c.array import write_accepted

            write_accepted(outcome.report, out / "variants")
        if as_json:
            return
        if outcome.bundle is None:
            typer.echo("no bundle: no agent runs what was asked for")
        else:
            typer.echo(f"bundle: {outcome.bundle}; next: fieldloop publish {outcome.bundle}")
