"""The feature store: Parquet files under ``<state>/features``, read by DuckDB.

``source/<key>.parquet`` holds the project's own rows, once for each content of its files; ``labelled/*.parquet`` holds
the fleet's labelled rows, one file a push. A file is never changed once it has its name. What a run sees is a question
of time: only labels that were known then.
"""

import fcntl
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.durable import replace_file
from trainer.errors import DataError
from trainer.features.columns import Place, category_codes, found_labels, label_codes, text_of
from trainer.features.source import read_source
from trainer.features.table import NO_ENTITY, TrainingTable, fingerprint_of
from trainer.project import LoadedProject, Project

# Reasons of ``Sample.reason`` for which a row was chosen by what the model answered.
CHOSEN_REASONS = frozenset({"uncertain"})


class LabelledRow(Struct, frozen=True):
    """One row that a device scored, and its truth.

    Attributes:
        features: as in ``Sample.features``: in the project's order, None where missing, categories as their index.
        label: name of the class, or the value.
        reason: why the device sent it, as in ``Sample.reason``.
    """

    prediction_id: str
    device: str
    bundle: str
    features: tuple[float | None, ...]
    label: str | float
    scored_utc_s: float
    known_utc_s: float
    reason: str


def push_labelled(loaded: LoadedProject, rows: Sequence[LabelledRow]) -> int:
    """Store labelled rows; a prediction that has its truth already keeps it.

    Returns:
        How many rows were new.

    Raises:
        DataError: a row does not have the project's features, or a category that it does not declare.
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
    """Return the rows to learn from, as they were known at a time.

    Raises:
        DataError: the project's files do not hold what the project says, or a label of the fleet is none of its labels.
    """
    project = loaded.project
    source = _load_source(loaded)
    fleet = _load_fleet(loaded, as_of_utc_s)
    labels = _labels_of(project, source.column("truth"))
    rows = [_model_rows(project, source, loaded.data_paths[0])]
    truth = [_model_truth(source, labels, Place(loaded.data_paths[0], project.target.column))]
    chosen = np.zeros(source.num_rows, dtype=np.bool_)
    if fleet is not None:
        folder = _labelled_folder(loaded)
        rows.append(_model_rows(project, fleet, folder))
        truth.append(_model_truth(fleet, labels, Place(folder, "label")))
        chosen = np.concatenate([chosen, np.isin(np.array(fleet.column("reason").to_pylist()), list(CHOSEN_REASONS))])
    all_rows, all_truth = np.vstack(rows), np.concatenate(truth)
    is_fleet = np.arange(len(all_truth)) >= source.num_rows
    names = tuple(feature.name for feature in project.features)
    entity = np.full(len(all_truth), NO_ENTITY, dtype=np.int64)
    if project.data.entity is not None:
        entity[: source.num_rows] = _numbered(source.column("entity").to_pylist())
    fingerprint = fingerprint_of(names, labels, all_rows, all_truth, is_fleet, chosen, entity)
    return TrainingTable(names, labels, all_rows, all_truth, is_fleet, chosen, entity, fingerprint)


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Number names in the order in which they first occur."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _load_source(loaded: LoadedProject) -> Any:  # noqa: ANN401 - Arrow ships no types
    """Return the project's own rows, read strictly the first time and from Parquet ever after."""
    folder = loaded.state / "features" / "source"
    path = folder / f"{_source_key(loaded)}.parquet"
    if not path.exists():
        table = read_source(loaded)
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, _parquet(table.append_column("position", pa.array(np.arange(table.num_rows)))))
        for other in folder.glob("*.parquet"):
            if other != path:
                other.unlink(missing_ok=True)
    with duckdb.connect() as connection:
        return connection.sql("SELECT * FROM read_parquet(?) ORDER BY position", params=[str(path)]).to_arrow_table()


def _source_key(loaded: LoadedProject) -> str:
    """Name what the source rows depend on: the files' bytes and the parts of the project that are read from them."""
    project = loaded.project
    digest = hashlib.sha256(msgspec.json.encode([project.data, project.features, project.target]))
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
    with duckdb.connect() as connection:
        table: Any = connection.sql(
            "SELECT * FROM read_parquet(?, union_by_name = true) WHERE known_utc_s <= ? "
            "QUALIFY row_number() OVER (PARTITION BY prediction_id ORDER BY known_utc_s, device) = 1 "
            "ORDER BY scored_utc_s, prediction_id",
            params=[[str(part) for part in parts], as_of_utc_s],
        ).to_arrow_table()
    return table if table.num_rows else None


def _labels_of(project: Project, truth: Any) -> tuple[str, ...]:  # noqa: ANN401
    if project.target.task == "regression":
        return ()
    return project.target.labels or found_labels(truth.to_pylist())


def _model_rows(project: Project, table: Any, where: Path) -> NDArray[np.float32]:  # noqa: ANN401
    columns = []
    for feature in project.features:
        if f"x.{feature.name}" not in table.column_names:
            msg = f"{where}: no row has feature {feature.name!r}; do rows of another project lie in this state folder?"
            raise DataError(msg)
        column = table.column(f"x.{feature.name}")
        if feature.dtype == "category":
            columns.append(category_codes(column.to_pylist(), feature, Place(where, feature.name)))
        else:
            columns.append(column.to_numpy())
    return np.column_stack(columns).astype(np.float32)


def _model_truth(table: Any, labels: tuple[str, ...], place: Place) -> NDArray[np.float64]:  # noqa: ANN401
    column = table.column("truth")
    if not labels:
        return np.asarray(column.to_numpy(), dtype=np.float64)
    return label_codes(column.to_pylist(), labels, place)


def _to_arrow(project: Project, rows: Sequence[LabelledRow]) -> Any:  # noqa: ANN401
    columns: dict[str, Any] = {
        name: [getattr(row, name) for row in rows]
        for name in ("prediction_id", "device", "bundle", "scored_utc_s", "known_utc_s", "reason")
    }
    is_regression = project.target.task == "regression"
    columns["truth"] = [_label_of(row, is_regression=is_regression) for row in rows]
    for index, feature in enumerate(project.features):
        values = [_feature_value(project, row, index) for row in rows]
        kind = pa.string() if feature.dtype == "category" else pa.float64()
        columns[f"x.{feature.name}"] = pa.array(values, type=kind)
    return pa.table(columns)


def _label_of(row: LabelledRow, *, is_regression: bool) -> str | float | None:
    if not is_regression:
        return text_of(row.label)
    try:
        return float(row.label)
    except ValueError as error:
        msg = f"label {row.label!r} of prediction {row.prediction_id!r} is not a number, but the task is regression"
        raise DataError(msg) from error


def _feature_value(project: Project, row: LabelledRow, index: int) -> str | float | None:
    """Return a value as it is stored: categories by name, so that a later project may declare more of them."""
    if len(row.features) != len(project.features):
        n_features = len(project.features)
        msg = f"prediction {row.prediction_id!r} has {len(row.features)} features, the project has {n_features}"
        raise DataError(msg)
    value, feature = row.features[index], project.features[index]
    if value is None or feature.dtype != "category":
        return value
    if not 0 <= value < len(feature.categories):
        msg = f"prediction {row.prediction_id!r}: feature {feature.name!r} has no category of index {value:g}"
        raise DataError(msg)
    return feature.categories[int(value)]


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
