"""Exports a model file with a file of rows, for people who have a model and no project."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

import numpy as np

from edge_agent.bundle import Lineage, TrialRules
from edge_agent.durable import replace_file
from exporter.bundles.pack import pack_bundle
from exporter.export import ExportLimits, export_model
from exporter.graphs.contract import Asked
from exporter.intake import take_in
from exporter.models.model import Evidence
from exporter.proof.proving import Surroundings
from exporter.proof.report import ExportReport, report_json
from exporter.proof.report_html import report_html
from exporter.proof.report_text import report_markdown

_BLOCKS: Final = 5


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What to export.

    Attributes:
        model: of any format that `exporter.models.model_formats` knows.
        rows: CSV or Parquet in time order: rows that the model was not trained on. The first half calibrates, the
            second judges.
        target: column of the truth; None: the original's own answers stand for it.
        trust_pickle: whether a pickle may run the code that it names.
        outputs: what the answer of an ONNX graph is; None: it is found out.
    """

    model: Path
    rows: Path
    target: str | None
    variants: tuple[str, ...]
    name: str
    version: int
    metric: str | None
    limits: ExportLimits
    trust_pickle: bool = False
    outputs: Asked | None = None


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """The report, and the bundle's folder."""

    report: ExportReport
    bundle: Path | None


def export_files(
    job: ExportJob, out: Path, tell: Callable[[ExportReport], None], surroundings: Surroundings | None = None
) -> ExportOutcome:
    """Export, write ``report.json``, ``report.md`` and ``report.html``, and pack ``bundle/``, all below ``out``.

    Args:
        job: what to export.
        out: made when it is not there.
        tell: is given the report as soon as it is written: also when nothing is left to pack.
        surroundings: see `exporter.export.export_model`.

    Raises:
        ModelError: the model file cannot be taken.
        RowsError: the rows do not fit it, or are fewer than 50.
        NothingToPackError: no variant passed; the report is written all the same.
    """
    intake = take_in(job.model, job.rows, job.target, job.metric, trust_pickle=job.trust_pickle, outputs=job.outputs)
    model, rows, truth = intake.model, intake.rows, intake.truth
    middle = len(truth) // 2
    report = export_model(
        model,
        calibration=rows[:middle],
        evaluation=rows[middle:],
        truth=truth[middle:],
        metric=intake.metric,
        requested=job.variants,
        limits=job.limits,
        folder=out / "variants",
        surroundings=surroundings,
    )
    replace_file(out / "report.json", report_json(report))
    replace_file(out / "report.md", report_markdown(report).encode())
    replace_file(out / "report.html", report_html(report).encode())
    tell(report)
    blocks = np.arange(len(truth)) * _BLOCKS // len(truth)
    if report.accepted and not report.bundled:
        # Asked for source alone: there is nothing that an agent could take, and nothing is wrong.
        return ExportOutcome(report, None)
    outputs = model.outputs(rows)
    # A device watches a detector's decision; what it is compared with is in the same unit.
    known = outputs[:, 0] if model.task == "anomaly" else truth
    pack_bundle(
        out / "bundle",
        export_folder=out / "variants",
        model=model,
        report=report,
        evidence=Evidence(rows, known, outputs, blocks),
        name=job.name,
        version=job.version,
        trial=TrialRules(),
        lineage=_lineage_of(job),
    )
    return ExportOutcome(report, out / "bundle")


def _lineage_of(job: ExportJob) -> Lineage:
    """Name the files by their content: the same files give the same bundle, whenever it is made."""
    model, rows = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (job.model, job.rows))
    return Lineage(f"file:{model[:16]}", rows, installed_version("fieldloop"), "")
