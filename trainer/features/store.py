"""The feature store: Parquet files under ``<state>/features``, read by DuckDB.

``source/<key>.parquet`` holds the project's own rows, once for each content of its files; ``labelled/*.parquet`` holds
the fleet's labelled rows, one file a push, each value under its feature's name: a device may run a bundle of another
time. A file is never changed once it has its name. What a run sees is a question of time: only labels that were known
then; and, of the fleet's rows, only those that have the project's features as it is now.
"""

import fcntl
import hashlib
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from edge_agent.durable import replace_file
from edge_agent.raw_signal import window_text
from trainer.errors import DataError
from trainer.features.columns import Place, category_codes, found_labels, label_codes, numbers, text_of
from trainer.features.row_times import row_times
from trainer.features.source import read_source
from trainer.features.table import NO_ENTITY, TrainingTable, fingerprint_of
from trainer.project.project import LoadedProject, Project

logger = logging.getLogger(__name__)

# Reasons of ``Sample.reason`` for which a row was chosen for what it is, and not at random.
CHOSEN_REASONS = frozenset({"uncertain", "novel"})
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class LabelledRow(Struct, frozen=True):
    """One row that a device scored, and its truth.

    Attributes:
        features: value by name of the feature, None where missing, categories by name: the order of features and of
            categories in ``Sample.features`` is that of the bundle that the device ran.
        label: name of the class, or the value.
        reason: why the device sent it, as in ``Sample.reason``.
        windows: what the features were made of (`edge_agent.raw_signal.window_text`): of other windows, a name means
            another number.
    """

    prediction_id: str
    device: str
    bundle: str
    features: Mapping[str, float | str | None]
    label: str | float
    scored_utc_s: float
    known_utc_s: float
    reason: str
    windows: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Extraction:
    """What was extracted.

    Attributes:
        left_out: labelled rows of the fleet that were known, and do not have the project's features as it is now.
        unanswerable: labelled rows of which the views did not know then a feature that may not be missing.
    """

    table: TrainingTable
    left_out: int
    unanswerable: int = 0


def push_labelled(loaded: LoadedProject, rows: Sequence[LabelledRow]) -> int:
    """Store labelled rows; a prediction that has its truth already keeps it.

    Returns:
        How many rows were new.

    Raises:
        DataError: the label of a regression is not a number.
    """
    folder = _labelled_folder(loaded)
    with _locked(folder):
        known = _known_ids(folder)
        new = list({row.prediction_id: row for row in reversed(rows) if row.prediction_id not in known}.values())
        if not new:
            return 0
        new.sort(key=lambda row: (row.scored_utc_s, row.prediction_id))
        table = _to_arrow(loaded.project, new)
        name = hashlib.sha256("\n".join(row.prediction_id for row in new).encode()).hexdigest()[:32]
        replace_file(folder / f"{name}.parquet", _parquet(table))
        return len(new)


def extract(loaded: LoadedProject, as_of_utc_s: float) -> TrainingTable:
    """Return the rows to learn from, as they were known at a time; raise as `extract_counted` does."""
    return extract_counted(loaded, as_of_utc_s).table


def extract_counted(loaded: LoadedProject, as_of_utc_s: float) -> Extraction:
    """Return the rows to learn from, as they were known at a time, and how many of the fleet are not usable.

    A labelled row is left out when it lacks a value of a feature that may not be missing, has one that the feature
    does not declare, or was made of other windows: what was stored once must not break every later run.

    Raises:
        DataError: the project's files do not hold what the project says, or a label of the fleet is none of its labels.
    """
    project = loaded.project
    unanswerable: list[int] = []
    source = _load_source(loaded, as_of_utc_s, unanswerable.append)
    judges = _judging_rows(loaded, as_of_utc_s, unanswerable.append)
    n_judge = 0 if judges is None else judges.num_rows
    if judges is not None:
        source = pa.concat_tables([source, judges])
    fleet = _load_fleet(loaded, as_of_utc_s)
    labels = _labels_of(project, source.column("truth"))
    rows = [_model_rows(project, source, loaded.data_name)]
    truth = [_model_truth(source, labels, Place(loaded.data_name, project.target.column))]
    chosen = np.zeros(source.num_rows, dtype=np.bool_)
    left_out = 0
    if fleet is not None:
        folder = _labelled_folder(loaded)
        fleet_rows, is_usable = _fleet_rows(project, fleet)
        left_out = int((~is_usable).sum())
        if left_out:
            logger.warning("%d labelled rows in %s do not have the project's features: left out", left_out, folder)
        fleet = fleet.filter(pa.array(is_usable))
        rows.append(fleet_rows[is_usable])
        truth.append(_model_truth(fleet, labels, Place(folder, "label")))
        reasons = fleet.column("reason").to_pylist()
        chosen = np.concatenate([chosen, np.array([reason in CHOSEN_REASONS for reason in reasons], dtype=np.bool_)])
    all_rows, all_truth = np.vstack(rows), np.concatenate(truth)
    is_fleet = np.arange(len(all_truth)) >= source.num_rows
    names = tuple(feature.name for feature in project.features)
    entity = np.full(len(all_truth), NO_ENTITY, dtype=np.int64)
    if project.data.entity is not None:
        entity[: source.num_rows] = _numbered(source.column("entity").to_pylist())
    times = row_times(project, source, fleet, entity[: source.num_rows])
    fingerprint = fingerprint_of(
        names, labels, all_rows, all_truth, is_fleet, chosen, entity, n_judge=n_judge, times=times
    )
    table = TrainingTable(names, labels, all_rows, all_truth, is_fleet, chosen, entity, fingerprint, n_judge, times)
    return Extraction(table, left_out, sum(unanswerable))


