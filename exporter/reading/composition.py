"""Reads what holds other estimators and computes nothing itself: pipelines, columns side by side, searches."""

from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - scikit-learn wants it before the next line
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.pipeline import FeatureUnion, Pipeline

from exporter.programs.program import Affine
from exporter.reading.reading import Reader, Readers, Reading, Response

RESPONSES: Final[tuple[Response, ...]] = (
    "transform",
    "probabilities",
    "decision",
    "value",
    "label",
    "cluster",
    "answer",
)


def _pipeline(response: Response) -> Reader:
    def read(reading: Reading, pipeline: Any, place: int) -> int:
        steps = [(name, step) for name, step in pipeline.steps if step is not None and step != "passthrough"]
        for i, (name, step) in enumerate(steps):
            is_last = i == len(steps) - 1
            place = reading.read(name, step, place, response if is_last else "transform")
        return place

    return read


def _columns(reading: Reading, transformer: Any, place: int) -> int:
    found = []
    for name, step, _ in transformer.transformers_:
        # Where scikit-learn keeps names, slices, masks and callables after it has resolved them.
        columns = transformer._transformer_to_input_indices[name]
        if isinstance(step, str) and step == "drop":
            continue
        if len(columns) == 0:
            continue
        part = reading.columns(place, columns)
        if not (isinstance(step, str) and step == "passthrough"):
            part = reading.read(name, step, part, "transform")
        found.append(_weighted(reading, part, (transformer.transformer_weights or {}).get(name)))
    if not found:
        raise reading.refuse(transformer, "that drops every column")
    return reading.join(found)


def _union(reading: Reading, union: Any, place: int) -> int:
    found = []
    for name, step in union.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        is_same = isinstance(step, str)
        part = place if is_same else reading.read(name, step, place, "transform")
        found.append(_weighted(reading, part, (union.transformer_weights or {}).get(name)))
    if not found:
        raise reading.refuse(union, "without parts")
    return reading.join(found)


def _weighted(reading: Reading, place: int, weight: float | None) -> int:
    if weight is None:
        return place
    width = reading.builder.width(place)
    return reading.builder.add(Affine(place, np.full(width, float(weight)), np.zeros(width)))


def _inner(attribute: str, name: str, response: Response) -> Reader:
    def read(reading: Reading, wrapper: Any, place: int) -> int:
        inner = getattr(wrapper, attribute, None)
        if inner is None:
            raise reading.refuse(wrapper, f"without {attribute} (was it fitted with refit=False?)")
        return reading.read(name, inner, place, response)

    return read


READERS: Final[Readers] = {
    Pipeline: {response: _pipeline(response) for response in RESPONSES},
    ColumnTransformer: {"transform": _columns},
    FeatureUnion: {"transform": _union},
    FrozenEstimator: {response: _inner("estimator", "estimator", response) for response in RESPONSES},
    **{
        search: {response: _inner("best_estimator_", "best_estimator", response) for response in RESPONSES}
        for search in (GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV, HalvingRandomSearchCV)
    },
}
