"""The variant that runs is the preferred one that can, else by one rule the best that can."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import RuntimeName, Variant
from edge_agent.errors import RuntimeMissingError
from edge_agent.scoring.implementations import installed_runtimes
from edge_agent.scoring.selection import Device, choose, choose_variant, explain_choice

MB = 1000 * 1000
PI = Device("aarch64", ("onnx", "tflite", "native"), 512 << 20)


def variant(
    name: str, runtime: RuntimeName, quality: float = 0.9, latency_us: float = 5.0, size_bytes: int = 10, **figures: Any
) -> Variant:
    return Variant(name, runtime, f"{name}.model", size_bytes, "0" * 64, 1e-5, quality, latency_us, **figures)


def measured(name: str, runtime: RuntimeName, memory_mb: float, loss: float = 0.0, **figures: Any) -> Variant:
    return variant(name, runtime, 0.9 - loss, memory_bytes=int(memory_mb * MB), loss=loss, max_loss=0.005, **figures)


# As bundles had them before memory and loss were in a manifest.
OLD = (variant("onnx-fp32", "onnx"), variant("onnx-int8", "onnx", 0.89), variant("tflite-int8", "tflite", 0.95))


@pytest.mark.parametrize(
    ("installed", "prefer", "chosen"),
    [
        (("onnx", "tflite"), (), "tflite-int8"),
        (("onnx",), (), "onnx-fp32"),
        (("onnx", "tflite"), ("onnx-int8",), "onnx-int8"),
        (("onnx",), ("tflite-int8", "onnx-int8"), "onnx-int8"),
        (("onnx",), ("tflite-int8",), "onnx-fp32"),
        (("onnx",), ("unheard-of",), "onnx-fp32"),
        (("tflite",), ("onnx-fp32",), "tflite-int8"),
    ],
)
def test_without_figures_of_memory_and_loss_the_best_quality_is_chosen(
    installed: tuple[str, ...], prefer: tuple[str, ...], chosen: str
):
    device = Device("aarch64", installed)
    assert choose_variant(OLD, device, prefer).name == chosen
    assert explain_choice(OLD, device, prefer).startswith(chosen)


def test_of_equal_quality_the_quicker_is_chosen():
    slow, quick = variant("onnx-fp32", "onnx", latency_us=9.0), variant("tflite-fp32", "tflite", latency_us=2.0)
    assert choose_variant((slow, quick), PI) is quick


def test_of_those_as_good_as_the_best_the_one_that_takes_least_memory_is_chosen_though_it_is_slower():
    offered = (
        measured("onnx-fp32", "onnx", 60, latency_us=2.0),
        measured("native", "native", 4, loss=0.004, latency_us=9.0),
    )
    assert choose_variant(offered, PI).name == "native"


def test_less_memory_does_not_outweigh_a_loss_beyond_the_bound():
    offered = (measured("onnx-fp32", "onnx", 60), measured("native", "native", 4, loss=0.006))
    choice = choose(offered, PI)
    assert choice.variant is offered[0]
    assert choice.verdicts[1].reason == "loses 0.006 of quality against the best, 0.005 is allowed"


def test_what_a_variant_has_over_the_original_is_chance():
    lucky = variant("onnx-int8", "onnx", 0.99, memory_bytes=60 * MB, loss=0.0, max_loss=0.005)
    assert choose_variant((lucky, measured("native", "native", 4)), PI).name == "native"


def test_memory_within_a_step_and_times_within_a_factor_of_two_count_as_equal():
    offered = (
        measured("onnx-fp32", "onnx", 57, latency_us=5.0, size_bytes=900),
        measured("onnx-int8", "onnx", 58, latency_us=5.5, size_bytes=300),
    )
    assert choose_variant(offered, PI).name == "onnx-int8"


def test_what_takes_more_than_a_quarter_of_the_board_cannot_run_even_if_it_is_preferred():
    offered = (measured("onnx-fp32", "onnx", 60), measured("native", "native", 4, loss=0.1))
    choice = choose(offered, Device("aarch64", PI.runtimes, 128 << 20), ("onnx-fp32",))
    assert choice.variant is offered[1]
    assert choice.verdicts[0].reason == "takes 60 MB, a quarter of the board is 34 MB"


def test_a_board_that_does_not_tell_its_memory_has_room():
    assert choose_variant((measured("onnx-fp32", "onnx", 60),), Device("x86_64", ("onnx",))).name == "onnx-fp32"


def test_memory_decides_nothing_where_one_variant_has_no_figure():
    offered = (
        measured("onnx-fp32", "onnx", 60, latency_us=2.0),
        variant("native", "native", latency_us=20.0, loss=0.0),
    )
    assert choose_variant(offered, PI).name == "onnx-fp32"


def test_why_a_runtime_is_missing_tells_whether_it_could_be_installed():
    reasons = [verdict.reason for verdict in choose(OLD, Device("armv7", ())).verdicts]
    assert reasons == [
        "runtime onnx: there is no onnxruntime for armv7",
        "runtime onnx: there is no onnxruntime for armv7",
        "runtime tflite is not installed (tflite-runtime)",
    ]


def test_nothing_that_runs_here_is_an_error_that_names_both_sides():
    with pytest.raises(RuntimeMissingError, match=r"installed: onnx\): tflite-int8: runtime tflite is not installed"):
        choose_variant(OLD[2:], Device("x86_64", ("onnx",)))
    with pytest.raises(RuntimeMissingError, match="no runtime"):
        choose_variant(OLD, Device("x86_64", ()))


@given(
    st.permutations(
        (
            measured("onnx-fp32", "onnx", 60, latency_us=2.0, size_bytes=30),
            measured("onnx-int8", "onnx", 55, 0.003, latency_us=2.0, size_bytes=20),
            measured("tflite-int8", "tflite", 33, 0.004, latency_us=3.0),
            measured("native", "native", 4, 0.009),
        )
    )
)
def test_the_order_in_the_manifest_decides_nothing(offered: list[Variant]):
    choice = choose(offered, PI)
    assert choice.variant is not None
    assert choice.variant.name == "tflite-int8"
    assert all(verdict.reason for verdict in choice.verdicts)


def test_the_runtimes_of_this_environment_are_found():
    assert installed_runtimes() == ("onnx", "tflite", "native")
