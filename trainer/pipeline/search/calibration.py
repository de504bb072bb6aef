"""Makes the probabilities of the taken model true, where that lowers the log-loss and costs no quality.

A calibrator is fitted on what models said of rows that they did not see. It is judged the same way: for each block, one
that was fitted on the other blocks. What is kept is a `CalibratedClassifierCV`, which every form for devices can take.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import log_loss

from exporter.threads import one_thread
from trainer.pipeline.candidates import Family
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.trial import Draw
from trainer.project.learning import CalibrationMethod

# What is gained by chance alone is not worth a part more on the device.
_LEAST_GAIN: Final = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A calibrated model.

    Attributes:
        answers: ``(n_kept, n_labels)``: of the judged rows, each calibrated without its block; NaN elsewhere.
        log_losses: before and after, on the judged rows.
    """

    estimator: Any
    method: CalibrationMethod
    answers: NDArray[np.float64]
    log_losses: tuple[float, float]


class _Recorded(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answers row i with what was recorded of it; the row itself is its number."""

    def __init__(self, said: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
        self.said = said
        self.labels = labels
        self.classes_ = labels

    def fit(self, _rows: object, _target: object) -> "_Recorded":
        """Nothing is learnt: it was fitted before."""
        return self

    def _of(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        said: NDArray[np.float64] = self.said[np.asarray(numbers)[:, 0].astype(np.int64)]
        return said

    def predict(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the labels."""
        said = self._of(numbers)
        places = (said > 0).astype(np.int64) if said.ndim == 1 else said.argmax(axis=1)
        named: NDArray[np.int64] = self.labels[places]
        return named


class _Decided(_Recorded):
    def decision_function(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the decisions."""
        return self._of(numbers)


class _Shared(_Recorded):
    def predict_proba(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the probabilities."""
        return self._of(numbers)


def calibrate(lesson: Lesson, draw: Draw, family: Family, estimator: Any) -> Calibrated | None:  # noqa: ANN401
    """Return the estimator with the calibration that lowers the log-loss most; None when none is worth it.

    Args:
        lesson: rows, truths and blocks.
        draw: of the trial that was taken.
        family: of the draw.
        estimator: fitted by it on all rows that are not held out.

    Raises:
        DataError: a classifier would see one label only.
    """
    methods = lesson.project.training.calibration
    if not methods or not lesson.n_labels:
        return None
    said = _said_out_of_fold(lesson, draw, family)
    plain, judged = said.answers, lesson.judged & ~np.isnan(said.answers).any(axis=1)
    before, quality = _log_loss(lesson, plain, judged), lesson.quality_of(plain, judged)
    found: list[tuple[float, CalibrationMethod, NDArray[np.float64]]] = []
    for method in methods:
        answers = _calibrated_answers(lesson, said, method, judged)
        if answers is not None and lesson.quality_of(answers, judged) >= quality:
            found.append((_log_loss(lesson, answers, judged), method, answers))
    if not found:
        return None
    after, method, answers = min(found, key=lambda one: one[0])
    if after > before * (1 - _LEAST_GAIN):
        return None
    fitted = _fitted(said, method, np.flatnonzero(judged), lesson.truth)
    # The calibrator learnt from what models said that did not see the rows; from here on it is this one's.
    fitted.calibrated_classifiers_[0].estimator = estimator
    fitted.estimator = estimator
    return Calibrated(fitted, method, answers, (before, after))


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What models said of blocks that they did not see.

    Attributes:
        answers: ``(n_kept, n_labels)``: as probabilities.
        response: what a calibrator works on, decisions or probabilities, ``(n_kept, …)``.
        is_decision: which of the two.
    """

    answers: NDArray[np.float64]
    response: NDArray[np.float64]
    is_decision: bool


def _said_out_of_fold(lesson: Lesson, draw: Draw, family: Family) -> _Said:
    answers, responses, is_decision = lesson.no_answers(), {}, False
    for block in lesson.splits.search_blocks:
        inside = lesson.splits.block_of == block
        model, answers[inside] = lesson.answer_block(
            block, family, draw.parameters, draw.fleet_weight, draw.class_weight
        )
        is_decision = hasattr(model, "decision_function")
        with one_thread("blas"):
            ask = model.decision_function if is_decision else model.predict_proba
            responses[block] = np.asarray(ask(lesson.rows[inside]), dtype=np.float64)
    return _Said(answers, _joined(lesson, responses), is_decision)


def _joined(lesson: Lesson, responses: Mapping[int, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Put the blocks' responses in the order of the rows; NaN where a model lacked a label, and everywhere else."""
    width = max(response.shape[1:] for response in responses.values())
    joined = np.full((len(lesson.rows), *width), np.nan)
    for block, response in responses.items():
        if response.shape[1:] == width:
            joined[lesson.splits.block_of == block] = response
    return joined


def _calibrated_answers(
    lesson: Lesson, said: _Said, method: CalibrationMethod, judged: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Calibrate each block by the other blocks; None where they lack a label or a response."""
    answers = lesson.no_answers()
    response = said.response.reshape(len(said.response), -1)
    for block in lesson.splits.search_blocks:
        inside = judged & (lesson.splits.block_of == block)
        others = judged & ~inside
        labels = np.unique(lesson.truth[others])
        if not inside.any():
            continue
        if len(labels) != lesson.n_labels or np.isnan(response[judged]).any():
            return None
        fitted = _fitted(said, method, np.flatnonzero(others), lesson.truth)
        answers[inside] = fitted.predict_proba(np.flatnonzero(inside).reshape(-1, 1))
    return answers


def _fitted(said: _Said, method: CalibrationMethod, numbers: NDArray[np.int64], truth: NDArray[np.float64]) -> Any:  # noqa: ANN401
    """Fit a calibrator on the recorded responses of some rows, with scikit-learn's own class."""
    kind = _Decided if said.is_decision else _Shared
    labels = np.unique(truth[numbers]).astype(np.int64)
    recorded = FrozenEstimator(kind(said.response, labels))
    return CalibratedClassifierCV(recorded, method=method).fit(numbers.reshape(-1, 1), truth[numbers].astype(np.int64))


def _log_loss(lesson: Lesson, answers: NDArray[np.float64], judged: NDArray[np.bool_]) -> float:
    labels: Sequence[int] = range(lesson.n_labels)
    clipped = np.clip(answers[judged], 1e-9, None)
    shares = clipped / clipped.sum(axis=1, keepdims=True)
    return float(log_loss(lesson.truth[judged].astype(np.int64), shares, labels=list(labels)))
