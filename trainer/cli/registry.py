"""The commands ``fieldloop registry list|show|card|ui``; those that promote are in `stages`."""

import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli import stages
from trainer.cli.options import JsonOption, ProjectOption, VersionArgument, minute_of
from trainer.cli.providing import provide
from trainer.errors import RegistryError

if TYPE_CHECKING:
    from trainer.project.project import LoadedProject
    from trainer.registry.registry import RegisteredModel, Registry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="See model versions, promote them and take it back, open MLflow's page.",
)


@app.command("list")
def list_versions(project: ProjectOption = Path(), *, as_json: JsonOption = False) -> None:
    """List the versions of every model in this project's registry."""
    _, registry = _open(project)
    versions = [version for name in registry.names() for version in registry.versions(name)]
    if as_json:
        typer.echo(json.dumps([_facts(version) for version in versions], indent=1))
        return
    if not versions:
        typer.echo("no model yet: fieldloop pipeline run makes the first")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    whole = (Column(name, no_wrap=True) for name in ("model", "aliases", "made (UTC)", "trigger", "quality"))
    table = Table(*whole, Column("gate", overflow="fold"), box=SIMPLE_HEAD)
    for version in versions:
        trigger, quality, gate = (version.tags.get(name, "") for name in ("trigger", "quality", "gate"))
        made, aliases = minute_of(version.created_utc_s), ", ".join(version.aliases)
        # By how much it was refused is told by `show`: a table of many versions has no room for sentences.
        verdict = ": ".join(gate.split(": ")[:2])
        table.add_row(f"{version.name}/{version.version}", aliases, made, trigger, quality, verdict)
    Console().print(table)


@app.command("show")
def show(
    version: VersionArgument = "champion",
    project: ProjectOption = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one version: aliases, run, files, and all that was recorded with it."""
    loaded, registry = _open(project)
    facts = _facts(registry.resolve(version, loaded.project.name))
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            for tag, text in value.items():
                typer.echo(f"{tag:24} {text}")
        else:
            typer.echo(f"{name:24} {', '.join(value) if isinstance(value, list) else value}")


@app.command("card")
def card(
    version: VersionArgument = "champion",
    project: ProjectOption = Path(),
    out: Annotated[
        Path | None, typer.Option("--out", help="A Markdown file, with the pictures in it; by default it is printed.")
    ] = None,
) -> None:
    """Show the model card of a version: what it takes, how good it is, what the gate said, who promoted it."""
    from edge_agent.durable import replace_file
    from trainer.pipeline.card import card_of

    loaded, registry = _open(project)
    text = card_of(registry.resolve(version, loaded.project.name), with_picture=out is not None)
    if out is None:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))
        return
    replace_file(out, text.encode())
    typer.echo(f"wrote {out}")


app.command("promote")(stages.promote)
app.command("rollback")(stages.rollback)
app.command("history")(stages.history)


@app.command("ui")
def ui(
    project: ProjectOption = Path(),
    port: Annotated[int, typer.Option(min=0, max=65535, help="On loopback; 0 takes a free one.")] = 5000,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Install what is missing without asking.")] = False,
) -> None:
    """Open MLflow's own page on this project's runs and models, until Ctrl-C.

    The page needs all of MLflow, which is installed once, into an environment of its own in your cache folder.
    """
    from edge_agent.clock import SystemClock
    from trainer.cli.page_environment import SIZE_TEXT, page_environment
    from trainer.cli.registry_page import start_page
    from trainer.project.loading import load_project
    from trainer.project.stores import hidden
    from trainer.registry.tracking import ARTEFACTS_NAME, STORE_NAME, is_server, tracking_uri

    loaded = load_project(project)
    state, address = loaded.state, loaded.stores.metadata
    if address is not None and is_server(address):
        typer.echo(f"MLflow's page is the server's own: {hidden(address)}")
        return
    if address is None and not (state / STORE_NAME).exists():
        raise RegistryError(f"{state / STORE_NAME}: nothing was recorded yet; fieldloop pipeline run comes first")
    environment = page_environment(os.environ)
    provide(environment, size=SIZE_TEXT, command="fieldloop registry ui", yes=yes)
    # SIGTERM ends it as Ctrl-C does, so that the server is stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    artefacts = (state / ARTEFACTS_NAME).resolve()
    page = start_page(environment.python, address or tracking_uri(state), artefacts, state / "registry-ui.log", port)
    try:
        page.wait_until_ready(SystemClock())
        typer.echo(f"MLflow's page: {page.url} (Ctrl-C ends it)")
        sys.stdout.flush()
        page.wait()
    except KeyboardInterrupt:
        return
    finally:
        page.stop()


def _open(project: Path) -> "tuple[LoadedProject, Registry]":
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry

    loaded = load_project(project)
    return loaded, open_registry(loaded)


def _facts(version: "RegisteredModel") -> dict[str, str | int | list[str] | dict[str, str]]:
    return {
        "model": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "run_id": version.run_id,
        "created": datetime.fromtimestamp(version.created_utc_s, UTC).isoformat(timespec="seconds"),
        "folder": str(version.files.local),
        "bundle": str(version.files.local / "export" / "bundle"),
        "tags": dict(sorted(version.tags.items())),
        "promotions": [f"{made.kind} {made.stage} by {made.by}: gate {made.gate}" for made in version.promotions],
    }
