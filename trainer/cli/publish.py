"""The command ``fieldloop publish``: signs a bundle, of this project's registry or of a folder, and lists it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import ProjectOption
from trainer.errors import ProjectError

if TYPE_CHECKING:
    from edge_agent.clock import Clock

app = typer.Typer(add_completion=False)


@app.command("publish")
def publish(
    what: Annotated[
        str,
        typer.Argument(
            metavar="BUNDLE|VERSION",
            help="Folder of a bundle, or one in a file; or champion, previous or 3 of this project's model, or NAME/3.",
        ),
    ] = "champion",
    project: ProjectOption = Path(),
    repository: Annotated[
        Path | None, typer.Option(help="Folder of the update repository; by default the project's own.")
    ] = None,
    keys: Annotated[
        list[Path] | None, typer.Option(help="Folder of its signing keys, repeatable; by default the project's own.")
    ] = None,
) -> None:
    """Sign a bundle and list it in the update repository; the project's own is made when it is first needed."""
    from edge_agent.clock import SystemClock
    from exporter.bundles.source import open_bundle
    from exporter.repository.repository import listed_sizes, publish_bundle

    if (repository is None) == bool(keys):
        raise typer.BadParameter("give both --repository and --keys, or neither: each repository has its own keys")
    clock = SystemClock()
    bundle = Path(what)
    if not bundle.exists():
        bundle = _bundle_of(project, what)
    if repository is None or not keys:
        repository, keys = _places_of(project, clock)
    with open_bundle(bundle) as folder:
        ref = publish_bundle(folder, repository, keys, clock=clock)
    typer.echo(f"published {ref} in {repository}")
    for sizes in listed_sizes(repository, ref):
        typer.echo(f"  {sizes}")


def _bundle_of(project: Path, version: str) -> Path:
    """Return the folder of the bundle of a version in the project's registry."""
    from trainer.errors import RegistryError
    from trainer.project.loading import load_project
    from trainer.registry.registry import open_registry

    loaded = load_project(project)
    model = open_registry(loaded).resolve(version, loaded.project.name)
    if not model.bundle.is_dir():
        raise RegistryError(f"{model.name}/{model.version} has no bundle: no variant fitted the devices; see its run")
    return model.bundle


def _places_of(project: Path, clock: "Clock") -> tuple[Path, list[Path]]:
    """Return the folder of the project's own update repository, and those of its keys."""
    from exporter.repository.listing import is_repository
    from exporter.repository.repository import init_repository
    from trainer.continuous.station import KEYS_NAME, REPOSITORY_NAME
    from trainer.project.loading import FILE_NAME, load_project

    try:
        state = load_project(project).state
    except ProjectError as error:
        raise ProjectError(f"{error}; without a {FILE_NAME}, give --repository and --keys") from error
    repository, keys = state / REPOSITORY_NAME, state / KEYS_NAME
    if not is_repository(repository):
        root = init_repository(repository, keys, clock=clock)
        typer.echo(f"made {repository}: give {root} to each device, once; keep {keys} secret and backed up")
    return repository, [keys]
