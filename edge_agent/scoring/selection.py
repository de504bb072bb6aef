"""Chooses the variant of a bundle that a device runs: a pure decision over what is offered and what the device is.

The rule, which is that of the exporter's table of boards. Of the variants whose runtime is installed and that take at
most a quarter of the device's memory, the first that the settings prefer. Else those whose quality is within the bound
of the best; what a variant has over the original is chance, and does not count. Of these, the one that takes least
memory; then the fastest; then the smallest. Figures within what a measurement is noisy by count as equal: memory in
steps of 4 MiB, times in factors of two.

A figure that not every variant has decides nothing: bundles from before it go by their quality, which is then compared
exactly, by time and by size. A device that does not tell its memory has room for all.
"""

import math
from collections.abc import Sequence
from typing import Final

from msgspec import UNSET, Struct

from edge_agent.bundle import Variant
from edge_agent.errors import RuntimeMissingError
from edge_agent.scoring.implementations import ARCHITECTURES, libraries_of

MEMORY_SHARE: Final = 4
_MIB: Final = 1 << 20
_MEMORY_STEP: Final = 4 * _MIB
# Of decimal figures that were subtracted: far below what a row more or less makes.
_ROUNDING: Final = 1e-9


class Device(Struct, frozen=True):
    """What decides on a device.

    Attributes:
        architecture: as `edge_agent.engine.library.architecture` names it.
        runtimes: that are installed.
        memory_bytes: of the board; 0 where it does not tell.
    """

    architecture: str
    runtimes: tuple[str, ...]
    memory_bytes: int = 0


class Verdict(Struct, frozen=True):
    """What became of one variant.

    Attributes:
        reason: why it cannot run here, why another was chosen, or why it was.
    """

    variant: str
    runtime: str
    can_run: bool
    chosen: bool
    reason: str


class Choice(Struct, frozen=True):
    """The chosen variant, None where none can run here, and a verdict on each, in the manifest's order."""

    variant: Variant | None
    verdicts: tuple[Verdict, ...]

    @property
    def reason(self) -> str:
        """Why the chosen one was chosen; empty where none was."""
        return next((verdict.reason for verdict in self.verdicts if verdict.chosen), "")


def choose(variants: Sequence[Variant], device: Device, prefer: Sequence[str] = ()) -> Choice:
    """Choose by the rule that stands above.

    Args:
        variants: of one bundle.
        device: that is to run one of them.
        prefer: names of variants, the most preferred in front.
    """
    refusals = {variant.name: refusal(variant, device) for variant in variants}
    fitting = [variant for variant in variants if not refusals[variant.name]]
    chosen, why, others = _decide(fitting, prefer)
    verdicts = []
    for variant in variants:
        reason = why if variant is chosen else refusals[variant.name] or others.get(variant.name, "")
        verdicts.append(
            Verdict(variant.name, variant.runtime, not refusals[variant.name], variant is chosen, reason),
        )
    return Choice(chosen, tuple(verdicts))


def choose_variant(variants: Sequence[Variant], device: Device, prefer: Sequence[str] = ()) -> Variant:
    """Return the variant that `choose` chooses.

    Raises:
        RuntimeMissingError: none can run here; the message says of each why.
    """
    choice = choose(variants, device, prefer)
    if choice.variant is None:
        offered = "; ".join(f"{verdict.variant}: {verdict.reason}" for verdict in choice.verdicts)
        msg = (
            f"no variant of the bundle can run here (installed: {', '.join(device.runtimes) or 'no runtime'}): "
            f"{offered}; install fieldloop[agent-onnx] or fieldloop[agent-tflite], or publish another variant"
        )
        raise RuntimeMissingError(msg)
    return choice.variant


def explain_choice(variants: Sequence[Variant], device: Device, prefer: Sequence[str] = ()) -> str:
    """Say in one sentence what `choose_variant` chooses and why; raise as it does."""
    chosen = choose_variant(variants, device, prefer)
    return f"{chosen.name} on {chosen.runtime}: {choose(variants, device, prefer).reason}"