def _judging_rows(loaded: LoadedProject, as_of_utc_s: float, on_left_out: Callable[[int], None]) -> Any | None:  # noqa: ANN401 - Arrow ships no types
    """Read the rows that judge and are never trained on; None where the project names none."""
    project = loaded.project
    if project.data.judge is None:
        return None
    data = msgspec.structs.replace(project.data, rows=project.data.judge, judge=None)
    judging = msgspec.structs.replace(loaded, project=msgspec.structs.replace(project, data=data))
    return read_source(judging, as_of_utc_s, on_left_out=on_left_out)


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Number names in the order in which they first occur."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _load_source(loaded: LoadedProject, as_of_utc_s: float, on_left_out: Callable[[int], None]) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return the project's own rows; those of files are read strictly the first time and from Parquet ever after."""
    if loaded.project.data.views:
        return read_source(loaded, as_of_utc_s, on_left_out=on_left_out)
    folder = loaded.state / "features" / "source"
    path = folder / f"{_source_key(loaded)}.parquet"
    if not path.exists():
        table = read_source(loaded)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, _parquet(table.append_column("position", pa.array(np.arange(table.num_rows)))))
        for other in folder.glob("*.parquet"):
            if other != path:
                other.unlink(missing_ok=True)
    return pq.ParquetFile(path).read().sort_by("position").drop_columns(["position"])


def _source_key(loaded: LoadedProject) -> str:
    """Name what the source rows depend on: the files' bytes and the parts of the project that are read from them."""
    project = loaded.project
    parts = [project.data, project.features, project.target, *([] if project.signal is None else [project.signal])]
    digest = hashlib.sha256(msgspec.json.encode(parts))
    for path in loaded.data_paths:
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            msg = f"{path}: cannot be read: {error.strerror or error}; check data.path in the project file"
            raise DataError(msg) from error
    return digest.hexdigest()[:32]


def _load_fleet(loaded: LoadedProject, as_of_utc_s: float) -> Any | None:  # noqa: ANN401
    parts = sorted(_labelled_folder(loaded).glob("*.parquet"))
    if not parts:
        return None
    table = _joined([pq.ParquetFile(part).read() for part in parts])
    # DuckDB sees the keys alone: it would fold the case of features' names, and take parts of a path for patterns.
    keys = table.select(["prediction_id", "device", "scored_utc_s", "known_utc_s"])
    with duckdb.connect() as connection:
        connection.register("keys", keys.append_column("place", pa.array(np.arange(table.num_rows))))
        places = connection.sql(
            "SELECT place FROM keys WHERE known_utc_s <= $as_of AND scored_utc_s <= $as_of "
            "QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY known_utc_s, device) = 1 "
            "ORDER BY scored_utc_s, prediction_id",
            params={"as_of": as_of_utc_s},
        ).to_arrow_table()
    return table.take(places.column("place")) if places.num_rows else None


def _joined(parts: Sequence[Any]) -> Any:  # noqa: ANN401
    """Join tables by the names of their columns; what holds names in one of them is turned into names in all."""
    named = {field.name for part in parts for field in part.schema if pa.types.is_string(field.type)}
    alike = []
    for part in parts:
        table = part
        for place, field in enumerate(part.schema):
            if field.name in named and not pa.types.is_string(field.type):
                names = [None if value is None else str(value) for value in part.column(place).to_pylist()]
                table = table.set_column(place, field.name, pa.array(names, type=pa.string()))
        alike.append(table)
    return pa.concat_tables(alike, promote_options="permissive")


