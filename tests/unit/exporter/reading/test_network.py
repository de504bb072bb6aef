import warnings

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

ROWS, VALUES = load_diabetes(return_X_y=True)
IRIS, SPECIES = load_iris(return_X_y=True)


def fitted(network, rows, truth):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return network.set_params(max_iter=20, random_state=0).fit(rows, truth)


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_classifiers_are_read(activation, n_classes):
    network = fitted(MLPClassifier((9, 5), activation=activation), IRIS, SPECIES % n_classes)
    assert_exact(network, np.concatenate([IRIS, IRIS * 100]), "probabilities")


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressors_are_read(loss):
    assert_exact(fitted(MLPRegressor(loss=loss, hidden_layer_sizes=(9,)), ROWS, VALUES), ROWS, "value")


def test_several_labels_or_values_at_once_are_refused():
    two = np.stack([SPECIES > 0, SPECIES > 1], axis=1)
    with pytest.raises(UnsupportedError, match="MLPClassifier of 2 labels at once is not supported"):
        program_of(fitted(MLPClassifier(), IRIS, two.astype(int)), IRIS, "probabilities")
    with pytest.raises(UnsupportedError, match="MLPRegressor of 2 outputs is not supported"):
        program_of(fitted(MLPRegressor(), IRIS, two.astype(float)), IRIS, "value")
