import json

import numpy as np
import pandas as pd
import pytest

from edge_agent.bundle import Feature
from exporter.errors import ModelError, UnsupportedError
from exporter.programs.ensemble import NUMERIC
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program
from exporter.programs.program import Row, Trees
from exporter.reading.lightgbm import load_model_file
from exporter.reading.models import READERS
from exporter.reading.reading import Reading

from .reference import around, assert_same, data, read, scores_of, with_gaps

lightgbm = pytest.importorskip("lightgbm", reason="LightGBM is an extra")
OPTIONS = {"n_estimators": 15, "random_state": 0, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}


def classifier(**options):
    return lightgbm.LGBMClassifier(**{**OPTIONS, **options})


def regressor(**options):
    return lightgbm.LGBMRegressor(**{**OPTIONS, **options})


def with_categories(*, gaps: bool) -> tuple[np.ndarray, np.ndarray]:
    rows, truth = data("cancer")
    rows = rows[:, :6].copy()
    rows[:, 1] = np.digitize(rows[:, 1], np.quantile(rows[:, 1], np.arange(0.02, 1, 0.02))) * 7 % 50
    rows[:, 4] = np.digitize(rows[:, 4], np.quantile(rows[:, 4], [0.2, 0.4, 0.6, 0.8])) * 3 % 5
    return (with_gaps(rows) if gaps else rows), truth


@pytest.mark.parametrize("name", ["digits", "cancer", "wine"])
@pytest.mark.parametrize("options", [{}, {"boosting_type": "dart"}, {"objective": "multiclassova", "sigmoid": 0.7}])
def test_a_classifier_answers_the_same_on_every_row_and_around_every_threshold(name, options):
    rows, truth = data(name)
    if "objective" in options and name == "cancer":
        options = {"sigmoid": 0.7}
    model = classifier(**options).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000), "probabilities")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"objective": "regression", "reg_sqrt": True},
        {"objective": "regression_l1"},
        {"objective": "huber"},
        {"objective": "fair"},
        {"objective": "quantile", "alpha": 0.7},
        {"objective": "mape"},
        {"objective": "poisson"},
        {"objective": "gamma"},
        {"objective": "tweedie"},
        {"boosting_type": "rf", "subsample": 0.6, "subsample_freq": 1},
        {"boosting_type": "dart"},
        {"extra_trees": True},
    ],
)
def test_a_regressor_answers_the_same_with_every_objective(options):
    rows, truth = data("diabetes")
    model = regressor(**options).fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    assert_same(program, model, around(program, rows, 5000), "value")


def test_the_sum_is_equal_to_the_last_bit_of_float64():
    rows, truth = data("diabetes")
    model = regressor().fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    rows = around(program, rows, 2000)
    assert np.array_equal(scores_of(program, rows)[:, 0], model.predict(rows))


def test_a_random_forest_of_classes_is_averaged():
    rows, truth = data("wine")
    model = classifier(boosting_type="rf", subsample=0.6, subsample_freq=1).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000), "probabilities")


