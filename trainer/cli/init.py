"""The command ``fieldloop init``."""

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainer.cli.schema import SCHEMA_NAME, write_schema
from trainer.errors import DataError, ProjectError
from trainer.project.loading import FILE_NAME, load_project
from trainer.project.registry import CHAMPION

if TYPE_CHECKING:
    from trainer.features.guess import Guess

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


app = typer.Typer(add_completion=False)


@app.command("init")
def init_command(
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Your rows in the order of time: a CSV or Parquet file, or several. With --ci alone: none."
        ),
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
    project: Annotated[Path, typer.Option(help="Folder for the project file.")] = Path(),
    ci: Annotated[
        Literal["github", "gitlab"] | None,
        typer.Option("--ci", help="Write a workflow too, that tests every change, trains, and releases by stage."),
    ] = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a project file, and a workflow.")] = False,
) -> None:
    """Write a commented fieldloop.toml for your own data, guessed from what is in it.

    With --ci and no DATA, only the workflow of the project that is there.
    """
    if data:
        if not target:
            raise typer.BadParameter("--target: name the column that the model learns")
        _write_and_tell(
            data, target, name, task, tuple(leave_out or ()), project, is_staged=ci is not None, force=force
        )
    elif ci is None:
        raise typer.BadParameter("DATA: name your rows; or, where a project is already, --ci")
    elif target or name or task or leave_out:
        raise typer.BadParameter("--target, --name, --task and --leave-out belong to DATA; the project file tells them")
    if ci is not None:
        from trainer.cli.ci.writing import write_workflow

        path = write_workflow(load_project(project), ci, force=force)
        typer.echo(f"{path}: tests every change on a small copy, trains, and releases when a person approves.")


def _write_and_tell(
    data: Sequence[Path],
    target: str,
    name: str,
    task: Literal["classification", "regression", "anomaly"] | None,
    leave_out: Sequence[str],
    project: Path,
    *,
    is_staged: bool,
    force: bool,
) -> None:
    guess = write_project(
        data,
        target,
        name=name,
        task=task,
        leave_out=leave_out,
        project=project,
        force=force,
        approval=(CHAMPION,) if is_staged else (),
    )
    file = project / FILE_NAME
    typer.echo(f"{file}: {guess.target.task} of {target!r} ({guess.target_reason}), features: {len(guess.features)}.")
    for column in guess.left_out:
        typer.echo(f"  left out {column.name!r}: {column.reason}")
    typer.echo(f"  {guess.training_reason}")
    typer.echo("Read it, correct what was guessed wrong, then: fieldloop pipeline run" + _from(project))


def write_project(  # noqa: PLR0913 - each is a choice of whoever calls
    data: Sequence[Path],
    target: str,
    *,
    name: str,
    task: Literal["classification", "regression", "anomaly"] | None,
    leave_out: Sequence[str],
    project: Path,
    force: bool,
    for_experiment: bool = False,
    approval: Sequence[str] = (),
) -> "Guess":
    """Write the project file that the data suggest.

    Args:
        data: the files.
        target: the column to learn.
        name: of the model; empty: after the first file.
        task: None: guessed.
        leave_out: columns that are no inputs.
        project: folder of the file.
        force: whether a project file may be overwritten.
        approval: stages to which only a person promotes.
        for_experiment: train on all rows, keep none for a demo, and write the schema of the rows beside the file.

    Raises:
        ProjectError: there is a project file, or no such folder, or the name is none.
        DataError: nothing can be learnt from these columns.
    """
    from edge_agent.durable import replace_file
    from trainer.cli.project_text import project_text
    from trainer.features.guess import guess_project

    file = project / FILE_NAME
    if file.exists() and not force:
        raise ProjectError(f"{file} exists already: edit it, or give --force to write it anew")
    if not project.is_dir():
        raise ProjectError(f"{project}: there is no such folder; make it first")
    if name and not _NAME.fullmatch(name):
        raise ProjectError(
            f"--name {name!r}: a name has small letters, digits, - and _, begins with a letter or digit, at most 63"
        )
    guess = guess_project(data, target, task=task, leave_out=tuple(leave_out))
    if for_experiment and guess.training_rows is not None:
        guess = replace(guess, training_rows=None, training_reason=f"All {guess.n_rows} rows train; the latest judge.")
    model, paths = name or name_after(data[0]), [path_from(project, file) for file in data]
    text = project_text(guess, model, paths, approval=approval)
    _verify_loads(text)
    replace_file(file, text.encode())
    if for_experiment:
        write_schema(project, project / SCHEMA_NAME)
        text = project_text(guess, model, paths, schema=SCHEMA_NAME)
        replace_file(file, text.encode())
    return guess


def name_after(data: Path) -> str:
    """Return a model's name after a file's: ``Gas Turbine 2011.csv`` gives ``gas-turbine-2011``."""
    name = re.sub(r"[^a-z0-9_]+", "-", data.stem.lower()).strip("-_")[:63]
    return name or "model"


def path_from(folder: Path, data: Path) -> str:
    """Return how a project in ``folder`` names its data: relative where they lie in it, else absolute."""
    path, start = Path(os.path.abspath(data)), Path(os.path.abspath(folder))  # noqa: PTH100 - keeps symbolic links
    return path.relative_to(start).as_posix() if path.is_relative_to(start) else str(path)


def _from(project: Path) -> str:
    return "" if project == Path() else f" --project {project}"


def _verify_loads(text: str) -> None:
    """Raise DataError when what was guessed is no project: nothing may be overwritten by it."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / FILE_NAME).write_text(text, encoding="utf-8")
        try:
            load_project(Path(folder))
        except ProjectError as error:
            raise DataError(f"no project can be made of these columns: {error}") from error
