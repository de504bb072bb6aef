"""Bundles of small public models, made by the exporter: one for each benchmark of the agent."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from edge_agent.bundle import Feature, Lineage, Manifest, TrialRules
from exporter.bundles.pack import pack_bundle
from exporter.export import ExportLimits, export_model
from exporter.models.model import Evidence, FittedModel, Rows

SEED: Final = 1
WINDOW_ROWS: Final = 50
_BLOCKS: Final = 5
_LOADERS: Final = {"digits": load_digits, "breast_cancer": load_breast_cancer}


@dataclass(frozen=True, slots=True)
class SmallBundle:
    """A packed bundle with one variant, and rows to score.

    Attributes:
        rows: ``(n, n_features) float32``.
    """

    folder: Path
    manifest: Manifest
    rows: Rows


def make_estimator(kind: str) -> Any:
    """Return an estimator that is not fitted yet: ``mlp`` or ``forest``."""
    if kind == "mlp":
        return make_pipeline(StandardScaler(), MLPClassifier((32,), max_iter=400, tol=1e-3, random_state=SEED))
    return Pipeline([("forest", RandomForestClassifier(100, random_state=SEED))])


def make_bundle(data: str, kind: str, variant: str, folder: Path, window_rows: int = WINDOW_ROWS) -> SmallBundle:
    """Train on all rows but the last fifth, export one variant, and pack it.

    Args:
        data: ``digits`` (64 features, 10 labels) or ``breast_cancer`` (30 features, 2 labels).
        kind: see `make_estimator`.
        variant: its name.
        folder: for the bundle.
        window_rows: rows in one telemetry window.
    """
    bunch = _LOADERS[data]()
    rows, truth = bunch.data.astype(np.float32), bunch.target.astype(np.int64)
    cut = len(rows) * 4 // 5
    labels = tuple(str(name) for name in bunch.target_names)
    features = tuple(Feature(str(name).replace(" ", "_")) for name in bunch.feature_names)
    fitted = FittedModel(make_estimator(kind).fit(rows[:cut], truth[:cut]), "classification", features, labels)
    folds = KFold(_BLOCKS)
    predictions = cross_val_predict(make_estimator(kind), rows[:cut], truth[:cut], cv=folds, method="predict_proba")
    block_of = np.concatenate([np.full(len(part), i) for i, (_, part) in enumerate(folds.split(rows[:cut]))])
    report = export_model(
        fitted,
        calibration=rows[:cut],
        evaluation=rows[cut:],
        truth=truth[cut:],
        metric="accuracy",
        requested=(variant,),
        limits=ExportLimits(max_size_bytes=16 << 20, max_parity_loss=0.05),
        folder=folder / "export",
    )
    manifest = pack_bundle(
        folder,
        export_folder=folder / "export",
        model=fitted,
        report=report,
        evidence=Evidence(rows[:cut], truth[:cut], predictions, block_of),
        name="bench",
        version=1,
        trial=TrialRules(),
        lineage=Lineage("bench", "0" * 64, "bench", "2026-11-01T00:00:00Z"),
        window_rows=window_rows,
    )
    return SmallBundle(folder, manifest, rows)
