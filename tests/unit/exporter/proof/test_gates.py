import pytest

from exporter.proof.cost import Latency
from exporter.proof.gates import cost_refusal, doubt_of, parity_refusal
from exporter.proof.intervals import Estimate
from exporter.proof.parity import Parity


def parity(**changes):
    values = {
        "rows": 200,
        "not_numbers": 0,
        "max_abs_difference": 0.0,
        "label_flips": 0,
        "ties": 0,
        "far_rows": 0,
        "scale": 1.0,
        "worst": (),
    }
    return Parity(**{**values, **changes})


@pytest.mark.parametrize(
    ("found", "is_quantised", "loss", "refused"),
    [
        (parity(), False, 0.0, ""),
        (parity(ties=3), False, 0.0, ""),
        (parity(label_flips=1), False, 0.0, "1 of 200 rows get another label"),
        (parity(label_flips=50), True, 0.001, ""),
        (parity(far_rows=2, max_abs_difference=0.01), False, 0.0, ""),
        (parity(far_rows=3, max_abs_difference=0.01), False, 0.0, "3 of 200 rows differ by more than 0.0001"),
        (parity(far_rows=200, max_abs_difference=0.2), True, 0.0, ""),
        (parity(), True, 0.011, "it loses 0.0110 of quality, at most 0.01 is allowed"),
    ],
)
def test_the_gates_judge_float_row_by_row_and_int8_by_quality(found, is_quantised, loss, refused):
    verdict = parity_refusal(found, is_quantised=is_quantised, loss=loss, max_loss=0.01)
    assert verdict.startswith(refused)
    assert bool(verdict) == bool(refused)


@pytest.mark.parametrize(
    ("size_bytes", "median_us", "refused"),
    [
        (10, 5.0, ""),
        (11, 5.0, "its file has 11 bytes, at most 10 bytes are allowed"),
        (10, 5.1, "one row takes 5.1 µs, at most 5 µs are allowed"),
    ],
)
def test_size_and_latency_are_gates_too(size_bytes, median_us, refused):
    assert cost_refusal(size_bytes, Latency(median_us, 9.0), max_size_bytes=10, max_latency_us=5.0) == refused
    assert not cost_refusal(1, Latency(median_us, 9.0), max_size_bytes=10, max_latency_us=None)


def test_a_loss_whose_interval_reaches_over_the_bound_is_accepted_and_said_to_be_unsure():
    assert parity_refusal(parity(), is_quantised=True, loss=0.004, max_loss=0.005) == ""
    assert doubt_of(Estimate(0.004, -0.001, 0.009), 0.005).startswith("with other rows it might lose up to 0.0090")
    assert doubt_of(Estimate(0.004, 0.003, 0.005), 0.005) == ""
