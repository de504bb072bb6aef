import json

import numpy as np
import pandas as pd
import pytest

from exporter.errors import ModelError, UnsupportedError
from exporter.programs.ensemble import NUMERIC
from exporter.programs.folding import fold_into_thresholds
from exporter.programs.interpreter import run_program
from exporter.programs.program import Trees
from exporter.reading.ubjson import UbjsonError, parse_ubjson
from exporter.reading.xgboost import load_model_file

from .reference import around, assert_same, data, read, scores_of, with_gaps

xgboost = pytest.importorskip("xgboost", reason="XGBoost is an extra")
OPTIONS = {"n_estimators": 15, "random_state": 0, "n_jobs": 1, "max_depth": 4}


def classifier(**options):
    return xgboost.XGBClassifier(**{**OPTIONS, **options})


def regressor(**options):
    return xgboost.XGBRegressor(**{**OPTIONS, **options})


@pytest.mark.parametrize("name", ["digits", "cancer", "wine"])
@pytest.mark.parametrize("options", [{}, {"booster": "dart", "rate_drop": 0.3}, {"base_score": 0.3}])
def test_a_classifier_answers_the_same_on_every_row_and_around_every_threshold(name, options):
    rows, truth = data(name)
    model = classifier(**options).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    assert_same(program, model, around(program, rows, 5000), "probabilities")


@pytest.mark.parametrize("family", [xgboost.XGBRFClassifier, xgboost.XGBRFRegressor])
def test_a_random_forest_answers_the_same(family):
    is_classifier = family is xgboost.XGBRFClassifier
    rows, truth = data("wine" if is_classifier else "diabetes")
    model = family(n_estimators=20, random_state=0, n_jobs=1).fit(rows, truth)
    response = "probabilities" if is_classifier else "value"
    program = read(model, rows.shape[1], response)
    assert_same(program, model, around(program, rows, 5000), response)


@pytest.mark.parametrize(
    "objective",
    [
        "reg:squarederror",
        "reg:absoluteerror",
        "reg:pseudohubererror",
        "reg:quantileerror",
        "reg:squaredlogerror",
        "reg:gamma",
        "reg:tweedie",
        "count:poisson",
        "reg:logistic",
    ],
)
@pytest.mark.parametrize("options", [{}, {"base_score": 0.4}])
def test_a_regressor_answers_the_same_with_every_objective(objective, options):
    rows, truth = data("diabetes")
    scale = 400 if objective == "reg:logistic" else 10
    if objective == "reg:quantileerror":
        options = {**options, "quantile_alpha": 0.7}
    model = regressor(objective=objective, **options).fit(rows, truth / scale)
    program = read(model, rows.shape[1], "value")
    assert_same(program, model, around(program, rows, 5000), "value")


def test_the_leaves_are_equal_to_the_last_bit_when_they_are_summed_in_float32():
    rows, truth = data("diabetes")
    model = regressor().fit(rows, truth)
    program = read(model, rows.shape[1], "value")
    rows = around(program, rows, 3000)
    (trees,) = [node.operation for node in program.nodes if isinstance(node.operation, Trees)]
    ensemble = trees.ensemble
    total = np.full(len(rows), ensemble.base[0], dtype=np.float32)
    for root in ensemble.roots.tolist():
        total += ensemble.leaves[ensemble.leaf[ensemble.leaf_nodes(root, rows)], 0].astype(np.float32)
    assert np.array_equal(total, model.predict(rows))
    assert np.max(np.abs(scores_of(program, rows)[:, 0] - total)) < 1e-4


