"""Exports a model file with a file of rows, for people who have a model and no project."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.base import is_regressor

from edge_agent.bundle import Lineage, TrialRules
from edge_agent.durable import replace_file
from exporter.errors import RowsError
from exporter.export import ExportLimits, export_model
from exporter.model import Evidence, FittedModel
from exporter.model_file import load_estimator
from exporter.pack import pack_bundle
from exporter.report import ExportReport, report_json
from exporter.report_text import report_markdown
from exporter.rows_file import load_rows, truth_of

_BLOCKS: Final = 5
_MIN_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What to export.

    Attributes:
        model: a skops file.
        rows: CSV in time order: rows that the model was not trained on. The first half calibrates, the second judges.
    """

    model: Path
    rows: Path
    target: str
    variants: tuple[str, ...]
    name: str
    version: int
    metric: str | None
    limits: ExportLimits


@dataclass(frozen=True, slots=True)
class ExportOutcome:
    """The report, and the bundle's folder."""

    report: ExportReport
    bundle: Path


def export_files(job: ExportJob, out: Path) -> ExportOutcome:
    """Export, write ``report.json`` and ``report.md``, and pack ``bundle/``, all below ``out``.

    Raises:
        ModelError: the model file cannot be taken.
        RowsError: the rows do not fit it, or are fewer than 50.
        NothingToPackError: no variant passed; the report is written all the same.
    """
    estimator = load_estimator(job.model)
    rows = load_rows(job.rows, job.target)
    if len(rows.rows) < _MIN_ROWS:
        raise RowsError(f"{job.rows}: {len(rows.rows)} rows; a proof needs at least {_MIN_ROWS}")
    n_expected = getattr(estimator, "n_features_in_", len(rows.features))
    if n_expected != len(rows.features):
        raise RowsError(
            f"{job.rows}: {len(rows.features)} columns besides {job.target!r}, the model takes {n_expected}"
        )
    is_value = is_regressor(estimator)
    labels = () if is_value else tuple(str(c) for c in np.asarray(getattr(estimator, "classes_", ())).tolist())
    model = FittedModel(estimator, "regression" if is_value else "classification", rows.features, labels)
    truth = truth_of(rows, labels, job.rows)
    middle = len(truth) // 2
    report = export_model(
        model,
        calibration=rows.rows[:middle],
        evaluation=rows.rows[middle:],
        truth=truth[middle:],
        metric=job.metric or ("r2" if is_value else "accuracy"),
        requested=job.variants,
        limits=job.limits,
        folder=out / "variants",
    )
    replace_file(out / "report.json", report_json(report))
    replace_file(out / "report.md", report_markdown(report).encode())
    blocks = np.arange(len(truth)) * _BLOCKS // len(truth)
    pack_bundle(
        out / "bundle",
        export_folder=out / "variants",
        model=model,
        report=report,
        evidence=Evidence(rows.rows, truth, model.outputs(rows.rows), blocks),
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
