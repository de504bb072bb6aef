"""Reads classifiers of two classes whose label changes at a chosen threshold."""

from typing import Any, Final

import numpy as np
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from exporter.models.answers import MARGIN, Cut, cut_of
from exporter.programs.program import Affine, ArgMax, Complement, Curve, Interpolate
from exporter.reading.reading import Reader, Readers, Reading, Response


def _inner(response: Response) -> Reader:
    return lambda reading, model, place: reading.read("estimator", model.estimator_, place, response)


def _cut(reading: Reading, model: Any, place: int) -> int:
    """Add the probabilities, moved so that the labels change places at the threshold."""
    cut = cut_of(model)
    score = reading.read("estimator", model.estimator_, place, cut.response)
    if cut.response == "probabilities":
        positive = reading.columns(score, [cut.positive])
        moved = _moved(reading, positive, cut)
    else:
        sign = 1.0 if cut.positive else -1.0
        above = reading.builder.add(Affine(score, np.array([sign]), np.array([-cut.threshold])))
        moved = _moved(reading, reading.builder.add(Curve(above, "logistic")), Cut(cut.positive, 0.5, "probabilities"))
    pair = reading.builder.add(Complement(moved))
    return pair if cut.positive else reading.columns(pair, [1, 0])


def _moved(reading: Reading, place: int, cut: Cut) -> int:
    """Add the curve of `exporter.models.answers.moved`, whose step lies between two neighbours in float32."""
    low, high = 0.5 - MARGIN, 0.5 + MARGIN
    # A probability of the very threshold is likely (7 of 10 trees), and is rounded as the threshold is.
    step = np.float32(cut.threshold)
    before = float(np.nextafter(step, np.float32(-np.inf)))
    if step <= 0:
        xs, ys = [0.0, 1.0], [high, 1.0]
    elif step > 1:
        xs, ys = [0.0, 1.0], [0.0, low]
    elif step == 1:
        xs, ys = [0.0, before, 1.0], [0.0, low, high]
    else:
        xs, ys = [0.0, before, float(step), 1.0], [0.0, low, high, 1.0]
    return reading.builder.add(Interpolate(place, (np.array(xs),), (np.array(ys),)))


def _label(reading: Reading, model: Any, place: int) -> int:
    return reading.builder.add(ArgMax(_cut(reading, model, place)))


_ANSWERS: Final[dict[Response, Reader]] = {
    "probabilities": _inner("probabilities"),
    "decision": _inner("decision"),
    "label": _label,
    "answer": _cut,
}
READERS: Final[Readers] = {FixedThresholdClassifier: _ANSWERS, TunedThresholdClassifierCV: _ANSWERS}
