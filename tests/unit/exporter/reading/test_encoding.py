import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from exporter.errors import UnsupportedError
from exporter.programs.interpreter import run_program
from tests.unit.exporter.reading.exactness import assert_exact, difference, original_of, program_of

RNG = np.random.default_rng(3)
TRAINED = np.stack([RNG.choice(5, 200, p=[0.5, 0.3, 0.1, 0.07, 0.03]), RNG.choice([2, 7], 200)], axis=1).astype(float)
KNOWN = np.unique(TRAINED, axis=0)
UNKNOWN = np.concatenate([KNOWN, [[9, 2], [0, 3], [-1, 0.5], [2.5, 7]]])
TARGET = (TRAINED[:, 0] > 1).astype(int) + (TRAINED[:, 1] > 3)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(drop="first", sparse_output=False),
        OneHotEncoder(drop="if_binary"),
        OneHotEncoder(drop=[1, 7]),
        OneHotEncoder(min_frequency=20),
        OneHotEncoder(max_categories=2, drop="first"),
        OrdinalEncoder(),
        OrdinalEncoder(min_frequency=20),
        OrdinalEncoder(max_categories=2),
        TargetEncoder(target_type="continuous"),
    ],
    ids=repr,
)
def test_known_categories_are_encoded(encoder):
    assert_exact(encoder.fit(TRAINED, TARGET), KNOWN)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="ignore", drop="first"),
        OneHotEncoder(handle_unknown="ignore", min_frequency=20),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20, drop="first"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=500),
        OneHotEncoder(handle_unknown="infrequent_if_exist"),
        OneHotEncoder(handle_unknown="warn", max_categories=2, drop="if_binary"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=77, min_frequency=20),
        TargetEncoder(target_type="continuous"),
        TargetEncoder(target_type="multiclass"),
    ],
    ids=repr,
)
def test_unknown_categories_are_encoded_as_scikit_learn_does(encoder):
    assert_exact(encoder.fit(TRAINED, TARGET), UNKNOWN)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(drop="first", handle_unknown="ignore"),
        OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(
            encoded_missing_value=-2, min_frequency=20, handle_unknown="use_encoded_value", unknown_value=-1
        ),
        OrdinalEncoder(encoded_missing_value=-2, handle_unknown="use_encoded_value", unknown_value=np.nan),
        TargetEncoder(target_type="binary"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("is_known", [True, False])
def test_missing_values_are_a_category_where_training_met_them(encoder, is_known):
    trained, missing = TRAINED.copy(), np.concatenate([UNKNOWN, [[np.nan, 2], [1, np.nan]]])
    if is_known:
        trained[::6, 0] = np.nan
    assert_exact(encoder.fit(trained, TRAINED[:, 1] > 3), missing)


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=40),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(categories=[["red", "green", "blue"]], handle_unknown="use_encoded_value", unknown_value=-1),
        TargetEncoder(target_type="continuous"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("gap", [None, np.nan])
def test_texts_are_the_indices_of_the_features_categories(encoder, gap):
    names = ("blue", "green", "purple", "red")  # purple: training never saw it
    colours = np.array([["red"]] * 60 + [["green"]] * 50 + [["blue"]] * 30, dtype=object)
    if not isinstance(encoder, OrdinalEncoder) or encoder.categories == "auto":
        colours[::9] = gap
    rows = np.array([[0], [1], [2], [3], [np.nan]], dtype=np.float32)
    texts = np.array([["blue"], ["green"], ["purple"], ["red"], [gap]], dtype=object)
    encoder.fit(colours, np.arange(len(colours)))
    got = run_program(program_of(encoder, rows, texts={0: names}), rows)
    assert difference(got, original_of(encoder, texts)) <= 1e-6


def test_a_frame_of_categories_is_encoded():
    frame = pd.DataFrame({"colour": pd.Categorical(["red", "green", "red"]), "n": [1, 2, 1]})
    encoder = OneHotEncoder().fit(frame)
    rows = np.array([[1, 1], [0, 2]], dtype=np.float32)
    got = run_program(program_of(encoder, rows, texts={0: ("green", "red")}), rows)
    assert got.tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]


def test_a_category_that_float32_does_not_hold_is_refused():
    with pytest.raises(UnsupportedError, match=r"of the category .*0\.1.*, which float32 does not hold"):
        program_of(OneHotEncoder().fit([[0.1], [0.2]]), np.zeros((1, 1)))


def test_texts_in_a_column_of_numbers_are_refused():
    with pytest.raises(UnsupportedError, match="of the text 'a' in a column of numbers"):
        program_of(OneHotEncoder().fit([["a"], ["b"]]), np.zeros((1, 1)))
