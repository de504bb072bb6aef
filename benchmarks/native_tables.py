"""Native trees against what else runs them: speed of one row from Python, of 1,000 rows, and bytes of the file.

Each peer is called in its leanest way: ONNX Runtime through buffers that are bound once, compiled models through ctypes
with the addresses of their rows prepared. The same 500 rows in turn: one row again and again would flatter trees. A
peer that is not installed is left out, and said so: m2cgen, treelite with tl2cgen. emlearn is shown beside them.
"""

import ctypes
import gzip
import importlib.util
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from skl2onnx import to_onnx
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor

from benchmarks.timing import Pair, alternate
from edge_agent.bundle import Feature
from edge_agent.engine.face import PORTABLE
from edge_agent.engine.loading import load_engine
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.native.file import encode_program
from exporter.programs.program import Program
from exporter.programs.thresholds import threshold_rows

ROWS: Final = 500
BATCH: Final = 1000
ROUNDS: Final = 60
# A compiled forest is megabytes of code: where its pages happen to lie makes one series three times another.
SERIES: Final = 5
LONGEST_PEER_SOURCE: Final = 6_000_000
COMPILE_TIMEOUT_S: Final = 300

Call = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A model, and how far below its best peer one row should be."""

    load: Callable[..., Any]
    make: Callable[[], Any]
    reach: float


CASES: Final = {
    "digits forest": Case(load_digits, lambda: RandomForestClassifier(100, random_state=0), 0.25),
    "digits HGB": Case(load_digits, lambda: HistGradientBoostingClassifier(random_state=0), 0.25),
    "breast_cancer forest": Case(load_breast_cancer, lambda: RandomForestClassifier(100, random_state=0), 0.75),
    "breast_cancer HGB": Case(load_breast_cancer, lambda: HistGradientBoostingClassifier(random_state=0), 0.5),
}
# Bytes only: leaves that are not pure, and regression.
MORE_FILES: Final = {
    "digits forest, 5 rows a leaf": Case(
        load_digits, lambda: RandomForestClassifier(100, min_samples_leaf=5, random_state=0), 1.0
    ),
    "diabetes forest (regression)": Case(load_diabetes, lambda: RandomForestRegressor(100, random_state=0), 1.0),
}


@dataclass(frozen=True)
class Prepared:
    """A fitted model in both forms, and rows that it is asked."""

    estimator: Any
    rows: NDArray[np.float32]
    program: Program
    native: bytes
    native_u16: bytes
    onnx: bytes
    n_outputs: int


@cache
def prepared(name: str) -> Prepared:
    case = (CASES | MORE_FILES)[name]
    features, target = case.load(return_X_y=True)
    rows = np.ascontiguousarray(features, dtype=np.float32)
    estimator = case.make().fit(rows, target)
    n_labels = len(getattr(estimator, "classes_", ()))
    model = FittedModel(
        estimator,
        "classification" if n_labels else "regression",
        tuple(Feature(f"f{i}") for i in range(rows.shape[1])),
        tuple(map(str, range(n_labels))),
    )
    program = Material(model, rows).program
    options = {id(estimator): {"zipmap": False}} if n_labels else None
    onnx = to_onnx(estimator, rows[:1], options=options, target_opset={"": 21, "ai.onnx.ml": 3}).SerializeToString()
    return Prepared(
        estimator, rows, program, encode_program(program), encode_program(program, leaves="uint16"), onnx, n_labels or 1
    )


def rotating(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.resize(rows, (ROWS, rows.shape[1])))


def native_call(model: Prepared, flags: int = 0) -> Call:
    opened = load_engine().open(model.native, flags)
    score, answer = opened.score_into, bytearray(4 * model.n_outputs)
    rows = [row.tobytes() for row in rotating(model.rows)]

    def call() -> None:
        for row in rows:
            score(row, answer)

    return call


def session_of(model: Prepared) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model.onnx, options, providers=["CPUExecutionProvider"])


def onnx_call(model: Prepared) -> Call:
    session = session_of(model)
    rows = rotating(model.rows)
    entering, answer = np.zeros((1, rows.shape[1]), np.float32), np.zeros((1, model.n_outputs), np.float32)
    binding = session.io_binding()
    source = session.get_inputs()[0].name
    binding.bind_input(source, "cpu", 0, np.float32, entering.shape, entering.ctypes.data)
    binding.bind_output(session.get_outputs()[-1].name, "cpu", 0, np.float32, answer.shape, answer.ctypes.data)
    run, target = session.run_with_iobinding, memoryview(entering.view(np.uint8).reshape(-1))  # type: ignore[arg-type]  # an array is a buffer
    as_bytes = [row.tobytes() for row in rows]

    def call() -> None:
        for row in as_bytes:
            target[:] = row
            run(binding)

    return call


def compiled(source: str, folder: Path) -> ctypes.CDLL:
    path = folder / "model.c"
    path.write_text(source, encoding="utf-8")
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(folder / "model.so"), str(path), "-lm"],
        check=True, timeout=COMPILE_TIMEOUT_S, capture_output=True,
    )  # fmt: skip
    return ctypes.CDLL(str(folder / "model.so"))


def m2cgen_call(model: Prepared, folder: Path) -> Call:
    m2c = pytest.importorskip("m2cgen")
    library = compiled(m2c.export_to_c(model.estimator), folder)
    rows = rotating(model.rows).astype(np.float64)
    answer = np.zeros(model.n_outputs)
    library.score.argtypes, library.score.restype = (ctypes.c_void_p, ctypes.c_void_p), None
    score, to = library.score, answer.ctypes.data
    addresses = [rows.ctypes.data + at * rows.strides[0] for at in range(len(rows))]
    score(addresses[3], to)
    np.testing.assert_allclose(answer, model.estimator.predict_proba(rows[3:4])[0], atol=1e-6)

    def call() -> None:
        for address in addresses:
            score(address, to)

    return call


def tl2cgen_call(model: Prepared, folder: Path) -> Call:
    import tl2cgen  # type: ignore[import-not-found,unused-ignore]
    import treelite  # type: ignore[import-not-found,unused-ignore]

    path = folder / "model.so"
    tl2cgen.export_lib(
        treelite.sklearn.import_model(model.estimator), toolchain="gcc", libpath=path, params={"parallel_comp": 8}
    )
    predictor = tl2cgen.Predictor(path, nthread=1)
    expected = predictor.predict(tl2cgen.DMatrix(rotating(model.rows)[3:4])).reshape(-1)
    library = ctypes.CDLL(str(path))
    # A value is a union of float and int, or of double and int: thresholds of scikit-learn are float64.
    rows = rotating(model.rows).astype(np.float64)
    answer = np.zeros(model.n_outputs)
    library.predict.argtypes, library.predict.restype = (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p), None
    score, to = library.predict, answer.ctypes.data
    addresses = [rows.ctypes.data + at * rows.strides[0] for at in range(len(rows))]
    score(addresses[3], 0, to)
    np.testing.assert_allclose(answer[: len(expected)], expected, atol=1e-6)

    def call() -> None:
        for address in addresses:
            score(address, 0, to)

    return call


def emlearn_call(model: Prepared, folder: Path) -> Call:
    """Call emlearn's form of a forest; it votes by label, so its shares differ where leaves are not pure."""
    # It tells numpy to raise at an underflow, for the whole process.
    with np.errstate():
        import emlearn  # type: ignore[import-not-found,unused-ignore]

    source = folder / "forest.h"
    emlearn.convert(model.estimator, method="inline", dtype="float").save(file=str(source), name="forest")
    library = compiled(source.read_text(encoding="utf-8"), folder)
    rows = rotating(model.rows)
    answer = np.zeros(model.n_outputs, dtype=np.float32)
    n_features, n_outputs = rows.shape[1], model.n_outputs
    library.forest_predict_proba.argtypes = (ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int)
    score, to = library.forest_predict_proba, answer.ctypes.data
    addresses = [rows.ctypes.data + at * rows.strides[0] for at in range(len(rows))]

    def call() -> None:
        for address in addresses:
            score(address, n_features, to, n_outputs)

    return call


