"""The commands ``fieldloop schema infer|review|show``."""

from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.options import JsonOption, ProjectOption
from trainer.errors import ProjectError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Say what a project's rows must be, and who has read that."
)

SCHEMA_NAME = "schema.toml"


@app.command("infer")
def infer(project: ProjectOption = Path()) -> None:
    """Write the schema that the project's rows suggest; its version grows when it says something else than before."""
    from trainer.project.loading import load_project

    loaded = load_project(project)
    path = loaded.folder / (loaded.project.data.schema or SCHEMA_NAME)
    standing = write_schema(project, path)
    typer.echo(f"{path}: {standing}. Read it, correct it, then: fieldloop schema review --by NAME")
    if loaded.project.data.schema is None:
        typer.echo(f'The project does not use it yet: set schema = "{path.name}" under [data] in the project file.')


@app.command("review")
def review(
    by: Annotated[str, typer.Option("--by", help="Who has read the schema.")],
    project: ProjectOption = Path(),
) -> None:
    """Record that you have read the schema as it is now; every run says so from then on."""
    from msgspec.structs import replace

    from edge_agent.clock import SystemClock
    from edge_agent.durable import replace_file
    from trainer.cli.options import minute_of
    from trainer.cli.schema_text import schema_text
    from trainer.project.loading import load_project
    from trainer.project.schema import Review, load_schema

    if not by.strip():
        raise ProjectError("--by: say who has read the schema")
    loaded = load_project(project)
    path = loaded.folder / (loaded.project.data.schema or SCHEMA_NAME)
    schema = load_schema(path)
    version = schema.version
    if schema.review is not None and not schema.is_reviewed:
        # Whoever corrected the file by hand need not count: the version that was reviewed stays that content's.
        version = max(version, schema.review.version + 1)
    at = f"{minute_of(SystemClock().utc_s())} UTC"
    reviewed = replace(
        schema,
        version=version,
        review=Review(by=by.strip(), at_utc=at, version=version, sha256=schema.sha256),
    )
    replace_file(path, schema_text(reviewed).encode())
    typer.echo(f"{path}: {reviewed.standing}")


@app.command("show")
def show(project: ProjectOption = Path(), *, as_json: JsonOption = False) -> None:
    """Show the schema, its version, and who has read it."""
    from trainer.project.loading import load_project
    from trainer.project.schema import load_schema

    loaded = load_project(project)
    path = loaded.folder / (loaded.project.data.schema or SCHEMA_NAME)
    schema = load_schema(path)
    if as_json:
        import msgspec

        told = {"schema": schema, "sha256": schema.sha256, "is_reviewed": schema.is_reviewed}
        typer.echo(msgspec.json.encode(told).decode())
        return
    typer.echo(f"{path}: {schema.standing}")
    for column in schema.columns:
        if column.dtype == "category":
            what = ", ".join(column.categories)
        else:
            what = f"{_end(column.minimum)} to {_end(column.maximum)}"
        gaps = f", may lack up to {column.max_missing:.1%}" if column.max_missing else ""
        typer.echo(f"  {column.name}: {what}{gaps}")


def write_schema(project: Path, path: Path) -> str:
    """Infer the schema of a project's rows, write it, and return its standing."""
    from edge_agent.clock import SystemClock
    from edge_agent.durable import replace_file
    from trainer.cli.schema_text import schema_text
    from trainer.features.store import extract
    from trainer.pipeline.inferring import infer_schema
    from trainer.project.loading import load_project
    from trainer.project.schema import load_schema

    loaded = load_project(project)
    known = load_schema(path) if path.exists() else None
    table = extract(loaded, SystemClock().utc_s())
    schema = infer_schema(table, loaded.project.features, loaded.project.target.column, known)
    replace_file(path, schema_text(schema).encode())
    return schema.standing


def _end(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
