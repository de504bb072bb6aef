"""What validation finds and keeps: anomalies with the rows that show them, and how each feature is distributed."""

from pathlib import Path
from typing import Final, Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from trainer.pipeline import skew
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value

ANOMALIES_NAME: Final = "anomalies.json"
ROWS_NAME: Final = "anomalous_rows.npz"
STATISTICS_NAME: Final = "statistics.json"
_QUANTILES: Final = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)

Rows = NDArray[np.int64]


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
        edges, counts: rows by bins, the missing ones last (`trainer.pipeline.skew`); empty in statistics of before.
        categories: what the bins of a category stand for, in their order; empty for numbers.
    """

    name: str
    rows: int
    missing: int
    distinct: int
    quantiles: tuple[float, ...]
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    categories: tuple[str, ...] = ()


# An anomaly, and the places of all rows that show it in the extracted table.
Found = tuple[Anomaly, Rows]


def found_in(kind: Literal["schema", "value"], feature: str, check: str, rows: Rows, text: str) -> Found:
    """Return an anomaly that these rows show."""
    return Anomaly(kind, feature, check, len(rows), int(rows[0]) if len(rows) else 0, text), rows


def statistics_of(feature: Feature, values: NDArray[np.float32]) -> FeatureStatistics:
    """Describe the values of one feature, ``(n_rows,) float32``."""
    wide = values.astype(np.float64)
    present = wide[~np.isnan(wide)]
    quantiles = tuple(float(q) for q in np.quantile(present, _QUANTILES)) if len(present) else ()
    is_category = feature.dtype == "category"
    edges = tuple(float(code) for code in range(len(feature.categories) - 1)) if is_category else skew.edges_of(wide)
    return FeatureStatistics(
        feature.name,
        len(wide),
        len(wide) - len(present),
        len(np.unique(present)),
        quantiles,
        edges,
        skew.counts_of(wide, edges),
        feature.categories if is_category else (),
    )


def save_found(folder: Path, found: list[Found]) -> None:
    """Write anomalies, and all their rows."""
    save_value(folder / ANOMALIES_NAME, tuple(anomaly for anomaly, _ in found))
    save_arrays(folder / ROWS_NAME, {str(number): rows for number, (_, rows) in enumerate(found)})


def load_anomalies(folder: Path) -> tuple[Anomaly, ...]:
    """Read the anomalies that the step left in its folder."""
    return load_value(folder / ANOMALIES_NAME, tuple[Anomaly, ...])


def load_anomalous_rows(folder: Path, number: int) -> Rows:
    """Read the places of all rows that show one anomaly; none where an earlier version kept none."""
    path = folder / ROWS_NAME
    if not path.exists():
        return np.zeros(0, dtype=np.int64)
    return load_arrays(path)[str(number)].astype(np.int64)


def load_statistics(folder: Path) -> tuple[FeatureStatistics, ...]:
    """Read the statistics that the step left in its folder: of the project's own rows that a model learnt from."""
    return load_value(folder / STATISTICS_NAME, tuple[FeatureStatistics, ...])
