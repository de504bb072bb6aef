import pickle

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from exporter.errors import ModelError
from exporter.models.pickle_file import load_trusted_pickle

ROWS = np.arange(12.0).reshape(6, 2)


class Bomb:
    def __reduce__(self):
        return (int, ("not a number",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (StandardScaler().fit(ROWS), "holds StandardScaler, which predicts nothing"),
        (Ridge(), "holds Ridge, which was never fitted"),
        (Bomb(), "cannot be unpickled .ValueError: invalid literal"),
    ],
)
def test_what_is_no_fitted_model_is_refused(content, message, tmp_path):
    (tmp_path / "m").write_bytes(pickle.dumps(content))
    with pytest.raises(ModelError, match=message):
        load_trusted_pickle(tmp_path / "m")


def test_a_model_of_another_scikit_learn_is_refused(tmp_path, monkeypatch):
    data = pickle.dumps(Ridge().fit(ROWS, ROWS[:, 0]))
    monkeypatch.setattr("sklearn.base.__version__", "99.0")
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(ModelError, match=r"pickled by scikit-learn \d.*, here is 99\.0"):
        load_trusted_pickle(tmp_path / "m")
