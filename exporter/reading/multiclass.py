"""Reads classifiers of many classes made from classifiers of two."""

from typing import Any, Final

import numpy as np
from sklearn.base import is_regressor
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier

from exporter.programs.program import ArgMax, Complement, OvrOfOvo
from exporter.reading.clusters import add_nearest
from exporter.reading.reading import Readers, Reading
from exporter.reading.shares import add_shares

_BINARY: Final = 2


def _score(reading: Reading, name: str, member: Any, place: int) -> int:
    """Add how sure a classifier of two classes is of the second, as scikit-learn's ``_predict_binary``."""
    if is_regressor(member):
        return reading.read(name, member, place, "value")
    if hasattr(member, "decision_function"):
        return reading.read(name, member, place, "decision")
    return reading.columns(reading.read(name, member, place, "probabilities"), [1])


def _verify(reading: Reading, rest: Any) -> None:
    if rest.multilabel_:
        raise reading.refuse(rest, "of several labels at once")


def _probabilities(reading: Reading, rest: Any, place: int) -> int:
    _verify(reading, rest)
    members = [reading.read(str(i), member, place, "probabilities") for i, member in enumerate(rest.estimators_)]
    second = [reading.columns(member, [1]) for member in members]
    if len(second) == 1:
        return reading.builder.add(Complement(second[0]))
    return add_shares(reading, second)


def _decision(reading: Reading, rest: Any, place: int) -> int:
    _verify(reading, rest)
    return reading.join([reading.read(str(i), m, place, "decision") for i, m in enumerate(rest.estimators_)])


def _label(reading: Reading, rest: Any, place: int) -> int:
    _verify(reading, rest)
    if len(rest.estimators_) == 1:
        return reading.read("0", rest.estimators_[0], place, "label")
    scores = [_score(reading, str(i), member, place) for i, member in enumerate(rest.estimators_)]
    return reading.builder.add(ArgMax(reading.join(scores)))


def _pairs(reading: Reading, pairs: Any, place: int) -> int:
    """Add the decision of each pair: above 0 is a vote for its second class."""
    answers = []
    for i, member in enumerate(pairs.estimators_):
        if is_regressor(member) or not hasattr(member, "decision_function"):
            raise reading.refuse(pairs, f"of {type(member).__name__}, which has no decision_function,")
        answers.append(reading.read(str(i), member, place, "decision"))
    return reading.join(answers)


def _paired_decision(reading: Reading, pairs: Any, place: int) -> int:
    n_classes = len(pairs.classes_)
    scores = reading.builder.add(OvrOfOvo(_pairs(reading, pairs, place), n_classes))
    return scores if n_classes > _BINARY else reading.columns(scores, [1])


def _paired_label(reading: Reading, pairs: Any, place: int) -> int:
    if len(pairs.classes_) == _BINARY:
        return reading.label_by_score(_pairs(reading, pairs, place))
    return reading.label_by_score(_paired_decision(reading, pairs, place))


def _coded(reading: Reading, coded: Any, place: int) -> int:
    scores = [_score(reading, str(i), member, place) for i, member in enumerate(coded.estimators_)]
    return add_nearest(reading, reading.join(scores), np.asarray(coded.code_book_))


READERS: Final[Readers] = {
    OneVsRestClassifier: {"probabilities": _probabilities, "decision": _decision, "label": _label},
    OneVsOneClassifier: {"decision": _paired_decision, "label": _paired_label},
    OutputCodeClassifier: {"label": _coded},
}
