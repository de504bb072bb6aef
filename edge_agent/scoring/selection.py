"""Chooses the variant of a bundle that this device runs: a pure decision over what is offered and installed."""

import importlib.util
from collections.abc import Sequence
from typing import Final

from edge_agent.bundle import Variant
from edge_agent.engine.library import find_library
from edge_agent.errors import RuntimeMissingError

_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "onnx": ("onnxruntime",),
    "tflite": ("tflite_runtime", "ai_edge_litert"),
}


def installed_runtimes() -> tuple[str, ...]:
    """Return the names of the runtimes whose packages, or whose engine, are installed here; nothing is imported."""
    found = [name for name, modules in _MODULES.items() if any(map(importlib.util.find_spec, modules))]
    return (*found, "native") if find_library() else tuple(found)


def choose_variant(variants: Sequence[Variant], installed: Sequence[str], prefer: Sequence[str] = ()) -> Variant:
    """Choose the variant to run.

    The first of ``prefer`` (names of variants) that can run here; else, of those that can, the one of best quality,
    then of least latency, then of least size.

    Raises:
        RuntimeMissingError: none can run here.
    """
    runnable = {variant.name: variant for variant in variants if variant.runtime in installed}
    for name in prefer:
        if name in runnable:
            return runnable[name]
    if not runnable:
        offered = ", ".join(f"{variant.name} (runtime {variant.runtime})" for variant in variants)
        msg = (
            f"the bundle offers {offered}; installed here: {', '.join(installed) or 'no runtime'}; "
            "install fieldloop[agent-onnx] or fieldloop[agent-tflite], or publish another variant"
        )
        raise RuntimeMissingError(msg)
    return min(runnable.values(), key=lambda variant: (-variant.quality, variant.latency_us, variant.size_bytes))


def explain_choice(variants: Sequence[Variant], installed: Sequence[str], prefer: Sequence[str] = ()) -> str:
    """Say in one sentence what `choose_variant` chooses and why; raise as it does."""
    chosen = choose_variant(variants, installed, prefer)
    passed_over = [name for name in prefer if name != chosen.name]
    if chosen.name in prefer:
        before = passed_over[: list(prefer).index(chosen.name)]
        why = "the settings prefer it" + (f"; {', '.join(before)} cannot run here" if before else "")
    else:
        why = f"best quality ({chosen.quality:.4g}) of the variants that run here"
        why += f"; none of the preferred {', '.join(prefer)} does" if prefer else ""
    return f"{chosen.name} on {chosen.runtime}: {why}"
