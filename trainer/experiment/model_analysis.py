"""Where the model is good and where not: slices, calibration, what it depends on, and its worst answers."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.bundle import Feature
from exporter.models.metrics import decisions_of, quality
from exporter.proof.intervals import Estimate, Judge
from trainer.features.table import NO_ENTITY, TrainingTable
from trainer.pipeline.fitting import outputs_of
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.training import Trained

_MIN_SLICE_ROWS: Final = 20
_MAX_SLICES_OF_ONE: Final = 12
_TIME_SLICES: Final = 4
_SLICED_FEATURES: Final = 3
_CALIBRATION_BINS: Final = 10
_MAX_PERMUTED_ROWS: Final = 2000
# Answers that permuting may ask for; with many features it is repeated less often.
_MAX_PERMUTATIONS: Final = 300
_REPEATS: Final = 5
_WORST: Final = 12
_SCATTERED: Final = 600
NO_ALARM: Final = "share without an alarm"

Floats = NDArray[np.float64]


class Slice(Struct, frozen=True):
    """Some of the judged rows, and how good the model is there."""

    group: str
    name: str
    rows: int
    quality: Estimate

    def is_worse_than(self, overall: float) -> bool:
        """Tell whether even the upper end of its interval lies below the quality on all rows."""
        return self.quality.high < overall


class CalibrationBin(Struct, frozen=True):
    """Rows of about the same confidence (regression: the same answer): what was promised, what came."""

    rows: int
    promised: float
    found: float


class Importance(Struct, frozen=True):
    """By how much the quality falls when a feature's values are shuffled, with the spread over repeats."""

    name: str
    loss: float
    deviation: float


class ErrorExample(Struct, frozen=True):
    """One of the worst answers.

    Attributes:
        row: its place among the extracted rows.
        certainty: probability of the answer; for regression the error.
        unusual: the values that lie farthest from what is usual: name, value, deviations from the mean.
    """

    row: int
    truth: str
    answer: str
    certainty: float
    unusual: tuple[tuple[str, float, float], ...]


class ModelAnalysis(Struct, frozen=True):
    """What was found of the model, on rows that it was not trained on.

    Attributes:
        metric: the project's; of rows that nobody has labelled the share on which a detector does not alarm.
        slice_metric: of the slices: of a regression the mean absolute error, negated, as r2 of a narrow slice misleads.
        overall: quality on all judged rows; `overall_of_slices`: by the slices' metric.
        constant: of the best constant answer; `last_label`: of always answering the last label before the judged rows.
        confusion: rows by truth, then by answer; empty for regression, and where no row is labelled.
        calibration_error: mean distance of promised and found probability; NaN for regression and detectors.
        scatter: truth and answer of some rows, regression only.
        is_labelled: whether anybody knows the truth about the judged rows.
    """

    metric: str
    slice_metric: str
    rows: int
    overall: Estimate
    overall_of_slices: float
    constant: float
    train_quality: float
    slices: tuple[Slice, ...]
    calibration: tuple[CalibrationBin, ...]
    calibration_error: float
    importance: tuple[Importance, ...]
    confusion: tuple[tuple[int, ...], ...]
    scatter: tuple[tuple[float, float], ...]
    errors: tuple[ErrorExample, ...]
    is_labelled: bool = True


