"""Says what changed: which feature, on which device, how much; never whether quality was lost. Pure.

The measure is the population stability index (PSI) against the bundle's reference, minus what a sample of this size
gives by chance, (bins - 1) * (1/n + 1/N). What reference blocks show against each other is what is usual.
"""

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from broker.messages import TelemetryWindow
from broker.topics import DeviceId
from edge_agent.bundle import Manifest
from trainer.monitoring.confirmation import Confirmation
from trainer.monitoring.quality import QualityEstimate, add_counts, estimate_quality

CHANGED_PSI = 0.2


class Shift(Struct, frozen=True):
    """How much one distribution moved.

    Attributes:
        psi: index minus its small-sample expectation, not below 0.
        usual: the greatest index of one reference block against the others, measured in the same way.
        changed: above `CHANGED_PSI` and above `usual`.
    """

    name: str
    psi: float
    usual: float
    changed: bool


class DeviceDiagnosis(Struct, frozen=True):
    """What changed on one device; features with the most changed first."""

    device: str
    rows: int
    estimate: QualityEstimate | None
    prediction: Shift
    features: tuple[Shift, ...]


class Diagnosis(Struct, frozen=True):
    """What changed in the fleet and on which devices, the most changed first."""

    rows: int
    estimate: QualityEstimate | None
    prediction: Shift
    features: tuple[Shift, ...]
    devices: tuple[DeviceDiagnosis, ...]
    sentence: str


def adjusted_psi(reference: Sequence[int], observed: Sequence[int]) -> float:
    """Return the population stability index of two histograms minus its small-sample expectation, at least 0.

    Half a row is added to each bin, so that empty bins stay finite.
    """
    n_reference, n_observed, bins = sum(reference), sum(observed), len(reference)
    if n_reference == 0 or n_observed == 0 or bins < 2:  # noqa: PLR2004 - one bin holds everything
        return 0.0
    index = 0.0
    for a, b in zip(reference, observed, strict=True):
        p = (a + 0.5) / (n_reference + 0.5 * bins)
        q = (b + 0.5) / (n_observed + 0.5 * bins)
        index += (q - p) * math.log(q / p)
    return max(0.0, index - (bins - 1) * (1 / n_reference + 1 / n_observed))


def measure_shift(name: str, blocks: Sequence[Sequence[int]], observed: Sequence[int]) -> Shift:
    """Measure how far a histogram moved from reference blocks, ``(n_blocks, n_bins)`` counts."""
    total = add_counts(blocks)
    usual = 0.0
    if len(blocks) > 1:
        others = (tuple(t - b for t, b in zip(total, block, strict=True)) for block in blocks)
        usual = max(adjusted_psi(other, block) for other, block in zip(others, blocks, strict=True))
    psi = adjusted_psi(total, observed)
    return Shift(name, psi, usual, changed=psi > max(CHANGED_PSI, usual))


def diagnose(
    windows: Mapping[DeviceId, Sequence[TelemetryWindow]],
    manifest: Manifest,
    confirmation: Confirmation | None = None,
) -> Diagnosis:
    """Say what changed.

    Args:
        windows: by device, all of the bundle of ``manifest`` and of its shapes (see ``quality.suits``).
        manifest: of the bundle.
        confirmation: what the asked labels said, for the sentence.
    """
    everything = [window for device_windows in windows.values() for window in device_windows]
    devices = [_diagnose_device(device, list(its), manifest) for device, its in sorted(windows.items()) if its]
    devices.sort(key=lambda d: -(d.estimate.loss if d.estimate else 0.0))
    prediction, features = _shifts(everything, manifest)
    estimate = estimate_quality(everything, manifest)
    return Diagnosis(
        rows=sum(window.rows_scored for window in everything),
        estimate=estimate,
        prediction=prediction,
        features=features,
        devices=tuple(devices),
        sentence=_sentence(confirmation, estimate, prediction, features, devices),
    )


def _diagnose_device(device: DeviceId, windows: list[TelemetryWindow], manifest: Manifest) -> DeviceDiagnosis:
    prediction, features = _shifts(windows, manifest)
    rows = sum(window.rows_scored for window in windows)
    return DeviceDiagnosis(device, rows, estimate_quality(windows, manifest), prediction, features)


def _shifts(windows: Sequence[TelemetryWindow], manifest: Manifest) -> tuple[Shift, tuple[Shift, ...]]:
    predictions = add_counts(w.predictions for w in windows) or (0,) * len(manifest.output_blocks[0])
    features = []
    for index, (feature, reference) in enumerate(zip(manifest.features, manifest.references, strict=True)):
        counts = add_counts(w.features[index].counts for w in windows) or (0,) * (len(reference.edges) + 1)
        features.append(measure_shift(feature.name, reference.blocks, counts))
    features.sort(key=lambda shift: (-shift.psi, shift.name))
    return measure_shift("prediction", manifest.output_blocks, predictions), tuple(features)


def _sentence(
    confirmation: Confirmation | None,
    estimate: QualityEstimate | None,
    prediction: Shift,
    features: Sequence[Shift],
    devices: Sequence[DeviceDiagnosis],
) -> str:
    parts = []
    if confirmation is not None:
        called = {"confirmed": "This is called a loss", "cleared": "This is not called a loss"}
        parts.append(f"{called.get(confirmation.verdict, 'Not decided yet')}: {confirmation.reason}.")
    if estimate is not None:
        parts.append(
            f"Without labels, quality is estimated at {estimate.estimated:.3g} ({estimate.expected:.3g} usual)."
        )
    changed = [shift for shift in features if shift.changed]
    if changed:
        named = ", ".join(f"{s.name} (PSI {s.psi:.2f}, usual {s.usual:.2f})" for s in changed[:3])
        parts.append(f"{len(changed)} of {len(features)} features changed, most of all {named}.")
    else:
        parts.append("No feature changed more than blocks of the training data differ among themselves.")
    if prediction.changed:
        parts.append(f"Predictions shifted (PSI {prediction.psi:.2f}).")
    where = [d.device for d in devices if any(shift.changed for shift in d.features)]
    if where and len(where) < len(devices):
        parts.append(f"Changed devices: {', '.join(where[:5])}{' and more' if len(where) > 5 else ''}.")  # noqa: PLR2004
    elif where:
        parts.append(f"All {len(devices)} devices changed.")
    return " ".join(parts)
