"""Which variant suits which board: a table of boards and one rule, the same for all. A pure function over a report.

The rule. Of the accepted variants, those for which the board's architecture has a library, that library did not fail
here, and runtime and model together take at most a quarter of the board's memory. Of these, those whose quality is
within the bound of the best; what a variant has over the original is chance, and does not count. Of these, one whose
library was proved here before one that was not; then the one that takes least memory; then the one that is fastest
here; then the smallest. Figures within what a measurement is noisy by count as equal: memory in steps of 4 MiB, times
in factors of two.

A microcontroller has no operating system and no file: only a variant that is C source suits it, and its code and tables
must fit into the flash.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from edge_agent.scoring import implementations
from edge_agent.scoring.selection import cost_rank, memory_refusal, size_text
from exporter.errors import ExporterError
from exporter.proof.report import BoardChoice, RuntimeRun, VariantReport

Architecture: TypeAlias = Literal["armv6", "armv7", "aarch64", "x86-64", "cortex-m"]

_MIB: Final = 1 << 20


class UnknownBoardError(ExporterError):
    """A board was named that is not in the table."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Board:
    """One kind of board; `memory_bytes` and `flash_bytes` (None: a disk) are of the smallest of the kind.

    Attributes:
        key: what a project calls it.
    """

    key: str
    name: str
    architecture: Architecture
    memory_bytes: int
    flash_bytes: int | None = None


BOARDS: Final = (
    Board("pi-zero", "Raspberry Pi Zero, 1", "armv6", 512 * _MIB),
    Board("pi-3-32bit", "Raspberry Pi Zero 2 W, 3 (32 bit)", "armv7", 512 * _MIB),
    Board("pi-3", "Raspberry Pi Zero 2 W, 3 (64 bit)", "aarch64", 512 * _MIB),
    Board("pi-4", "Raspberry Pi 4, 5", "aarch64", 1024 * _MIB),
    Board("x86-64", "x86-64 gateway", "x86-64", 2048 * _MIB),
    Board("cortex-m", "Cortex-M4, M33", "cortex-m", 256 << 10, flash_bytes=_MIB),
)
# The architectures for which there is a wheel, or a build of ours. Source in C is for what has no agent.
_LIBRARIES: Final[dict[str, frozenset[str]]] = {
    **{
        library: frozenset(name.replace("_", "-") for name in architectures)
        for library, architectures in implementations.ARCHITECTURES.items()
    },
    "c": frozenset({"cortex-m"}),
}


def choose_boards(
    variants: Sequence[VariantReport], max_loss: float, boards: Sequence[Board] = BOARDS
) -> tuple[BoardChoice, ...]:
    """Choose the variant for each board, by the rule that stands above.

    Args:
        variants: with what was measured of them.
        max_loss: qualities that differ by no more are as good as each other.
        boards: to choose for.
    """
    return tuple(_choose(board, variants, max_loss) for board in boards)


def libraries_of(keys: Sequence[str]) -> frozenset[str]:
    """Return the libraries that run on at least one of some boards.

    Raises:
        UnknownBoardError: a board that is not in the table.
    """
    unknown = [key for key in keys if key not in {board.key for board in BOARDS}]
    if unknown:
        raise UnknownBoardError(f"unknown boards {unknown}; known: {', '.join(board.key for board in BOARDS)}")
    wanted = {board.architecture for board in BOARDS if board.key in keys}
    return frozenset(name for name, where in _LIBRARIES.items() if wanted & where)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A variant with one library: all its runs, of which those under emulation are neither timed nor weighed."""

    variant: VariantReport
    runs: tuple[RuntimeRun, ...]

    @property
    def library(self) -> str:
        return next((run.implementation for run in self.runs if not run.not_run), self.runs[0].implementation)

    @property
    def not_run(self) -> str:
        """Why it was not run anywhere; empty where it was."""
        return "" if any(not run.not_run for run in self.runs) else self.runs[0].not_run

    @property
    def quality(self) -> float:
        """On the evaluation rows, but no better than the original's."""
        quality, original = self.variant.quality or 0.0, self.variant.original_quality
        return quality if original is None else min(quality, original)

    @property
    def memory_bytes(self) -> int:
        if self.variant.footprints:
            return max(footprint.ram_bytes + footprint.stack_bytes for footprint in self.variant.footprints)
        return max(run.memory.peak_bytes if run.memory else 0 for run in self.runs)

    @property
    def flash_bytes(self) -> int:
        return max((footprint.flash_bytes for footprint in self.variant.footprints), default=self.variant.size_bytes)

    def refusal(self, board: Board) -> str:
        """Return why it has no room on a board; empty where it has."""
        if board.flash_bytes is not None and self.flash_bytes > board.flash_bytes:
            return f"takes {size_text(self.flash_bytes)} of flash, the board has {size_text(board.flash_bytes)}"
        return memory_refusal(self.memory_bytes, board.memory_bytes)

    @property
    def latency_us(self) -> float:
        return next((run.latency.median_us for run in self.runs if run.latency), 0.0)

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        return (
            bool(self.not_run),
            *cost_rank(self.memory_bytes, self.latency_us, self.variant.size_bytes),
        )


def _candidates(variant: VariantReport) -> list[_Candidate]:
    libraries = dict.fromkeys(run.name for run in variant.runs)
    return [_Candidate(variant, tuple(run for run in variant.runs if run.name == name)) for name in libraries]


def _choose(board: Board, variants: Sequence[VariantReport], max_loss: float) -> BoardChoice:
    accepted = [variant for variant in variants if variant.accepted]
    there = [
        candidate
        for variant in accepted
        for candidate in _candidates(variant)
        if board.architecture in _LIBRARIES.get(candidate.runs[0].name, ())
        and not any(run.refusal for run in candidate.runs)
    ]
    fitting = [candidate for candidate in there if not candidate.refusal(board)]
    if not fitting:
        return BoardChoice(board.name, "", "", _why_none(board, accepted, there))
    best = max(c.quality for c in fitting)
    as_good = [c for c in fitting if best - c.quality <= max_loss]
    chosen = min(as_good, key=lambda c: c.rank)
    others = len({c.variant.name for c in as_good}) - 1
    return BoardChoice(
        board.name, chosen.variant.name, chosen.library, _why(chosen, others, len(fitting) - len(as_good))
    )


def _why(chosen: _Candidate, others: int, worse: int) -> str:
    parts = []
    if chosen.memory_bytes:
        parts.append(size_text(chosen.memory_bytes))
    if chosen.latency_us:
        parts.append(f"{chosen.latency_us:.1f} µs a row here")
    parts.append(size_text(chosen.flash_bytes))
    reason = f"{', '.join(parts)}; " + (
        f"ranked first of {others + 1} variants as good as the best" if others else "the only one as good as the best"
    )
    if worse:
        reason += "; others lose more quality than allowed"
    if chosen.not_run:
        reason += f"; not proved on {chosen.runs[0].name} here: {chosen.not_run}"
    return reason


def _why_none(board: Board, accepted: Sequence[VariantReport], there: Sequence[_Candidate]) -> str:
    if not accepted:
        return "no variant was accepted"
    if there:
        least = min(there, key=lambda c: c.memory_bytes)
        return f"{least.variant.name}, the least, {least.refusal(board)}"
    names = ", ".join(sorted(name for name, where in _LIBRARIES.items() if board.architecture in where))
    return f"{board.architecture} runs {names} only; accepted are {', '.join(v.name for v in accepted)}"
