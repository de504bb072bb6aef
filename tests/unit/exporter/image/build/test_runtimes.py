import pytest

from exporter.image.build.runtimes import find_runtime
from exporter.image.errors import BuildError


def test_a_runtime_is_found_for_its_architecture():
    assert find_runtime("tflite-runtime", "armhf", "bookworm").packages == ("python3-numpy",)
    assert find_runtime("tflite-runtime", "arm64", "bookworm").packages == ()


def test_a_runtime_without_wheels_for_the_suites_python_is_refused():
    with pytest.raises(BuildError, match="nobody offers it for arm64 trixie; it is there for arm64 bookworm"):
        find_runtime("tflite-runtime", "arm64", "trixie")


def test_an_unknown_runtime_is_refused_with_those_that_are_known():
    with pytest.raises(BuildError, match="known: onnxruntime, ai-edge-litert, tflite-runtime"):
        find_runtime("tensorrt", "arm64", "bookworm")