def refusal(variant: Variant, device: Device) -> str:
    """Return why a variant cannot run on a device; empty where it can."""
    if variant.runtime not in device.runtimes:
        libraries = libraries_of(variant.runtime)
        there = [library for library in libraries if device.architecture in ARCHITECTURES[library]]
        if there:
            return f"runtime {variant.runtime} is not installed ({' or '.join(there)})"
        return f"runtime {variant.runtime}: there is no {' and no '.join(libraries)} for {device.architecture}"
    if device.memory_bytes and variant.memory_bytes is not UNSET:
        return memory_refusal(variant.memory_bytes, device.memory_bytes)
    return ""


def memory_refusal(needed_bytes: int, board_bytes: int) -> str:
    """Return that runtime and model take more of a board's memory than they may; empty where they do not."""
    if needed_bytes * MEMORY_SHARE <= board_bytes:
        return ""
    return f"takes {size_text(needed_bytes)}, a quarter of the board is {size_text(board_bytes // MEMORY_SHARE)}"


def cost_rank(memory_bytes: int, latency_us: float, size_bytes: int) -> tuple[int, int, int]:
    """Return what orders variants that are as good as each other: the least is the best."""
    return (memory_bytes // _MEMORY_STEP, round(math.log2(latency_us)) if latency_us > 0 else 0, size_bytes)


def size_text(n_bytes: int) -> str:
    """Return a size as people read it."""
    return f"{n_bytes / 1000:.1f} kB" if n_bytes < _MIB else f"{n_bytes / 1000 / 1000:.0f} MB"


def _decide(fitting: Sequence[Variant], prefer: Sequence[str]) -> tuple[Variant | None, str, dict[str, str]]:
    """Return the chosen one of those that can run, why, and by name why the others were not."""
    if not fitting:
        return None, "", {}
    by_name = {variant.name: variant for variant in fitting}
    preferred = next((by_name[name] for name in prefer if name in by_name), None)
    if preferred is not None:
        others = f"the settings prefer {preferred.name}"
        before = list(prefer[: list(prefer).index(preferred.name)])
        why = "the settings prefer it" + (f"; {', '.join(before)} cannot run here" if before else "")
        return preferred, why, dict.fromkeys(by_name, others)
    lost, bound = _losses(fitting)
    least = min(lost.values())
    as_good = [variant for variant in fitting if lost[variant.name] - least <= bound + _ROUNDING]
    with_memory = all(variant.memory_bytes is not UNSET for variant in as_good)
    chosen = min(as_good, key=lambda variant: _rank(variant, with_memory=with_memory))
    others_by_name = {
        variant.name: f"as good; ranks behind {chosen.name}: {_cost(variant)}"
        if variant in as_good
        else f"loses {lost[variant.name] - least:.4g} of quality against the best, {bound:.4g} is allowed"
        for variant in fitting
    }
    why = "ranked first of those" if len(as_good) > 1 else "the only one"
    why = f"{why} as good as the best that run here (quality {chosen.quality:.4g}): {_cost(chosen)}"
    return chosen, why + (f"; none of the preferred {', '.join(prefer)} can run here" if prefer else ""), others_by_name


def _losses(variants: Sequence[Variant]) -> tuple[dict[str, float], float]:
    """Return by name what each loses, and how much makes no difference."""
    known = [variant.loss for variant in variants if variant.loss is not UNSET]
    if len(known) < len(variants):
        return {variant.name: -variant.quality for variant in variants}, 0.0
    bounds = [0.0 if variant.max_loss is UNSET else variant.max_loss for variant in variants]
    return {variant.name: loss for variant, loss in zip(variants, known, strict=True)}, min(bounds)


def _rank(variant: Variant, *, with_memory: bool) -> tuple[int, int, int]:
    memory_bytes = variant.memory_bytes if with_memory and variant.memory_bytes is not UNSET else 0
    return cost_rank(memory_bytes, variant.latency_us, variant.size_bytes)


def _cost(variant: Variant) -> str:
    memory = [] if variant.memory_bytes is UNSET else [f"{size_text(variant.memory_bytes)} of memory"]
    time = [f"{variant.latency_us:.1f} µs a row where it was made"] if variant.latency_us else []
    return ", ".join((*memory, *time, f"a file of {size_text(variant.size_bytes)}"))
