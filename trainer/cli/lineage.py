"""The command ``fieldloop lineage``: what a model, a feature, a run or a device came from, and what came of it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.fleet import DatabaseOption, load_places
from trainer.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from trainer.console.lineage import Lineage

app = typer.Typer(add_completion=False)


@app.command("lineage")
def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FEATURE|RUN",
            help="champion, 3, NAME/3 or NAME@previous; a feature, a view or VIEW:FEATURE; a run or a "
            "fingerprint of data, or how it begins; NAME-3 of a bundle; a device. kind:NAME where a name is of two "
            "kinds.",
        ),
    ],
    project: ProjectOption = Path(),
    database: DatabaseOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw it into a file: .svg a picture, .mmd or .mermaid Mermaid.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a model, a feature or a run came from, and what came of it, down to the devices."""
    from edge_agent.durable import replace_file
    from trainer.console.lineage_drawing import lineage_mermaid, lineage_svg, lineage_tree
    from trainer.console.lineage_reading import node_word, read_lineage
    from trainer.registry.registry import open_registry

    drawers = {".svg": lineage_svg, ".mmd": lineage_mermaid, ".mermaid": lineage_mermaid}
    if out is not None and out.suffix not in drawers:
        raise typer.BadParameter(f"{out}: its name ends with {', '.join(drawers)}", param_hint="--out")
    loaded, places = load_places(project, "127.0.0.1:1883", database)
    registry = open_registry(loaded)
    whole = read_lineage(registry, places.repository, places.database)
    node = whole.find(node_word(registry, what, loaded.project.name))
    part = whole.around(node)
    if out is not None:
        replace_file(out, drawers[out.suffix](part).encode())
        typer.echo(f"wrote {out}")
    elif as_json:
        typer.echo(json.dumps({"of": node.key, **_facts(part)}, indent=1))
    else:
        from rich.console import Console

        Console(highlight=False, soft_wrap=True).print(lineage_tree(whole, node))


def _facts(part: "Lineage") -> dict[str, list[dict[str, str]]]:
    return {
        "nodes": [{"kind": node.kind, "name": node.name, "about": node.about} for node in part.nodes],
        "edges": [{"from": edge.source.key, "to": edge.target.key} for edge in part.edges],
    }
