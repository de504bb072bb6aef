"""Reads a project's rows to see whether they are what it declares; nothing is stored."""

import tempfile
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from edge_agent.clock import Clock
from trainer.features.source import read_source
from trainer.features.sources.reading import Access
from trainer.features.view_rows import open_store, pull_project_views, view_names
from trainer.features.views.view import FeatureView
from trainer.project.project import LoadedProject


def read_project_rows(loaded: LoadedProject, declared: Mapping[str, FeatureView], access: Access, clock: Clock) -> int:
    """Return how many rows a project has; each is read as training reads it.

    Rows of views come from their sources, by a store that is thrown away, where all of these views are declared beside
    the project: as they would be after this change. Else they are those of the store.

    Args:
        loaded: the project.
        declared: the views that the files beside it declare, by name.
        access: to their sources.
        clock: tells the time.

    Raises:
        DataError, ProjectError: as `read_source`, or a source cannot be read.
    """
    names = view_names(loaded)
    if not names or not are_readable(names, declared):
        return int(read_source(loaded, clock.utc_s()).num_rows)
    with tempfile.TemporaryDirectory(prefix="fieldloop-check-") as folder:
        tried = replace(loaded, stores=replace(loaded.stores, features=folder))
        for name in names:
            open_store(tried).catalogue.register(declared[name])
        pull_project_views(tried, access)
        return int(read_source(tried, clock.utc_s()).num_rows)


def are_readable(names: Iterable[str], declared: Mapping[str, FeatureView]) -> bool:
    """Tell whether all these views are declared, each with a source that is there before anything is stored."""
    views = [declared.get(name) for name in names]
    return all(view is not None and (view.source.path or view.source.query) and view.source.pull for view in views)
