"""What is learnt from what, and how: the sections ``[data]``, ``[target]``, ``[training]`` and ``[gate]``."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from edge_agent.bundle import Task
from trainer.project.estimators import EstimatorSection
from trainer.project.section import Positive, Section, Share

# Of four pairs the least p of the signed-rank test is 1/16; one more is left away, and the last block ends a trial.
LEAST_WILCOXON_BLOCKS: Final = 6
# What a detector tells apart where nobody has named it.
UNLABELLED: Final = ("usual", "anomaly")
ClassWeight = Literal["none", "balanced"]
CalibrationMethod = Literal["sigmoid", "isotonic", "temperature"]
Objective = Literal["quality", "size", "latency"]


class DataSection(Section, frozen=True, kw_only=True):
    """Where the training rows come from.

    Attributes:
        path: a CSV or Parquet file, relative to the project file; several are read one after the other.
        view: views of the feature store, or features of them as ``VIEW:FEATURE``: each labelled row gets what was known
            at its time; the files then hold keys, time and target alone. None: the files hold the features.
        labels: instead of files, the view whose rows are the labelled rows, the target among its features: of the
            fleet's labels, say.
        zone: of times that do not say theirs, where there is a view.
        epoch: what times that are numbers count, where there is a view.
        rows: first (inclusive) and last (exclusive) data row to train on, counted over all files; None: all.
        timestamp: column that orders the rows; None: the order of the file.
        entity: column that names the device or unit; None: all rows are of one.
        judge: first (inclusive) and last (exclusive) row that judge and are never trained on, counted as those of
            ``rows`` and later than they; None: the held-out part of ``rows`` judges.
        schema: file that says what the rows must be; None: the features of this file say it.
        must_be_reviewed: refuse rows as long as nobody has reviewed the schema as it is.
    """

    # Without labels there must be some: `viewed`.
    path: tuple[str, ...] = ()
    view: str | tuple[str, ...] = ()
    labels: str | None = None
    zone: str | None = None
    epoch: Literal["s", "ms", "us"] | None = None
    rows: tuple[Annotated[int, Meta(ge=0)], Positive] | None = None
    timestamp: str | None = None
    entity: str | None = None
    judge: tuple[Positive, Positive] | None = None
    schema: str | None = None
    must_be_reviewed: bool = False

    @property
    def views(self) -> tuple[str, ...]:
        """What is taken from the feature store; nothing: the rows' own columns are the features."""
        return (self.view,) if isinstance(self.view, str) else self.view

    @property
    def time(self) -> str | None:
        """The column of the rows' times; rows of a view always have one."""
        return self.timestamp or ("event_timestamp" if self.labels is not None else None)


class TargetSection(Section, frozen=True, kw_only=True):
    """What is learnt.

    Attributes:
        column: of the label or value; none: an anomaly detection whose rows nobody has labelled, all taken for usual.
        labels: classes in the order of the outputs; empty: those found in the training rows, sorted.
            Of an anomaly detection there are two, the usual one first.
        metric: ``accuracy``, ``balanced_accuracy`` or ``macro_f1``; ``r2`` or ``mae`` for regression.
        label_delay_s: how long after its row a label is known. A model that answers rows of a time learns from no label
            that was not known by then, and must beat whoever repeats the last one that was; None: nobody knows, and
            that is told without being judged.
    """

    column: str = ""
    task: Task
    unit: str = ""
    labels: tuple[str, ...] = ()
    metric: Literal["accuracy", "balanced_accuracy", "macro_f1", "r2", "mae"] | None = None
    label_delay_s: Annotated[float, Meta(ge=0)] | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the project's own rows have labels."""
        return bool(self.column)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that are declared; of rows without labels the two that a detector tells apart."""
        return self.labels or (() if self.is_labelled else UNLABELLED)


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
            writers), each judged by models that never saw them: what a new device may expect; ``stratified``: blocks
            with about the same share of every label (of values: of every tenth), and no entity in two of them where
            there are entities.
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
    split: Literal["time", "entity", "stratified"] = "time"
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
        max_alarms: of a detector whose rows nobody has labelled: the share of the judged rows on which it may alarm.
        slices: quality that the candidate must have on parts of the judged rows, by ``COLUMN=VALUE`` of a category,
            ``COLUMN=*`` for each of its values, or ``target=LABEL``; parts of fewer than 20 rows are not judged.
    """

    min_gain_over_baseline: float = 0.0
    max_loss_to_previous: float = 0.01
    max_parity_loss: float = 0.005
    max_chance: Share = 0.1
    max_alarms: Share = 0.1
    slices: dict[str, float] = msgspec.field(default_factory=dict)