@pytest.mark.parametrize("gaps", [False, True])
def test_missing_values_take_the_way_that_xgboost_gives_them(gaps):
    rows, truth = data("cancer")
    rows = rows - np.quantile(rows, 0.3, axis=0).astype(np.float32)
    rows[np.random.default_rng(1).random(rows.shape) < 0.3] = 0.0
    model = classifier().fit(with_gaps(rows) if gaps else rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    tried = around(program, with_gaps(rows), 5000, missing=True)
    tiny = np.random.default_rng(2).choice(np.array([0.0, -0.0, 1e-40, -1e-45, np.nan], dtype=np.float32), tried.shape)
    tried = np.where(np.random.default_rng(3).random(tried.shape) < 0.3, tiny, tried)
    assert_same(program, model, tried, "probabilities")


@pytest.mark.parametrize("gap", [0.0, -999.0])
def test_another_mark_for_missing_values_is_taken_for_them(gap):
    rows, truth = data("cancer")
    rows = np.where(np.isnan(with_gaps(rows)), np.float32(gap), rows)
    model = classifier(missing=gap).fit(rows, truth)
    program = read(model, rows.shape[1], "probabilities")
    tried = around(program, rows, 3000, missing=True)
    assert_same(program, model, tried, "probabilities")
    folded = fold_into_thresholds(program)
    tried = around(folded, rows, 3000, missing=True)
    assert np.array_equal(run_program(folded, tried), run_program(program, tried))


@pytest.mark.parametrize("to_onehot", [1, 100])
def test_categories_go_where_training_sent_them(to_onehot):
    rows, truth = data("cancer")
    rows = rows[:, :6].copy()
    rows[:, 1] = np.digitize(rows[:, 1], np.quantile(rows[:, 1], np.arange(0.02, 1, 0.02))) * 7 % 50
    rows = with_gaps(rows)
    types = ["q", "c", "q", "q", "q", "q"]
    model = classifier(feature_types=types, enable_categorical=True, max_cat_to_onehot=to_onehot).fit(rows, truth)
    program = read(model, 6, "probabilities")
    (trees,) = [node.operation for node in program.nodes if isinstance(node.operation, Trees)]
    assert (trees.ensemble.category != NUMERIC).any()
    odd = rows.copy()
    odd[:, 1] = np.random.default_rng(0).choice([55, 300, 70000, np.nan], len(rows))
    assert_same(program, model, np.concatenate([odd, around(program, rows, 5000, missing=True)]), "probabilities")


def test_early_stopping_ends_at_the_best_iteration():
    rows, truth = data("cancer")
    model = classifier(n_estimators=200, learning_rate=0.7, early_stopping_rounds=3)
    model.fit(rows[::2], truth[::2], eval_set=[(rows[1::2], truth[1::2])], verbose=False)
    assert model.best_iteration + 1 < model.get_booster().num_boosted_rounds()
    assert_same(read(model, rows.shape[1], "probabilities"), model, rows, "probabilities")
    booster = model.get_booster()
    all_rounds = run_program(read(booster, rows.shape[1], "probabilities"), rows)
    assert np.max(np.abs(all_rounds[:, 1] - booster.predict(xgboost.DMatrix(rows)))) < 1e-6


@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes"])
def test_a_linear_booster_becomes_a_linear_model(name):
    rows, truth = data(name)
    # XGBoost sums products in float32: numbers of a thousand would cost it three digits.
    rows = with_gaps(rows / np.abs(rows).max(axis=0))
    options = {"booster": "gblinear", "n_estimators": 5, "random_state": 0, "n_jobs": 1}
    family = xgboost.XGBRegressor if name == "diabetes" else xgboost.XGBClassifier
    model = family(**options).fit(rows, truth)
    response = "value" if name == "diabetes" else "probabilities"
    assert_same(read(model, rows.shape[1], response), model, rows, response)


@pytest.mark.parametrize("form", ["json", "ubj"])
@pytest.mark.parametrize("name", ["cancer", "wine", "diabetes", "stopped", "softmax"])
def test_a_file_is_an_estimator_that_answers_as_the_model_it_was_written_from(tmp_path, name, form):
    rows, truth = data({"stopped": "cancer", "softmax": "wine"}.get(name, name))
    response = "value" if name == "diabetes" else "probabilities"
    path = tmp_path / f"model.{form}"
    if name == "stopped":
        model = classifier(early_stopping_rounds=2, learning_rate=0.7, n_estimators=100)
        model.fit(rows[::2], truth[::2], eval_set=[(rows[1::2], truth[1::2])], verbose=False)
    else:
        model = (regressor() if name == "diabetes" else classifier()).fit(with_gaps(rows), truth)
    if name == "softmax":
        booster = xgboost.train(
            {"objective": "multi:softmax", "num_class": 3}, xgboost.DMatrix(rows, truth), num_boost_round=5
        )
        booster.save_model(path)
        loaded = load_model_file(path)
        assert np.array_equal(loaded.predict(rows), booster.predict(xgboost.DMatrix(rows)))
        model = loaded
    else:
        model.save_model(path)
        loaded = load_model_file(path)
    program = read(loaded, rows.shape[1], response)
    tried = around(program, rows, 2000, missing=True)
    assert_same(program, model, tried, response)
    assert_same(program, loaded, tried, response)
    if name == "diabetes":
        assert loaded.classes_ is None
    else:
        assert np.array_equal(loaded.predict(rows), model.predict(rows))


def test_what_has_no_exact_form_is_refused_by_name():
    rows, truth = data("diabetes")
    both = np.stack([truth, truth], axis=1)
    with pytest.raises(ModelError, match="2 targets at once"):
        read(regressor().fit(rows, both), rows.shape[1], "value")
    with pytest.raises(UnsupportedError, match="XGBClassifier with the objective 'binary:hinge'"):
        read(classifier(objective="binary:hinge").fit(rows, truth > 100), rows.shape[1], "probabilities")
    with pytest.raises(UnsupportedError, match="of 10 columns, given 3"):
        read(regressor().fit(rows, truth), 3, "value")
    with pytest.raises(UnsupportedError, match="Booster of 10 columns, given 3"):
        read(regressor().fit(rows, truth).get_booster(), 3, "value")
    table = pd.DataFrame({"a": pd.Categorical(["x", "y"] * 30), "b": range(60)})
    with pytest.raises(UnsupportedError, match="trained on texts"):
        read(classifier(enable_categorical=True).fit(table, [0, 1] * 30), 2, "probabilities")


def small_model():
    rows = np.array([[0, 0], [1, 0], [2, 1], [3, 1]] * 5, dtype=np.float32)
    model = regressor(n_estimators=1, max_depth=1).fit(rows, [1, 1, 2, 2] * 5)
    return json.loads(model.get_booster().save_raw("json"))


def changed(path: list[str | int], value):
    model = small_model()
    part = model
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    return model


MODEL = ["learner", "gradient_booster", "model"]
TREE = [*MODEL, "trees", 0]


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ([*TREE, "split_indices"], [0, 0], "different lengths"),
        ([*TREE, "left_children"], [0, -1, -1], "two parents"),
        ([*TREE, "right_children"], [9, -1, -1], "a child outside"),
        ([*TREE, "right_children"], [-9, -1, -1], "a child outside"),
        ([*TREE, "split_indices"], [2, 0, 0], "a column outside of 2"),
        ([*TREE, "split_conditions"], [float("nan"), 0, 0], "no number"),
        ([*TREE, "split_conditions"], [0, 0, float("nan")], "no number"),
        ([*TREE, "split_type"], [1, 0, 0], "a category node without categories"),
        ([*TREE, "categories_nodes"], [0], "lists of categories do not fit"),
        ([*TREE, "tree_param", "size_leaf_vector"], "2", "several targets"),
        ([*TREE, "categories"], [99999999], "a category outside of 0"),
        ([*TREE, "categories"], [-1], "a category outside of 0"),
        ([*MODEL, "tree_info"], [1], "an output outside of 1"),
        ([*MODEL, "tree_info"], [], "1 trees, 0 outputs"),
        ([*MODEL, "iteration_indptr"], [0, 2], "do not cover its 1 trees"),
        (["learner", "learner_model_param", "base_score"], "[1,2]", "2 base scores"),
        (["learner", "learner_model_param", "base_score"], "nan", "base score is no number"),
        (["learner", "learner_model_param", "num_feature"], "x", "invalid literal"),
        (["learner", "gradient_booster"], {}, "KeyError"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused_with_the_reason(tmp_path, path, value, problem):
    file = tmp_path / "model.json"
    file.write_text(json.dumps(changed(path, value)), "utf-8")
    with pytest.raises(ModelError, match=problem):
        load_model_file(file)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b'{"learner": 3}', b"\x00\xff", b"{L", b"[" * 100])
def test_what_is_no_model_at_all_is_refused(tmp_path, content):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        load_model_file(path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "ends at byte 0"),
        (b"[" * 100, "deeper than"),
        (b"[$U#l\x7f\xff\xff\xff", "items in"),
        (b"[$Z#l\x7f\xff\xff\xff", "items in"),
        (b"[#l\x7f\xff\xff\xff", "items in"),
        (b"[$U1", "a type without a count"),
        (b"SU\x05ab", "5 more were expected"),
        (b"Si\xff", "a length of -1"),
        (b"SSU", "a length of type"),
        (b"q", "unknown type"),
        (b"ZZ", "1 bytes behind the end"),
    ],
)
def test_binary_json_that_lies_about_its_size_is_refused(content, problem):
    with pytest.raises(UbjsonError, match=problem):
        parse_ubjson(content)


def test_binary_json_of_every_type_is_parsed():
    content = b"{U\x01aZU\x01b[TFNI\x01\x00]U\x01c[$d#U\x01\x3f\x80\x00\x00U\x01dD\x3f\xf0" + bytes(6) + b"U\x01eCx}"
    assert parse_ubjson(content) == {"a": None, "b": [True, False, 256], "c": [1.0], "d": 1.0, "e": "x"}