@pytest.mark.parametrize("options", [{}, {"use_missing": False}, {"zero_as_missing": True}])
@pytest.mark.parametrize("gaps", [False, True])
def test_missing_values_and_zeros_take_the_way_that_lightgbm_gives_them(options, gaps):
    rows, truth = data("cancer")
    rows = rows - np.quantile(rows, 0.3, axis=0).astype(np.float32)
    rows[np.random.default_rng(1).random(rows.shape) < 0.3] = 0.0
    model = classifier(**options).fit(with_gaps(rows) if gaps else rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    tried = around(program, with_gaps(rows), 5000, missing=True)
    tiny = np.random.default_rng(2).choice(
        np.array([0.0, -0.0, 1e-35, -1e-35, 1.1e-35, -1.1e-35, 1e-40, -1e-40, np.nan], dtype=np.float32), tried.shape
    )
    tried = np.where(np.random.default_rng(3).random(tried.shape) < 0.3, tiny, tried)
    assert_same(program, model, tried, "probabilities")
    folded = fold_into_thresholds(program)
    assert np.array_equal(run_program(program, tried), run_program(folded, tried))


def test_a_threshold_at_zero_takes_tiny_numbers_for_zero():
    rows, truth = data("cancer")
    rows = rows - np.median(rows, axis=0).astype(np.float32)
    model = classifier(n_estimators=2).fit(rows, truth)
    for threshold in ("0", "-0", "1e-36", "-1e-36", "-1.0000000180025095e-35", "1.0000000180025095e-35"):
        lines = model.booster_.model_to_string().splitlines()
        lines = [
            f"threshold={' '.join([threshold] * len(line.split()))}" if line.startswith("threshold=") else line
            for line in lines
        ]
        booster = lightgbm.Booster(model_str="\n".join(line for line in lines if not line.startswith("tree_sizes")))
        program = read(booster, rows.shape[1], "probabilities")
        tried = np.random.default_rng(2).choice(
            np.array([0.0, 1e-35, -1e-35, 1.1e-35, -1.1e-35, 1e-40, -1e-40, 1, -1, np.nan], dtype=np.float32),
            (2000, rows.shape[1]),
        )
        assert np.max(np.abs(run_program(program, tried)[:, 1] - booster.predict(tried))) < 1e-6


@pytest.mark.parametrize("gaps", [False, True])
def test_categories_go_where_training_sent_them(gaps):
    rows, truth = with_categories(gaps=gaps)
    model = classifier(min_data_per_group=5, cat_smooth=1, max_cat_to_onehot=2).fit(
        rows, truth, categorical_feature=[1, 4]
    )
    program = read(model, rows.shape[1], "probabilities")
    (trees,) = [node.operation for node in program.nodes if isinstance(node.operation, Trees)]
    assert (trees.ensemble.category != NUMERIC).any()
    odd = rows.copy()
    odd[:, 1] = np.random.default_rng(0).choice([25, 300, 1e9, -1, -7, np.nan], len(rows))
    assert_same(program, model, np.concatenate([odd, around(program, rows, 5000, missing=True)]), "probabilities")


def test_early_stopping_ends_at_the_best_iteration():
    rows, truth = data("cancer")
    model = classifier(n_estimators=200, learning_rate=0.5).fit(
        rows[::2],
        truth[::2],
        eval_X=rows[1::2],
        eval_y=truth[1::2],
        callbacks=[lightgbm.early_stopping(3, verbose=False)],
    )
    assert 0 < model.best_iteration_ < 100
    assert_same(read(model, rows.shape[1], "probabilities"), model, rows, "probabilities")


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_is_an_estimator_that_answers_as_the_model_it_was_written_from(tmp_path, name, form):
    rows, truth = data(name)
    model = (regressor() if name == "diabetes" else classifier()).fit(with_gaps(rows), truth)
    path = tmp_path / "model"
    path.write_text(
        model.booster_.model_to_string() if form == "text" else json.dumps(model.booster_.dump_model()), "utf-8"
    )
    loaded = load_model_file(path)
    response = "value" if name == "diabetes" else "probabilities"
    program = read(loaded, rows.shape[1], response)
    tried = around(program, rows, 2000, missing=True)
    assert_same(program, model, tried, response)
    assert_same(program, loaded, tried, response)
    if name == "diabetes":
        assert loaded.classes_ is None
    else:
        assert np.array_equal(loaded.predict(rows), model.predict(rows))


def test_a_dump_holds_the_same_categories_as_the_text(tmp_path):
    rows, truth = with_categories(gaps=True)
    model = classifier(min_data_per_group=5, cat_smooth=1).fit(rows, truth, categorical_feature=[1, 4])
    (tmp_path / "model.json").write_text(json.dumps(model.booster_.dump_model()), "utf-8")
    program = read(load_model_file(tmp_path / "model.json"), rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 2000, missing=True), "probabilities")


def test_a_booster_of_its_own_is_read_too():
    rows, truth = data("diabetes")
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(rows, truth), 10)
    assert_same(read(booster, rows.shape[1], "value"), booster, rows, "value")
    with pytest.raises(UnsupportedError, match="Booster of 10 columns, given 3"):
        read(booster, 3, "value")


def test_texts_of_a_data_frame_keep_their_meaning_in_another_order():
    names = ("x", "never seen", "y", "z", "w")
    codes = np.random.default_rng(0).integers(0, 5, 400)
    table = pd.DataFrame({"b": np.arange(400.0), "a": pd.Categorical(np.array(names)[codes])})
    truth = (codes >= 2) ^ (table["b"] > 250)
    known = codes != 1
    table["a"] = table["a"].cat.set_categories(["z", "y", "x", "w"])
    model = classifier(min_data_per_group=2, cat_smooth=1).fit(table[known], truth[known])
    reading = Reading((Feature("b"), Feature("a", "category", categories=names)), READERS)
    program = reading.builder.build(reading.read("model", model, 0, "probabilities"))
    rows = np.stack([table["b"], codes], axis=1).astype(np.float32)
    assert np.max(np.abs(run_program(program, rows) - model.predict_proba(table))) < 1e-6
    folded = fold_into_thresholds(program, {1: 5})
    assert [type(node.operation) for node in folded.nodes[:2]] == [Row, Trees]
    assert np.array_equal(run_program(folded, rows), run_program(program, rows))
    with pytest.raises(UnsupportedError, match="trained on 1 columns of texts, given 0"):
        read(model, 2, "probabilities")


