"""The command ``fieldloop features check``: are features what they are declared as?"""

import os
from pathlib import Path
from typing import Annotated

import typer

from trainer.cli.feature_places import fleet_reader, open_feature_store, source_access
from trainer.cli.options import JsonOption, ProjectOption


def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE…", help="TOML with [[views]]; none: each such file beside the project's."),
    ] = None,
    project: ProjectOption = Path(),
    rows: Annotated[int, typer.Option(min=1, max=5000, help="Of each view's source.")] = 200,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check what is declared, on a few rows: views, and the project's own features. Nothing is stored.

    Each view is extracted as of the times of its rows, and a moment before: nothing may be given out before it was
    known. A view that the store knows must not change so that its users break.
    """
    import json

    from edge_agent.clock import SystemClock
    from trainer.features.checking import read_project_rows
    from trainer.features.offline.trying import try_view
    from trainer.features.sources.reading import read_source
    from trainer.features.views.view_file import find_view_files, load_views
    from trainer.project.loading import FILE_NAME, load_project

    folder = project if project.is_dir() else project.parent
    told: list[dict[str, object]] = []
    declared = {}
    for file in files or find_view_files(folder):
        for view in load_views(file):
            declared[view.name] = view
            open_feature_store(project, None).catalogue.verify(view)
            if view.source.fleet is not None or not (view.source.path or view.source.query):
                # Their rows come while devices work, or are pushed: where a change is tested there are none.
                told.append({"view": view.name, "file": str(file), "rows": 0, "beyond": {}})
                continue
            tried = try_view(view, read_source(view, os.environ, fleet_reader(project)), rows, SystemClock())
            told.append({"view": view.name, "file": str(file), "rows": tried.rows, "beyond": dict(tried.beyond)})
    if not project.is_dir() or (folder / FILE_NAME).exists():
        loaded = load_project(project)
        count = len(loaded.project.features)
        found = read_project_rows(loaded, declared, source_access(project), SystemClock())
        told.append({"project": loaded.project.name, "features": count, "rows": found})
    if as_json:
        typer.echo(json.dumps(told))
        return
    for each in told:
        if "view" in each:
            how = (
                f"{each['rows']} rows are as declared, and known in time"
                if each["rows"]
                else "declared; no rows to try"
            )
            typer.echo(f"view {each['view']}: {how}")
            if each["beyond"]:
                typer.echo(f"  values beyond their range: {each['beyond']}")
        else:
            typer.echo(f"project {each['project']}: {each['features']} features in {each['rows']} rows are as declared")
    if not told:
        typer.echo("nothing is declared here: no [[views]], and no project file")
