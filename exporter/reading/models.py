"""Reads a whole fitted model into a program: which answer of the estimator is the model's answer."""

from collections import ChainMap
from typing import Final

from exporter.models.answers import answer_of
from exporter.models.model import FittedModel
from exporter.models.trained_rows import gap_of
from exporter.programs.program import Program, Softmax
from exporter.reading import (
    calibrating,
    clusters,
    composition,
    constant,
    densities,
    encoding,
    ensembles,
    histogram_boosting,
    imputing,
    isolation,
    lightgbm,
    linear,
    multiclass,
    network,
    onnx_graph,
    projecting,
    quantiles,
    scaling,
    selecting,
    support_vectors,
    target,
    thresholds,
    trees,
    xgboost,
)
from exporter.reading.linear import add_sigmoid_pair
from exporter.reading.reading import Readers, Reading

# A new family is one module with its READERS, and its name here.
_FAMILIES: Final = (
    calibrating,
    clusters,
    composition,
    constant,
    densities,
    encoding,
    ensembles,
    histogram_boosting,
    imputing,
    isolation,
    lightgbm,
    linear,
    multiclass,
    network,
    onnx_graph,
    projecting,
    quantiles,
    scaling,
    selecting,
    support_vectors,
    target,
    thresholds,
    trees,
    xgboost,
)
READERS: Final[Readers] = ChainMap(*(dict(family.READERS) for family in _FAMILIES))


def read_model(model: FittedModel) -> Program:
    """Return the program of a model, which answers what `FittedModel.outputs` does.

    Raises:
        UnsupportedError: a step that no reader knows, named.
    """
    reading = Reading(model.features, READERS, gap_of(model.estimator))
    answer = answer_of(model.estimator, model.task)
    place = reading.read("model", model.estimator, 0, "decision" if answer == "score" else answer)
    if answer == "decision":
        place = add_sigmoid_pair(reading, place) if reading.builder.width(place) == 1 else _softmax(reading, place)
    if reading.builder.width(place) != model.n_outputs:
        raise reading.refuse(
            model.estimator, f"of {reading.builder.width(place)} outputs where {model.n_outputs} are expected"
        )
    return reading.builder.build(place)


def _softmax(reading: Reading, place: int) -> int:
    return reading.builder.add(Softmax(place))
