"""Chooses the golden rows of a bundle: few rows that show on a device whether its runtime computes what was proved.

Typical rows of each label, rows with missing values where they are allowed, rows on and next to thresholds of trees,
rows with seldom categories, rows near a boundary, and rows spread over time or over the values. A row is taken only if
every accepted variant, anywhere within its tolerance, must give the original's label: a boundary row that may rightly
fall to either side proves nothing. And only if every variant is within its tolerance here: tolerances are measured on
many rows, not on all that there can be.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import GoldenRow, Task
from exporter.errors import ConversionError, RowsError, UnsupportedError
from exporter.material import Material
from exporter.models.metrics import decisions_of
from exporter.models.model import FittedModel, Outputs, Rows
from exporter.programs.program import Program
from exporter.proof.acceptance import is_taken
from exporter.proof.probes import ORDINARY, Probes, make_probes
from exporter.proof.ties import margins_of

MAX_ROWS: Final = 32
_TYPICAL: Final = 16
_MISSING: Final = 4
_THRESHOLD: Final = 4
_BOUNDARY: Final = 6
# Among candidates beyond these nothing new is found.
_MAX_CANDIDATES: Final = 4000
# Variants may be off by more than their tolerance on so many rows; on more, it was not measured on rows like these.
_MAX_STRANGE: Final = 0.02

Places = NDArray[np.int64]


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
    probes = make_probes(model, rows[places], program=_program_of(model, rows))
    taken = np.flatnonzero(is_taken(probes.rows, model.features) & probes.of(*ORDINARY))
    if len(taken) == 0:
        raise RowsError("the features' rules refuse every row: none can prove anything on a device")
    if agrees is not None:
        is_alike = agrees(probes.rows[taken], probes.expected[taken])
        # Of rows that were searched for, many are ties by their making.
        is_real = probes.of("evaluation")[taken]
        n_strange = int(np.sum(~is_alike & is_real))
        if n_strange > _MAX_STRANGE * np.sum(is_real):
            raise ConversionError(
                f"variants differ by more than their tolerance on {n_strange} of {int(np.sum(is_real))} rows"
            )
        taken = taken[is_alike]
    chosen = _in_order(model.task, probes, taken, tolerance)
    return tuple(_golden_row(probes.rows[i], probes.expected[i]) for i in _first_unique(chosen, probes.rows)[:MAX_ROWS])


def _program_of(model: FittedModel, rows: Rows) -> Program | None:
    try:
        return Material(model, rows).program
    except UnsupportedError:
        return None  # its thresholds are not known


def _in_order(task: Task, probes: Probes, taken: Places, tolerance: float) -> list[int]:
    """Return places of probes, those that prove most first."""
    missing = np.asarray(np.isnan(probes.rows[taken]).any(axis=1), dtype=np.bool_)
    if task == "regression":
        ascending = taken[np.argsort(probes.expected[taken, 0], kind="stable")]
        complete = ascending[~np.isnan(probes.rows[ascending]).any(axis=1)]
        special = _special(probes, taken, missing)
        return [*_spread(complete, _TYPICAL), *special, *_spread(taken)]
    margins, labels = margins_of(task, probes.expected), decisions_of(task, probes.expected)
    # Two outputs that move by at most the tolerance each cannot change places.
    safe = taken[margins[taken] > 2 * tolerance]
    if len(safe) < MAX_ROWS:
        safe = np.sort(taken[np.argsort(-margins[taken], kind="stable")[:MAX_ROWS]])
    missing = np.asarray(np.isnan(probes.rows[safe]).any(axis=1), dtype=np.bool_)
    typical = []
    for label in np.unique(labels[safe])[:_TYPICAL]:
        own = safe[(labels[safe] == label) & ~missing]
        if len(own):
            typical.append(int(own[np.argsort(margins[own], kind="stable")[len(own) // 2]]))
    near = safe[np.argsort(margins[safe], kind="stable")]
    return [*typical, *_special(probes, safe, missing), *near[:_BOUNDARY].tolist(), *_spread(safe)]


def _special(probes: Probes, places: Places, missing: NDArray[np.bool_]) -> list[int]:
    """Return rows without a value, rows on thresholds, and rows with seldom categories."""
    kinds = (probes.of("threshold")[places] & ~missing, probes.of("category")[places])
    return [*_spread(places[missing], _MISSING), *_spread(places[kinds[0]], _THRESHOLD), *_spread(places[kinds[1]], 2)]


def _spread(places: NDArray[np.int64], n: int = _BOUNDARY) -> list[int]:
    """Return n evenly spaced ones of the places, first and last among them."""
    if len(places) == 0:
        return []
    chosen: list[int] = places[np.linspace(0, len(places) - 1, n).astype(np.int64)].tolist()
    return chosen


def _first_unique(places: Iterable[int], rows: Rows) -> list[int]:
    """Leave out places that came before, and rows that did."""
    first: dict[bytes, int] = {}
    for place in places:
        first.setdefault(rows[place].tobytes(), place)
    return list(first.values())


def _golden_row(row: NDArray[np.float32], expected: NDArray[np.float64]) -> GoldenRow:
    features = tuple(None if np.isnan(value) else float(value) for value in row)
    return GoldenRow(features, tuple(expected.tolist()))
