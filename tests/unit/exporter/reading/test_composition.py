import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

from exporter.errors import UnsupportedError
from exporter.programs.interpreter import run_program
from tests.unit.exporter.reading.exactness import assert_exact, difference, original_of, program_of

RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(120, 5)).astype(np.float32)
ROWS[:, 4] = RNG.choice(3, 120)
LABELS = (ROWS[:, 0] + ROWS[:, 4] > 0.5).astype(int)
FRAME = pd.DataFrame(ROWS, columns=list("abcde"))


def columns(*parts, **settings):
    return ColumnTransformer([(f"p{i}", *part) for i, part in enumerate(parts)], **settings)


@pytest.mark.parametrize(
    "transformer",
    [
        columns((StandardScaler(), [3, 1]), (OneHotEncoder(), [4])),
        columns((StandardScaler(), slice(0, 2)), ("passthrough", [4]), remainder=MinMaxScaler()),
        columns((StandardScaler(), np.array([True, False, False, True, False])), remainder="passthrough"),
        columns((StandardScaler(), lambda rows: [rows.shape[1] - 1]), ("drop", [1]), remainder="passthrough"),
        columns((StandardScaler(), []), (StandardScaler(), [-1]), sparse_threshold=0),
        columns((StandardScaler(), [0, 1]), (MinMaxScaler(), [1]), transformer_weights={"p0": 2, "p1": 0.5}),
        columns((FeatureUnion([("s", StandardScaler()), ("i", "passthrough"), ("n", "drop")]), [0, 1])),
        FeatureUnion([("s", StandardScaler()), ("m", MinMaxScaler())], transformer_weights={"m": 3}),
        Pipeline([("a", StandardScaler()), ("b", "passthrough"), ("c", make_pipeline(MinMaxScaler(), None))]),
        Pipeline([("a", "passthrough")]),
    ],
)
def test_columns_go_their_ways_and_come_together_in_order(transformer):
    assert_exact(transformer.fit(ROWS), ROWS)


def test_columns_by_name_type_or_pattern_are_resolved():
    transformer = columns(
        (StandardScaler(), ["c", "a"]),
        (MinMaxScaler(), make_column_selector(pattern="^b")),
        ("passthrough", slice("d", "e")),
    ).fit(FRAME)
    got = run_program(program_of(transformer, ROWS), ROWS)
    assert difference(got, original_of(transformer, FRAME)) <= 1e-6


def test_texts_stay_with_their_columns_through_nested_steps():
    frame = pd.DataFrame({"n": [1.0, np.nan, 3, 4], "k": ["x", "y", np.nan, "x"], "s": ["hi", "lo", "lo", "hi"]})
    texts = make_pipeline(SimpleImputer(strategy="constant", fill_value="none"), OneHotEncoder(handle_unknown="ignore"))
    transformer = make_pipeline(columns((texts, ["s", "k"]), (SimpleImputer(), ["n"]))).fit(frame)
    rows = np.array([[1, 0, 1], [np.nan, 1, 0], [3, np.nan, 0], [4, 0, 1]], dtype=np.float32)
    got = run_program(program_of(transformer, rows, texts={1: ("x", "y"), 2: ("lo", "hi")}), rows)
    assert difference(got, original_of(transformer, frame)) <= 1e-6


@pytest.mark.parametrize(
    "wrapper",
    [
        GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1]}, cv=2),
        make_pipeline(StandardScaler(), FrozenEstimator(LogisticRegression().fit(ROWS, LABELS))),
    ],
)
@pytest.mark.parametrize("response", ["probabilities", "decision"])
def test_what_wraps_an_estimator_answers_as_it(wrapper, response):
    assert_exact(wrapper.fit(ROWS, LABELS), ROWS, response)


def test_a_search_that_did_not_fit_its_best_is_refused():
    search = GridSearchCV(Ridge(), {"alpha": [1, 2]}, refit=False).fit(ROWS, LABELS)
    with pytest.raises(UnsupportedError, match="GridSearchCV without best_estimator_"):
        program_of(search, ROWS, "value")


def test_the_innermost_step_is_named():
    pipeline = Pipeline([("prepare", Pipeline([("odd", type("Odd", (StandardScaler,), {})())])), ("clf", Ridge())])
    with pytest.raises(UnsupportedError, match=r"^step `prepare\.odd`: Odd has no form that devices run$"):
        program_of(pipeline.fit(ROWS, LABELS), ROWS, "value")


def test_a_transformer_that_drops_every_column_is_refused():
    with pytest.raises(UnsupportedError, match="that drops every column"):
        program_of(columns(("drop", [0])).fit(ROWS), ROWS)


def test_a_step_of_other_columns_is_refused():
    with pytest.raises(UnsupportedError, match="StandardScaler of 5 columns, given 2, is not supported"):
        program_of(StandardScaler().fit(ROWS), ROWS[:, :2])
