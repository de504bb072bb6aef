"""Chooses the golden rows of a bundle: few rows that show on a device whether its runtime computes what was proved.

Typical rows of each label, rows near a boundary, rows spread over time or over the values, and rows with missing values
where they are allowed. A row is taken only if every accepted variant, anywhere within its tolerance, must give the
original's label: a boundary row that may rightly fall to either side proves nothing. And only if every variant is
within its tolerance here: tolerances are measured on many rows, not on all that there can be.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature, GoldenRow
from exporter.errors import ConversionError, RowsError
from exporter.metrics import labels_of
from exporter.model import FittedModel, Outputs, Rows
from exporter.parity import make_probes, margins_of

MAX_ROWS: Final = 32
_TYPICAL: Final = 16
_BOUNDARY: Final = 8
_MISSING: Final = 4
# Among candidates beyond these nothing new is found.
_MAX_CANDIDATES: Final = 4000
# Variants may be off by more than their tolerance on so many rows; on more, it was not measured on rows like these.
_MAX_STRANGE: Final = 0.02


def choose_golden(
    model: FittedModel, rows: Rows, tolerance: float, agrees: Callable[[Rows, Outputs], NDArray[np.bool_]] | None = None
) -> tuple[GoldenRow, ...]:
    """Choose at most 32 golden rows.

    Args:
        model: answers them.
        rows: ``(n, n_features) float32`` candidates.
        tolerance: the loosest tolerance of the bundle's variants.
        agrees: tells of rows and the original's answers ``(n, n_outputs)`` on which of them every variant is within its
            tolerance here; None: on all.

    Raises:
        RowsError: the features' own rules refuse every row.
        ConversionError: variants differ by more than their tolerance on more than a few rows.
    """
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MAX_CANDIDATES)).astype(np.int64))
    probes = make_probes(model, rows[places])
    taken = np.flatnonzero(is_taken(probes.rows, model.features))
    if len(taken) == 0:
        raise RowsError("the features' rules refuse every row: none can prove anything on a device")
    if agrees is not None:
        is_alike = agrees(probes.rows[taken], probes.expected[taken])
        if np.mean(~is_alike) > _MAX_STRANGE:
            raise ConversionError(
                f"variants differ by more than their tolerance on {int(np.sum(~is_alike))} of {len(taken)} rows"
            )
        taken = taken[is_alike]
    is_missing = np.asarray(np.isnan(probes.rows[taken]).any(axis=1), dtype=np.bool_)
    expected = probes.expected[taken]
    order = _choose_labels if model.task == "classification" else _choose_values
    chosen = _first_unique(order(expected, is_missing, tolerance))
    return tuple(_golden_row(probes.rows[taken[i]], expected[i]) for i in chosen[:MAX_ROWS])


def is_taken(rows: Rows, features: tuple[Feature, ...]) -> NDArray[np.bool_]:
    """Tell for each row whether a device scores it, by the rules of its features."""
    taken = np.ones(len(rows), dtype=bool)
    # In float64, as devices compare: 0.1 in float32 is more than a limit of 0.1.
    for column, feature in zip(rows.T.astype(np.float64), features, strict=True):
        is_missing = np.isnan(column)
        if feature.dtype == "category":
            is_known = (column >= 0) & (column < len(feature.categories)) & (column == np.floor(column))
            taken &= is_known | is_missing
        elif feature.on_out_of_range == "refuse":
            low = -np.inf if feature.valid_min is None else feature.valid_min
            high = np.inf if feature.valid_max is None else feature.valid_max
            taken &= ((column >= low) & (column <= high)) | is_missing
        if feature.on_missing == "refuse":
            taken &= ~is_missing
    return taken


def _choose_labels(expected: Outputs, is_missing: NDArray[np.bool_], tolerance: float) -> list[int]:
    margins, labels = margins_of(expected), labels_of(expected)
    # Two outputs that move by at most the tolerance each cannot change places.
    safe = np.flatnonzero(margins > 2 * tolerance)
    if len(safe) < MAX_ROWS:
        safe = np.sort(np.argsort(-margins, kind="stable")[:MAX_ROWS])
    typical = []
    for label in np.unique(labels[safe])[:_TYPICAL]:
        own = safe[(labels[safe] == label) & ~is_missing[safe]]
        if len(own):
            typical.append(int(own[np.argsort(margins[own], kind="stable")[len(own) // 2]]))
    near = safe[np.argsort(margins[safe], kind="stable")]
    return [*typical, *near[:_BOUNDARY].tolist(), *safe[is_missing[safe]][:_MISSING].tolist(), *_spread(safe)]


def _choose_values(expected: Outputs, is_missing: NDArray[np.bool_], tolerance: float) -> list[int]:  # noqa: ARG001 - a value has no other side to fall to
    ascending = np.argsort(expected[:, 0], kind="stable")
    complete = ascending[~is_missing[ascending]]
    missing = np.flatnonzero(is_missing)[:_MISSING].tolist()
    return [*_spread(complete, _TYPICAL), *missing, *_spread(np.arange(len(expected)))]


def _spread(places: NDArray[np.int64], n: int = _BOUNDARY) -> list[int]:
    """Return n evenly spaced ones of the places, first and last among them."""
    if len(places) == 0:
        return []
    chosen: list[int] = places[np.linspace(0, len(places) - 1, n).astype(np.int64)].tolist()
    return chosen


def _first_unique(places: Iterable[int]) -> list[int]:
    return list(dict.fromkeys(places))


def _golden_row(row: NDArray[np.float32], expected: NDArray[np.float64]) -> GoldenRow:
    features = tuple(None if np.isnan(value) else float(value) for value in row)
    return GoldenRow(features, tuple(expected.tolist()))
