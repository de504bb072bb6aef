import numpy as np

from edge_agent.bundle import Feature
from exporter.proof.acceptance import is_taken


def test_rows_that_a_device_would_refuse_are_not_taken():
    features = (
        Feature("a", valid_min=0, valid_max=1, on_out_of_range="refuse"),
        Feature("b", valid_min=0, valid_max=1),
        Feature("c", "category", categories=("x", "y"), on_missing="flag"),
    )
    nan = np.nan
    rows = [[0.5, 5, 1], [1.5, 0, 0], [-0.1, 0, 0], [nan, 0, 0], [0.5, nan, 0], [0, 0, nan], [0, 0, 2], [0, 0, 0.5]]
    taken = is_taken(np.array(rows, dtype=np.float32), features)
    assert taken.tolist() == [True, False, False, False, False, True, False, False]


def test_a_row_that_float32_puts_beyond_a_limit_is_not_taken():
    # float32(0.1) is more than 0.1: a device refuses what the trainer, which sees float32 only, must let pass.
    at_limit = Feature("a", valid_max=0.1, on_out_of_range="refuse")
    assert is_taken(np.array([[0.1], [0.05]], dtype=np.float32), (at_limit,)).tolist() == [False, True]


def test_infinity_never_reaches_a_model():
    rows = np.array([[np.inf], [-np.inf], [3e38]], dtype=np.float32)
    assert is_taken(rows, (Feature("a"),)).tolist() == [False, False, True]