def analyse_model(
    lesson: Lesson, trained: Trained, table: TrainingTable, *, judged: NDArray[np.bool_], constant: float, train: float
) -> ModelAnalysis:
    """Examine a model on the judged rows.

    Args:
        lesson: the kept rows.
        trained: the model, and the answers of those like it that did not see a row.
        table: that the rows were taken from.
        judged: ``(n_kept,) bool``.
        constant: quality of the best constant answer, as the evaluation found it.
        train: quality on the rows that the model was fitted on.
    """
    project = lesson.project
    answers = trained.out_of_fold.copy()
    held = lesson.splits.is_holdout
    answers[held] = outputs_of(trained.estimator, lesson.rows[held], lesson.n_labels)
    rows, truth, outputs = lesson.rows[judged], lesson.truth[judged], answers[judged]
    places = lesson.splits.index[judged]
    rng = np.random.default_rng(project.seed)
    # Where nobody knows the truth every row counts as usual, and what is counted is how many raise no alarm.
    metric = project.metric if lesson.is_labelled else "accuracy"
    slice_metric = "mae" if project.target.task == "regression" else metric
    importance = _importance(trained.estimator, lesson, rows, truth, rng, metric)
    top = [item.name for item in importance[:_SLICED_FEATURES]]
    cuts = _cuts(project.features, table, places, rows, truth, top)
    slices = [
        Slice(group, name, int(inside.sum()), _judged(slice_metric, truth[inside], outputs[inside], rng))
        for group, name, inside in cuts
        if inside.sum() >= _MIN_SLICE_ROWS and not inside.all()
    ]
    calibration, error = _calibration(truth, outputs, is_classification=bool(lesson.n_labels))
    decisions = decisions_of(project.target.task, outputs)
    return ModelAnalysis(
        metric=metric if lesson.is_labelled else NO_ALARM,
        slice_metric=slice_metric if lesson.is_labelled else NO_ALARM,
        rows=len(truth),
        overall=_judged(metric, truth, outputs, rng),
        overall_of_slices=quality(slice_metric, truth, outputs),
        constant=constant,
        train_quality=train,
        slices=tuple(slices),
        calibration=calibration if lesson.is_labelled else (),
        calibration_error=error,
        importance=importance,
        confusion=_confusion(truth, decisions, len(table.labels)) if lesson.is_labelled else (),
        scatter=_scatter(truth, outputs) if not table.labels else (),
        errors=_errors(table, places, rows, truth, outputs, decisions) if lesson.is_labelled else (),
        is_labelled=lesson.is_labelled,
    )


def _judged(metric: str, truth: Floats, outputs: Floats, rng: np.random.Generator) -> Estimate:
    return Judge(metric, truth, rng).quality(outputs)


def _cuts(
    features: Sequence[Feature],
    table: TrainingTable,
    places: NDArray[np.int64],
    rows: NDArray[np.float32],
    truth: Floats,
    top: Sequence[str],
) -> list[tuple[str, str, NDArray[np.bool_]]]:
    """Cut the judged rows by time, entity, label, category, and by thirds of what matters most."""
    order = np.arange(len(truth)) * _TIME_SLICES // max(len(truth), 1)
    cuts = [("time", f"part {part + 1} of {_TIME_SLICES}", order == part) for part in range(_TIME_SLICES)]
    entity = table.entity[places]
    named, counts = np.unique(entity[entity != NO_ENTITY], return_counts=True)
    largest = named[np.argsort(-counts, kind="stable")][:_MAX_SLICES_OF_ONE]
    cuts += [("entity", f"number {int(number) + 1}", entity == number) for number in largest]
    cuts += [("truth", label, truth == code) for code, label in enumerate(table.labels[:_MAX_SLICES_OF_ONE])]
    for place, feature in enumerate(features):
        values = rows[:, place]
        if feature.dtype == "category":
            some = feature.categories[:_MAX_SLICES_OF_ONE]
            cuts += [(feature.name, name, values == code) for code, name in enumerate(some)]
        elif feature.name in top:
            cuts += _thirds(feature.name, values.astype(np.float64))
        missing = np.isnan(values)
        if missing.any():
            cuts.append((feature.name, "missing", missing))
    return cuts


def _thirds(name: str, values: Floats) -> list[tuple[str, str, NDArray[np.bool_]]]:
    if np.isnan(values).all():
        return []
    low, high = np.nanquantile(values, (1 / 3, 2 / 3))
    return [
        (name, f"≤ {low:.4g}", values <= low),
        (name, f"{low:.4g} to {high:.4g}", (values > low) & (values <= high)),
        (name, f"> {high:.4g}", values > high),
    ]


