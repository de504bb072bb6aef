"""Runs a bundle's golden rows on this device: what was proved elsewhere counts only if it holds here."""

import math

from msgspec import Struct

from edge_agent.bundle import GoldenRow, Manifest, Variant
from edge_agent.errors import BundleError, RowError
from edge_agent.scoring.implementations import implementation_of
from edge_agent.scoring.runtime import Runtime
from edge_agent.scoring.schema import RowEncoder


class GoldenResult(Struct, frozen=True):
    """How the golden rows came out: how many, and the greatest difference from what was expected."""

    rows: int
    max_abs_difference: float


def verify_golden(manifest: Manifest, variant: Variant, runtime: Runtime) -> GoldenResult:
    """Score every golden row and compare: labels equal, and every output within the tolerance of the library here.

    Raises:
        BundleError: a row is refused by the manifest's own rules, fails, or differs; the message names the worst.
    """
    encoder = RowEncoder(manifest)
    tolerance = variant.tolerance_on(implementation_of(variant.runtime))
    check = _Check(manifest, variant, runtime, encoder, tolerance)
    verdicts = [_judge(index, row, check) for index, row in enumerate(manifest.golden)]
    worst = max(verdicts, key=_badness)
    failures = sum(not verdict.is_right for verdict in verdicts)
    if failures:
        expected = manifest.golden[worst.index].expected
        msg = (
            f"{manifest.ref} {variant.name}: {failures} of {len(verdicts)} golden rows differ on this device; worst is "
            f"row {worst.index}: expected {_brief(expected)}, got {_brief(worst.outputs)}, "
            f"{worst.difference:.3g} apart, tolerance {tolerance:g}"
        )
        raise BundleError(msg)
    return GoldenResult(len(verdicts), worst.difference)


class _Check(Struct, frozen=True):
    """What is the same for all rows."""

    manifest: Manifest
    variant: Variant
    runtime: Runtime
    encoder: RowEncoder
    tolerance: float


class _Verdict(Struct, frozen=True):
    index: int
    is_right: bool
    difference: float
    outputs: tuple[float, ...]


def _judge(index: int, row: GoldenRow, check: _Check) -> _Verdict:
    try:
        outputs = tuple(check.runtime.score(check.encoder.encode_indexed(row.features).values))
    except RowError as error:
        msg = f"{check.manifest.ref} {check.variant.name}: golden row {index} cannot be scored: {error}"
        raise BundleError(msg) from error
    differences = [abs(a - b) for a, b in zip(row.expected, outputs, strict=True)]
    # Written so that NaN, which compares with nothing, is wrong. max() would drop a NaN that does not come first.
    is_right = all(difference <= check.tolerance for difference in differences)
    if is_right and check.manifest.labels:
        is_right = row.expected.index(max(row.expected)) == outputs.index(max(outputs))
    if is_right and check.manifest.task == "anomaly":
        is_right = (row.expected[0] < 0) == (outputs[0] < 0)
    difference = math.nan if any(map(math.isnan, differences)) else max(differences)
    return _Verdict(index, is_right, difference, outputs)


def _badness(verdict: _Verdict) -> tuple[bool, float]:
    """Order verdicts: wrong is worse than right, far is worse than near, and what is no number is farthest."""
    return not verdict.is_right, math.inf if math.isnan(verdict.difference) else verdict.difference


def _brief(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{number:.6g}" for number in numbers[:8])
    return f"[{shown}{', …' if len(numbers) > 8 else ''}]"  # noqa: PLR2004 - enough to see
