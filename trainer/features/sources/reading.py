"""Reads what a view's source holds now, whatever its kind; the fleet's rows are handed in by who knows the fleet."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trainer.errors import DataError
from trainer.features.sources.files import read_files
from trainer.features.sources.sql import read_query
from trainer.features.views.view import FeatureView, FleetTable

FleetReader = Callable[[FleetTable, FeatureView], Iterable[tuple[str, Any]]]


def read_source(view: FeatureView, environ: Mapping[str, str], fleet: FleetReader) -> Iterable[tuple[str, Any]]:
    """Return the raw Arrow tables of a view's source, each with its name for messages.

    Raises:
        DataError: the view has no source, or it cannot be read.
    """
    source = view.source
    if source.path:
        return read_files(source.path)
    if source.query is not None:
        return read_query(view, environ)
    if source.fleet is not None:
        return fleet(source.fleet, view)
    raise DataError(
        f"view {view.name!r} has no source of its own: push files to it, or declare 'path', 'query' or 'fleet'"
    )
