"""Bundles with a forest for the native engine, from training to the packed folder, as a project makes them."""

from pathlib import Path
from typing import Final

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import KFold, cross_val_predict

from edge_agent.bundle import Feature, Lineage, TrialRules
from exporter.bundles.pack import pack_bundle
from exporter.export import ExportLimits, export_model
from exporter.models.model import Evidence, FittedModel
from tests.bundles import FEATURES

MODEL: Final = "toy"
N_ROWS: Final = 2000
N_TREES: Final = 60
_BLOCKS: Final = 4
# Nobody scores a row in a nanosecond: such a bundle passes every check but its trial.
IMPOSSIBLE_US: Final = 0.001


def make_forest(
    folder: Path,
    version: int,
    *,
    fails_its_trial: bool = False,
    window_rows: int = 20,
    variants: tuple[str, ...] = ("native",),
) -> Path:
    """Train, export and pack a version; each is another forest, of some hundred kilobytes."""
    rng = np.random.default_rng(version)
    rows = rng.normal(size=(N_ROWS, len(FEATURES))).astype(np.float32)
    truth = (rows.sum(axis=1) + 0.3 * rng.normal(size=N_ROWS) > 0).astype(np.int64)
    cut = N_ROWS * 3 // 4
    estimator = RandomForestClassifier(N_TREES, random_state=version)
    folds = KFold(_BLOCKS)
    predictions = cross_val_predict(estimator, rows[:cut], truth[:cut], cv=folds, method="predict_proba")
    block_of = np.concatenate([np.full(len(part), i) for i, (_, part) in enumerate(folds.split(rows[:cut]))])
    model = FittedModel(
        estimator.fit(rows[:cut], truth[:cut]), "classification", tuple(map(Feature, FEATURES)), ("low", "high")
    )
    report = export_model(
        model,
        calibration=rows[:cut],
        evaluation=rows[cut:],
        truth=truth[cut:],
        metric="accuracy",
        requested=variants,
        limits=ExportLimits(max_size_bytes=16 << 20, max_parity_loss=0.05),
        folder=folder / "export",
    )
    pack_bundle(
        folder,
        export_folder=folder / "export",
        model=model,
        report=report,
        evidence=Evidence(rows[:cut], truth[:cut], predictions, block_of),
        name=MODEL,
        version=version,
        trial=TrialRules(rows=20, max_latency_us=IMPOSSIBLE_US if fails_its_trial else None),
        lineage=Lineage("test", "0" * 64, "test", "2026-11-01T00:00:00Z"),
        window_rows=window_rows,
    )
    return folder
