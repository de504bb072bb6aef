"""Labelled rows with their features from views of the store: each gets what was known at its own time.

Who, when and the label come from the project's files, or from the rows of a view of labels as it was known when the run
began. What is returned looks like the raw columns of a file, so that whatever reads files reads this.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from edge_agent.bundle import Feature
from edge_agent.clock import SystemClock
from trainer.errors import DataError, ProjectError
from trainer.features.columns import Place, column_of
from trainer.features.files import read_raw
from trainer.features.offline.feature_store import FeatureStore
from trainer.features.offline.moments import MOMENT, moments
from trainer.features.offline.series import EVENT, KNOWN
from trainer.features.pulling import pull_views
from trainer.features.sources.reading import Access
from trainer.features.views.catalogue import Registered
from trainer.features.views.use import ViewRead, ViewUse
from trainer.features.views.view import FeatureView, ViewFeature
from trainer.project.project import LoadedProject

# Of rows of a view of labels: when the label became known.
LABEL_KNOWN: Final = "__label_known"
_US_PER_S: Final = 1_000_000


def open_store(loaded: LoadedProject) -> FeatureStore:
    """Open the feature store of a project, as far as the project reads it; nothing is read yet."""
    return FeatureStore(loaded.feature_store, SystemClock(), loaded.pushes)


def pull_project_views(loaded: LoadedProject, access: Access) -> tuple[ViewRead, ...]:
    """Bring in what the sources of the project's views hold now, and return what there is (`pull_views`)."""
    return pull_views(open_store(loaded), view_names(loaded), access)


def pull_labels(loaded: LoadedProject, access: Access) -> None:
    """Bring in what the source of the view of labels holds now; nothing where labelled rows are in files."""
    if loaded.project.data.labels is not None:
        pull_views(open_store(loaded), [loaded.project.data.labels], access)


def as_read(loaded: LoadedProject, read: Sequence[ViewRead]) -> LoadedProject:
    """Return the project with its views as they were once read: what came since is not there."""
    return replace(loaded, pushes={each.view: each.through for each in read})


def view_fingerprints(loaded: LoadedProject) -> Mapping[str, str]:
    """Return of each view that the project reads what it holds now: other rows, or another version, change it."""
    store = open_store(loaded)
    return {f"view {known.view.name}": f"{known.version} {store.rows.digest(known.view)}" for known in _known(loaded)}


def views_used(loaded: LoadedProject) -> tuple[ViewUse, ...]:
    """Return what the project takes from which view.

    Raises:
        DataError: there is no such view or feature.
        ProjectError: the project says of a feature what its view does not.
    """
    store, data = open_store(loaded), loaded.project.data
    if not data.views:
        return ()
    inputs = {feature.name: feature for feature in loaded.project.features}
    found: dict[str, list[tuple[str, str]]] = {}
    for view, feature, given in store.named(data.views, taken=_own_columns(loaded, store)):
        taken = found.setdefault(view.name, [])
        if given in inputs:
            _verify_alike(inputs[given], feature, view.name)
            taken.append((feature.name, given))
    uses = [ViewUse(name, store.catalogue.find(name).version, tuple(names)) for name, names in found.items()]
    if data.labels is not None:
        target = loaded.project.target.column
        uses.append(ViewUse(data.labels, store.catalogue.find(data.labels).version, ((target, target),), is_label=True))
    return tuple(uses)


def read_view_rows(loaded: LoadedProject, as_of_utc_s: float) -> Iterator[tuple[Path, Any]]:
    """Return the labelled rows of each file, or of the view of labels, with the features of the views.

    Args:
        loaded: a project with ``data.view``.
        as_of_utc_s: of a view of labels, what became known later, or happened later, is no row.

    Returns:
        Raw Arrow tables with what messages call them: keys, the times as ``timestamp[us, tz=UTC]``, target, features,
        and, of labels of a view, `LABEL_KNOWN`; null where nothing was known or valid at a row's time.

    Raises:
        DataError: no such view, feature or column, or a key or time that is missing.
        ProjectError: the project says of a feature what its view does not.
    """
    store, data = open_store(loaded), loaded.project.data
    views_used(loaded)
    time = str(data.time)
    labelled = _rows_of_labels(loaded, store, as_of_utc_s) if data.labels is not None else rows_of_files(loaded, store)
    for where, rows in labelled:
        yield where, store.extract(rows, data.views, time=time, where=str(where))


