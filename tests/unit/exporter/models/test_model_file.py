import io
import pickle
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from exporter.errors import ModelError
from exporter.models.model_file import load_estimator, parse_estimator
from tests.unit.exporter.families import learn, make


@pytest.mark.parametrize(
    ("family", "data"),
    [
        ("mlp", "cancer"),
        ("forest", "digits"),
        ("boosting", "cancer"),
        ("rescaled mlp", "diabetes"),
        ("boosting regressor", "diabetes"),
        ("columns", "cancer"),
        ("ridge", "diabetes"),
    ],
)
def test_every_family_is_read_back_as_it_was(family, data, tmp_path):
    learnt = learn(family, data)
    skops.io.dump(learnt.model.estimator, tmp_path / "model.skops")
    loaded = load_estimator(tmp_path / "model.skops")
    assert np.array_equal(loaded.predict(learnt.evaluation), learnt.model.estimator.predict(learnt.evaluation))


def double(rows):
    return rows * 2


def test_unknown_types_are_refused_by_name():
    data = skops.io.dumps(FunctionTransformer(double))
    with pytest.raises(ModelError, match=r"not trusted: .*test_model_file\.double; nothing was loaded"):
        parse_estimator(data, "m.skops")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_not_opened():
    with pytest.raises(ModelError, match="not a skops file"):
        parse_estimator(pickle.dumps(Trap()), "m.pkl")


def test_a_zip_of_something_else_is_refused():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("hello", "world")
    with pytest.raises(ModelError, match="not a skops file"):
        parse_estimator(buffer.getvalue(), "m.zip")


@pytest.mark.parametrize("cut", [10, 1000, 5000])
def test_a_file_cut_short_is_refused(cut):
    with pytest.raises(ModelError, match="not a skops file"):
        parse_estimator(skops.io.dumps(make("logistic"))[:-cut], "m.skops")


def test_something_that_predicts_nothing_is_refused():
    with pytest.raises(ModelError, match="StandardScaler, which predicts nothing"):
        parse_estimator(skops.io.dumps(StandardScaler()), "m.skops")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"absent\.skops: cannot be read"):
        load_estimator(tmp_path / "absent.skops")
