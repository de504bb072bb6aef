"""Reads a whole fitted model into a program: which answer of the estimator is the model's answer."""

from collections import ChainMap
from typing import Final

from exporter.model import FittedModel
from exporter.program import Program
from exporter.reading import histogram_boosting, isolation, trees
from exporter.reading.reading import Readers, Reading, Response

READERS: Final[Readers] = ChainMap({}, *map(dict, (trees.READERS, histogram_boosting.READERS, isolation.READERS)))


def read_model(model: FittedModel) -> Program:
    """Return the program of a model.

    Raises:
        UnsupportedError: a step that no reader knows, named.
    """
    reading = Reading(model.features, READERS)
    response: Response = "probabilities" if model.task == "classification" else "value"
    return reading.builder.build(reading.read("model", model.estimator, 0, response))
