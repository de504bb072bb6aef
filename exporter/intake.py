"""Takes in a model file and a file of rows: as a fitted model, rows in the model's order, and a truth to judge by.

Without a truth the original's own answers stand for it: a variant is judged by how often it agrees.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.bundle import Task
from exporter.errors import ModelError, RowsError
from exporter.graphs.contract import Asked
from exporter.graphs.graph import OnnxEstimator
from exporter.models.answers import labels_of_estimator, task_of
from exporter.models.metrics import decisions_of
from exporter.models.model import Estimator, FittedModel, Outputs, Rows, Truth
from exporter.models.model_formats import load_model
from exporter.models.rows_file import LabelledRows, Wanted, anomalies_of, load_rows, truth_of
from exporter.reading.known_texts import known_texts

MIN_ROWS: Final = 50
# What judges when nothing else is asked for: with a truth, and without.
_METRICS: Final[dict[Task, tuple[str, str]]] = {
    "classification": ("accuracy", "agreement"),
    "regression": ("r2", "r2"),
    # Anomalies are rare: a detector that never calls one is right on nearly every row.
    "anomaly": ("balanced_accuracy", "agreement"),
}


@dataclass(frozen=True, slots=True)
class Intake:
    """A model with rows that it was not trained on.

    Attributes:
        rows: ``(n, n_features) float32``, in the file's order.
        truth: ``(n,)``: index of the label, or the value; for an anomaly detector 1 for an anomaly, else 0.
        metric: what judges.
    """

    model: FittedModel
    rows: Rows
    truth: Truth
    metric: str


def take_in(
    model_file: Path,
    rows_file: Path,
    target: str | None,
    metric: str | None,
    *,
    trust_pickle: bool = False,
    outputs: Asked | None = None,
) -> Intake:
    """Read both files.

    Args:
        model_file: see `exporter.models.model_formats`.
        rows_file: see `exporter.models.rows_file`.
        target: column of the truth; None: there is none.
        metric: None: the usual one of the task.
        trust_pickle: whether a pickle may run.
        outputs: what the answer of an ONNX graph is; None: it is found out.

    Raises:
        ModelError: the model file cannot be taken, or refuses the rows.
        RowsError: the rows do not fit it, or are fewer than 50.
    """
    estimator = load_model(model_file, trust_pickle=trust_pickle)
    loaded = load_rows(rows_file, target, _wanted_by(estimator))
    if isinstance(estimator, OnnxEstimator):
        estimator = estimator.settled(loaded.rows, outputs)
    elif outputs is not None:
        raise ModelError(f"{model_file}: outputs {outputs!r} are asked of it, which only an ONNX file can be")
    task = task_of(estimator)
    if len(loaded.rows) < MIN_ROWS:
        raise RowsError(f"{rows_file}: {len(loaded.rows)} rows; a proof needs at least {MIN_ROWS}")
    labels = labels_of_estimator(estimator) if task == "classification" else ()
    model = FittedModel(estimator, task, loaded.features, labels)
    truth = _truth_of(model, loaded, rows_file)
    return Intake(model, loaded.rows, truth, metric or _METRICS[task][int(loaded.truth is None)])


def _truth_of(model: FittedModel, loaded: LabelledRows, path: Path) -> Truth:
    if loaded.truth is None:
        answers = _outputs_of(model, loaded.rows)
        return answers[:, 0] if model.task == "regression" else decisions_of(model.task, answers)
    if model.task == "anomaly":
        return anomalies_of(loaded.truth, path)
    return truth_of(loaded.truth, model.labels, path)


def _wanted_by(estimator: Estimator) -> Wanted:
    anything: Any = estimator
    names = getattr(anything, "feature_names_in_", None)
    n_columns = getattr(anything, "n_features_in_", None)
    if n_columns is None:
        return Wanted()
    return Wanted(
        None if names is None else tuple(str(name) for name in names),
        int(n_columns),
        known_texts(estimator, int(n_columns)),
    )


def _outputs_of(model: FittedModel, rows: Rows) -> Outputs:
    try:
        return model.outputs(rows)
    except ValueError as error:
        raise ModelError(f"the model refuses the rows: {str(error).splitlines()[0]}") from error
