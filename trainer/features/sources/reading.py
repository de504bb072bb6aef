"""Reads what a view's source holds now, whatever its kind; the fleet's rows are handed in by who knows the fleet."""

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, NoReturn

from trainer.errors import DataError
from trainer.features.sources.files import read_files
from trainer.features.sources.sql import read_query
from trainer.features.views.view import FeatureView, FleetTable

FleetReader = Callable[[FleetTable, FeatureView], Iterable[tuple[str, Any]]]


def no_fleet(table: FleetTable, view: FeatureView) -> NoReturn:
    """Refuse to read the fleet, where nobody said how."""
    raise DataError(f"view {view.name!r} reads the fleet's {table}, and this program was not told where they are")


@dataclass(frozen=True, slots=True)
class Access:
    """What reading sources takes beside the views.

    Attributes:
        environ: variables that hold the addresses of databases.
        fleet: reads what devices sent.
    """

    environ: Mapping[str, str]
    fleet: FleetReader = no_fleet


@dataclass(frozen=True, slots=True)
class Before:
    """What was read of a source before, so that it is not read again.

    Attributes:
        marks: of its files (`read_files`); the reading changes them.
        newest_known_us: when the newest row became known that is there already.
    """

    marks: MutableMapping[str, str]
    newest_known_us: int | None


def read_source(
    view: FeatureView, environ: Mapping[str, str], fleet: FleetReader, before: Before | None = None
) -> Iterable[tuple[str, Any]]:
    """Return the raw Arrow tables of a view's source, each with its name for messages.

    Args:
        view: whose source it is.
        environ: variables that hold the addresses of databases.
        fleet: reads what devices sent.
        before: what need not be read again; None: everything is read.

    Raises:
        DataError: the view has no source, or it cannot be read.
    """
    source = view.source
    if source.path:
        return read_files(source.path, None if before is None else before.marks)
    if source.query is not None:
        return read_query(view, environ, newest_known_us=None if before is None else before.newest_known_us)
    if source.fleet is not None:
        return fleet(source.fleet, view)
    raise DataError(
        f"view {view.name!r} has no source of its own: push files to it, or declare 'path', 'query' or 'fleet'"
    )
