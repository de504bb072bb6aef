"""Opens a variant's file with the device's own adapter of its runtime. Needs nothing but Python until it opens one."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, NamedTuple

from edge_agent.scoring.runtime import Runtime


class Adapter(NamedTuple):
    """Module and class of `edge_agent.scoring` that runs a runtime's files."""

    module: str
    name: str


ADAPTERS: Final[Mapping[str, Adapter]] = {
    "onnx": Adapter("edge_agent.scoring.onnx_runtime", "OnnxRuntime"),
    "tflite": Adapter("edge_agent.scoring.tflite_runtime", "TfliteRuntime"),
    "native": Adapter("edge_agent.scoring.native_runtime", "NativeRuntime"),
    # No device runs it so: it is compiled for this machine, to prove it.
    "c": Adapter("exporter.c.compile", "CompiledHeader"),
}
# What a variant claims to run on, by runtime: every one is tried, or named as not tried.
CLAIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("ai-edge-litert", "tflite-runtime"),
    "native": ("native",),
}


def load_adapter(runtime: str, face: str = "") -> Callable[[Path, int, int], Runtime]:
    """Import a runtime's adapter; raise ImportError when its library is not installed here.

    Args:
        runtime: of the variant.
        face: how the native engine is called; empty: as on a device, the fastest way.
    """
    adapter = ADAPTERS[runtime]
    loaded: Callable[..., Runtime] = getattr(import_module(adapter.module), adapter.name)
    return partial(loaded, face=face) if face else loaded


def open_file(runtime: str, path: Path, n_features: int, n_outputs: int) -> Runtime:
    """Load a variant's file with the device's own adapter; raise BundleError as that does."""
    return load_adapter(runtime)(path, n_features, n_outputs)


def claims_of(runtime: str) -> tuple[str, ...]:
    """Return the libraries that a variant of ``runtime`` claims to run on."""
    return CLAIMS.get(runtime, (runtime,))


def installed_version(implementation: str) -> str:
    """Return the version of a library; empty where it has none of its own, or is not there."""
    if not implementation:
        return ""
    try:
        return version(implementation)
    except PackageNotFoundError:
        return ""
