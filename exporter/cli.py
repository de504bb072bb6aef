"""The command ``fieldloop export``, and the others of this package beside it."""

from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from exporter.failures import exit_codes
from exporter.repository.cli import app as repository_app

Outputs = Literal["probabilities", "logits"]

# The options of an export; the command that also knows the registry has the same.
OutOption = Annotated[Path, typer.Option("--out", help="Folder for the variants, the report and the bundle.")]
TargetOption = Annotated[
    str | None, typer.Option("--target", help="Column of the truth; without, variants are judged by agreement.")
]
ToOption = Annotated[list[str] | None, typer.Option("--to", help="Variant to make, repeatable; auto: all.")]
NameOption = Annotated[str, typer.Option("--name", help="Name of the bundle.")]
VersionOption = Annotated[int, typer.Option("--version", min=1, help="Version of the bundle.")]
MetricOption = Annotated[
    str | None, typer.Option("--metric", help="Metric of quality; by default accuracy, r2 or agreement.")
]
LossOption = Annotated[float, typer.Option("--max-parity-loss", help="Quality that an int8 variant may lose.")]
SizeOption = Annotated[int, typer.Option("--max-size-bytes", help="Greatest size of a variant.")]
OutputsOption = Annotated[
    Outputs | None,
    typer.Option("--outputs", help="What an ONNX graph answers; without, it is found out on the rows."),
]
OnOption = Annotated[
    list[str] | None, typer.Option("--on", help="Also run under emulation, for correctness: arm64, armhf; repeatable.")
]
TrustOption = Annotated[
    bool, typer.Option("--trust-pickle", help="Load a pickle or joblib file, which RUNS CODE that the file brings.")
]
ArrayOption = Annotated[bool, typer.Option("--c-array", help="Write tflite-int8 as a C header, too.")]
ReportJsonOption = Annotated[bool, typer.Option("--json", help="Print the report as JSON.")]
MAX_LOSS: Final = 0.005
MAX_BYTES: Final = 4 << 20

app = typer.Typer(no_args_is_help=True, add_completion=False)
app.add_typer(repository_app, name="repository")


@app.command("export")
def export_command(  # noqa: PLR0913, PLR0917 - typer calls it by name
    model: Annotated[
        Path, typer.Argument(help="A fitted model: skops, ONNX, or LightGBM's or XGBoost's own; pickle if trusted.")
    ],
    rows: Annotated[Path, typer.Option(help="CSV or Parquet in time order: rows the model was not trained on.")],
    out: OutOption,
    target: TargetOption = None,
    to: ToOption = None,
    name: NameOption = "model",
    version: VersionOption = 1,
    metric: MetricOption = None,
    max_parity_loss: LossOption = MAX_LOSS,
    max_size_bytes: SizeOption = MAX_BYTES,
    outputs: OutputsOption = None,
    on: OnOption = None,
    *,
    trust_pickle: TrustOption = False,
    c_array: ArrayOption = False,
    as_json: ReportJsonOption = False,
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

        def tell(report: ExportReport) -> None:
            if as_json:
                typer.echo(report_json(report).decode(), nl=False)
            else:
                Console().print(report_view(report))
                typer.echo(f"report: {out / 'report.html'}")

        emulated = [name.strip() for names in on or [] for name in names.split(",")]
        outcome = export_files(job, out, tell, Surroundings.with_emulated(emulated))
        if c_array:
            from exporter.c_arrays import write_accepted

            write_accepted(outcome.report, out / "variants")
        if as_json:
            return
        if outcome.bundle is None:
            typer.echo("no bundle: no agent runs what was asked for")
        else:
            typer.echo(f"bundle: {outcome.bundle}; next: fieldloop publish {outcome.bundle}")
