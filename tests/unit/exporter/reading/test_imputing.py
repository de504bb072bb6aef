import numpy as np
import pytest
from sklearn.impute import MissingIndicator, SimpleImputer

from exporter.errors import UnsupportedError
from exporter.programs.interpreter import run_program
from tests.unit.exporter.reading.exactness import assert_exact, difference, original_of, program_of

RNG = np.random.default_rng(5)


def rows_with(marker, n_empty=0):
    rows = RNG.normal(size=(80, 5)).astype(np.float32).round(1)
    rows[RNG.random(rows.shape) < 0.2] = marker
    rows[:, :n_empty] = marker
    return rows


@pytest.mark.parametrize("marker", [np.nan, -999.0, 0])
@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent", "constant"])
@pytest.mark.parametrize("add_indicator", [True, False])
def test_every_strategy_and_mark_is_read(strategy, marker, add_indicator):
    imputer = SimpleImputer(missing_values=marker, strategy=strategy, add_indicator=add_indicator)
    assert_exact(imputer.fit(rows_with(marker)), rows_with(marker), tolerance=0)


@pytest.mark.filterwarnings("ignore:Skipping features")
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("strategy", ["mean", "constant"])
def test_columns_that_training_never_saw_are_dropped_or_kept(strategy, keeps):
    imputer = SimpleImputer(strategy=strategy, keep_empty_features=keeps, add_indicator=True).fit(rows_with(np.nan, 2))
    assert_exact(imputer, rows_with(np.nan, 2), tolerance=0)
    assert_exact(imputer, rows_with(np.nan), tolerance=0)


def test_an_indicator_of_complete_rows_adds_nothing():
    complete = np.ones((5, 2), dtype=np.float32)
    assert_exact(SimpleImputer(add_indicator=True).fit(complete), complete)


@pytest.mark.parametrize("features", ["all", "missing-only"])
def test_indicators_flag(features):
    rows = rows_with(np.nan)
    rows[:, 2] = 1
    assert_exact(MissingIndicator(features=features).fit(rows), rows)


@pytest.mark.parametrize(
    ("imputer", "gap"),
    [
        (SimpleImputer(strategy="most_frequent"), np.nan),
        (SimpleImputer(strategy="constant", fill_value="unknown"), np.nan),
        (SimpleImputer(strategy="constant", fill_value="b", missing_values=None, add_indicator=True), None),
        (SimpleImputer(strategy="most_frequent", missing_values="?"), "?"),
    ],
    ids=repr,
)
def test_texts_are_imputed_as_indices(imputer, gap):
    """A text that no category has becomes one more index."""
    texts = np.array([["a"], ["b"], ["a"], [gap], ["c"]], dtype=object)
    names = ["?", "a", "b", "c"]
    rows = np.array([[names.index(t) if t in names else np.nan] for t in texts[:, 0]], dtype=np.float32)
    got = run_program(program_of(imputer.fit(texts), rows, texts={0: tuple(names)}), rows)
    filled = imputer.transform(texts)
    expected = [
        [float(v) if isinstance(v, bool) else float([*names, "unknown"].index(v)) for v in row] for row in filled
    ]
    assert got.tolist() == expected


def test_a_mark_of_the_other_kind_is_refused():
    imputer = SimpleImputer(strategy="constant", fill_value="x").fit(np.array([["a"], [np.nan]], dtype=object))
    with pytest.raises(UnsupportedError, match="that puts 'x' into a column of numbers"):
        program_of(imputer, np.zeros((1, 1)))


def test_an_imputer_that_drops_everything_is_refused():
    with pytest.raises(UnsupportedError, match="that drops every column"):
        program_of(SimpleImputer(strategy="median").fit(np.full((3, 1), np.nan)), np.zeros((1, 1)))


def test_several_kinds_of_missing_do_not_disturb_each_other():
    rows = rows_with(np.nan)
    imputer = SimpleImputer().fit(rows)
    got = run_program(program_of(imputer, rows), rows)
    assert difference(got, original_of(imputer, rows)) == 0
