"""Where the feature store of a command lies, and the options that say it."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainer.errors import DataError

if TYPE_CHECKING:
    from edge_agent.clock import Clock
    from trainer.features.offline.feature_store import FeatureStore
    from trainer.features.sources.reading import Access
    from trainer.features.views.view import FeatureView, FleetTable
    from trainer.project.stores import StoresSection
    from trainer.serving.entities import EntityFeatures

_FILE = "fieldloop.toml"
_STATE = ".fieldloop"
# Nothing is asked of it here.
_ANY_BROKER = "127.0.0.1:1883"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="ADDRESS",
        help="A folder, or an address that fsspec knows; default: FIELDLOOP_STORES_FEATURES, [stores] of the project, "
        ".fieldloop/features/store.",
    ),
]
OnlineOption = Annotated[
    str | None,
    typer.Option(
        "--online",
        metavar="ADDRESS",
        help="sqlite:///FILE or postgresql://USER@HOST/NAME; default: FIELDLOOP_STORES_ONLINE, [stores] of the "
        "project, .fieldloop/features/online.db.",
    ),
]
StoredOption = Annotated[
    bool, typer.Option("--stored", help="Only what the store holds: do not read the sources of the views first.")
]


def open_feature_store(project: Path, store: str | None) -> "FeatureStore":
    """Open the store that the option, the environment or the project names; else the one of the state folder."""
    from edge_agent.clock import SystemClock
    from trainer.features.offline.feature_store import FeatureStore
    from trainer.project.stores import feature_address

    state, stores = _stores(project)
    return FeatureStore(store or feature_address(stores, state), SystemClock())


def online_address(project: Path, online: str | None) -> str:
    """Return the address of the online features, found in the same way."""
    state, stores = _stores(project)
    return online or stores.online or f"sqlite:///{state / 'features' / 'online.db'}"


def state_folder(project: Path) -> Path:
    """Return the folder of what is kept: the project's, or .fieldloop where there is none."""
    return _stores(project)[0]


def open_entities(
    wanted: Sequence[str], project: Path, store: str | None, online: str | None, clock: "Clock"
) -> "EntityFeatures":
    """Open what a service looks up: views of the feature store, rows of the online store; close it.

    Raises:
        DataError: there is no such view, or one of the stores cannot be used.
        ServingError: a view has no such feature, or two have the same.
    """
    from trainer.features.online.lookup import Lookup
    from trainer.features.online.opening import open_online
    from trainer.serving.asked_views import open_views
    from trainer.serving.entities import EntityFeatures

    catalogue = open_feature_store(project, store).catalogue
    rows = open_online(online_address(project, online))
    try:
        views = open_views(wanted, lambda name: catalogue.find(name).view, lambda view: Lookup(rows, view, clock))
        return EntityFeatures(views, clock, rows.close)
    except BaseException:
        rows.close()
        raise


def fleet_reader(project: Path) -> Any:  # noqa: ANN401 - a function, whose types are heavy
    """Return what reads the rows of the project's fleet."""

    def read(table: "FleetTable", view: "FeatureView") -> Iterable[tuple[str, Any]]:
        from exporter.repository.repository import load_listed_manifest
        from trainer.cli.fleet import load_places
        from trainer.monitoring.fleet_rows import fleet_rows
        from trainer.monitoring.store import open_store

        if not _file(project).exists():
            raise DataError(f"view {view.name!r} reads the fleet of a project: name it with --project")
        _, places = load_places(project, _ANY_BROKER, None)
        opened = open_store(places.database)
        try:
            yield from fleet_rows(opened, table, view, lambda ref: load_listed_manifest(places.repository, ref))
        finally:
            opened.close()

    return read


def source_access(project: Path) -> "Access":
    """Return what reads the sources of views: by this process's environment, and the project's fleet."""
    from trainer.features.sources.reading import Access

    return Access(os.environ, fleet_reader(project))


def pull(opened: "FeatureStore", views: Sequence[str], project: Path) -> None:
    """Bring what the sources of views hold now into the store."""
    from trainer.features.pulling import pull_views

    pull_views(opened, views, source_access(project))


def _stores(project: Path) -> "tuple[Path, StoresSection]":
    from trainer.project.loading import load_project
    from trainer.project.stores import StoresSection, resolve_stores

    if _file(project).exists():
        loaded = load_project(project)
        return loaded.state, loaded.stores
    # A store may be shared by projects, and be there before any of them.
    folder = project.absolute()
    return folder / _STATE, resolve_stores(StoresSection(), folder, os.environ)


def _file(project: Path) -> Path:
    return project / _FILE if project.is_dir() else project
