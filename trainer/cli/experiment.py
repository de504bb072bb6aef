"""The command ``fieldloop experiment``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainer.cli.options import DaskOption, JsonOption
from trainer.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.experiment.experiment import ExperimentResult
    from trainer.features.guess import LeftOut
    from trainer.pipeline.outcome import StepEvent

app = typer.Typer(add_completion=False)


@app.command("experiment")
def experiment(  # noqa: PLR0913 - typer reads a command's options from its parameters
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Your rows in the order of time: CSV or Parquet. Without: those of the project."),
    ] = None,
    target: Annotated[str, typer.Option(help="The column that the model learns.")] = "",
    name: Annotated[str, typer.Option(help="Of the model; by default after the first file.")] = "",
    task: Annotated[
        Literal["classification", "regression", "anomaly"] | None,
        typer.Option(help="By default guessed from the target."),
    ] = None,
    leave_out: Annotated[
        list[str] | None, typer.Option(help="A column that the model must not see; give it once for each.")
    ] = None,
    project: Annotated[Path, typer.Option(help="Folder of the project file.")] = Path(),
    trials: Annotated[int, typer.Option(min=1, help="Models that are tried.")] = 4,
    dask: DaskOption = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a project file.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at data before anything is decided: what is in them, what can be learnt, and where the model fails.

    Writes experiment/report.html and, with DATA, a project file and a schema. Nothing is registered or recorded.
    """
    from msgspec.structs import replace
    from rich.console import Console

    from edge_agent.clock import SystemClock
    from trainer.cli.feature_places import source_access
    from trainer.console.steps import StepLines
    from trainer.experiment.experiment import run_experiment
    from trainer.project.loading import load_project, with_dask

    left_out: tuple[LeftOut, ...] = ()
    if data:
        left_out = _write_project(data, target, name, task, tuple(leave_out or ()), project, force=force)
    elif target or name or task or leave_out:
        raise ProjectError("--target, --name, --task and --leave-out belong to DATA; without it the project file tells")
    loaded = with_dask(load_project(project), dask)
    few = replace(loaded.project, training=replace(loaded.project.training, trials=trials))
    lines = StepLines(Console())
    progress: Callable[[StepEvent], None] = _silent if as_json else lines
    try:
        result = run_experiment(
            replace(loaded, project=few),
            loaded.folder / "experiment",
            clock=SystemClock(),
            progress=progress,
            left_out=left_out,
            access=source_access(project),
        )
    finally:
        lines.stop()
    if as_json:
        import msgspec

        told = {
            "report": str(result.report),
            "analysis": str(result.numbers),
            "project": str(loaded.folder),
            "findings": result.analysis.findings,
            "model": result.analysis.model,
        }
        typer.echo(msgspec.json.encode(told).decode())
    else:
        _print(result)


def _write_project(
    data: list[Path],
    target: str,
    name: str,
    task: Literal["classification", "regression", "anomaly"] | None,
    leave_out: tuple[str, ...],
    project: Path,
    *,
    force: bool,
) -> "tuple[LeftOut, ...]":
    """Write the project file that the data suggest, and return which columns are no inputs."""
    from trainer.cli.init import write_project

    if not target:
        raise ProjectError("--target: name the column that the model learns")
    guess = write_project(
        data, target, name=name, task=task, leave_out=leave_out, project=project, force=force, for_experiment=True
    )
    return guess.left_out


def _print(result: "ExperimentResult") -> None:
    for finding in result.analysis.findings:
        mark = {"grave": "!", "look": "·", "good": "✓"}[finding.grade]
        typer.echo(f"  {mark} {finding.kind}: {finding.text}")
    typer.echo(f"{result.report}: open it in a browser; the numbers: {result.numbers}")


def _silent(_event: "StepEvent") -> None:
    """Machines get their facts at the end."""
