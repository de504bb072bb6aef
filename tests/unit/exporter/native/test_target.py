"""The variant native of fitted models: exact by default, small when asked."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from edge_agent.bundle import Feature
from edge_agent.engine.loading import load_engine
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.native.target import convert_native, convert_native_quantised
from exporter.variants import FORMS

ROWS, TARGET = load_digits(return_X_y=True)
ROWS = ROWS.astype(np.float32)


def fitted(estimator: object) -> FittedModel:
    with threadpool_limits(1):
        estimator.fit(ROWS, TARGET)  # type: ignore[attr-defined]
    features = tuple(Feature(f"f{i}") for i in range(ROWS.shape[1]))
    return FittedModel(estimator, "classification", features, tuple(map(str, range(10))))  # type: ignore[arg-type]


def answers(table: bytes) -> NDArray[np.float32]:
    found = bytearray(4 * 10 * len(ROWS))
    load_engine().open(table, 0).score_into(ROWS.tobytes(), found)
    return np.frombuffer(found, dtype=np.float32).reshape(len(ROWS), 10)


def test_native_is_a_form_like_the_others():
    form = FORMS["native"]
    assert (form.runtime, form.file, form.is_quantised) == ("native", "model.native", False)
    small = FORMS["native-int8"]
    assert (small.runtime, small.file, small.is_quantised) == ("native", "model.int8.native", True)


@pytest.mark.parametrize("last", [LogisticRegression(max_iter=300), MLPClassifier((50,), max_iter=30, random_state=0)])
def test_what_stands_before_the_model_is_inside(last: object):
    model = fitted(make_pipeline(StandardScaler(), last))
    found, expected = answers(convert_native(Material(model, ROWS))), model.outputs(ROWS)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


def test_the_same_model_gives_the_same_bytes():
    model = fitted(make_pipeline(StandardScaler(), LogisticRegression(max_iter=100)))
    assert convert_native(Material(model, ROWS)) == convert_native(Material(model, ROWS[:10]))


def test_a_quantised_network_is_small_and_loses_nothing_to_speak_of():
    model = fitted(make_pipeline(StandardScaler(), MLPClassifier((100,), max_iter=60, random_state=0)))
    exact, small = convert_native(Material(model, ROWS)), convert_native_quantised(Material(model, ROWS))
    assert len(small) < 0.45 * len(exact)
    right = [float(np.mean(answers(table).argmax(axis=1) == TARGET)) for table in (exact, small)]
    assert right[0] - right[1] <= 0.005


def test_leaves_in_steps_are_small_and_flip_no_label():
    model = fitted(HistGradientBoostingClassifier(max_iter=10, random_state=0))
    exact, small = convert_native(Material(model, ROWS)), convert_native_quantised(Material(model, ROWS))
    assert len(small) < 0.75 * len(exact)
    found, expected = answers(small), model.outputs(ROWS)
    assert np.abs(found - expected).max() < 1e-4
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()
