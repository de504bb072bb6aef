import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from exporter.programs.program import Trees
from tests.unit.exporter.reading.exactness import assert_exact, program_of

IRIS, SPECIES = load_iris(return_X_y=True)
FOREST = ("f", RandomForestClassifier(5, random_state=0))
EXTRA = ("e", ExtraTreesClassifier(4, random_state=0))
TREE = ("t", DecisionTreeClassifier(random_state=0))


@pytest.mark.parametrize(
    ("ensemble", "response", "n_trees"),
    [
        (BaggingClassifier(n_estimators=7, max_features=0.5, random_state=0), "probabilities", 7),
        (BaggingRegressor(n_estimators=7, max_features=0.5, random_state=0), "value", 7),
        (AdaBoostClassifier(n_estimators=9, random_state=0), "decision", 9),
        (VotingClassifier([FOREST, EXTRA, TREE], voting="soft", weights=[1, 2, 5]), "probabilities", 10),
        (VotingRegressor([("f", RandomForestRegressor(5)), ("g", RandomForestRegressor(3))]), "value", 8),
    ],
)
def test_an_ensemble_of_trees_is_one_forest(ensemble, response, n_trees):
    ensemble.fit(IRIS, SPECIES)
    asked = np.random.default_rng(0).uniform(0, 8, size=(500, 4)).astype(np.float32)
    program = program_of(ensemble, asked, response)
    forests = [node.operation.ensemble for node in program.nodes if isinstance(node.operation, Trees)]
    assert [forest.n_trees for forest in forests] == [n_trees]
    assert_exact(ensemble, asked, response)


@pytest.mark.parametrize(
    ("ensemble", "response"),
    [
        (VotingClassifier([FOREST, ("l", LogisticRegression(max_iter=500))], voting="soft"), "probabilities"),
        (VotingRegressor([("f", RandomForestRegressor(5)), ("h", HistGradientBoostingRegressor(max_iter=3))]), "value"),
        (VotingClassifier([FOREST, TREE]), "label"),
    ],
)
def test_what_cannot_be_one_forest_is_averaged(ensemble, response):
    assert_exact(ensemble.fit(IRIS, SPECIES), IRIS, response)
