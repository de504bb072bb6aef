"""Compares a variant, run by the device's own code, with the original estimator, row by row, and judges the difference.

The rows are the evaluation rows, rows near the decision boundaries, and rows with missing values where the features
allow them. The gates: float32 variants flip no label beyond ties of float arithmetic; quantised variants lose no more
quality than allowed. Nothing is converted here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import RuntimeName, Task
from edge_agent.scoring.runtime import Runtime
from exporter.errors import ModelError
from exporter.metrics import labels_of
from exporter.model import FittedModel, Outputs, Rows

Kind = Literal["evaluation", "boundary", "missing"]

# Probabilities closer than this decide by the order of a sum, which no two libraries share.
TIE_MARGIN: Final = 1e-5
# A float32 variant may differ by more than CLOSE on this share of rows at most: rows that hit a threshold exactly.
CLOSE: Final = 1e-4
MAX_FAR_SHARE: Final = 0.01
WORST_ROWS: Final = 10
_BOUNDARY_ROWS: Final = 200
_BISECTIONS: Final = 6
_MISSING_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class Probes:
    """Rows to compare on; evaluation rows come first, in their order.

    Attributes:
        rows: ``(n, n_features) float32``.
        kinds: ``(n,)``: why each row is there.
        expected: ``(n, n_outputs)``: the original's answers.
    """

    rows: Rows
    kinds: tuple[Kind, ...]
    expected: Outputs


class WorstRow(msgspec.Struct, frozen=True):
    """One of the rows that differ most; `row` counts the probes, evaluation rows first. None stands for missing."""

    row: int
    kind: Kind
    features: tuple[float | None, ...]
    expected: tuple[float, ...]
    got: tuple[float | None, ...]


class Parity(msgspec.Struct, frozen=True):
    """How a variant compares with the original.

    Attributes:
        rows: how many rows were compared.
        not_numbers: rows that the variant answered with something that is no number.
        max_abs_difference: greatest difference of an output, over the other rows.
        label_flips: rows whose most probable label differs, without ties.
        ties: rows whose label differs, but whose two best probabilities are closer than TIE_MARGIN.
        far_rows: rows that differ by more than CLOSE, relative to `scale`.
        scale: what a difference is measured by: 1 for probabilities, the spread of the values for regression.
        worst: the rows that differ most, worst first.
    """

    rows: int
    not_numbers: int
    max_abs_difference: float
    label_flips: int
    ties: int
    far_rows: int
    scale: float
    worst: tuple[WorstRow, ...]


def make_probes(model: FittedModel, evaluation: Rows) -> Probes:
    """Choose the rows to compare on, and let the original answer them.

    Raises:
        ModelError: the original refuses rows that the features allow, for example missing values.
    """
    parts: list[tuple[Kind, Rows]] = [("evaluation", evaluation), ("missing", _missing_rows(model, evaluation))]
    if model.task == "classification":
        parts.insert(1, ("boundary", _boundary_rows(model, evaluation)))
    rows = np.concatenate([part for _, part in parts])
    kinds = tuple(kind for kind, part in parts for _ in range(len(part)))
    return Probes(rows, kinds, _answers(model, rows))


def compare(task: Task, probes: Probes, got: Outputs) -> Parity:
    """Compare a variant's answers ``(n, n_outputs)`` with what was expected."""
    expected = probes.expected
    is_finite = np.isfinite(got).all(axis=1)
    # What is no number is the worst difference of all, and must not hide in a comparison.
    ranked = np.where(is_finite, np.max(np.abs(np.nan_to_num(got) - expected), axis=1), np.inf)
    flips = labels_of(got) != labels_of(expected) if task == "classification" else np.zeros(len(got), dtype=bool)
    ties = flips & (margins_of(expected) < TIE_MARGIN)
    scale = 1.0 if task == "classification" else _spread_of(expected)
    order = np.lexsort((np.arange(len(ranked)), -ranked, ~(flips & ~ties)))[:WORST_ROWS]
    return Parity(
        rows=len(got),
        not_numbers=int(np.sum(~is_finite)),
        max_abs_difference=float(np.max(ranked, where=is_finite, initial=0.0)),
        label_flips=int(np.sum(flips & ~ties)),
        ties=int(np.sum(ties)),
        far_rows=int(np.sum(ranked > CLOSE * scale)),
        scale=scale,
        worst=tuple(_worst_row(int(i), probes, got) for i in order if ranked[i] > 0),
    )


def refusal_of(parity: Parity, *, is_quantised: bool, loss: float, max_loss: float) -> str:
    """Return why a variant is refused, or an empty string.

    Args:
        parity: from `compare`.
        is_quantised: quantised variants are judged by their quality, float32 ones row by row.
        loss: quality of the original minus that of the variant.
        max_loss: greatest loss that is allowed.
    """
    if parity.not_numbers:
        return f"{parity.not_numbers} of {parity.rows} rows are answered with something that is not a number"
    if not is_quantised and parity.label_flips:
        return f"{parity.label_flips} of {parity.rows} rows get another label than from the original"
    if not is_quantised and parity.far_rows > MAX_FAR_SHARE * parity.rows:
        share = f"{parity.far_rows} of {parity.rows} rows"
        return f"{share} differ by more than {CLOSE * parity.scale:.3g}, by up to {parity.max_abs_difference:.3g}"
    if loss > max_loss:
        return f"it loses {loss:.4f} of quality, at most {max_loss:g} is allowed"
    return ""


