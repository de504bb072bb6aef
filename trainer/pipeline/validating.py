"""Step ``validate``: does the table follow the declared schema, and where do its values leave what was usual?

Schema skew ends the run. Value skew is stored as anomalies, with the rows that show it; rows that a device would refuse
are left out of training. What is usual are the rows that the champion learnt from; without one, the project's own.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pandera
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from trainer.errors import DataError
from trainer.features.table import TrainingTable
from trainer.pipeline.anomalies import (
    ANOMALIES_NAME,
    STATISTICS_NAME,
    Anomaly,
    FeatureStatistics,
    Found,
    found_in,
    load_anomalies,
    load_statistics,
    save_found,
    statistics_of,
)
from trainer.pipeline.artefacts import load_arrays, save_arrays, save_value
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.value_skew import skew_anomalies
from trainer.project.project import Project
from trainer.project.schema import Schema

logger = logging.getLogger(__name__)

# More rows out of their valid range than this is a wrong unit or a wrong column, not a few bad readings.
_MAX_OUT_OF_RANGE: Final = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the step found.

    Attributes:
        is_kept: ``(n_rows,) bool``: rows to train on.
    """

    is_kept: NDArray[np.bool_]
    anomalies: tuple[Anomaly, ...]
    statistics: tuple[FeatureStatistics, ...]


def validate_rows(
    project: Project, table: TrainingTable, folder: Path, *, usual: Sequence[FeatureStatistics] = ()
) -> Outcome[Validation]:
    """Check the table against the schema, and its values against those that were usual.

    Args:
        project: with its schema, if it has one; else its features say what the rows must be.
        table: the extracted rows.
        folder: of the step.
        usual: statistics of the rows that the champion learnt from (`load_statistics`).

    Raises:
        DataError: schema skew; the message names the first, the file ``anomalies.json`` has all. Or nobody has
            reviewed the schema, and the project demands it.
    """
    _verify_reviewed(project)
    frame = pd.DataFrame(table.rows.astype(np.float64), columns=list(table.names))
    own = ~table.is_fleet & ~table.is_judge
    statistics = tuple(statistics_of(f, table.rows[own, place]) for place, f in enumerate(project.features))
    found = [
        *_column_anomalies(project),
        *_schema_anomalies(project, frame),
        *_truth_anomalies(project, table),
        *_constant_anomalies(statistics),
        *skew_anomalies(project.features, table, statistics, usual),
    ]
    anomalies = tuple(anomaly for anomaly, _ in found)
    save_found(folder, found)
    save_value(folder / STATISTICS_NAME, statistics)
    broken = [anomaly for anomaly in anomalies if anomaly.kind == "schema"]
    if broken:
        first = broken[0]
        where = f"all {len(broken)}: {folder / ANOMALIES_NAME}"
        msg = f"the rows do not follow the schema: {first.feature!r}: {first.text} ({where})"
        raise DataError(msg)
    is_kept = _kept(project.features, table)
    save_arrays(folder / "kept.npz", {"is_kept": is_kept})
    left_out = int((~is_kept).sum())
    texts = tuple(f"{anomaly.feature}: {anomaly.text}" for anomaly in anomalies)
    for text in texts:
        logger.info("value skew: %s", text)
    schema = project.schema
    facts = (
        *((("schema", schema.standing),) if schema is not None else ()),
        ("anomalies", str(len(anomalies))),
        ("rows left out", str(left_out)),
        *(("anomaly", text) for text in texts[:3]),
    )
    metrics = {"anomalies": float(len(anomalies)), "rows_left_out": float(left_out)}
    params: dict[str, str | int | float] = {}
    if schema is not None:
        reviewer = schema.review.by if schema.review is not None and schema.is_reviewed else ""
        params = {"schema_version": schema.version, "schema_sha256": schema.sha256, "schema_reviewed_by": reviewer}
        save_value(folder / "schema.json", schema)
    return Outcome(Validation(is_kept, anomalies, statistics), params=params, metrics=metrics, facts=facts)


def load_validation(folder: Path) -> Validation:
    """Read what `validate_rows` wrote."""
    return Validation(
        load_arrays(folder / "kept.npz")["is_kept"].astype(np.bool_),
        load_anomalies(folder),
        load_statistics(folder),
    )


def schema_of(features: Sequence[Feature], declared: Schema | None = None) -> pandera.DataFrameSchema:
    """Return the pandera schema that the features, or the schema file, stand for; the names of its checks are ours."""
    expected = {column.name: column for column in declared.columns} if declared is not None else {}
    columns = {}
    for feature in features:
        checks = []
        low, high = feature.valid_min, feature.valid_max
        categories, may_miss = feature.categories, feature.on_missing == "flag"
        if feature.name in expected:
            column = expected[feature.name]
            low, high, may_miss = column.minimum, column.maximum, column.max_missing > 0
            categories = tuple(name for name in feature.categories if name in column.categories)
        if feature.dtype == "category":
            codes = [float(feature.categories.index(name)) for name in categories]
            checks.append(pandera.Check.isin(codes, error="category"))
        if low is not None:
            checks.append(pandera.Check.ge(_as_stored(low), error="valid_min"))
        if high is not None:
            checks.append(pandera.Check.le(_as_stored(high), error="valid_max"))
        columns[feature.name] = pandera.Column(float, checks, nullable=may_miss)
    return pandera.DataFrameSchema(columns, strict=True, ordered=True)


