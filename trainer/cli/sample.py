"""The command ``fieldloop sample``."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import JsonOption, ProjectOption
from trainer.errors import ProjectError
from trainer.project.loading import FILE_NAME, load_project

app = typer.Typer(add_completion=False)


@app.command("sample")
def sample(
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="For the copy; it is made.")],
    project: ProjectOption = Path(),
    rows: Annotated[int, typer.Option(min=50, help="At most so many, of each label some.")] = 600,
    trials: Annotated[int, typer.Option(min=1, help="Of the search, at most.")] = 2,
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over an earlier copy.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a small copy of a project, to test its pipeline on: few rows, few trials, a gate that lets everything pass.

    The copy has stores of its own and a name of its own, tells nobody, and begins nothing by the clock.
    """
    import json

    from trainer.features.sample import write_sample

    loaded = load_project(project)
    file = project / FILE_NAME if project.is_dir() else project
    if (out / FILE_NAME).exists() and not force:
        raise ProjectError(f"{out / FILE_NAME} exists already; give --force to write the copy anew")
    if out.resolve() == loaded.folder:
        raise ProjectError(f"{out}: the project itself lies there; name another folder for its copy")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"{out}: cannot be made: {error.strerror or error}") from error
    count = write_sample(loaded, file, out, rows=rows, trials=trials)
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "rows": count}))
    else:
        typer.echo(f"{out}: {count} rows of {loaded.project.name}; run on it with --project {out}")
