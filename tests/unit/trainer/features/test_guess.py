from pathlib import Path

import pytest

from edge_agent.bundle import Task
from trainer.errors import DataError
from trainer.features.columns import Place
from trainer.features.guess import Guess, guess_from, guess_project, widened
from trainer.features.profile import ColumnProfile

FILE = Path("rows.csv")


def column(name: str, **changes: object) -> ColumnProfile:
    facts: dict[str, object] = {
        "kind": "number",
        "stored_as": "double",
        "n_rows": 1000,
        "n_missing": 0,
        "n_early": 500,
        "n_distinct": 700,
        "minimum": 0.0,
        "maximum": 1.0,
    }
    return ColumnProfile(name, **(facts | changes))  # type: ignore[arg-type]


def labels(n: int, early: int = 50) -> dict[str, object]:
    names = tuple(str(i) for i in range(n))
    return {"n_distinct": n, "is_whole": True, "names": names, "early_rows": (early,) * n, "maximum": float(n - 1)}


def guess(*inputs: ColumnProfile, target: ColumnProfile | None = None, task: Task | None = None) -> Guess:
    wanted = target or column("y", **labels(2))
    return guess_from((*(inputs or (column("x"),)), wanted), Place(FILE, "y"), task=task, leave_out=())


@pytest.mark.parametrize(
    ("target", "task"),
    [
        (column("y", **labels(2)), "classification"),
        (column("y", **labels(20)), "classification"),
        (column("y", **labels(21)), "regression"),
        (column("y", **labels(12) | {"n_rows": 100}), "regression"),
        (column("y", **labels(2) | {"n_rows": 4}), "classification"),
        (column("y"), "regression"),
        (column("y", **labels(3) | {"is_whole": False}), "regression"),
        (column("y", **labels(30) | {"kind": "text"}), "classification"),
    ],
)
def test_few_whole_numbers_or_texts_are_classes_and_other_numbers_are_values(target: ColumnProfile, task: str) -> None:
    assert guess(target=target).target.task == task


def test_too_many_classes_are_refused() -> None:
    with pytest.raises(DataError, match="too many for classes"):
        guess(target=column("y", **labels(257) | {"kind": "text"}))


def test_texts_are_no_target_of_a_regression() -> None:
    with pytest.raises(DataError, match="holds text"):
        guess(target=column("y", **labels(3) | {"kind": "text"}), task="regression")


def test_a_target_that_is_left_out_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be left out"):
        guess_from((column("x"),), Place(FILE, "y"), task=None, leave_out=("y",))


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        (column("n", is_counting=True, is_whole=True, n_distinct=1000), "an index"),
        (column("ID", is_whole=True, n_distinct=1000), "an index by its name"),
        (column("c", n_distinct=1), "every row has the same value"),
        (column("", n_distinct=9), "a name of 1 to 64"),
        (column("n" * 65), "a name of 1 to 64"),
        (column("o", kind="other", stored_as="list<double>"), "holds list<double>"),
        (column("t", kind="text", names=tuple("abc"), n_distinct=1000), "every row has another text"),
        (column("t", kind="text", names=tuple(f"t{i}" for i in range(65)), n_distinct=65), "65 different texts"),
        (column("t", kind="text", names=("a" * 257, "b"), n_distinct=2), "longer than 256"),
    ],
)
def test_a_column_that_cannot_be_learnt_from_is_left_out_with_its_reason(profile: ColumnProfile, reason: str) -> None:
    found = guess(column("x"), profile)
    assert [feature.name for feature in found.features] == ["x"]
    assert reason in found.left_out[0].reason


@pytest.mark.parametrize(
    "profile",
    [
        column("x", is_whole=True, n_distinct=1000),  # whole numbers that only happen to differ
        column("id_of_kind", is_whole=True, n_distinct=7),
        column("x", n_distinct=1, n_missing=5),  # that it is missing says something
        column("x", kind="text", names=("a", "b"), n_distinct=2),
    ],
)
def test_a_column_that_may_tell_something_is_a_feature(profile: ColumnProfile) -> None:
    assert [feature.name for feature in guess(profile).features] == [profile.name]


def test_the_first_column_of_times_orders_the_rows_and_a_second_is_left_out() -> None:
    found = guess(column("x"), column("sent", kind="time"), column("stored", kind="time"))
    assert found.timestamp == "sent"
    assert found.left_out[0].name == "stored"


def test_numbers_order_the_rows_only_by_name_and_when_they_never_fall() -> None:
    assert guess(column("x"), column("timestamp", is_ordered=True)).timestamp == "timestamp"
    assert guess(column("x"), column("timestamp", is_ordered=False)).timestamp is None
    assert guess(column("x"), column("distance", is_ordered=True)).timestamp is None


def test_the_first_half_trains_unless_a_class_or_a_value_comes_only_later() -> None:
    assert guess().training_rows == 500
    assert guess(target=column("y", **labels(2, early=3))).training_rows is None
    assert guess(column("x", n_early=0, n_missing=500)).training_rows is None
    assert guess(target=column("y", **labels(2) | {"n_rows": 399})).training_rows is None


@pytest.mark.parametrize(
    ("observed", "valid"),
    [
        ((0.0, 16.0), (0.0, 20.0)),
        ((-3.0, 5.0), (-5.0, 7.0)),
        ((985.85, 1034.2), (970.0, 1050.0)),
        ((5.0, 5.0), (3.0, 7.0)),
        ((0.0, 0.0), (0.0, 0.3)),
        ((-8.0, -4.0), (-9.0, -3.0)),
    ],
)
def test_the_valid_range_is_round_and_a_quarter_wider(
    observed: tuple[float, float], valid: tuple[float, float]
) -> None:
    assert widened(*observed) == pytest.approx(valid)


def test_a_large_real_table_is_guessed_as_its_publisher_describes_it(shared_data: Path) -> None:
    found = guess_project([shared_data / "gas_turbine" / "gt_2011.csv"], "NOX", leave_out=["CO"])
    assert found.target.task == "regression"
    assert len(found.features) == 9
    assert found.n_rows == 7411


def test_a_header_one_name_short_is_refused(shared_data: Path) -> None:
    with pytest.raises(DataError, match="header one name short"):
        guess_project([shared_data / "occupancy" / "datatraining.txt"], "Occupancy")
