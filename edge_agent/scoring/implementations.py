"""Names the library that runs a runtime's variants here, and where there is one: one table for all that ask."""

import importlib.util
from typing import Final

from edge_agent.engine.library import find_library

# By runtime: the modules that its adapter tries, in that order.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("tflite_runtime", "ai_edge_litert"),
}
NATIVE: Final = "native"
# By library: the architectures, as `edge_agent.engine.library.architecture` names them, for which there is a wheel, or
# a build of ours.
ARCHITECTURES: Final[dict[str, frozenset[str]]] = {
    "onnxruntime": frozenset({"aarch64", "x86_64"}),
    "ai-edge-litert": frozenset({"aarch64", "x86_64"}),
    "tflite-runtime": frozenset({"armv7", "aarch64", "x86_64"}),
    NATIVE: frozenset({"armv6", "armv7", "aarch64", "x86_64"}),
}


def implementation_of(runtime: str) -> str:
    """Return the name of the distribution that runs ``runtime`` here, or an empty string; nothing is imported."""
    if runtime == NATIVE:
        return runtime if find_library() is not None else ""
    found = (module for module in MODULES[runtime] if importlib.util.find_spec(module) is not None)
    return next(map(_library, found), "")


def installed_runtimes() -> tuple[str, ...]:
    """Return the names of the runtimes whose packages, or whose engine, are installed here; nothing is imported."""
    return tuple(runtime for runtime in (*MODULES, NATIVE) if implementation_of(runtime))


def libraries_of(runtime: str) -> tuple[str, ...]:
    """Return the libraries that can run a runtime's variants, the one that is tried first in front."""
    return (NATIVE,) if runtime == NATIVE else tuple(map(_library, MODULES[runtime]))


def _library(module: str) -> str:
    return module.replace("_", "-")