def margins_of(outputs: Outputs) -> NDArray[np.float64]:
    """Return by how much the best output of each row leads; infinite where there is only one output."""
    if outputs.shape[1] == 1:
        return np.full(len(outputs), np.inf)
    best = np.partition(outputs, -2, axis=1)[:, -2:]
    margins: NDArray[np.float64] = best[:, 1] - best[:, 0]
    return margins


def open_file(runtime: RuntimeName, path: Path, model: FittedModel) -> Runtime:
    """Load a variant's file with the device's own adapter; raise BundleError as that does."""
    return _OPENERS[runtime](path, len(model.features), model.n_outputs)


def score_rows(runtime: Runtime, rows: Rows) -> Outputs:
    """Let a runtime answer rows; ``(n, n_features)`` to ``(n, n_outputs)``."""
    return np.asarray(runtime.score_batch(rows.tolist()), dtype=np.float64)


def _open_onnx(path: Path, n_features: int, n_outputs: int) -> Runtime:
    from edge_agent.scoring.onnx_runtime import OnnxRuntime  # noqa: PLC0415 - each runtime is loaded when wanted

    return OnnxRuntime(path, n_features, n_outputs)


def _open_tflite(path: Path, n_features: int, n_outputs: int) -> Runtime:
    from edge_agent.scoring.tflite_runtime import TfliteRuntime  # noqa: PLC0415 - as above

    return TfliteRuntime(path, n_features, n_outputs)


def _open_native(path: Path, n_features: int, n_outputs: int) -> Runtime:
    from edge_agent.scoring.native_runtime import NativeRuntime  # noqa: PLC0415 - as above

    return NativeRuntime(path, n_features, n_outputs)


_OPENERS: Final[Mapping[RuntimeName, Callable[[Path, int, int], Runtime]]] = {
    "onnx": _open_onnx,
    "tflite": _open_tflite,
    "native": _open_native,
}


def _answers(model: FittedModel, rows: Rows) -> Outputs:
    try:
        return model.outputs(rows)
    except ValueError as error:
        hint = ""
        if np.isnan(rows).any():
            flagged = [f.name for f in model.features if f.on_missing == "flag"]
            hint = f"; features {flagged[:5]} may be missing: add an imputer, or set on_missing = 'refuse'"
        raise ModelError(f"the model refuses its own rows: {str(error).splitlines()[0]}{hint}") from error


def _boundary_rows(model: FittedModel, evaluation: Rows) -> Rows:
    """Return rows near the decision boundary: neighbours of different labels, walked towards each other by halving.

    Six halvings, not thirty: at the last bit, where a threshold itself lies, scikit-learn and ONNX Runtime differ by
    rounding, and no row of a sensor does.
    """
    complete = evaluation[~np.isnan(evaluation).any(axis=1)]
    if len(complete) < 2:  # noqa: PLR2004 - a pair
        return evaluation[:0]
    labels = labels_of(_answers(model, complete))
    pairs = np.flatnonzero(labels[1:] != labels[:-1])[:_BOUNDARY_ROWS]
    left, right, left_labels = complete[pairs].copy(), complete[pairs + 1].copy(), labels[pairs]
    # A category between two categories is none: such features stay as on the left.
    categories = [i for i, feature in enumerate(model.features) if feature.dtype == "category"]
    right[:, categories] = left[:, categories]
    middle = left
    for _ in range(_BISECTIONS if len(pairs) else 0):
        middle = (left + right) / np.float32(2)
        is_left = (labels_of(_answers(model, middle)) == left_labels)[:, np.newaxis]
        left, right = np.where(is_left, middle, left), np.where(is_left, right, middle)
    return middle


def _missing_rows(model: FittedModel, evaluation: Rows) -> Rows:
    """Return evaluation rows without one value each, feature by feature in turn, and one without any that may lack."""
    flagged = [i for i, feature in enumerate(model.features) if feature.on_missing == "flag"]
    if not flagged or len(evaluation) == 0:
        return evaluation[:0]
    n_rows = min(max(len(flagged), 20), _MISSING_ROWS)
    rows: Rows = np.resize(evaluation, (n_rows + 1, evaluation.shape[1])).copy()
    rows[np.arange(n_rows), np.resize(flagged, n_rows)] = np.nan
    rows[-1, flagged] = np.nan
    return rows


def _spread_of(values: Outputs) -> float:
    """Return the range of the values, and a hundredth of their size, for values that lie far from zero."""
    return float(np.ptp(values) + 0.01 * np.max(np.abs(values))) or 1.0


def _worst_row(index: int, probes: Probes, got: Outputs) -> WorstRow:
    expected = tuple(probes.expected[index].tolist())
    return WorstRow(
        index, probes.kinds[index], _finite_or_none(probes.rows[index]), expected, _finite_or_none(got[index])
    )


def _finite_or_none(values: Rows | Outputs) -> tuple[float | None, ...]:
    return tuple(float(value) if np.isfinite(value) else None for value in values)
