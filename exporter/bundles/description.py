"""Tells what is in a bundle, as values for machines and as text for people."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct, structs

from edge_agent.bundle import Feature, FeatureReference, Lineage, Manifest, TrialRules, Variant, bundle_files
from edge_agent.raw_signal import Signal, widest_gap_s
from exporter.bundles.materials import Sbom, load_sbom
from exporter.bundles.source import BundleSource

_MOST_LINES: Final = 64


class ReferenceSummary(Struct, frozen=True):
    """How a feature was distributed in training: how finely, and over how many rows of how many blocks."""

    feature: str
    bins: int
    blocks: int
    rows: int
    missing: int


class Material(Struct, frozen=True):
    """A library of the bill of materials; its scope is ``optional`` for a runtime, else ``excluded``."""

    name: str
    version: str
    scope: str


class Description(Struct, frozen=True):
    """What is in a bundle.

    Attributes:
        size_bytes: of the manifest and all files.
        signal: how raw readings become the features; None where a source gives the features themselves.
        expected_quality: accuracy, or mean absolute error, that is usual.
        libraries: of the bill of materials; None where the bundle was made without.
    """

    name: str
    version: int
    task: str
    metric: str
    size_bytes: int
    features: tuple[Feature, ...]
    labels: tuple[str, ...]
    variants: tuple[Variant, ...]
    golden_rows: int
    references: tuple[ReferenceSummary, ...]
    expected_quality: float
    window_rows: int
    trial: TrialRules
    lineage: Lineage
    libraries: tuple[Material, ...] | None
    signal: Signal | None = None


def describe(bundle: BundleSource) -> Description:
    """Return what is in a bundle.

    Raises:
        BundleError: its bill of materials is not the one that the manifest names.
    """
    manifest = bundle.manifest
    return Description(
        name=manifest.name,
        version=manifest.version,
        task=manifest.task,
        metric=manifest.metric,
        size_bytes=len(bundle.manifest_data) + sum(file.size_bytes for file in bundle_files(manifest)),
        features=manifest.features,
        labels=manifest.labels,
        variants=manifest.variants,
        golden_rows=len(manifest.golden),
        references=_references_of(manifest),
        expected_quality=manifest.estimation.expected_quality,
        window_rows=manifest.window_rows,
        trial=manifest.trial,
        lineage=manifest.lineage,
        libraries=_libraries_of(load_sbom(bundle)),
        signal=manifest.inputs.signal,
    )


def description_text(description: Description) -> str:
    """Return a description as text; what the bundle's writer wrote into it can do nothing to a terminal."""
    d = description
    lines = [
        f"{d.name}/{d.version}  {d.task} by {d.metric}, {d.size_bytes} bytes, {d.golden_rows} golden rows",
        f"labels       {', '.join(d.labels) or '–'}",
        *(() if d.signal is None else _signal_lines(d.signal)),
        *_table("features", [_feature_cells(feature) for feature in d.features]),
        *_table("variants", [_variant_cells(variant) for variant in d.variants]),
        *_table("references", [_reference_cells(reference) for reference in d.references]),
        f"usual        {d.expected_quality:.6g} on rows that were not trained on; windows of {d.window_rows} rows",
        f"trial        {_pairs(d.trial)}",
        f"lineage      {_pairs(d.lineage)}",
        *_table("libraries", [(m.name, m.version, m.scope) for m in d.libraries or ()]),
    ]
    if d.libraries is None:
        lines.append("libraries    no bill of materials")
    return "\n".join(printable(line).rstrip() for line in lines)


def printable(text: str) -> str:
    """Return a text with everything written out that is not plainly shown: a label may hold orders to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _references_of(manifest: Manifest) -> tuple[ReferenceSummary, ...]:
    pairs = zip(manifest.features, manifest.references, strict=True)
    return tuple(_reference_of(feature.name, reference) for feature, reference in pairs)


def _reference_of(name: str, reference: FeatureReference) -> ReferenceSummary:
    rows = sum(map(sum, reference.blocks))
    return ReferenceSummary(name, len(reference.edges) + 1, len(reference.blocks), rows, reference.missing)


def _libraries_of(sbom: Sbom | None) -> tuple[Material, ...] | None:
    if sbom is None:
        return None
    return tuple(Material(each.name, each.version, each.scope) for each in sbom.components_of("library"))


def _signal_lines(signal: Signal) -> Iterator[str]:
    time = "evenly" if signal.time is None else f"by their time {signal.time!r}, gaps over {widest_gap_s(signal):g} s"
    yield (
        f"signal       {signal.rate_hz:g} Hz, windows of {signal.size} readings every {signal.step}, {time}, "
        f"up to {signal.max_missing} missing"
    )
    yield from _table("channels", [(c.name, c.unit, ", ".join(c.statistics)) for c in signal.channels])


def _feature_cells(feature: Feature) -> tuple[str, ...]:
    low = "…" if feature.valid_min is None else f"{feature.valid_min:g}"
    high = "…" if feature.valid_max is None else f"{feature.valid_max:g}"
    shown = feature.categories[:8]
    more = f", … ({len(feature.categories)})" if len(feature.categories) > len(shown) else ""
    values = ", ".join(shown) + more if feature.categories else f"{low} to {high} {feature.unit}".strip()
    return feature.name, feature.dtype, values, f"missing: {feature.on_missing}", f"outside: {feature.on_out_of_range}"


def _variant_cells(variant: Variant) -> tuple[str, ...]:
    return (
        variant.name,
        f"{variant.runtime}: {variant.file}",
        f"{variant.size_bytes} bytes",
        f"quality {variant.quality:.4g}",
        f"{variant.latency_us:.3g} µs",
        f"tolerance {variant.tolerance:.3g}",
    )


def _reference_cells(reference: ReferenceSummary) -> tuple[str, ...]:
    blocks = f"{reference.bins} bins × {reference.blocks} blocks"
    return reference.feature, blocks, f"{reference.rows} rows, {reference.missing} missing"


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Align the cells of a table below its title; the first column stands where every line begins."""
    shown = rows[:_MOST_LINES]
    widths = [max(len(printable(row[column])) for row in shown) for column in range(len(shown[0]))] if shown else []
    for index, row in enumerate(shown):
        cells = "  ".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"{title if index == 0 else '':12} {cells}"
    if len(rows) > len(shown):
        yield f"{'':12} … and {len(rows) - len(shown)} more: --json tells all"


def _pairs(part: Any) -> str:  # noqa: ANN401 - any struct
    return ", ".join(f"{name}: {'–' if value in (None, '') else value}" for name, value in structs.asdict(part).items())
