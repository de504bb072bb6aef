"""The commands ``fieldloop features``: declare views, bring rows in, and take features out."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainer.cli import feature_check, online_features
from trainer.cli.feature_places import StoredOption, StoreOption, fleet_reader, open_feature_store, pull
from trainer.cli.options import JsonOption, ProjectOption
from trainer.errors import DataError, ProjectError

if TYPE_CHECKING:
    from trainer.features.views.catalogue import Registered

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Declare features once; extract, look up and watch them."
)
ViewArgument = Annotated[str, typer.Argument(metavar="VIEW", help="Name of a registered view.")]
OutOption = Annotated[Path, typer.Option("--out", "-o", help="Parquet, or CSV if it is named *.csv.")]


@app.command("register")
def register(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="TOML with [[entities]] and [[views]], or Python with a FeatureView at its top."
        ),
    ],
    project: ProjectOption = Path(),
    store: StoreOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Register the views of a file; a changed one becomes a new version, one that breaks its users is refused."""
    from trainer.features.views.view_file import load_views

    catalogue = open_feature_store(project, store).catalogue
    views = load_views(file)
    before = {view.name: catalogue.versions(view.name) for view in views}
    done = [catalogue.register(view) for view in views]
    if as_json:
        typer.echo(json.dumps([{"view": each.view.name, "version": each.version} for each in done]))
        return
    for each in done:
        is_known = each.version in before[each.view.name]
        typer.echo(f"{each.view.name}: version {each.version}{', as it was' if is_known else ''}")


