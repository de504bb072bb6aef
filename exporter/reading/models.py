"""Reads a whole fitted model into a program: which answer of the estimator is the model's answer."""

from collections import ChainMap
from typing import Final

from exporter.model import FittedModel
from exporter.program import Program
from exporter.reading import composition, encoding, histogram_boosting, imputing, isolation, linear, network, scaling, trees
from exporter.reading.reading import Readers, Reading, Response

# A new family is one module with its READERS, and its name here.
_FAMILIES: Final = (composition, encoding, histogram_boosting, imputing, isolation, linear, network, scaling, trees)
READERS: Final[Readers] = ChainMap(*(dict(family.READERS) for family in _FAMILIES))


def read_model(model: FittedModel) -> Program:
    """Return the program of a model.

    Raises:
        UnsupportedError: a step that no reader knows, named.
    """
    reading = Reading(model.features, READERS)
    response: Response = "probabilities" if model.task == "classification" else "value"
    return reading.builder.build(reading.read("model", model.estimator, 0, response))
