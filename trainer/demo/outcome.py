"""What came of it: pure figures from what devices and monitor recorded.

Knows rows, predictions and truths; neither files nor processes.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Answer: TypeAlias = str | float


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """One row as a device recorded it: its number in the data, when (UTC seconds), by which version, the answer."""

    row: int
    at_utc_s: float
    version: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """One device.

    Attributes:
        version: the bundle that scored its last row; 0 when it scored none.
        quality_before, quality_after: of its own rows before and from its first switch on; None without such rows.
        switched_at_row: first row that another version than its first one scored.
    """

    device: str
    version: int
    rows_scored: int
    quality_before: float | None
    quality_after: float | None
    switched_at_row: int | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Static against loop on the same rows: all rows of the fleet from the first switch on; None without a switch."""

    first_switch_row: int | None
    rows: int
    static_quality: float | None
    loop_quality: float | None


def quality_of(answers: Sequence[Answer], truths: Sequence[Answer], *, regression: bool) -> float | None:
    """Return the share of right answers, or R²; None without rows (or, for R², without variance)."""
    if not truths:
        return None
    if not regression:
        return sum(a == t for a, t in zip(answers, truths, strict=True)) / len(truths)
    numbers = [float(t) for t in truths]
    mean = sum(numbers) / len(numbers)
    total = sum((t - mean) ** 2 for t in numbers)
    if total == 0:
        return None
    return 1.0 - sum((float(a) - t) ** 2 for a, t in zip(answers, numbers, strict=True)) / total


def outcome_of_device(
    device: str, scored: Sequence[ScoredRow], truth: Mapping[int, Answer], *, regression: bool
) -> DeviceOutcome:
    """Sum up one device; ``scored`` in the order of scoring, each row once. Rows of unknown truth judge nothing."""
    first_version = scored[0].version if scored else 0
    switched = next((row.row for row in scored if row.version != first_version), None)
    split = next((i for i, row in enumerate(scored) if row.version != first_version), len(scored))

    def quality(rows: Sequence[ScoredRow]) -> float | None:
        known = [row for row in rows if row.row in truth]
        return quality_of([r.answer for r in known], [truth[r.row] for r in known], regression=regression)

    return DeviceOutcome(
        device=device,
        version=scored[-1].version if scored else 0,
        rows_scored=len(scored),
        quality_before=quality(scored[:split]),
        quality_after=quality(scored[split:]),
        switched_at_row=switched,
    )


def compare(
    scored: Sequence[ScoredRow],
    static: Mapping[int, Answer],
    truth: Mapping[int, Answer],
    *,
    regression: bool,
) -> Comparison:
    """Compare what the fleet answered with what the first bundle would have answered, on the same rows.

    Rows count from the moment in which the first device switched, on every device, whichever version scored them there.

    Args:
        scored: rows of all devices.
        static: row to the answer of the first bundle.
        truth: row to its label or value.
        regression: judge by R² instead of accuracy.
    """
    first_version = min((row.version for row in scored), default=0)
    switches = [row for row in scored if row.version != first_version]
    if not switches:
        return Comparison(None, 0, None, None)
    first = min(switches, key=lambda row: row.at_utc_s)
    later = [row for row in scored if row.at_utc_s >= first.at_utc_s and row.row in static and row.row in truth]
    truths = [truth[row.row] for row in later]
    return Comparison(
        first_switch_row=first.row,
        rows=len(later),
        static_quality=quality_of([static[row.row] for row in later], truths, regression=regression),
        loop_quality=quality_of([row.answer for row in later], truths, regression=regression),
    )


def rolling_quality(
    answers: Mapping[int, Answer], truth: Mapping[int, Answer], *, span: int, regression: bool
) -> tuple[list[int], list[float]]:
    """Return quality over ``span`` consecutive rows, at the last row of each span, ten points a span."""
    rows = sorted(row for row in answers if row in truth)
    at: list[int] = []
    qualities: list[float] = []
    for end in range(span, len(rows) + 1, max(1, span // 10)):
        part = rows[end - span : end]
        quality = quality_of([answers[r] for r in part], [truth[r] for r in part], regression=regression)
        if quality is not None:
            at.append(part[-1])
            qualities.append(quality)
    return at, qualities


def row_at(scored: Sequence[ScoredRow], at_utc_s: float) -> int | None:
    """Return the row that the fleet was scoring at a moment; ``scored`` ordered by time."""
    if not scored:
        return None
    index = bisect_left([row.at_utc_s for row in scored], at_utc_s)
    return scored[min(index, len(scored) - 1)].row