def _labels_of(project: Project, truth: Any) -> tuple[str, ...]:  # noqa: ANN401
    if project.target.task == "regression":
        return ()
    return project.target.known_labels or found_labels(truth.to_pylist())


def _model_rows(project: Project, table: Any, where: Path) -> NDArray[np.float32]:  # noqa: ANN401
    columns = []
    for feature in project.features:
        column = table.column(f"x.{feature.name}")
        if feature.dtype == "category":
            columns.append(category_codes(column.to_pylist(), feature, Place(where, feature.name)))
        else:
            columns.append(column.to_numpy())
    return np.column_stack(columns).astype(np.float32)


def _fleet_rows(project: Project, table: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:  # noqa: ANN401
    """Return the fleet's values, ``(n_rows, n_features) float32``, and which rows have the project's features."""
    is_usable = _are_of_windows(table, window_text(project.signal))
    columns = []
    for feature in project.features:
        values = _fleet_values(table, feature)
        is_usable &= ~np.isinf(values)
        if feature.on_missing == "refuse":
            is_usable &= ~np.isnan(values)
        columns.append(np.where(np.isinf(values), np.nan, values))
    return np.column_stack(columns).astype(np.float32), is_usable


def _are_of_windows(table: Any, windows: str) -> NDArray[np.bool_]:  # noqa: ANN401
    """Tell which rows were made of such windows; before there were any, nothing was said of them."""
    said = table.column("windows").to_pylist() if "windows" in table.column_names else [None] * table.num_rows
    return np.array([(value or "") == windows for value in said], dtype=np.bool_)


def _fleet_values(table: Any, feature: Feature) -> NDArray[np.float64]:  # noqa: ANN401
    """Return a column, NaN where there is no value, infinite where there is one that the feature does not declare."""
    if f"x.{feature.name}" not in table.column_names:
        return np.full(table.num_rows, np.nan)
    column = table.column(f"x.{feature.name}")
    if feature.dtype == "category":
        codes = {name: float(code) for code, name in enumerate(feature.categories)}
        found = [np.nan if value is None else codes.get(value, np.inf) for value in column.to_pylist()]
        return np.array(found, dtype=np.float64)
    if pa.types.is_floating(column.type):
        values = np.array(column.to_numpy(), dtype=np.float64)
    else:  # bundles of another time had categories under this name
        values = np.array([_number_of(value) for value in column.to_pylist()], dtype=np.float64)
    return np.where(np.abs(values) > _MAX_FLOAT32, np.inf, values)


def _number_of(text: str | None) -> float:
    try:
        return np.nan if text is None else float(text)
    except ValueError:
        return np.inf


def _model_truth(table: Any, labels: tuple[str, ...], place: Place) -> NDArray[np.float64]:  # noqa: ANN401
    column = table.column("truth")
    if labels:
        return label_codes(column.to_pylist(), labels, place)
    if pa.types.is_string(column.type):
        return numbers(column.combine_chunks(), place, may_miss=False)
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _to_arrow(project: Project, rows: Sequence[LabelledRow]) -> Any:  # noqa: ANN401
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows]
        for name in ("prediction_id", "device", "bundle", "scored_utc_s", "known_utc_s", "reason", "windows")
    }
    is_regression = project.target.task == "regression"
    columns["truth"] = [_label_of(row, is_regression=is_regression) for row in rows]
    for name in dict.fromkeys(name for row in rows for name in row.features):
        columns[f"x.{name}"] = _feature_column([row.features.get(name) for row in rows])
    return pa.table(columns)


def _feature_column(values: Sequence[float | str | None]) -> Any:  # noqa: ANN401
    """Return values as they are stored: categories by name, so that a later project may declare more of them."""
    if any(isinstance(value, str) for value in values):
        return pa.array([text_of(value) for value in values], type=pa.string())
    return pa.array(values, type=pa.float64())


def _label_of(row: LabelledRow, *, is_regression: bool) -> str | float | None:
    if not is_regression:
        return text_of(row.label)
    try:
        return float(row.label)
    except ValueError as error:
        msg = f"label {row.label!r} of prediction {row.prediction_id!r} is not a number, but the task is regression"
        raise DataError(msg) from error


def _known_ids(folder: Path) -> set[str]:
    ids: set[str] = set()
    for part in folder.glob("*.parquet"):
        ids.update(pq.read_table(part, columns=["prediction_id"]).column(0).to_pylist())
    return ids


def _labelled_folder(loaded: LoadedProject) -> Path:
    return loaded.state / "features" / "labelled"


def _parquet(table: Any) -> bytes:  # noqa: ANN401
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