@app.command("list")
def list_views(project: ProjectOption = Path(), store: StoreOption = None, *, as_json: JsonOption = False) -> None:
    """List the views of the store."""
    from trainer.cli.fleet import print_table

    catalogue = open_feature_store(project, store).catalogue
    rows: list[dict[str, object]] = []
    for name in catalogue.names():
        known = catalogue.find(name)
        rows.append(
            {
                "view": name,
                "version": known.version,
                "keys": ", ".join(known.view.keys),
                "features": len(known.view.features),
                "ttl_s": known.view.ttl_s,
                "owner": known.view.owner,
                "description": known.view.description,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
    else:
        print_table(rows, nothing="no view yet: fieldloop features register FILE")


@app.command("show")
def show(
    view: ViewArgument,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    version: Annotated[int | None, typer.Option(min=1, help="An earlier version; default: the newest.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a view: keys, source, and each feature with what is said about it."""
    import msgspec

    from trainer.cli.fleet import print_table

    known = open_feature_store(project, store).catalogue.find(view, version)
    if as_json:
        typer.echo(json.dumps({"version": known.version, **msgspec.to_builtins(known.view)}, indent=1))
        return
    for name, text in _facts(known):
        typer.echo(f"{name:12} {text}")
    rows: list[dict[str, object]] = [
        {
            "feature": feature.name,
            "dtype": feature.dtype,
            "unit": feature.unit,
            "range": "" if feature.range is None else f"{feature.range[0]:g} to {feature.range[1]:g}",
            "owner": known.view.owner_of(feature),
            "description": feature.description,
        }
        for feature in known.view.features
    ]
    print_table(rows)


@app.command("push")
def push(
    view: ViewArgument,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="FILE…", help="CSV or Parquet, by path or address; none: its source.")
    ] = None,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Bring rows into a view: from files, or what its source holds now. What is there already is not stored twice."""
    from trainer.features.sources.files import read_files
    from trainer.features.sources.reading import read_source

    opened = open_feature_store(project, store)
    declared = opened.catalogue.find(view).view
    tables = read_files(tuple(files)) if files else read_source(declared, os.environ, fleet_reader(project))
    done = opened.push(view, tables)
    if as_json:
        typer.echo(json.dumps({"given": done.given, "added": done.added}))
    else:
        typer.echo(f"{view}: {done.given} rows read, {done.added} of them new")


@app.command("extract")
def extract(  # noqa: PLR0913, PLR0917 - each is an option
    entities: Annotated[
        str, typer.Argument(metavar="ENTITIES", help="CSV or Parquet with the keys and a column of times.")
    ],
    wanted: Annotated[list[str], typer.Argument(metavar="VIEW…", help="Views, or features of them: VIEW:FEATURE.")],
    out: OutOption,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    time: Annotated[str, typer.Option(metavar="COLUMN", help="The column of times.")] = "event_timestamp",
    zone: Annotated[str | None, typer.Option(help="Of times that do not say theirs, as Europe/Zurich.")] = None,
    dst: Annotated[
        str, typer.Option(help="What a local time that occurs twice or never means: refuse, earlier, later.")
    ] = "refuse",
    epoch: Annotated[str | None, typer.Option(help="What times that are numbers count: s, ms, us.")] = None,
    *,
    stored: StoredOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put the features behind rows of entities and times that were known and valid at those times.

    The sources of the views are read first, as far as they can have changed.
    """
    from typing import get_args

    from trainer.features.sources.files import read_files
    from trainer.features.views.view import Dst, Epoch

    if dst not in get_args(Dst) or epoch not in (None, *get_args(Epoch)):
        raise typer.BadParameter("--dst is refuse, earlier or later; --epoch is s, ms or us")
    opened = open_feature_store(project, store)
    found = list(read_files((entities,)))
    if len(found) != 1:
        raise DataError(f"{entities}: names {len(found)} files; rows are asked for in one")
    where, asked = found[0]
    if not stored:
        pull(opened, [each.partition(":")[0] for each in wanted], project)
    table = opened.extract(asked, wanted, time=time, zone=zone, dst=dst, epoch=epoch, where=where)  # type: ignore[arg-type]
    _write(table, out)
    _tell(table, out, as_json=as_json)


@app.command("latest")
def latest(
    view: ViewArgument,
    out: OutOption,
    project: ProjectOption = Path(),
    store: StoreOption = None,
    *,
    stored: StoredOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the newest row of each entity that is known and valid now; the view's source is read first."""
    opened = open_feature_store(project, store)
    if not stored:
        pull(opened, [view], project)
    table = opened.latest(view)
    _write(table, out)
    _tell(table, out, as_json=as_json)


app.command("check")(feature_check.check)
app.command("materialize")(online_features.materialize)
app.command("get")(online_features.get)
app.command("stats")(online_features.stats)


def _facts(known: "Registered") -> list[tuple[str, str]]:
    view, source = known.view, known.view.source
    origin = ", ".join(source.path) or source.query or (source.fleet and f"the fleet's {source.fleet}") or "pushed"
    return [
        ("view", f"{view.name}, version {known.version}"),
        ("keys", ", ".join(f"{entity.key} ({entity.dtype})" for entity in view.entities)),
        ("source", origin),
        ("time", source.timestamp + (f", known {source.known}" if source.known else "")),
        ("valid", "for ever" if view.ttl_s is None else f"{view.ttl_s:g} s"),
        ("owner", view.owner or "–"),
        ("description", view.description or "–"),
    ]


def _write(table: Any, out: Path) -> None:  # noqa: ANN401 - Arrow ships no types
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    from edge_agent.durable import replacing

    try:
        with replacing(out) as file:
            if out.suffix.lower() == ".csv":
                pa_csv.write_csv(table, file)
            else:
                pq.write_table(table, file)
    except OSError as error:
        raise ProjectError(f"{out}: cannot be written: {error.strerror or error}") from error


def _tell(table: Any, out: Path, *, as_json: bool) -> None:  # noqa: ANN401
    if as_json:
        typer.echo(json.dumps({"rows": table.num_rows, "columns": table.column_names, "out": str(out)}))
    else:
        typer.echo(f"{out}: {table.num_rows} rows, {len(table.column_names)} columns")
