import numpy as np
import pytest
from scipy.special import expit
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from exporter.errors import UnsupportedError
from tests.unit.exporter.reading.exactness import assert_exact, program_of

RNG = np.random.default_rng(7)
TRAINED = (RNG.normal(size=(200, 4)) * [1, 50, 0.01, 3] + [0, 900, 0, -2]).astype(np.float32)
# Rows like those of training, far outside of them, and each number itself.
ROWS = np.concatenate([TRAINED[:50], TRAINED[:50] * 10, np.zeros((1, 4)), -TRAINED[:20]]).astype(np.float32)


@pytest.mark.parametrize(
    "scaler",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        RobustScaler(),
        RobustScaler(with_centering=False, unit_variance=True),
        RobustScaler(with_scaling=False),
        MinMaxScaler(),
        MinMaxScaler((-1, 1), clip=True),
        MaxAbsScaler(),
    ],
    ids=repr,
)
def test_scalers_give_the_same_bits_and_let_missing_values_through(scaler):
    rows = ROWS.copy()
    rows[::7, 1] = np.nan
    assert_exact(scaler.fit(TRAINED), rows, tolerance=0)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_rows_are_divided_by_their_norm(norm):
    assert_exact(Normalizer(norm).fit(TRAINED), ROWS)


def test_a_number_on_the_threshold_is_not_above_it():
    rows = np.array([[0.3], [np.nextafter(np.float32(0.3), np.float32(1))], [-5]], dtype=np.float32)
    assert_exact(Binarizer(threshold=0.3).fit(rows), rows, tolerance=0)


@pytest.mark.parametrize("encode", ["ordinal", "onehot", "onehot-dense"])
def test_numbers_on_an_edge_and_next_to_it_fall_into_the_bin_of_scikit_learn(encode):
    discretizer = KBinsDiscretizer(5, encode=encode, quantile_method="averaged_inverted_cdf").fit(TRAINED)
    near = [
        np.nextafter(edges.astype(np.float32), np.float32(way))
        for edges in discretizer.bin_edges_
        for way in (-1e9, 1e9)
    ]
    on = [edges.astype(np.float32) for edges in discretizer.bin_edges_]
    rows = np.stack([np.resize(np.concatenate([*near, *on]), 100)] * 4, axis=1)
    assert_exact(discretizer, rows, tolerance=0)


@pytest.mark.parametrize(
    "function",
    [
        None,
        np.log1p,
        np.sqrt,
        np.exp,
        np.abs,
        np.square,
        np.negative,
        np.log,
        np.log2,
        np.log10,
        np.expm1,
        np.tanh,
        expit,
    ],
    ids=str,
)
def test_functions_of_numpy_are_read_by_identity(function):
    rows = np.abs(ROWS[:50]) / 300
    assert_exact(FunctionTransformer(function).fit(rows), rows)


@pytest.mark.parametrize(
    ("transformer", "message"),
    [
        (FunctionTransformer(np.cbrt), "with the function 'cbrt' is not supported"),
        (FunctionTransformer(lambda rows: rows), "with the function '<lambda>' is not supported"),
        (FunctionTransformer(np.log, kw_args={"where": True}), "with the function 'log' and arguments"),
    ],
)
def test_other_functions_are_refused_by_name(transformer, message):
    with pytest.raises(UnsupportedError, match=f"step `model`: FunctionTransformer {message}"):
        program_of(transformer, ROWS)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("method", ["box-cox", "yeo-johnson"])
def test_powers_are_read(method, standardize):
    skewed = np.exp(RNG.normal(size=(300, 3))) * [1, 3, 0.5]
    skewed = skewed if method == "box-cox" else skewed - 1
    transformer = PowerTransformer(method, standardize=standardize).fit(skewed)
    rows = skewed.astype(np.float32)
    rows[3, 1] = np.nan
    assert_exact(transformer, rows, tolerance=1e-4)


def test_a_power_of_nought_is_a_logarithm():
    transformer = PowerTransformer(standardize=False).fit(TRAINED)
    transformer.lambdas_ = np.array([0.0, 2.0, 1.0, 0.5])
    assert_exact(transformer, TRAINED, tolerance=1e-4)