def rows_of_files(loaded: LoadedProject, store: FeatureStore) -> Iterator[tuple[Path, Any]]:
    """Return the labelled rows of each file: keys, times as `moments` returns them, target and entity."""
    data = loaded.project.data
    for path in loaded.data_paths:
        raw = read_raw(path)
        # A file may hold more; only what is asked for can be mistaken for a feature.
        own = {name: column_of(raw, Place(path, name)) for name in _own_columns(loaded, store)}
        where = f"{path}: column {data.time!r}"
        own[str(data.time)] = moments(own[str(data.time)], where, zone=data.zone, epoch=data.epoch)
        yield path, pa.table(own)


def labelled_events(loaded: LoadedProject, store: FeatureStore, as_of_utc_s: float) -> tuple[FeatureView, Any]:
    """Return the view of labels, and its events that had one at a moment, as `FeatureStore.known` gives them.

    Raises:
        DataError: there is no such view, or it has no such label.
    """
    known = store.catalogue.find(str(loaded.project.data.labels))
    target = loaded.project.target.column
    names = tuple(feature.name for feature in known.view.features)
    if target not in names:
        raise DataError(
            f"view {known.view.name!r} has no feature {target!r}, which 'target.column' names; it has: "
            f"{', '.join(names)}"
        )
    rows = store.known(known.view, int(as_of_utc_s * _US_PER_S), (target,))
    return known.view, rows.filter(pc.is_valid(rows.column(target)))


def _rows_of_labels(loaded: LoadedProject, store: FeatureStore, as_of_utc_s: float) -> Iterator[tuple[Path, Any]]:
    project, target = loaded.project, loaded.project.target.column
    view, rows = labelled_events(loaded, store, as_of_utc_s)
    if not rows.num_rows:
        raise DataError(
            f"{loaded.data_name} has no label that is known yet; fieldloop features push {view.name} brings rows"
        )
    times = {name: pc.cast(pc.cast(rows.column(name), pa.int64()), MOMENT) for name in (EVENT, KNOWN)}
    columns = {**{key: rows.column(key) for key in view.keys}, target: rows.column(target)}
    yield loaded.data_name, pa.table({**columns, str(project.data.time): times[EVENT], LABEL_KNOWN: times[KNOWN]})


def _own_columns(loaded: LoadedProject, store: FeatureStore) -> tuple[str, ...]:
    """Return which columns of labelled rows are wanted: keys, time, target and entity."""
    project = loaded.project
    views = [store.catalogue.find(name.partition(":")[0]).view for name in project.data.views]
    keys = [key for view in views for key in view.keys]
    wanted = (*keys, project.data.time, project.target.column, project.data.entity)
    return tuple(dict.fromkeys(name for name in wanted if name))


def _known(loaded: LoadedProject) -> tuple[Registered, ...]:
    catalogue = open_store(loaded).catalogue
    return tuple(catalogue.find(name) for name in view_names(loaded))


def view_names(loaded: LoadedProject) -> tuple[str, ...]:
    """Return the names of all views that a project reads, that of its labels among them."""
    data = loaded.project.data
    if not data.views:
        return ()
    names = [name.partition(":")[0] for name in data.views] + ([] if data.labels is None else [data.labels])
    return tuple(dict.fromkeys(names))


def _verify_alike(mine: Feature, theirs: ViewFeature, view: str) -> None:
    """Refuse a second definition: the model must be told what the view holds."""
    where = f"key 'features': {mine.name!r}"
    if mine.unit and mine.unit != theirs.unit:
        raise ProjectError(
            f"{where} is in {mine.unit!r}, but view {view!r} holds {theirs.unit or 'no unit'!r}; the view says it"
        )
    if (mine.dtype == "category") != (theirs.dtype == "text"):
        raise ProjectError(f"{where} is {mine.dtype}, but view {view!r} holds {theirs.dtype}; mend the project")