def _verify_reviewed(project: Project) -> None:
    schema = project.schema
    if schema is not None and project.data.must_be_reviewed and not schema.is_reviewed:
        raise DataError(
            f"the schema is {schema.standing}, but data.must_be_reviewed demands it: "
            f"read {project.data.schema}, then: fieldloop schema review --by NAME"
        )


def _column_anomalies(project: Project) -> list[Found]:
    """Compare what the project takes with what the schema file says there is."""
    schema = project.schema
    if schema is None:
        return []
    none = np.zeros(0, dtype=np.int64)
    expected = {column.name: column for column in schema.columns}
    found = []
    for feature in project.features:
        column = expected.pop(feature.name, None)
        if column is None:
            found.append(found_in("schema", feature.name, "column", none, "the schema knows no such column"))
        elif (column.dtype == "category") != (feature.dtype == "category"):
            text = f"the schema says {column.dtype}, the project {feature.dtype}"
            found.append(found_in("schema", feature.name, "dtype", none, text))
    found += [
        found_in("schema", name, "column", none, "the schema has this column, the project does not take it")
        for name in expected
    ]
    target = project.target.column
    if schema.target != target:
        found.append(found_in("schema", target, "target", none, f"the schema's target is {schema.target!r}"))
    return found


def _schema_anomalies(project: Project, frame: pd.DataFrame) -> list[Found]:
    try:
        schema_of(project.features, project.schema).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return _gap_anomalies(project.schema, frame)
    found = []
    for (name, check), group in cases.groupby(["column", "check"], sort=True):
        has_rows = group["index"].notna().all()
        rows = np.sort(group["index"].to_numpy(dtype=np.int64)) if has_rows else np.zeros(0, dtype=np.int64)
        first = int(rows[0]) if has_rows else 0
        value = group["failure_case"].iloc[0]
        is_range = check in {"valid_min", "valid_max"}
        share = len(group) / len(frame)
        text = f"{len(group)} rows ({share:.1%}) break {check}, first row {first} with {value}"
        is_broken = not is_range or share > _MAX_OUT_OF_RANGE
        if is_range and is_broken:
            text += "; is the unit right?"
        kind: Literal["schema", "value"] = "schema" if is_broken else "value"
        anomaly, _ = found_in(kind, str(name), str(check), rows, text)
        found.append((replace(anomaly, rows=len(group)), rows))
    return found + _gap_anomalies(project.schema, frame)


def _gap_anomalies(schema: Schema | None, frame: pd.DataFrame) -> list[Found]:
    """Find columns that lack more values than the schema allows."""
    found = []
    for column in schema.columns if schema is not None else ():
        if column.name not in frame.columns or not column.max_missing:
            continue
        rows = np.flatnonzero(frame[column.name].isna())
        share = len(rows) / len(frame)
        if share > column.max_missing:
            text = f"{share:.1%} of the rows lack a value, the schema allows {column.max_missing:.1%}"
            found.append(found_in("schema", column.name, "max_missing", rows, text))
    return found


def _truth_anomalies(project: Project, table: TrainingTable) -> list[Found]:
    if not project.target.is_labelled:
        return []
    none = np.zeros(0, dtype=np.int64)
    counts = {label: int((table.truth == code).sum()) for code, label in enumerate(table.labels)}
    found = [
        found_in("schema", "target", "label", none, f"label {label!r} occurs in no row; take it out of target.labels")
        for label, count in counts.items()
        if count == 0
    ]
    for code, label in enumerate(table.labels):
        if project.schema is not None and label not in project.schema.labels:
            rows = np.flatnonzero(table.truth == code)
            found.append(found_in("schema", "target", "label", rows, f"the schema knows no label {label!r}"))
    if len(np.unique(table.truth)) < 2:  # noqa: PLR2004 - one value teaches nothing
        every = np.arange(len(table.truth))
        found.append(found_in("schema", "target", "constant", every, "all rows have the same truth"))
    return found


def _constant_anomalies(statistics: Sequence[FeatureStatistics]) -> list[Found]:
    return [
        found_in("value", known.name, "constant", np.arange(known.rows), "the same value in every row")
        for known in statistics
        if known.distinct == 1
    ]


def _kept(features: Sequence[Feature], table: TrainingTable) -> NDArray[np.bool_]:
    """Leave out what a device would refuse: values out of a range that is declared with ``refuse``."""
    is_kept = np.ones(len(table.rows), dtype=np.bool_)
    for index, feature in enumerate(features):
        if feature.on_out_of_range == "refuse":
            values = table.rows[:, index].astype(np.float64)
            is_kept &= ~(values < _as_stored(-np.inf if feature.valid_min is None else feature.valid_min))
            is_kept &= ~(values > _as_stored(np.inf if feature.valid_max is None else feature.valid_max))
    return is_kept


def _as_stored(limit: float) -> float:
    """Return a limit as the table holds values: in float32 a reading right on it may lie a little beyond it."""
    return float(np.float32(limit))
