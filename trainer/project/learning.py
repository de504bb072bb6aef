"""What is learnt from what, and how: the sections ``[data]``, ``[target]``, ``[training]`` and ``[gate]``."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge_agent.bundle import Task
from trainer.project.estimators import EstimatorSection
from trainer.project.section import Positive, Section, Share

# Of four pairs the least p of the signed-rank test is 1/16; one more is left away, and the last block ends a trial.
LEAST_WILCOXON_BLOCKS: Final = 6
ClassWeight = Literal["none", "balanced"]
CalibrationMethod = Literal["sigmoid", "isotonic", "temperature"]
Objective = Literal["quality", "size", "latency"]


class DataSection(Section, frozen=True, kw_only=True):
    """Where the training rows come from.

    Attributes:
        path: a CSV or Parquet file, relative to the project file; several are read one after the other.
        rows: first (inclusive) and last (exclusive) data row to train on, counted over all files; None: all.
        timestamp: column that orders the rows; None: the order of the file.
        entity: column that names the device or unit; None: all rows are of one.
        judge: first (inclusive) and last (exclusive) row that judge and are never trained on, counted as those of
            ``rows`` and later than they; None: the held-out part of ``rows`` judges.
        schema: file that says what the rows must be; None: the features of this file say it.
        must_be_reviewed: refuse rows as long as nobody has reviewed the schema as it is.
    """

    path: Annotated[tuple[str, ...], Meta(min_length=1)]
    rows: tuple[Annotated[int, Meta(ge=0)], Positive] | None = None
    timestamp: str | None = None
    entity: str | None = None
    judge: tuple[Positive, Positive] | None = None
    schema: str | None = None
    must_be_reviewed: bool = False


class TargetSection(Section, frozen=True, kw_only=True):
    """What is learnt.

    Attributes:
        labels: classes in the order of the outputs; empty: those found in the training rows, sorted.
            Of an anomaly detection there are two, the usual one first.
        metric: ``accuracy``, ``balanced_accuracy`` or ``macro_f1``; ``r2`` or ``mae`` for regression.
    """

    column: str
    task: Task
    unit: str = ""
    labels: tuple[str, ...] = ()
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "r2", "mae"] | None = None


class TrainingSection(Section, frozen=True, kw_only=True):
    """How models are searched.

    Attributes:
        candidates: names of families in ``trainer/pipeline/candidates.py``; none: ``forest`` and ``mlp``, for anomalies
            ``isolation_forest`` and ``one_class_svm``; where the project has estimators of its own, those alone.
        estimators: the project's own candidates, each by the name under which Python imports it.
        trials: trials of the search over all families together.
        ahead: trials that may be begun before the first of them is through, and then know nothing of one another: more
            keep more machines busy (`cluster`), and each is drawn from less. The same here and there.
        split: ``time``: contiguous blocks, the latest rows judge; ``entity``: blocks of whole entities (devices,
            writers), each judged by models that never saw them: what a new device may expect.
        blocks: blocks for cross-validation and for the references.
        holdout: share of rows, the latest, kept for evaluation alone.
        timeout_s: no new trial is started after that.
        fleet_weights: weights of one labelled row of the fleet against one old row, tried by the search.
        class_weights: tried by the search: ``none``; ``balanced``: rare labels weigh as much as frequent ones.
        early_stopping: find the number of rounds or epochs of boosting and networks on the last block that a model is
            fitted on, then fit anew on all of them.
        calibration: ways to make probabilities true, tried on the chosen model: ``sigmoid``, ``isotonic``,
            ``temperature``; the best is kept when it lowers the log-loss and does not cost quality.
        pruning: when a trial is given up before its last block: ``median``: worse than half of the others were by
            then; ``wilcoxon``: significantly worse than the best one; ``none``.
        objectives: of the search: ``quality`` alone within the budgets, or beside it ``size`` and ``latency``.
        choice: of the trials that fit the budgets: ``best``: of the best quality; ``smaller``: the smallest of those
            that are within one standard error of it.
    """

    candidates: tuple[str, ...] = ()
    estimators: tuple[EstimatorSection, ...] = ()
    trials: Positive = 12
    ahead: Positive = 1
    split: Literal["time", "entity"] = "time"
    blocks: Annotated[int, Meta(ge=2)] = 5
    holdout: Annotated[float, Meta(gt=0, lt=0.9)] = 0.2
    timeout_s: float = 600.0
    fleet_weights: Annotated[tuple[float, ...], Meta(min_length=1)] = (1.0, 3.0, 10.0, 30.0)
    class_weights: Annotated[tuple[ClassWeight, ...], Meta(min_length=1)] = ("none",)
    early_stopping: bool = False
    calibration: tuple[CalibrationMethod, ...] = ()
    pruning: Literal["median", "wilcoxon", "none"] = "median"
    objectives: Annotated[tuple[Objective, ...], Meta(min_length=1)] = ("quality",)
    choice: Literal["best", "smaller"] = "best"


class GateSection(Section, frozen=True, kw_only=True):
    """What a candidate must show before it is promoted; gains and margins in units of the metric.

    Attributes:
        min_gain_over_baseline: better than the majority (or mean) by at least this.
        max_loss_to_previous: not worse than the champion on the same rows by more than this.
        max_parity_loss: a variant's quality loss against the original model.
        max_chance: how often a candidate may be promoted that is no better than the champion (the first: than a
            constant answer), and only looks so on the rows that judge; 1: it need not be shown to be better.
        slices: quality that the candidate must have on parts of the judged rows, by ``COLUMN=VALUE`` of a category,
            ``COLUMN=*`` for each of its values, or ``target=LABEL``; parts of fewer than 20 rows are not judged.
    """

    min_gain_over_baseline: float = 0.0
    max_loss_to_previous: float = 0.01
    max_parity_loss: float = 0.005
    max_chance: Share = 0.1
    slices: dict[str, float] = msgspec.field(default_factory=dict)
