"""Reads ensembles of estimators of any family: votes, stacks, bags, boosts by label, estimators behind one another."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from exporter.programs.program import Affine, Linear, Softmax
from exporter.reading.linear import add_sigmoid_pair
from exporter.reading.merging import add_label_of_tree, add_mean
from exporter.reading.reading import Reader, Readers, Reading, Response

_BINARY: Final = 2
_RESPONSES: Final[dict[str, Response]] = {
    "predict_proba": "probabilities",
    "decision_function": "decision",
    "predict": "label",
}


def _members(ensemble: Any) -> list[tuple[str, Any]]:
    names = [name for name, member in ensemble.estimators if member != "drop"]
    return list(zip(names, ensemble.estimators_, strict=True))


def _vote(response: Response) -> Reader:
    def read(reading: Reading, ensemble: Any, place: int) -> int:
        is_soft = getattr(ensemble, "voting", "soft") == "soft"
        if (response == "label") == is_soft and response != "value":
            raise reading.refuse(ensemble, f"with {ensemble.voting} voting and {response}")
        answers = [reading.read(name, member, place, response) for name, member in _members(ensemble)]
        if response == "label":
            answers = [add_label_of_tree(reading, label) for label in answers]
        return add_mean(reading, answers, ensemble._weights_not_none)

    return read


def _voted_label(reading: Reading, ensemble: Any, place: int) -> int:
    response: Response = "probabilities" if ensemble.voting == "soft" else "label"
    return reading.label_by_score(_vote(response)(reading, ensemble, place))


def _votes(reading: Reading, ensemble: Any, place: int) -> int:
    """Add what the members answer, one behind the other: values, probabilities, or the index of the label."""
    if isinstance(ensemble, VotingRegressor):
        return reading.join([reading.read(name, member, place, "value") for name, member in _members(ensemble)])
    if ensemble.voting == "soft":
        if not ensemble.flatten_transform:
            raise reading.refuse(ensemble, "with flatten_transform=False")
        parts = [reading.read(name, member, place, "probabilities") for name, member in _members(ensemble)]
        return reading.join(parts)
    indices = np.arange(len(ensemble.classes_), dtype=np.float64)[:, np.newaxis]
    labels = [reading.read(name, member, place, "label") for name, member in _members(ensemble)]
    return reading.join([reading.builder.add(Linear(label, indices, np.zeros(1))) for label in labels])


def _stack(reading: Reading, ensemble: Any, place: int) -> int:
    """Add what the last estimator is given."""
    is_classifier = isinstance(ensemble, StackingClassifier)
    parts = []
    for (name, member), method in zip(_members(ensemble), ensemble.stack_method_, strict=True):
        response = _RESPONSES[method] if is_classifier else "value"
        part = reading.read(name, member, place, response)
        if response == "label":
            part = _classes_as_numbers(reading, member, part)
        elif response == "probabilities" and len(ensemble.classes_) == _BINARY:
            part = reading.columns(part, [1])
        parts.append(part)
    return reading.join([*parts, place] if ensemble.passthrough else parts)


def _classes_as_numbers(reading: Reading, member: Any, place: int) -> int:
    try:
        numbers = np.asarray(member.classes_, dtype=np.float64)
    except ValueError as error:
        raise reading.refuse(member, "stacked by the names of its labels") from error
    return reading.builder.add(Linear(place, numbers[:, np.newaxis], np.zeros(1)))


def _stacked(response: Response) -> Reader:
    def read(reading: Reading, ensemble: Any, place: int) -> int:
        stacked = _stack(reading, ensemble, place)
        return reading.read("final_estimator", ensemble.final_estimator_, stacked, response)

    return read


def _bag(response: Response) -> Reader:
    def read(reading: Reading, bag: Any, place: int) -> int:
        answers = []
        for i, (member, columns) in enumerate(zip(bag.estimators_, bag.estimators_features_, strict=True)):
            chosen = reading.columns(place, columns)
            asked: Response = response
            if response == "probabilities" and not hasattr(member, "predict_proba"):
                asked = "label"
            answer = reading.read(str(i), member, chosen, asked)
            if asked == "label":
                answer = add_label_of_tree(reading, answer)
            answers.append(_spread(reading, bag, member, answer) if response == "probabilities" else answer)
        return add_mean(reading, answers)

    return read


def _spread(reading: Reading, bag: Any, member: Any, place: int) -> int:
    """Put the classes of a member, which may not have met all, into their columns."""
    if len(member.classes_) == len(bag.classes_):
        return place
    columns = np.zeros((len(member.classes_), len(bag.classes_)))
    columns[np.arange(len(member.classes_)), np.asarray(member.classes_, dtype=np.int64)] = 1.0
    return reading.builder.add(Linear(place, columns, np.zeros(len(bag.classes_))))


def _boosted(reading: Reading, boost: Any, place: int) -> int:
    """Add SAMME's decision, one score a class: the mean of the members' labels, a miss counting -1 / (k - 1).

    Zhu, Zou, Rosset and Hastie, Multi-class AdaBoost (2009).
    """
    n_classes = len(boost.classes_)
    answers = []
    for i, member in enumerate(boost.estimators_):
        label = add_label_of_tree(reading, reading.read(str(i), member, place, "label"))
        answers.append(_named(reading, boost, member, label))
    share = add_mean(reading, answers, boost.estimator_weights_[: len(answers)])
    miss = 1.0 / (n_classes - 1)
    return reading.builder.add(Affine(share, np.full(n_classes, 1.0 + miss), np.full(n_classes, -miss)))


def _named(reading: Reading, boost: Any, member: Any, place: int) -> int:
    """Put the classes of a member, which are the labels themselves, into their columns."""
    columns = np.asarray(member.classes_)[:, np.newaxis] == np.asarray(boost.classes_)
    if columns.shape[0] == columns.shape[1]:
        return place
    return reading.builder.add(Linear(place, columns.astype(np.float64), np.zeros(columns.shape[1])))


def _boosted_decision(reading: Reading, boost: Any, place: int) -> int:
    scores = _boosted(reading, boost, place)
    if len(boost.classes_) > _BINARY:
        return scores
    return reading.builder.add(Linear(scores, np.array([[-1.0], [1.0]]), np.zeros(1)))


def _boosted_probabilities(reading: Reading, boost: Any, place: int) -> int:
    n_classes = len(boost.classes_)
    decision = _boosted_decision(reading, boost, place)
    if n_classes == _BINARY:  # the softmax of (-d / 2, d / 2)
        return add_sigmoid_pair(reading, decision)
    factor = np.full(n_classes, 1.0 / (n_classes - 1))
    return reading.builder.add(Softmax(reading.builder.add(Affine(decision, factor, np.zeros(n_classes)))))


def _of(attribute: str, response: Response) -> Callable[[Reading, Any, int], int]:
    return lambda reading, wrapper, place: reading.read("estimator", getattr(wrapper, attribute), place, response)


READERS: Final[Readers] = {
    VotingClassifier: {
        "probabilities": _vote("probabilities"),
        "answer": _vote("label"),
        "label": _voted_label,
        "transform": _votes,
    },
    VotingRegressor: {"value": _vote("value"), "transform": _votes},
    StackingClassifier: {
        "probabilities": _stacked("probabilities"),
        "decision": _stacked("decision"),
        "label": _stacked("label"),
        "transform": _stack,
    },
    StackingRegressor: {"value": _stacked("value"), "transform": _stack},
    BaggingClassifier: {
        "probabilities": _bag("probabilities"),
        "decision": _bag("decision"),
        "label": lambda reading, bag, place: reading.label_by_score(_bag("probabilities")(reading, bag, place)),
    },
    BaggingRegressor: {"value": _bag("value")},
    AdaBoostClassifier: {"probabilities": _boosted_probabilities, "decision": _boosted_decision},
    SelfTrainingClassifier: {
        response: _of("estimator_", response) for response in ("probabilities", "decision", "label")
    },
}