def test_what_has_no_exact_form_is_refused_by_name():
    rows, truth = data("diabetes")
    with pytest.raises(ModelError, match="linear models in its leaves"):
        read(regressor(linear_tree=True).fit(rows, truth), rows.shape[1], "value")
    with pytest.raises(UnsupportedError, match="LGBMRegressor with the objective 'cross_entropy_lambda'"):
        read(regressor(objective="cross_entropy_lambda").fit(rows, truth / 400), rows.shape[1], "value")
    with pytest.raises(UnsupportedError, match="of 10 columns, given 3"):
        read(regressor().fit(rows, truth), 3, "value")


HEAD = (
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=1\nobjective=regression\n"
    "feature_names=a b\nfeature_infos=[0:1] [0:1]\n\n"
)
TREE = (
    "Tree=0\nnum_leaves=2\nnum_cat=0\nsplit_feature=0\nthreshold=0.5\ndecision_type=2\nleft_child=-1\nright_child=-2\n"
    "leaf_value=1 2\nis_linear=0\n\nend of trees\n"
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("tree\nversion", "version", "does not start with `tree`"),
        ("max_feature_idx=1\n", "", "max_feature_idx"),
        ("num_leaves=2", "num_leaves=3", "split_feature holds 1 numbers, 2 were expected"),
        ("num_leaves=2", "num_leaves=x", "invalid literal"),
        ("num_leaves=2", "num_leaves=-5", "numbers, -6 were expected"),
        ("split_feature=0", "split_feature=2", "a column outside of 2"),
        ("left_child=-1", "left_child=1", "a child outside"),
        ("right_child=-2", "right_child=-3", "a child outside"),
        ("left_child=-1", "left_child=0", "two parents"),
        ("leaf_value=1 2", "leaf_value=1 nan", "no number"),
        ("threshold=0.5", "threshold=nan", "no number"),
        ("decision_type=2", "decision_type=1", "categories that are not there"),
        ("num_cat=0", "num_cat=1\ncat_boundaries=0 9\ncat_threshold=1", "cat_boundaries do not fit"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=0", "trees of 0 outputs"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2", "1 trees of 2 outputs"),
        ("label_index=0\n", "", "LightGBM does not load it"),
        ("objective=regression", "objective=mystery", "objective 'mystery'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path, old, new, problem):
    path = tmp_path / "model.txt"
    path.write_text(HEAD + TREE, "utf-8")
    assert load_model_file(path).predict(np.array([[0, 0], [1, 0]], dtype=np.float32)).tolist() == [1, 2]
    assert old in HEAD + TREE
    path.write_text((HEAD + TREE).replace(old, new), "utf-8")
    with pytest.raises((ModelError, UnsupportedError), match=problem):
        load_model_file(path)


@pytest.mark.parametrize("category", ["-1", "99999999"])
def test_a_dump_with_an_absurd_category_or_linear_leaves_is_refused(tmp_path, category):
    rows, truth = data("diabetes")
    path = tmp_path / "model.json"
    path.write_text(json.dumps(regressor(linear_tree=True).fit(rows, truth).booster_.dump_model()), "utf-8")
    with pytest.raises(ModelError, match="linear models in its leaves"):
        load_model_file(path)
    dump = regressor(n_estimators=1).fit(rows, truth).booster_.dump_model()
    dump["tree_info"][0]["tree_structure"].update(decision_type="==", threshold=f"1||{category}")
    path.write_text(json.dumps(dump), "utf-8")
    with pytest.raises(ModelError, match="a category outside of 0"):
        load_model_file(path)


@pytest.mark.parametrize("content", [b"{", b'{"tree_info": 3}', b"\xff\xfe", b"", b'{"tree_info": [{}]}'])
def test_what_is_no_model_at_all_is_refused(tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_model_file(path)
