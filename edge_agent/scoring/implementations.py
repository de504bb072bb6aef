"""Names the library that runs a runtime's variants here: two libraries of one runtime round differently."""

import importlib.util
from typing import Final

# By runtime: the modules that its adapter tries, in that order.
MODULES: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("tflite_runtime", "ai_edge_litert"),
}


def implementation_of(runtime: str) -> str:
    """Return the name of the distribution that runs ``runtime`` here; nothing is imported.

    Empty where none is installed; the runtime's own name where it needs none.
    """
    if runtime not in MODULES:
        return runtime
    found = (module for module in MODULES[runtime] if importlib.util.find_spec(module) is not None)
    return next(found, "").replace("_", "-")
