"""What the exporter takes: a fitted model with the meaning of its inputs and outputs, and evidence about its quality.

Rows are ``(n_rows, n_features) float32`` as a device encodes them: NaN where missing, a category as its index. Outputs
are ``(n_rows, n_outputs) float64``: one probability a label, or one value.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature, Task
from exporter.errors import ModelError

Rows: TypeAlias = NDArray[np.float32]
Outputs: TypeAlias = NDArray[np.float64]
Truth: TypeAlias = NDArray[np.float64] | NDArray[np.int64]


class Estimator(Protocol):
    """A fitted scikit-learn estimator or pipeline; classifiers have ``predict_proba`` and ``classes_`` as well."""

    def predict(self, X: Rows) -> NDArray[Any]:
        """Predict labels or values of rows."""
        ...


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fitted model.

    Attributes:
        estimator: trained on indices into `labels`, or on the labels themselves; it is not changed.
        labels: classes in the order of the outputs; empty for regression.

    Raises:
        ModelError: the estimator gives no probabilities, or knows other classes than `labels`.
    """

    estimator: Estimator
    task: Task
    features: tuple[Feature, ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task == "regression":
            return
        name = type(self.estimator).__name__
        if not hasattr(self.estimator, "predict_proba"):
            raise ModelError(f"{name} gives no probabilities; choose a family that has predict_proba")
        classes = [str(c) for c in np.asarray(getattr(self.estimator, "classes_", ())).tolist()]
        if classes not in ([str(i) for i in range(len(self.labels))], list(self.labels)):
            raise ModelError(
                f"{name} knows the classes {classes[:10]}, the labels are {list(self.labels)[:10]}: "
                "every label must occur in the rows that it was trained on"
            )

    @property
    def n_outputs(self) -> int:
        """Numbers that the model answers for one row."""
        return len(self.labels) or 1

    def outputs(self, rows: Rows) -> Outputs:
        """Score rows with the original estimator.

        Args:
            rows: ``(n_rows, n_features) float32``.

        Returns:
            ``(n_rows, n_outputs) float64``.

        Raises:
            ValueError: scikit-learn refused the rows, for example for missing values.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        name = "predict" if self.task == "regression" else "predict_proba"
        outputs = getattr(self.estimator, name)(rows)
        return np.asarray(outputs, dtype=np.float64).reshape(len(rows), self.n_outputs)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a model answered on rows that it was not trained on, block by contiguous block.

    Attributes:
        rows: ``(n, n_features) float32``, in their order in time.
        truth: ``(n,)``: index of the label, or the value.
        predictions: ``(n, n_outputs) float64``: out of fold, each row scored by a model that never saw its block.
        block_of: ``(n,)`` int: number of the contiguous block of each row.

    Raises:
        ModelError: the lengths differ, or there is no row.
    """

    rows: Rows
    truth: Truth
    predictions: Outputs
    block_of: NDArray[np.int64]

    def __post_init__(self) -> None:
        lengths = {len(self.rows), len(self.truth), len(self.predictions), len(self.block_of)}
        if len(lengths) != 1 or 0 in lengths:
            raise ModelError(f"evidence of {sorted(lengths)} rows: all four parts must have the same, and at least one")

    @property
    def blocks(self) -> tuple[int, ...]:
        """Numbers of the blocks, ascending."""
        return tuple(int(block) for block in np.unique(self.block_of))
