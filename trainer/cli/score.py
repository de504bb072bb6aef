"""The command ``fieldloop score``: a file of rows in, a file of answers out."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import DaskOption, JsonOption, ProjectOption

if TYPE_CHECKING:
    from trainer.project.cluster import ClusterSection

app = typer.Typer(add_completion=False)


@app.command("score")
def score(  # noqa: PLR0913 - typer reads a command's options from its parameters
    rows: Annotated[Path, typer.Argument(metavar="IN", help="Parquet or CSV, with a column for every feature.")],
    answers: Annotated[Path, typer.Argument(metavar="OUT", help="Parquet, or CSV if it is named *.csv.")],
    model: Annotated[
        str,
        typer.Option(
            help="NAME@champion or NAME/3; champion or 3 of this project's model; or a bundle: folder or file."
        ),
    ] = "champion",
    project: ProjectOption = Path(),
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Carry a column along, an id for example; repeatable.")
    ] = None,
    dask: DaskOption = None,
    *,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="One column a label.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Throw away what an earlier run has done.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Score every row of a file, in constant memory.

    A run that is killed goes on where it was when it is started again, and ends with the same bytes. Rows that break a
    rule of a feature have no answer; the column `refused` says why.
    """
    import json
    from functools import partial

    import msgspec

    from edge_agent.clock import SystemClock
    from trainer.cli.model_reference import origin_of
    from trainer.serving.batch.cluster import opened_place
    from trainer.serving.batch.model import opened_model
    from trainer.serving.batch.run import Options, refusals_text, score_file

    options = Options(tuple(keep or ()), probabilities=probabilities, restart=restart)
    cluster = _cluster_of(model, project, dask)
    bundle = origin_of(model, project).current().bundle
    with opened_model(bundle) as opened, _progress(rows.name) as tell:
        place_of = partial(
            opened_place,
            bundle=bundle,
            variant=opened.variant,
            probabilities=probabilities,
            cluster=cluster,
            clock=SystemClock(),
        )
        outcome = score_file(rows, answers, opened, options, tell, place_of=place_of if cluster.dask else None)
    if as_json:
        typer.echo(json.dumps(msgspec.to_builtins(outcome), indent=1))
        return
    before = f", {outcome.resumed_rows} of them by an earlier run" if outcome.resumed_rows else ""
    typer.echo(f"scored {outcome.n_rows} rows with {outcome.model}{before}: {answers}")
    for line in refusals_text(outcome):
        typer.echo(line)


def _cluster_of(model: str, project: Path, dask: str | None) -> "ClusterSection":
    """Return what scores: the cluster of the option, else of the project; a bundle on this disk needs no project."""
    from trainer.project.cluster import ClusterSection, at_address
    from trainer.project.loading import FILE_NAME, load_project

    has_project = (project / FILE_NAME if project.is_dir() else project).exists()
    needs_it = has_project and (dask is not None or not Path(model).exists())
    return at_address(load_project(project).cluster if needs_it else ClusterSection(), dask)


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
