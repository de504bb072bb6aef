import numpy as np
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

ROWS, VALUES = load_diabetes(return_X_y=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"transformer": StandardScaler()},
        {"transformer": StandardScaler(with_mean=False)},
        {"transformer": RobustScaler()},
        {"transformer": RobustScaler(with_scaling=False)},
        {"transformer": MaxAbsScaler()},
        {"transformer": MinMaxScaler((-1, 3))},
        {"transformer": PowerTransformer()},
        {"transformer": PowerTransformer("box-cox", standardize=False)},
        {"transformer": FunctionTransformer(np.log1p, np.expm1)},
        {"transformer": make_pipeline(FunctionTransformer(np.sqrt, np.square), "passthrough", StandardScaler())},
        {"func": np.log, "inverse_func": np.exp},
    ],
    ids=repr,
)
def test_the_answer_goes_back_to_the_targets_own_scale(settings):
    assert_exact(TransformedTargetRegressor(Ridge(), **settings).fit(ROWS, VALUES), ROWS, "value", tolerance=1e-4)


def test_both_signs_of_a_power_go_back():
    regressor = TransformedTargetRegressor(Ridge(1e-3), transformer=PowerTransformer()).fit(ROWS, VALUES - 150)
    assert_exact(regressor, ROWS, "value", tolerance=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transformer": QuantileTransformer(n_quantiles=10)}, "QuantileTransformer of the target is not supported"),
        ({"func": np.cbrt, "inverse_func": np.sinh, "check_inverse": False}, "of the target with the inverse 'sinh'"),
    ],
)
def test_what_has_no_inverse_here_is_refused(settings, message):
    with pytest.raises(UnsupportedError, match=message):
        program_of(TransformedTargetRegressor(Ridge(), **settings).fit(ROWS, VALUES), ROWS, "value")
