"""What the exporter takes: a fitted model with the meaning of its inputs and outputs, and evidence about its quality.

Rows are ``(n_rows, n_features) float32`` as a device encodes them: NaN where missing, a category as its index. Outputs
are ``(n_rows, n_outputs) float64``: one probability a label, or one value, or one decision of an anomaly detector.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_agent.bundle import Feature, Task
from exporter.errors import ModelError
from exporter.models.answers import answer_of, answers, labels_of_estimator
from exporter.models.trained_rows import as_trained

Rows: TypeAlias = NDArray[np.float32]
Outputs: TypeAlias = NDArray[np.float64]
Truth: TypeAlias = NDArray[np.float64] | NDArray[np.int64]


class Estimator(Protocol):
    """A fitted estimator or pipeline, in scikit-learn's words; classifiers have ``classes_`` as well."""

    def predict(self, X: Rows) -> NDArray[Any]:
        """Predict labels or values of rows."""
        ...


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A fitted model; `exporter.models.answers` says which answer of the estimator is the model's.

    Attributes:
        estimator: trained on indices into `labels`, or on the labels themselves; it is not changed.
        features: its columns, in their order; see `exporter.models.trained_rows` for how it is handed texts.
        labels: classes or clusters in the order of the outputs; empty for regression and anomaly.

    Raises:
        ModelError: the estimator answers several things at once, knows other classes than `labels`, or cannot do the
            task.
    """

    estimator: Estimator
    task: Task
    features: tuple[Feature, ...]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name = type(self.estimator).__name__
        if self.task == "anomaly" and not hasattr(self.estimator, "decision_function"):
            raise ModelError(f"{name} has no decision_function, whose sign tells an anomaly")
        if self.task != "classification":
            if self.labels:
                raise ModelError(f"{name}: labels for a {self.task}, which has none")
            return
        if isinstance(getattr(self.estimator, "classes_", None), list):
            raise ModelError(f"{name} answers several labels at once; fit one model for each")
        classes = list(labels_of_estimator(self.estimator))
        if classes not in ([str(i) for i in range(len(self.labels))], list(self.labels)) and not (
            classes and answer_of(self.estimator, self.task) == "cluster" and len(classes) == len(self.labels)
        ):
            raise ModelError(
                f"{name} knows the classes {classes[:10]}, the labels are {list(self.labels)[:10]}: "
                "every label must occur in the rows that it was trained on"
            )
        if len(self.labels) < 2:  # noqa: PLR2004 - one label leaves nothing to decide
            raise ModelError(
                f"{name} has the labels {list(self.labels)}: with fewer than two there is nothing to decide"
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
            ModelError: the estimator answers another number of outputs.
        """
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        outputs = answers(self.estimator, self.task, as_trained(self.estimator, self.features, rows))
        if outputs.size != len(rows) * self.n_outputs:
            raise ModelError(
                f"{type(self.estimator).__name__} answers {outputs.shape[1:]} numbers a row where {self.n_outputs} are "
                "expected; fit one model for each output"
            )
        return outputs.reshape(len(rows), self.n_outputs)


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
