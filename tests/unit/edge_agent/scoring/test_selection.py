"""The variant that runs is the preferred one that can, else the best that can."""

import pytest

from edge_agent.bundle import RuntimeName, Variant
from edge_agent.errors import RuntimeMissingError
from edge_agent.scoring.selection import choose_variant, explain_choice, installed_runtimes


def variant(name: str, runtime: RuntimeName, quality: float = 0.9, latency_us: float = 5.0) -> Variant:
    return Variant(name, runtime, f"{name}.model", 10, "0" * 64, 1e-5, quality, latency_us)


VARIANTS = (variant("onnx-fp32", "onnx"), variant("onnx-int8", "onnx", 0.89), variant("tflite-int8", "tflite", 0.95))


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
def test_chooses(installed: tuple[str, ...], prefer: tuple[str, ...], chosen: str):
    assert choose_variant(VARIANTS, installed, prefer).name == chosen
    assert explain_choice(VARIANTS, installed, prefer).startswith(chosen)


def test_of_equal_quality_the_quicker_is_chosen():
    slow, quick = variant("onnx-fp32", "onnx", latency_us=9.0), variant("tflite-fp32", "tflite", latency_us=2.0)
    assert choose_variant((slow, quick), ("onnx", "tflite")) is quick


def test_nothing_that_runs_here_is_an_error_that_names_both_sides():
    with pytest.raises(RuntimeMissingError, match=r"tflite-int8 \(runtime tflite\).*installed here: onnx;"):
        choose_variant(VARIANTS[2:], ("onnx",))
    with pytest.raises(RuntimeMissingError, match="no runtime"):
        choose_variant(VARIANTS, ())


def test_the_runtimes_of_this_environment_are_found():
    assert installed_runtimes() == ("onnx", "tflite", "native")
