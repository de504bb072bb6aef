"""Real small bundles for tests: a fitted scikit-learn model, its ONNX file, a manifest with golden rows."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from edge_agent.bundle import (
    MANIFEST_NAME,
    Estimation,
    Feature,
    FeatureReference,
    GoldenRow,
    Lineage,
    LinearModel,
    Manifest,
    TrialRules,
    Variant,
    encode_manifest,
)

NAME: Final = "toy"
FEATURES: Final = ("a", "b", "c")
LABELS: Final = ("low", "high")
MODEL_FILE: Final = "model.onnx"
N_ROWS: Final = 400
N_GOLDEN: Final = 8
TRIAL: Final = TrialRules(rows=20)


@dataclass(frozen=True)
class Toy:
    """What a bundle is made of; change a field to get one with that flaw.

    Attributes:
        golden_error: added to the first expected output of each golden row.
        runtime: what the manifest says that runs the variant.
    """

    version: int = 1
    name: str = NAME
    features: tuple[str, ...] = FEATURES
    window_rows: int = 10
    trial: TrialRules = TRIAL
    golden_error: float = 0.0
    runtime: str = "onnx"
    on_missing: str = "refuse"


def make_bundle(folder: Path, toy: Toy | None = None, **changes: Any) -> Path:
    """Write a bundle's files to ``folder`` and return it; each version holds a model of its own.

    Args:
        folder: made if missing.
        toy: what it is made of.
        changes: fields of ``toy`` to change.
    """
    toy = replace(toy or Toy(), **changes)
    rows, model, onnx_bytes = _fit(toy.version, len(toy.features))
    variant = Variant(
        name=f"{toy.runtime}-fp32",
        runtime=toy.runtime,  # type: ignore[arg-type]  # a test may name one that does not exist
        file=MODEL_FILE,
        size_bytes=len(onnx_bytes),
        sha256=hashlib.sha256(onnx_bytes).hexdigest(),
        tolerance=1e-4,
        quality=0.9,
        latency_us=5.0,
    )
    probabilities = model.predict_proba(rows[:N_GOLDEN])
    golden = tuple(
        GoldenRow(tuple(float(v) for v in row), (float(p[0]) + toy.golden_error, *(float(v) for v in p[1:])))
        for row, p in zip(rows[:N_GOLDEN], probabilities, strict=True)
    )
    manifest = _manifest(toy, rows, model, variant, golden)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(onnx_bytes)
    (folder / MANIFEST_NAME).write_bytes(encode_manifest(manifest))
    return folder


def write_rows(path: Path, n_rows: int, features: Sequence[str] = FEATURES, seed: int = 7) -> Path:
    """Write a CSV file of rows that the bundles score."""
    values = np.random.default_rng(seed).normal(size=(n_rows, len(features)))
    lines = [",".join(features), *(",".join(f"{v:.6f}" for v in row) for row in values)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@cache
def _fit(version: int, n_features: int) -> tuple[NDArray[np.float32], LogisticRegression, bytes]:
    rng = np.random.default_rng(version)
    rows = rng.normal(size=(N_ROWS, n_features)).astype(np.float32)
    truth = (rows.sum(axis=1) + 0.3 * rng.normal(size=N_ROWS) > 0.0).astype(int)
    model = LogisticRegression().fit(rows, truth)
    options = {id(model): {"zipmap": False}}
    target = {"": 21, "ai.onnx.ml": 3}
    return rows, model, to_onnx(model, rows[:1], options=options, target_opset=target).SerializeToString()


def _manifest(
    toy: Toy,
    rows: NDArray[np.float32],
    model: LogisticRegression,
    variant: Variant,
    golden: tuple[GoldenRow, ...],
) -> Manifest:
    edges = (-1.0, 0.0, 1.0)
    counts = [np.bincount(np.digitize(column, edges), minlength=4).tolist() for column in rows.T]
    coefficients = tuple(float(c) for c in model.coef_[0])
    return Manifest(
        format=1,
        name=toy.name,
        version=toy.version,
        task="classification",
        metric="accuracy",
        features=tuple(Feature(name, on_missing=toy.on_missing) for name in toy.features),  # type: ignore[arg-type]
        labels=LABELS,
        output_edges=(),
        output_blocks=((N_ROWS // 2, N_ROWS // 2),),
        references=tuple(FeatureReference(edges, (tuple(block),)) for block in counts),
        estimation=Estimation(
            second_model=LinearModel(
                means=(0.0,) * len(toy.features),
                scales=(1.0,) * len(toy.features),
                coefficients=(tuple(-c for c in coefficients), coefficients),
                intercepts=(0.0, 0.0),
            ),
            disagreement_edges=(),
            quality=(0.9,) * 20,
            rows=(20,) * 20,
            expected_quality=0.9,
            block_quality=(0.9,),
        ),
        golden=golden,
        variants=(variant,),
        trial=toy.trial,
        lineage=Lineage("test", "0" * 64, "test", "2026-11-01T00:00:00Z"),
        window_rows=toy.window_rows,
    )
