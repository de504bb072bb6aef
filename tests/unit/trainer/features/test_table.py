import dataclasses

import numpy as np
import pytest

from trainer.features.table import NO_ENTITY, RowTimes, TrainingTable, fingerprint_of, row_keys


def table(**changes: object) -> TrainingTable:
    content: dict[str, object] = {
        "names": ("a", "b"),
        "labels": ("no", "yes"),
        "rows": np.array([[1, 2], [3, np.nan]], dtype=np.float32),
        "truth": np.array([0.0, 1.0]),
        "is_fleet": np.array([False, True]),
        "is_chosen": np.array([False, False]),
        "entity": np.array([0, NO_ENTITY]),
        "times": RowTimes(np.array([1.0, np.nan]), np.array([2.0, 3.0]), np.array([0, 1])),
    }
    content |= changes
    return TrainingTable(**content, fingerprint=fingerprint_of(**content))  # type: ignore[arg-type]


def test_tables_of_the_same_content_have_the_same_fingerprint() -> None:
    assert table().fingerprint == table().fingerprint
    assert len(table().fingerprint) == 64


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("a", "c")},
        {"labels": ("yes", "no")},
        {"rows": np.array([[1, 2], [3, 4]], dtype=np.float32)},
        {"truth": np.array([1.0, 0.0])},
        {"is_fleet": np.array([True, True])},
        {"is_chosen": np.array([False, True])},
        {"entity": np.array([1, NO_ENTITY])},
        {"times": None},
        {"times": RowTimes(np.array([1.5, np.nan]), np.array([2.0, 3.0]), np.array([0, 1]))},
        {"times": RowTimes(np.array([1.0, np.nan]), np.array([2.0, 3.5]), np.array([0, 1]))},
        {"times": RowTimes(np.array([1.0, np.nan]), np.array([2.0, 3.0]), np.array([0, 0]))},
    ],
)
def test_another_content_has_another_fingerprint(change: dict[str, object]) -> None:
    assert table(**change).fingerprint != table().fingerprint


def test_the_same_bytes_in_another_shape_have_another_fingerprint() -> None:
    tall = np.arange(4, dtype=np.float32).reshape(4, 1)
    assert table(rows=tall).fingerprint != table(rows=tall.reshape(2, 2)).fingerprint


def test_the_fingerprint_does_not_depend_on_how_the_rows_lie_in_memory() -> None:
    rows = table().rows
    assert table(rows=np.asfortranarray(rows)).fingerprint == table(rows=rows).fingerprint


def test_a_table_is_not_changed_by_assignment() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        table().truth = np.zeros(2)  # type: ignore[misc]


def test_a_row_keeps_its_key_wherever_it_stands() -> None:
    rows, truth = table().rows, table().truth
    assert row_keys(rows[::-1], truth[::-1]).tolist() == row_keys(rows, truth)[::-1].tolist()


def test_rows_that_differ_in_a_value_or_in_their_truth_have_different_keys() -> None:
    rows = np.array([[1, 2], [2, 1], [1, np.nan], [np.nan, 1], [1, 2]], dtype=np.float32)
    assert len(set(row_keys(rows, np.array([0.0, 0.0, 0.0, 0.0, 1.0])).tolist())) == 5


def test_both_zeros_and_all_nans_are_one_value() -> None:
    odd_nan = np.array([0x7FC00001], dtype=np.uint32).view(np.float32)[0]
    rows = np.array([[0.0, np.nan], [-0.0, odd_nan]], dtype=np.float32)
    first, second = row_keys(rows, np.array([0.0, -0.0]))
    assert first == second


def test_no_rows_have_no_keys() -> None:
    assert row_keys(np.empty((0, 2), dtype=np.float32), np.empty(0)).tolist() == []
