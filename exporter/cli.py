"""The commands ``fieldloop export`` and ``fieldloop repository``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)
repository_app = typer.Typer(no_args_is_help=True, help="Keep the signed repository that devices update from.")
app.add_typer(repository_app, name="repository")

Repository = Annotated[Path, typer.Option("--repository", help="Folder of the update repository.")]
Keys = Annotated[Path, typer.Option("--keys", help="Folder of its signing keys.")]


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
    with _exit_codes():
        from rich.console import Console

        from exporter.export import ExportLimits
        from exporter.from_files import ExportJob, export_files
        from exporter.proving import Surroundings
        from exporter.report import ExportReport, report_json
        from exporter.report_text import report_view

        limits = ExportLimits(max_size_bytes=max_size_bytes, max_parity_loss=max_parity_loss)
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
            from exporter.c_array import write_accepted

            write_accepted(outcome.report, out / "variants")
        if not as_json:
            typer.echo(f"bundle: {outcome.bundle}; next: fieldloop publish {outcome.bundle}")


@repository_app.command("init")
def init_command(repository: Repository, keys: Keys) -> None:
    """Make an empty repository and its keys."""
    with _exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository import init_repository

        root = init_repository(repository, keys, clock=SystemClock())
        typer.echo(f"made {repository}; give {root} to each device, and keep {keys} secret and backed up")


@repository_app.command("up")
def up_command(
    repository: Repository,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on loopback; 0 picks a free one.")] = 8081,
) -> None:
    """Serve the repository on loopback until Ctrl-C; anywhere else any static server will do."""
    with _exit_codes():
        from exporter.serving import serve

        serve(repository, port)


@repository_app.command("refresh")
def refresh_command(repository: Repository, keys: Keys) -> None:
    """Sign what expires soon anew; run it daily."""
    with _exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.repository import refresh_timestamp

        typer.echo(f"signed anew: {', '.join(refresh_timestamp(repository, keys, clock=SystemClock()))}")


@repository_app.command("list")
def list_command(repository: Repository) -> None:
    """Print the bundles that devices may run."""
    with _exit_codes():
        from exporter.repository import list_bundles

        for ref in list_bundles(repository):
            typer.echo(str(ref))


@repository_app.command("unlist")
def unlist_command(
    bundle: Annotated[str, typer.Argument(help="name/version")], repository: Repository, keys: Keys
) -> None:
    """Take a bundle off the list: no device accepts it any more."""
    with _exit_codes():
        from broker.messages import BundleRef
        from edge_agent.clock import SystemClock
        from exporter.repository import unlist_bundle

        name, _, version = bundle.partition("/")
        if not version.isdigit():
            raise typer.BadParameter(f"{bundle!r}: write name/version, for example rain/3")
        unlist_bundle(BundleRef(name, int(version)), repository, keys, clock=SystemClock())
        typer.echo(f"unlisted {bundle}")


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn an error into its message and its class's exit code."""
    from edge_agent.errors import AgentError
    from exporter.errors import ExporterError

    try:
        yield
    except (ExporterError, AgentError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error
