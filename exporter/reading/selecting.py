"""Reads selections of columns."""

from typing import Any, Final

from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)

from exporter.reading.reading import Reader, Readers, Reading, Response


def _selection(reading: Reading, selector: Any, place: int) -> int:
    chosen = selector.get_support(indices=True)
    if len(chosen) == 0:
        raise reading.refuse(selector, "that selects no column")
    return reading.columns(place, chosen)


def _selected(response: Response) -> Reader:
    """Read a selector that answers by the estimator that it fitted on what it selected."""

    def read(reading: Reading, selector: Any, place: int) -> int:
        return reading.read("estimator", selector.estimator_, _selection(reading, selector, place), response)

    return read


_ANSWERS: Final[tuple[Response, ...]] = ("probabilities", "decision", "value", "label")

READERS: Final[Readers] = {
    **{
        kind: {"transform": _selection}
        for kind in (
            GenericUnivariateSelect,
            SelectFdr,
            SelectFpr,
            SelectFromModel,
            SelectFwe,
            SelectKBest,
            SelectPercentile,
            SequentialFeatureSelector,
            VarianceThreshold,
        )
    },
    **{
        kind: {"transform": _selection, **{response: _selected(response) for response in _ANSWERS}}
        for kind in (RFE, RFECV)
    },
}
