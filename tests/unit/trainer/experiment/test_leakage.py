import numpy as np
import pytest

from trainer.experiment.leakage import hints_of, judge_columns
from trainer.features.table import NO_ENTITY, TrainingTable


def table_of(rows, truth, labels):
    n = len(truth)
    names = tuple(f"f{place}" for place in range(rows.shape[1]))
    flags = np.zeros(n, dtype=np.bool_)
    entity = np.full(n, NO_ENTITY, dtype=np.int64)
    return TrainingTable(names, labels, rows.astype(np.float32), truth.astype(np.float64), flags, flags, entity, "x")


@pytest.mark.parametrize("labels", [("no", "yes"), ()])
def test_a_copy_of_the_target_with_noise_is_named_and_honest_columns_are_not(labels):
    rng = np.random.default_rng(3)
    honest = rng.normal(size=(2000, 3))
    value = honest[:, 0] + rng.normal(size=2000)
    truth = (value > 0).astype(np.float64) if labels else value
    leak = truth + rng.normal(scale=0.1, size=2000)
    judged = judge_columns(table_of(np.column_stack([honest, leak]), truth, labels), seed=0)
    assert [column.name for column in judged if column.hint] == ["f3"]
    assert judged[0].name == "f3"
    assert judged[0].gain > 0.95


def test_gaps_that_tell_the_target_are_a_leak_too():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 1000)
    rows = rng.normal(size=(1000, 2))
    rows[truth == 1, 1] = np.nan
    judged = judge_columns(table_of(rows, truth, ("no", "yes")), seed=0)
    assert [column.name for column in judged if column.hint] == ["f1"]


@pytest.mark.parametrize(
    ("gains", "named"),
    [
        ([("a", 0.9), ("b", 0.89)], ["a"]),
        ([("a", 0.95), ("b", 0.92), ("c", 0.1)], ["a", "b"]),
        ([("a", 0.6), ("b", 0.3)], ["a"]),
        ([("a", 0.6), ("b", 0.31)], []),
        ([("a", 0.49), ("b", 0.0)], []),
        ([("a", 0.6)], []),
        ([("a", 0.6), ("b", -0.4)], ["a"]),
    ],
)
def test_a_column_is_pointed_at_when_it_is_nearly_the_target_or_far_ahead_of_all_others(gains, named):
    assert [column.name for column in hints_of(gains) if column.hint] == named
