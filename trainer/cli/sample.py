"""The command ``fieldloop sample``."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.feature_places import StoreOption, source_access
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
    store: StoreOption = None,
    *,
    stored: Annotated[
        bool, typer.Option("--stored", help="Of views only what the store holds: do not read their sources first.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Write over an earlier copy.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a small copy of a project, to test its pipeline on: few rows, few trials, a gate that lets everything pass.

    The copy has stores of its own and a name of its own, tells nobody, and begins nothing by the clock. Rows of views
    are drawn with the features that were known at their times, and written into a file of it.
    """
    import json

    from msgspec.structs import replace

    from edge_agent.clock import SystemClock
    from trainer.features.sample import write_sample
    from trainer.features.view_rows import pull_project_views

    loaded = load_project(project)
    if store is not None:
        loaded = replace(loaded, stores=replace(loaded.stores, features=store))
    file = project / FILE_NAME if project.is_dir() else project
    if (out / FILE_NAME).exists() and not force:
        raise ProjectError(f"{out / FILE_NAME} exists already; give --force to write the copy anew")
    if out.resolve() == loaded.folder:
        raise ProjectError(f"{out}: the project itself lies there; name another folder for its copy")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(f"{out}: cannot be made: {error.strerror or error}") from error
    if not stored:
        pull_project_views(loaded, source_access(project))
    now_s = SystemClock().utc_s()
    count = write_sample(loaded, file, out, rows=rows, trials=trials, now_utc_s=now_s)
    if as_json:
        typer.echo(json.dumps({"folder": str(out), "rows": count}))
    else:
        typer.echo(f"{out}: {count} rows of {loaded.project.name}; run on it with --project {out}")
