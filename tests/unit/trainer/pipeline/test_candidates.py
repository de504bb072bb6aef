import numpy as np
import pytest

from edge_agent.bundle import Feature
from trainer.errors import ProjectError
from trainer.pipeline.candidates import FAMILIES, Choice, Circumstances, Family, families_of
from trainer.pipeline.fitting import fit, outputs_of
from trainer.pipeline.model_bytes import model_bytes

CASES = [(family, task) for family in FAMILIES.values() for task in sorted(family.tasks)]
FEATURES = (Feature("pressure"), Feature("vibration"))


def circumstances(task, *, n_outputs=0, n_rows=90, max_size_bytes=1 << 20):
    return Circumstances(task, n_outputs or (3 if task == "classification" else 1), n_rows, max_size_bytes, seed=1)


def draw(task, n_rows=90):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(n_rows, 2)).astype(np.float32)
    truth = rows.sum(axis=1).astype(np.float64) * 10
    if task == "anomaly":
        rows[:5] += 6
        return rows, (np.arange(n_rows) < 5).astype(np.float64)
    return rows, np.digitize(truth, [-5, 5]).astype(np.float64) if task == "classification" else truth


def leaves_of(model):
    return sum(tree.get_n_leaves() for tree in model.estimators_)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("forrest", "forest"), ("Forest", "forest"), ("extratrees", "extra_trees"), ("mpl", "mlp"), ("rigde", "ridge")],
)
def test_a_mistyped_family_is_named_with_the_nearest(name, nearest):
    with pytest.raises(ProjectError, match=rf"'training\.candidates'.*'{name}'; did you mean '{nearest}'\?"):
        families_of(["forest", name], "classification" if nearest != "ridge" else "regression")


def test_a_family_like_no_other_is_named_with_all_there_are():
    with pytest.raises(ProjectError, match="no family 'xgb'") as refusal:
        families_of(["xgb"], "classification")
    for name in FAMILIES:
        assert name in str(refusal.value)


@pytest.mark.parametrize(("name", "task"), [("ridge", "classification"), ("logistic", "regression")])
def test_a_family_of_another_task_is_refused_with_those_that_do_it(name, task):
    with pytest.raises(ProjectError, match=f"'{name}' does no {task}; these do: forest") as refusal:
        families_of(["forest", name], task)
    assert name not in str(refusal.value).split("these do:")[1]


def test_families_come_in_the_projects_order_each_once():
    found = families_of(["mlp", "forest", "mlp"], "regression")
    assert [family.name for family in found] == ["mlp", "forest"]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_a_familys_first_trial_lies_within_its_space(family: Family):
    assert set(family.starts_with) == set(family.space)
    for name, space in family.space.items():
        value = family.starts_with[name]
        if isinstance(space, Choice):
            assert value in space.values
        else:
            assert space.low <= float(value) <= space.high


@pytest.mark.parametrize(("family", "task"), CASES, ids=[f"{family.name} {task}" for family, task in CASES])
def test_every_family_learns_its_tasks_and_the_same_seed_gives_the_same_bytes(family, task):
    rows, truth = draw(task)
    given = circumstances(task, n_rows=85 if task == "anomaly" else 90)
    made = [fit(family, family.starts_with, given, FEATURES, rows, truth, None) for _ in range(2)]
    n_labels = 3 if task == "classification" else 0
    outputs = outputs_of(made[0], rows, n_labels)
    assert outputs.shape == (90, n_labels or 1)
    if n_labels:
        assert np.mean(outputs.argmax(axis=1) == truth) > 0.6
    elif task == "anomaly":
        assert (outputs[:5] < 0).all()
        assert np.mean(outputs[5:] > 0) > 0.9
    else:
        assert np.corrcoef(outputs[:, 0], truth)[0, 1] > 0.8
    first, second = (model_bytes(estimator) for estimator in made)
    assert first == second


@pytest.mark.parametrize("name", ["forest", "extra_trees"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_trees_are_kept_to_what_a_device_can_take(name, task):
    rows, truth = draw(task, 2000)
    parameters = {"trees": 40, "min_leaf": 1, "feature_share": 1.0}
    size_bytes = 40_000
    models = [
        fit(FAMILIES[name], parameters, circumstances(task, max_size_bytes=limit), FEATURES, rows, truth, None)
        for limit in (size_bytes, 100 * size_bytes)
    ]
    small, large = (leaves_of(model) for model in models)
    assert small * 70 <= size_bytes
    assert large > 2 * small


def test_more_classes_leave_fewer_leaves():
    parameters = {"rounds": 100, "rate": 0.1, "leaves": 31, "min_leaf": 5}
    build = FAMILIES["hist_gradient_boosting"].build
    few = build(parameters, circumstances("classification", n_outputs=2, max_size_bytes=200_000)).max_leaf_nodes
    many = build(parameters, circumstances("classification", n_outputs=10, max_size_bytes=200_000)).max_leaf_nodes
    assert many == 8, "never fewer than a tree needs"
    assert many < few <= 31


@pytest.mark.parametrize(("n_rows", "epochs"), [(20, 300), (1000, 38), (100_000, 30)])
def test_fewer_rows_mean_more_epochs_of_a_network(n_rows, epochs):
    family = FAMILIES["mlp"]
    model = family.build(family.starts_with, circumstances("regression", n_rows=n_rows))
    assert model.max_iter == epochs
    assert model.batch_size <= n_rows


def test_the_layers_of_a_network_are_read_from_its_parameter():
    family = FAMILIES["mlp"]
    model = family.build({**family.starts_with, "layers": "32-16"}, circumstances("classification"))
    assert model.hidden_layer_sizes == (32, 16)
