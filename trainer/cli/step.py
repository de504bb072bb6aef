"""The command ``fieldloop pipeline step``: what an engine calls that runs the steps elsewhere."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import DaskOption, JsonOption, ProjectOption
from trainer.errors import GateRefusedError


def step_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="extract, validate, prepare, train, … promote.")],
    run_id: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="Of which run, or last; none: extract begins a new one.")
    ] = None,
    project: ProjectOption = Path(),
    executor: Annotated[str, typer.Option(help="What runs it, for the records.")] = "one step",
    trigger: Annotated[str, typer.Option(help="What started a new run.")] = "manual",
    reason: Annotated[str, typer.Option(help="Why a new run begins, for people.")] = "step by step",
    dask: DaskOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Carry out one step of a run, when it is not finished or something that it depends on has changed.

    The run ends with its last step. Exit code 4: the gate refused the candidate; 6: a step before it comes first. A
    candidate that passed and waits for a person's approval ends well.
    """
    import msgspec
    from rich.console import Console

    from trainer.cli.feature_places import source_access
    from trainer.console.steps import StepLines
    from trainer.pipeline.opening import Beginning
    from trainer.pipeline.production import run_step
    from trainer.project.loading import load_project, with_dask

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    lines = StepLines(Console())
    start: Beginning | str = Beginning(trigger, reason) if run_id is None else run_id
    try:
        loaded = with_dask(load_project(project), dask)
        progress, access = None if as_json else lines, source_access(project)
        result = run_step(loaded, name, start, executor=executor, progress=progress, access=access)
    finally:
        lines.stop()
    if as_json:
        typer.echo(msgspec.json.encode(result).decode())
    else:
        typer.echo(f"run {result.run_id}")
        if result.end is not None and result.end.waits:
            typer.echo(f"version {result.end.version} waits for approval: {result.end.reason}")
    if result.end is not None and result.end.outcome == "refused":
        raise GateRefusedError(f"version {result.end.version} is not promoted: {result.end.reason}")
