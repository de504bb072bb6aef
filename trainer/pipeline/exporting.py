"""Step ``export``: the model in every form that devices can take, proved, measured, and packed into a bundle."""

from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_agent.bundle import Lineage
from edge_agent.durable import replace_file
from exporter.bundles.pack import pack_bundle
from exporter.export import ExportLimits, export_model
from exporter.models.model import Evidence, FittedModel
from exporter.proof.intervals import Estimate
from exporter.proof.report import ExportReport, parse_report, report_json
from exporter.proof.report_html import report_html
from exporter.proof.report_text import report_markdown
from trainer.features.table import TrainingTable
from trainer.pipeline.evaluating import Evaluation, Figures
from trainer.pipeline.fitting import outputs_of
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.runs import RunHead
from trainer.pipeline.training import Lesson, Trained
from trainer.project.project import LoadedProject
from trainer.project.signal import declared_in
from trainer.registry.registry import Registry

BUNDLE_NAME: Final = "bundle"
_VARIANTS_NAME: Final = "variants"
_REPORT_NAME: Final = "report.json"
# Where the reports lie among the artefacts of the version's run.
REPORT_PLACE: Final = "export"
_CALIBRATION_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class Exported:
    """What the step made.

    Attributes:
        bundle: folder of the bundle; None when no variant was accepted.
    """

    report: ExportReport
    bundle: Path | None


def export_candidate(  # noqa: PLR0913 - most by name
    loaded: LoadedProject,
    lesson: Lesson,
    trained: Trained,
    evaluation: Evaluation,
    labels: tuple[str, ...],
    *,
    version: int,
    lineage: Lineage,
    folder: Path,
    registry: Registry | None = None,
) -> Outcome[Exported]:
    """Make, prove and pack the variants that the project asks for; a registry stores the report with the version."""
    project = loaded.project
    is_detector = project.target.task == "anomaly"
    model = FittedModel(trained.estimator, project.target.task, project.features, () if is_detector else labels)
    evidence = evaluation.evidence
    is_labelled = evaluation.figures.alarms is None
    measured = export_model(
        model,
        calibration=_spread(lesson.rows[~lesson.splits.is_holdout]),
        # All rows with an honest answer, not only those that judge: the latest may be of one kind.
        evaluation=evidence.rows,
        # Without labels the forms are held to the model itself: how often do they decide as it does?
        truth=evidence.truth if is_labelled else outputs_of(trained.estimator, evidence.rows, lesson.n_labels)[:, 0],
        metric=project.metric if is_labelled else "agreement",
        requested=project.export.variants,
        boards=project.export.boards,
        limits=ExportLimits(project.export.max_size_bytes, project.export.max_latency_us, project.gate.max_parity_loss),
        folder=folder / _VARIANTS_NAME,
    )
    report = _honest(measured, evaluation.figures) if is_labelled else measured
    reports = {
        _REPORT_NAME: report_json(report),
        "report.md": report_markdown(report).encode(),
        "report.html": report_html(report).encode(),
    }
    for name, data in reports.items():
        replace_file(folder / name, data)
    if registry is not None:
        registry.attach(project.name, version, [folder / name for name in reports], REPORT_PLACE)
    bundle: Path | None = None
    if report.bundled:
        bundle = folder / BUNDLE_NAME
        pack_bundle(
            bundle,
            export_folder=folder / _VARIANTS_NAME,
            model=model,
            report=report,
            # A device watches a detector's decision; what it is compared with is in the same unit.
            evidence=_decided(evidence) if is_detector else evidence,
            name=project.name,
            version=version,
            trial=project.rollout.trial,
            lineage=lineage,
            window_rows=project.monitoring.window_rows,
            signal=declared_in(project.signal),
        )
    facts = tuple(
        (variant.name, f"{variant.size_bytes / 1000:.1f} kB" if variant.accepted else variant.verdict)
        for variant in report.variants
    )
    metrics = {f"{variant.name}_size_bytes": float(variant.size_bytes) for variant in report.variants if variant.made}
    return Outcome(Exported(report, bundle), metrics=metrics, facts=facts)


def _decided(evidence: Evidence) -> Evidence:
    """Return evidence whose truth is what the model decided."""
    return Evidence(evidence.rows, evidence.predictions[:, 0], evidence.predictions, evidence.block_of)


def lineage_of(head: RunHead, table: TrainingTable) -> Lineage:
    """Tell where a model comes from: its run, its rows, the code of then."""
    return Lineage(
        run_id=head.run_id,
        data_sha256=table.fingerprint,
        code_version=f"{package_version('fieldloop')}+{head.code_version}",
        created_utc=datetime.fromtimestamp(head.as_of_utc_s, UTC).isoformat(timespec="seconds"),
    )


def load_exported(folder: Path) -> Exported:
    """Read what `export_candidate` wrote."""
    bundle = folder / BUNDLE_NAME
    return Exported(parse_report((folder / _REPORT_NAME).read_bytes()), bundle if bundle.exists() else None)


def _honest(report: ExportReport, figures: Figures) -> ExportReport:
    """State qualities by the evaluation: a model that was fitted on the fleet's rows flatters itself on them."""
    quality, by = figures.quality, figures.quality - report.original_quality
    variants = tuple(
        variant
        if variant.quality is None or variant.original_quality is None
        else replace(
            variant,
            quality=quality - (variant.original_quality - variant.quality),
            original_quality=quality,
            quality_interval=_moved(variant.quality_interval, by),
            runs=tuple(replace(run, quality=None if run.quality is None else run.quality + by) for run in variant.runs),
        )
        for variant in report.variants
    )
    return replace(
        report,
        evaluation_rows=figures.judged_rows,
        original_quality=quality,
        original_interval=_moved(report.original_interval, by),
        variants=variants,
    )


def _moved(estimate: Estimate | None, by: float) -> Estimate | None:
    """Return an interval as wide about another value."""
    return None if estimate is None else Estimate(estimate.value + by, estimate.low + by, estimate.high + by)


def _spread(rows: NDArray[np.float32]) -> NDArray[Any]:
    """Take rows from everywhere, at most as many as calibration needs."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CALIBRATION_ROWS)).astype(np.int64))
    return rows[places]