def _calibration(
    truth: Floats, outputs: Floats, *, is_classification: bool
) -> tuple[tuple[CalibrationBin, ...], float]:
    if is_classification:
        promised = outputs.max(axis=1)
        found = (outputs.argmax(axis=1) == truth).astype(np.float64)
        bins = np.minimum((promised * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    else:
        promised, found = outputs[:, 0], truth
        bins = np.argsort(np.argsort(promised, kind="stable"), kind="stable") * _CALIBRATION_BINS // max(len(truth), 1)
    filled = [
        CalibrationBin(int(inside.sum()), float(promised[inside].mean()), float(found[inside].mean()))
        for inside in (bins == number for number in range(_CALIBRATION_BINS))
        if inside.any()
    ]
    if not is_classification:
        return tuple(filled), float("nan")
    return tuple(filled), sum(abs(b.promised - b.found) * b.rows for b in filled) / len(truth)


def _importance(
    estimator: Any,  # noqa: ANN401 - scikit-learn ships no types
    lesson: Lesson,
    rows: NDArray[np.float32],
    truth: Floats,
    rng: np.random.Generator,
    metric: str,
) -> tuple[Importance, ...]:
    """Shuffle one feature after the other (Breiman, Random Forests, 2001)."""
    step = max(1, -(-len(rows) // _MAX_PERMUTED_ROWS))
    rows, truth = rows[::step], truth[::step]
    names = [feature.name for feature in lesson.project.features]
    repeats = max(1, min(_REPEATS, _MAX_PERMUTATIONS // len(names)))
    before = quality(metric, truth, outputs_of(estimator, rows, lesson.n_labels))
    found = []
    for place, name in enumerate(names):
        losses = []
        for _ in range(repeats):
            shuffled = rows.copy()
            shuffled[:, place] = rng.permutation(shuffled[:, place])
            losses.append(before - quality(metric, truth, outputs_of(estimator, shuffled, lesson.n_labels)))
        found.append(Importance(name, float(np.mean(losses)), float(np.std(losses))))
    return tuple(sorted(found, key=lambda item: -item.loss))


def _confusion(truth: Floats, decisions: NDArray[np.int64], n_labels: int) -> tuple[tuple[int, ...], ...]:
    if not n_labels:
        return ()
    counts = np.zeros((n_labels, n_labels), dtype=np.int64)
    np.add.at(counts, (truth.astype(np.int64), decisions), 1)
    return tuple(tuple(int(count) for count in row) for row in counts)


def _scatter(truth: Floats, outputs: Floats) -> tuple[tuple[float, float], ...]:
    step = max(1, -(-len(truth) // _SCATTERED))
    return tuple((float(a), float(b)) for a, b in zip(truth[::step], outputs[::step, 0], strict=True))


def _errors(
    table: TrainingTable,
    places: NDArray[np.int64],
    rows: NDArray[np.float32],
    truth: Floats,
    outputs: Floats,
    decisions: NDArray[np.int64],
) -> tuple[ErrorExample, ...]:
    """Show the wrong answers that were given with the greatest certainty, or that are farthest off."""
    if table.labels:
        given = decisions.astype(np.float64)
        # Of a detector, how far its one number lies from where it changes its mind.
        certainty = outputs.max(axis=1) if outputs.shape[1] > 1 else np.abs(outputs[:, 0])
        badness = np.where(given != truth, certainty, -1.0)
    else:
        given = outputs[:, 0]
        certainty = badness = np.abs(given - truth)

    def name(value: float) -> str:
        return table.labels[int(value)] if table.labels else f"{value:.4g}"

    usual = table.rows.astype(np.float64)
    middle, spread = np.nanmean(usual, axis=0), np.nanstd(usual, axis=0)
    worst = [int(place) for place in np.argsort(-badness, kind="stable")[:_WORST] if badness[place] > 0]
    examples = []
    for place in worst:
        with np.errstate(invalid="ignore", divide="ignore"):
            far = np.nan_to_num((rows[place] - middle) / spread, nan=0.0, posinf=0.0, neginf=0.0)
        order = np.argsort(-np.abs(far), kind="stable")[:3]
        unusual = tuple((table.names[i], float(rows[place, i]), float(far[i])) for i in order)
        examples.append(
            ErrorExample(int(places[place]), name(truth[place]), name(given[place]), float(certainty[place]), unusual)
        )
    return tuple(examples)
