"""What an export gives and takes: bytes and quality of int8, time of a whole export, installed size.

The quality of int8 is judged on rows that neither the model nor its calibration has seen, by the device's own code.
"""

import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.native_tables import (  # noqa: F401 - pytest collects them here, so that their figures stand in this area
    bench_bytes,
    bench_exactness,
    bench_many_rows,
    bench_one_row_from_python,
)
from edge_agent.bundle import Feature
from exporter.export import ExportLimits, export_model
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.onnx.target import convert_onnx_fp32
from exporter.tflite.outside import convert_with_onnx2tf

INT8_BYTES: Final = 0.45
INT8_LOSS_POINTS: Final = 0.5
EXPORT_S: Final = 10.0
DATA: Final = ("digits", "breast_cancer", "wine", "gas_drift_raw", "gas_turbine")


@pytest.fixture
def shared_data() -> Path:
    """The folder with the data sets, beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}")
    return folder


def _shuffled(loaded: Any) -> tuple[Any, Any]:
    order = np.random.default_rng(0).permutation(len(loaded.target))
    return loaded.data[order], loaded.target[order]


def _gas_drift(shared: Path) -> tuple[Any, Any]:
    frame = pd.concat([pd.read_parquet(p) for p in sorted((shared / "gas_drift_raw").glob("*.parquet"))])
    frame = frame.sample(frac=1.0, random_state=0)
    labels = frame["gas"].astype("category").cat.codes.to_numpy()
    columns = [column for column in frame.columns if column.startswith("s")]
    return frame[columns].to_numpy(), labels


def _gas_turbine(shared: Path) -> tuple[Any, Any]:
    frame = pd.concat([pd.read_csv(p) for p in sorted((shared / "gas_turbine").glob("*.csv"))])
    frame = frame.sample(12_000, random_state=0)
    return frame.drop(columns=["NOX", "CO"]).to_numpy(), frame["NOX"].to_numpy()


def _load(data: str, shared: Path) -> tuple[Any, Any]:
    loaders: dict[str, Any] = {
        "digits": lambda: _shuffled(load_digits()),
        "breast_cancer": lambda: _shuffled(load_breast_cancer()),
        "wine": lambda: _shuffled(load_wine()),
        "gas_drift_raw": lambda: _gas_drift(shared),
        "gas_turbine": lambda: _gas_turbine(shared),
    }
    rows, truth = loaders[data]()
    return rows.astype(np.float32), truth


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("route", ["onnx", "tflite"])
def bench_int8_of_a_network(data, route, shared_data, tmp_path, record_ratio) -> None:
    rows, truth = _load(data, shared_data)
    n_train = len(rows) * 6 // 10
    is_value = data == "gas_turbine"
    network = (MLPRegressor if is_value else MLPClassifier)(hidden_layer_sizes=(64, 32), max_iter=300, random_state=0)
    scaled = make_pipeline(StandardScaler(), network)
    estimator = TransformedTargetRegressor(scaled, transformer=StandardScaler()) if is_value else scaled
    estimator.fit(rows[:n_train], truth[:n_train])
    labels = () if is_value else tuple(str(i) for i in range(len(np.unique(truth))))
    features = tuple(Feature(f"f{i}") for i in range(rows.shape[1]))
    report = export_model(
        FittedModel(estimator, "regression" if is_value else "classification", features, labels),
        calibration=rows[:n_train][:1000],
        evaluation=rows[n_train:],
        truth=truth[n_train:],
        metric="r2" if is_value else "accuracy",
        requested=(f"{route}-fp32", f"{route}-int8"),
        limits=ExportLimits(max_parity_loss=1.0),
        folder=tmp_path,
    )
    exact, small = report.variants
    assert small.quality is not None
    loss_points = 100 * (report.original_quality - small.quality)
    name = f"{data} network 64-32 {small.name}"
    record_ratio(
        f"{name}: bytes / {exact.name}",
        ours=small.size_bytes,
        peer=exact.size_bytes,
        reach=INT8_BYTES,
        unit="bytes",
        runs=1,
    )
    record_ratio(
        f"{name}: points of quality lost / allowed",
        ours=loss_points,
        peer=INT8_LOSS_POINTS,
        reach=1.0,
        unit="points",
        runs=1,
    )


def bench_export_of_a_forest(tmp_path, record_ratio) -> None:
    rows, truth = _load("digits", tmp_path)
    forest = RandomForestClassifier(100, random_state=0).fit(rows[:1200], truth[:1200])
    features = tuple(Feature(f"pixel_{i}") for i in range(rows.shape[1]))
    model = FittedModel(forest, "classification", features, tuple(str(i) for i in range(10)))
    started = time.perf_counter()
    report = export_model(
        model,
        calibration=rows[:1000],
        evaluation=rows[1200:],
        truth=truth[1200:],
        metric="accuracy",
        requested=("auto",),
        limits=ExportLimits(),
        folder=tmp_path / "all",
    )
    ours_s = time.perf_counter() - started
    made = [variant.name for variant in report.variants if variant.made]
    record_ratio(
        f"digits forest of 100 trees: seconds for {', '.join(made)}, with proof / allowed",
        ours=ours_s,
        peer=EXPORT_S,
        reach=1.0,
        unit="s",
        runs=1,
    )
    peer_s = _seconds_of_onnx2tf(tmp_path, rows, truth)
    record_ratio(
        "the same / onnx2tf's own time for one network of these rows, without proof (it takes no forest)",
        ours=ours_s,
        peer=peer_s,
        reach=EXPORT_S / peer_s,
        unit="s",
        runs=1,
    )


def _seconds_of_onnx2tf(folder: Path, rows: Any, truth: Any) -> float:
    network = MLPClassifier((64, 32), max_iter=50, random_state=0).fit(rows[:1200] / 16, truth[:1200])
    features = tuple(Feature(f"pixel_{i}") for i in range(rows.shape[1]))
    model = FittedModel(network, "classification", features, tuple(str(i) for i in range(10)))
    path = folder / "network.onnx"
    path.write_bytes(convert_onnx_fp32(Material(model, rows[:1000] / 16)))
    (folder / "onnx2tf").mkdir()
    # Its first call makes its environment, if that is not there yet.
    convert_with_onnx2tf(path, folder / "onnx2tf")
    return convert_with_onnx2tf(path, folder / "onnx2tf")


def bench_installed_size(record_ratio) -> None:
    trainer, exporter = _packages_of("trainer", without="exporter"), _packages_of("exporter")
    own = sorted(exporter - trainer)
    assert not {"tensorflow", "tensorflow-cpu", "torch"} & exporter
    sizes = {name: _size_mb(name) for name in own}
    print("installed for the exporter alone:", ", ".join(f"{name} {mb:.1f} MB" for name, mb in sizes.items()))
    trainer_mb = sum(_size_mb(name) for name in trainer)
    record_ratio(
        "packages of the exporter beyond the trainer's / the trainer's",
        ours=sum(sizes.values()),
        peer=trainer_mb,
        reach=1.0,
        unit="MB",
        runs=1,
    )


def _packages_of(extra: str, without: str = "") -> set[str]:
    """Return the installed distributions that an extra of fieldloop needs, with theirs."""
    found: set[str] = set()
    waiting = [Requirement(f"fieldloop[{extra}]")]
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-")
        if name == "fieldloop" and without in requirement.extras and without:
            continue
        for text in metadata.requires(requirement.name) or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is not None and not any(needed.marker.evaluate({"extra": e}) for e in extras):
                continue
            key = needed.name.lower().replace("_", "-")
            if key not in found and _is_installed(key):
                found.add(key)
                waiting.append(needed)
    return found - {"fieldloop"}


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _size_mb(name: str) -> float:
    files = metadata.distribution(name).files or []
    paths = [Path(str(file.locate())) for file in files if not str(file).endswith(".pyc")]
    return sum(path.stat().st_size for path in paths if path.exists()) / 1e6
