"""Packs accepted variants and all that a device and a monitor need to know into a bundle's folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import UNSET, UnsetType, convert
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_agent.bundle import (
    FORMAT,
    MANIFEST_NAME,
    SBOM_NAME,
    Attachment,
    LibraryTolerance,
    Lineage,
    Manifest,
    RuntimeName,
    TrialRules,
    Variant,
    encode_manifest,
    parse_manifest,
)
from edge_agent.durable import replace_file
from edge_agent.errors import BundleError
from edge_agent.raw_signal import Signal
from edge_agent.scoring.golden import verify_golden
from edge_agent.scoring.loading import open_runtime
from exporter.bundles.estimation import estimation_of
from exporter.bundles.golden import choose_golden
from exporter.bundles.references import output_reference, references_of
from exporter.bundles.sbom import make_sbom, packages_of
from exporter.errors import ConversionError, NothingToPackError
from exporter.models.model import Evidence, FittedModel, Outputs, Rows
from exporter.proof.proving import score_rows
from exporter.proof.report import ExportReport, VariantReport
from exporter.proof.runtimes import open_file


def pack_bundle(  # noqa: PLR0913 - all by name
    folder: Path,
    *,
    export_folder: Path,
    model: FittedModel,
    report: ExportReport,
    evidence: Evidence,
    name: str,
    version: int,
    trial: TrialRules,
    lineage: Lineage,
    window_rows: int = 50,
    signal: Signal | UnsetType = UNSET,
) -> Manifest:
    """Write the files of the accepted variants, ``sbom.cdx.json`` and, last, ``manifest.json`` into ``folder``.

    The same arguments give the same bytes. The golden rows are run through every variant before anything is told.

    Args:
        folder: of the bundle; made when it is not there.
        export_folder: where `export_model` wrote the variants; not ``folder``.
        model: the model that the report is about.
        report: its accepted variants are packed, in its order; its metric is the manifest's.
        evidence: out-of-fold predictions from contiguous blocks; its rows are candidates for golden rows too.
        name: of the bundle.
        version: of the model in the registry.
        trial: what a device must see before it commits the bundle.
        lineage: where the model came from.
        window_rows: rows in one telemetry window.
        signal: how raw readings become the model's features; unset where a source gives the features themselves.

    Raises:
        NothingToPackError: no variant was accepted; the message says why each was refused.
        BundleError: the parts contradict each other.
        ConversionError: a variant fails its golden rows here, or differs by more than its tolerance on too many rows.
        RowsError: no row can serve as a golden row.
    """
    if not report.bundled:
        reasons = "; ".join(f"{variant.name}: {variant.verdict}" for variant in report.variants)
        raise NothingToPackError(f"no variant was accepted: {reasons}")

    def agrees(rows: Rows, expected: Outputs) -> NDArray[np.bool_]:
        return _agrees(report.bundled, export_folder, model, rows, expected)

    output_edges, output_blocks = output_reference(evidence, len(model.labels))
    manifest = Manifest(
        format=FORMAT,
        name=name,
        version=version,
        task=model.task,
        metric=report.metric,
        features=model.features,
        labels=model.labels,
        output_edges=output_edges,
        output_blocks=output_blocks,
        references=references_of(evidence, model.features),
        estimation=estimation_of(evidence, model),
        golden=choose_golden(model, evidence.rows, max(v.tolerance for v in report.bundled), agrees),
        variants=_variants_of(report),
        trial=trial,
        lineage=lineage,
        window_rows=window_rows,
        signal=signal,
    )
    sbom = make_sbom(manifest, report.model, packages_of(model.estimator))
    data = encode_manifest(replace(manifest, sbom=Attachment(SBOM_NAME, len(sbom), hashlib.sha256(sbom).hexdigest())))
    manifest = parse_manifest(data)
    folder.mkdir(parents=True, exist_ok=True)
    for variant in manifest.variants:
        replace_file(folder / variant.file, (export_folder / variant.file).read_bytes())
    _verify_here(manifest, folder)
    replace_file(folder / SBOM_NAME, sbom)
    replace_file(folder / MANIFEST_NAME, data)
    return manifest


def _variants_of(report: ExportReport) -> tuple[Variant, ...]:
    return tuple(
        Variant(
            name=variant.name,
            runtime=convert(variant.runtime, RuntimeName),
            file=variant.file,
            size_bytes=variant.size_bytes,
            sha256=variant.sha256,
            tolerance=variant.tolerance,
            quality=variant.quality or 0.0,
            latency_us=variant.latency_us,
            tolerances=_tolerances_of(variant),
            memory_bytes=_memory_bytes_of(variant),
            loss=_loss_of(variant),
            max_loss=report.max_loss,
        )
        for variant in report.bundled
    )


def _memory_bytes_of(variant: VariantReport) -> int | UnsetType:
    """Return what it takes with the library that takes most, as `exporter.proof.boards` counts it."""
    return max((run.memory.peak_bytes for run in variant.runs if run.memory), default=UNSET)


def _loss_of(variant: VariantReport) -> float | UnsetType:
    if variant.quality is None or variant.original_quality is None:
        return UNSET
    return max(0.0, variant.original_quality - variant.quality)


def _tolerances_of(variant: VariantReport) -> tuple[LibraryTolerance, ...]:
    """Return the tolerance of each library: the widest, where it was run on several processors."""
    widest: dict[str, float] = {}
    for run in variant.runs:
        if run.parity is not None:
            widest[run.name] = max(widest.get(run.name, 0.0), run.tolerance)
    return tuple(LibraryTolerance(library, tolerance) for library, tolerance in widest.items())


def _agrees(
    variants: Sequence[VariantReport], folder: Path, model: FittedModel, rows: Rows, expected: Outputs
) -> NDArray[np.bool_]:
    """Tell on which rows every variant is within its tolerance of the original."""
    is_alike = np.ones(len(rows), dtype=np.bool_)
    for variant in variants:
        runtime = open_file(variant.runtime, folder / variant.file, len(model.features), model.n_outputs)
        try:
            # Written so that an answer that is no number does not agree.
            is_alike &= (np.abs(score_rows(runtime, rows) - expected) <= variant.tolerance).all(axis=1)
        finally:
            runtime.close()
    return is_alike


def _verify_here(manifest: Manifest, folder: Path) -> None:
    """Run the golden rows as a device will: a bundle that fails at home must not travel."""
    for variant in manifest.variants:
        runtime = open_runtime(variant, folder, manifest)
        try:
            verify_golden(manifest, variant, runtime)
        except BundleError as error:
            raise ConversionError(f"{variant.name} fails its golden rows where it was made: {error}") from error
        finally:
            runtime.close()
