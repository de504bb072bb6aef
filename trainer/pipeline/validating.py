"""Step ``validate``: does the table follow the declared schema, and where do its values leave what was usual?

Schema skew ends the run. Value skew is stored as anomalies; rows that a device would refuse are left out of training.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd
import pandera.pandas as pandera
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from trainer.errors import DataError
from trainer.features.table import TrainingTable
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value
from trainer.pipeline.outcome import Outcome
from trainer.project.project import Project

logger = logging.getLogger(__name__)

# More rows out of their valid range than this is a wrong unit or a wrong column, not a few bad readings.
_MAX_OUT_OF_RANGE: Final = 0.5
# The fleet's rows are skewed when so many of them lie outside of all that was seen before.
_MAX_UNSEEN: Final = 0.2
_QUANTILES: Final = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)


class Anomaly(Struct, frozen=True):
    """One way in which the values are unusual.

    Attributes:
        kind: ``schema`` (ends the run) or ``value``.
        rows: how many rows show it; `first_row` is the first of them in the extracted table.
    """

    kind: Literal["schema", "value"]
    feature: str
    check: str
    rows: int
    first_row: int
    text: str


class FeatureStatistics(Struct, frozen=True):
    """How one feature of the project's own rows is distributed.

    Attributes:
        quantiles: at 0, 1, 25, 50, 75, 99 and 100 percent; empty where every value is missing.
    """

    name: str
    rows: int
    missing: int
    distinct: int
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """What the step found.

    Attributes:
        is_kept: ``(n_rows,) bool``: rows to train on.
    """

    is_kept: NDArray[np.bool_]
    anomalies: tuple[Anomaly, ...]
    statistics: tuple[FeatureStatistics, ...]


def validate_rows(project: Project, table: TrainingTable, folder: Path) -> Outcome[Validation]:
    """Check the table against the project's declarations, and the fleet's rows against the project's own.

    Raises:
        DataError: schema skew; the message names the first, the file ``anomalies.json`` has all.
    """
    frame = pd.DataFrame(table.rows.astype(np.float64), columns=list(table.names))
    statistics = tuple(_statistics(name, frame[name][~table.is_fleet]) for name in table.names)
    anomalies = (
        *_schema_anomalies(project, frame),
        *_truth_anomalies(table),
        *_skew_anomalies(project.features, table, statistics),
    )
    save_value(folder / "anomalies.json", anomalies)
    save_value(folder / "statistics.json", statistics)
    broken = [anomaly for anomaly in anomalies if anomaly.kind == "schema"]
    if broken:
        first = broken[0]
        where = f"all {len(broken)}: {folder / 'anomalies.json'}"
        msg = f"the rows do not follow the schema: {first.feature!r}: {first.text} ({where})"
        raise DataError(msg)
    is_kept = _kept(project.features, table)
    save_arrays(folder / "kept.npz", {"is_kept": is_kept})
    left_out = int((~is_kept).sum())
    texts = tuple(f"{anomaly.feature}: {anomaly.text}" for anomaly in anomalies)
    for text in texts:
        logger.info("value skew: %s", text)
    facts = (
        ("anomalies", str(len(anomalies))),
        ("rows left out", str(left_out)),
        *(("anomaly", text) for text in texts[:3]),
    )
    metrics = {"anomalies": float(len(anomalies)), "rows_left_out": float(left_out)}
    return Outcome(Validation(is_kept, anomalies, statistics), metrics=metrics, facts=facts)


def load_validation(folder: Path) -> Validation:
    """Read what `validate_rows` wrote."""
    return Validation(
        load_arrays(folder / "kept.npz")["is_kept"].astype(np.bool_),
        load_value(folder / "anomalies.json", tuple[Anomaly, ...]),
        load_value(folder / "statistics.json", tuple[FeatureStatistics, ...]),
    )


def schema_of(features: Sequence[Feature]) -> pandera.DataFrameSchema:
    """Return the pandera schema that the project's declarations stand for; the names of its checks are ours."""
    columns = {}
    for feature in features:
        checks = []
        if feature.dtype == "category":
            codes = [float(code) for code in range(len(feature.categories))]
            checks.append(pandera.Check.isin(codes, error="category"))
        if feature.valid_min is not None:
            checks.append(pandera.Check.ge(_as_stored(feature.valid_min), error="valid_min"))
        if feature.valid_max is not None:
            checks.append(pandera.Check.le(_as_stored(feature.valid_max), error="valid_max"))
        columns[feature.name] = pandera.Column(float, checks, nullable=feature.on_missing == "flag")
    return pandera.DataFrameSchema(columns, strict=True, ordered=True)


def _schema_anomalies(project: Project, frame: pd.DataFrame) -> list[Anomaly]:
    try:
        schema_of(project.features).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases
    else:
        return []
    anomalies = []
    for (name, check), group in cases.groupby(["column", "check"], sort=True):
        rows, first = len(group), int(group["index"].min()) if group["index"].notna().all() else 0
        value = group["failure_case"].iloc[0]
        is_range = check in {"valid_min", "valid_max"}
        share = rows / len(frame)
        text = f"{rows} rows ({share:.1%}) break {check}, first row {first} with {value}"
        is_broken = not is_range or share > _MAX_OUT_OF_RANGE
        if is_range and is_broken:
            text += "; is the unit right?"
        anomalies.append(Anomaly("schema" if is_broken else "value", str(name), str(check), rows, first, text))
    return anomalies


def _truth_anomalies(table: TrainingTable) -> list[Anomaly]:
    counts = {label: int((table.truth == code).sum()) for code, label in enumerate(table.labels)}
    anomalies = [
        Anomaly("schema", "target", "label", 0, 0, f"label {label!r} occurs in no row; take it out of target.labels")
        for label, count in counts.items()
        if count == 0
    ]
    if len(np.unique(table.truth)) < 2:  # noqa: PLR2004 - one value teaches nothing
        anomalies.append(Anomaly("schema", "target", "constant", len(table.truth), 0, "all rows have the same truth"))
    return anomalies


def _skew_anomalies(
    features: Sequence[Feature], table: TrainingTable, statistics: Sequence[FeatureStatistics]
) -> list[Anomaly]:
    anomalies = []
    for index, (feature, known) in enumerate(zip(features, statistics, strict=True)):
        if known.distinct == 1:
            anomalies.append(Anomaly("value", feature.name, "constant", known.rows, 0, "the same value in every row"))
        fleet = np.flatnonzero(table.is_fleet)
        values = table.rows[fleet, index]
        if not len(fleet) or not known.quantiles:
            continue
        is_unseen = (values < known.quantiles[0]) | (values > known.quantiles[-1])
        if is_unseen.mean() > _MAX_UNSEEN:
            usual = f"[{known.quantiles[0]:g}, {known.quantiles[-1]:g}]"
            text = f"{is_unseen.mean():.0%} of the fleet's rows lie outside of {usual}"
            rows, first = int(is_unseen.sum()), int(fleet[np.argmax(is_unseen)])
            anomalies.append(Anomaly("value", feature.name, "unseen", rows, first, text))
    return anomalies


def _statistics(name: str, values: "pd.Series[float]") -> FeatureStatistics:
    present = values.dropna()
    quantiles = tuple(float(q) for q in np.quantile(present, _QUANTILES)) if len(present) else ()
    return FeatureStatistics(name, len(values), int(values.isna().sum()), int(present.nunique()), quantiles)


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
