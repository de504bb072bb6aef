"""Every estimator of scikit-learn is read, and then exact, or refused by its name: there is nothing between."""

import warnings

import numpy as np
import pytest

from exporter.errors import ModelError, UnsupportedError
from exporter.models.metrics import labels_of
from exporter.models.trained_rows import as_trained
from exporter.programs.interpreter import run_program
from exporter.reading.models import READERS, read_model
from tests.unit.exporter.every_estimator import CLASSES, MULTIPLE, REFUSED, data, fitted, is_model, model_of
from tests.unit.exporter.reading.exactness import difference, features_of, original_of, program_of


@pytest.mark.parametrize("name", sorted(CLASSES))
@pytest.mark.filterwarnings("ignore")
def test_an_estimator_is_exact_or_refused_by_name(name):
    if name in REFUSED:
        assert CLASSES[name] not in READERS
        with pytest.raises(UnsupportedError, match=f"step `model`: {name} has no form that devices run"):
            program_of(CLASSES[name].__new__(CLASSES[name]), data("many")[0], "value")
        return
    assert CLASSES[name] in READERS, f"{name} is neither read nor listed as refused"
    estimator, rows = fitted(name)
    if name in MULTIPLE:
        with pytest.raises((UnsupportedError, ModelError), match=name):
            read_model(model_of(estimator, rows))
        return
    if hasattr(estimator, "transform"):
        got = run_program(program_of(estimator, rows), rows)
        assert difference(got, original_of(estimator, as_trained(estimator, features_of(rows), rows))) <= 1e-5
    if is_model(estimator):
        model = model_of(estimator, rows)
        expected = model.outputs(rows)
        got = run_program(read_model(model), rows)
        assert difference(got, expected) <= 1e-5
        if model.labels:
            verify_labels(estimator, rows, expected, got)


def verify_labels(estimator, rows, expected, got):
    """The greatest answer is the label that `predict` names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predicted = estimator.predict(as_trained(estimator, features_of(rows), rows))
    names = np.asarray(getattr(estimator, "classes_", np.arange(expected.shape[1])))
    assert np.array_equal(names[labels_of(expected)], predicted)
    assert np.array_equal(names[labels_of(got)], predicted)
