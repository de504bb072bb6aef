"""Names the library that runs a runtime's variants here: two libraries of one runtime round differently."""

import importlib.util
from typing import Final

from edge_agent.engine.library import find_library

# By runtime: the modules that its adapter tries, in that order.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("tflite_runtime", "ai_edge_litert"),
}


def implementation_of(runtime: str) -> str:
    """Return the name of the distribution that runs ``runtime`` here, or an empty string; nothing is imported."""
    if runtime == "native":
        return runtime if find_library() is not None else ""
    found = (module for module in MODULES[runtime] if importlib.util.find_spec(module) is not None)
    return next(found, "").replace("_", "-")
