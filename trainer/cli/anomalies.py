"""The command ``fieldloop pipeline anomalies``: what validation found unusual in a run, with the rows that show it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import JsonOption, ProjectOption, minute_of

if TYPE_CHECKING:
    from trainer.pipeline.anomalous_rows import AnomalousRow, ShownAnomaly


def anomalies_command(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, or last.")] = "last",
    project: ProjectOption = Path(),
    feature: Annotated[
        str | None, typer.Option("--feature", metavar="COLUMN", help="Only those of one column; target: of the labels.")
    ] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Rows that are shown of each.")] = 5,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the anomalies of a run: which check failed, in which column, with which value, and the whole rows.

    Rows are counted from 0 in the order of time, as the step extract laid them down. A run that ended by its schema
    shows why. Exit code 0 also where there are some; 6: there is no such run, or it has not come so far.
    """
    import msgspec

    from trainer.pipeline.anomalous_rows import read_anomalies
    from trainer.pipeline.runs import load_run, run_folder
    from trainer.project.loading import load_project

    state = load_project(project).state
    head = load_run(state, run_id).head
    found = read_anomalies(run_folder(state, head.run_id), at_most=rows)
    wanted = [anomaly for anomaly in found if feature is None or anomaly.feature == feature]
    if as_json:
        typer.echo(msgspec.json.encode({"run_id": head.run_id, "anomalies": wanted}).decode())
        return
    typer.echo(f"run {head.run_id} of {head.model}, {minute_of(head.as_of_utc_s)} UTC")
    if not wanted:
        typer.echo("no anomaly" if feature is None else f"no anomaly of {feature!r}")
    for anomaly in wanted:
        _print(anomaly)


def _print(anomaly: "ShownAnomaly") -> None:
    ends = "it ended the run" if anomaly.kind == "schema" else "the run went on"
    typer.echo(f"{anomaly.number}. {anomaly.feature}: {anomaly.check} ({anomaly.kind}: {ends})")
    typer.echo(f"   {anomaly.text}")
    for row in anomaly.shown:
        typer.echo(f"   row {row.row}: {_text(row)}")
    if anomaly.rows > len(anomaly.shown):
        typer.echo(f"   and {anomaly.rows - len(anomaly.shown)} more rows")


def _text(row: "AnomalousRow") -> str:
    of = " (of the fleet)" if row.origin == "fleet" else ""
    whole = ", ".join(f"{name} {_written(value)}" for name, value in row.values.items())
    return f"{_written(row.value)}{of} in {whole}"


def _written(value: float | str | None) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else value