def middle_of(ours: Call, peer: Call) -> Pair:
    """Return the pair whose ratio is the middle one of several series."""
    pairs = [alternate(ours, peer, rounds=ROUNDS) for _ in range(SERIES)]
    return sorted(pairs, key=lambda pair: pair.ours_us / pair.peer_us)[SERIES // 2]


def peers_of(name: str, model: Prepared, folder: Path) -> dict[str, Call]:
    """The peers that are installed and give the same probabilities; a forest alone is what m2cgen knows."""
    found = {"ONNX Runtime IOBinding": onnx_call(model)}
    makers = {"m2cgen": (m2cgen_call, "forest" in name), "tl2cgen": (tl2cgen_call, True)}
    for peer, (make, fits) in makers.items():
        if fits and importlib.util.find_spec(peer) is not None:
            (folder / peer).mkdir()
            found[peer] = make(model, folder / peer)
        elif fits:
            print(f"{peer} is not installed: left out")
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", CASES)
def bench_one_row_from_python(name, tmp_path, record_ratio) -> None:
    model = prepared(name)
    ours, portable = native_call(model), native_call(model, PORTABLE)
    calls, found = peers_of(name, model, tmp_path), {}
    for peer, call in calls.items():
        found[peer] = middle_of(ours, call)
        print(f"{name}: native {found[peer].ours_us / ROWS:.2f} µs, {peer} {found[peer].peer_us / ROWS:.2f} µs a row")
    best = min(found, key=lambda peer: found[peer].peer_us)
    pair = found[best]
    record_ratio(
        f"{name}: one row from Python, native / best of {', '.join(found)}: {best}",
        ours=pair.ours_us / ROWS, peer=pair.peer_us / ROWS, reach=CASES[name].reach, unit="µs", runs=pair.runs,
    )  # fmt: skip
    if "forest" in name and importlib.util.find_spec("emlearn") is not None:
        (tmp_path / "emlearn").mkdir()
        pair = middle_of(ours, emlearn_call(model, tmp_path / "emlearn"))
        record_ratio(
            f"{name}: one row from Python, native / emlearn, whose shares are not the model's (shown only)",
            ours=pair.ours_us / ROWS, peer=pair.peer_us / ROWS, reach=1.0, unit="µs", runs=pair.runs,
        )  # fmt: skip
    pair = middle_of(portable, calls[best])
    record_ratio(
        f"{name}: one row from Python, portable native / {best}",
        ours=pair.ours_us / ROWS, peer=pair.peer_us / ROWS, reach=1.0, unit="µs", runs=pair.runs,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def bench_many_rows(name, record_ratio) -> None:
    model = prepared(name)
    rows = np.ascontiguousarray(np.resize(model.rows, (BATCH, model.rows.shape[1])))
    answers = np.zeros((BATCH, model.n_outputs), dtype=np.float32)
    opened, session = load_engine().open(model.native, 0), session_of(model)
    source, target = session.get_inputs()[0].name, session.get_outputs()[-1].name

    def ours() -> None:
        opened.score_into(rows, answers)  # type: ignore[arg-type]  # an array is a buffer

    pair = alternate(ours, lambda: session.run([target], {source: rows}), rounds=ROUNDS)
    np.testing.assert_allclose(answers, model.estimator.predict_proba(rows), atol=1e-6)
    record_ratio(
        f"{name}: {BATCH} rows, native / ONNX Runtime",
        ours=pair.ours_us, peer=pair.peer_us, reach=0.25, unit="µs", runs=pair.runs,
    )  # fmt: skip


@pytest.mark.parametrize("name", [*CASES, *MORE_FILES])
def bench_bytes(name, record_ratio) -> None:
    model = prepared(name)
    packed = len(gzip.compress(model.onnx, 9))
    for what, data in (("native", model.native), ("native, leaves of 16 bits", model.native_u16)):
        for peer, size, reach in (("skl2onnx file", len(model.onnx), 0.12), ("its gzip", packed, 0.8)):
            record_ratio(
                f"{name}: bytes of {what} / {peer}", ours=len(data), peer=size, reach=reach, unit="bytes", runs=1
            )


@pytest.mark.parametrize("name", CASES)
def bench_exactness(name, record_ratio) -> None:
    model = prepared(name)
    rng = np.random.default_rng(0)
    near = threshold_rows(model.program, model.rows, rng, limit=6000)
    gaps = model.rows.copy()
    gaps[rng.random(gaps.shape) < 0.1] = np.nan
    asked = np.concatenate([model.rows, near, gaps])
    expected, got = model.estimator.predict_proba(asked), np.zeros((len(asked), model.n_outputs), dtype=np.float32)
    load_engine().open(model.native, 0).score_into(asked, got)  # type: ignore[arg-type]  # an array is a buffer
    differs = int(np.sum(np.argmax(expected, axis=1) != np.argmax(got, axis=1)))
    rows = f"{len(model.rows)} rows, {len(near)} on and next to thresholds, {len(gaps)} with missing values"
    record_ratio(
        f"{name}: greatest difference on {rows} / allowed",
        ours=float(np.abs(expected - got).max()),
        peer=1e-6,
        reach=1.0,
        unit="",
        runs=1,
    )
    record_ratio(f"{name}: labels that differ / rows", ours=differs, peer=len(asked), reach=0.0, unit="rows", runs=1)
