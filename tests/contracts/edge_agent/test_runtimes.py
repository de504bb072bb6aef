"""What every runtime must do; each implementation is held to the same checks."""

import contextlib
import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.errors import BundleError, RowError
from edge_agent.scoring.native_runtime import NativeRuntime
from edge_agent.scoring.runtime import BlockRuntime, Runtime
from tests.unit.edge_agent.examples import (
    WEIGHTS,
    softmax,
    write_native_classifier,
    write_onnx_classifier,
    write_tflite_classifier,
)

ROWS = [[1.0, 2.0], [-2.0, 0.5], [0.0, 0.0], [0.25, -1.0]]


@dataclass(frozen=True)
class Kind:
    """One implementation: how it is opened, how its files are written, how exact it is."""

    open: Callable[[Path, int, int], Runtime]
    write: Callable[[Path, NDArray[np.float32]], Path]
    tolerance: float


def open_onnx(path: Path, n_features: int, n_outputs: int) -> Runtime:
    # Boards of 32 bits, on which these checks are run too, have no ONNX Runtime.
    from edge_agent.scoring.onnx_runtime import OnnxRuntime

    return OnnxRuntime(path, n_features, n_outputs)


def open_tflite(path: Path, n_features: int, n_outputs: int) -> Runtime:
    from edge_agent.scoring.tflite_runtime import TfliteRuntime

    return TfliteRuntime(path, n_features, n_outputs)


KINDS = {
    "onnx": Kind(open_onnx, write_onnx_classifier, 1e-6),
    "tflite": Kind(open_tflite, write_tflite_classifier, 1e-6),
    "tflite-int8": Kind(open_tflite, lambda path, w: write_tflite_classifier(path, w, integers=True), 1 / 256),
    "native": Kind(NativeRuntime, write_native_classifier, 1e-6),
    "native-ctypes": Kind(lambda *where: NativeRuntime(*where, face="ctypes"), write_native_classifier, 1e-6),
    "native-portable": Kind(lambda *where: NativeRuntime(*where, portable=True), write_native_classifier, 1e-6),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def runtime(kind: Kind, tmp_path: Path) -> Iterator[Runtime]:
    opened = kind.open(kind.write(tmp_path / "model", WEIGHTS), 2, 2)
    yield opened
    opened.close()


def test_scores_a_row_as_the_model_says(kind: Kind, runtime: Runtime):
    for row in ROWS:
        assert list(runtime.score(row)) == pytest.approx(softmax(row), abs=kind.tolerance)


def test_the_same_row_gets_the_same_answer_whatever_came_before(runtime: Runtime):
    first = list(runtime.score(ROWS[0]))
    for row in ROWS:
        runtime.score(row)
    assert list(runtime.score(ROWS[0])) == first


def test_no_runtime_takes_another_thread(kind: Kind, tmp_path: Path):
    tasks = Path("/proc/self/task")
    if not tasks.is_dir() or (os.cpu_count() or 1) < 2:
        pytest.skip("threads are counted where there is /proc, and a runtime has none to take on one core")
    before = {task.name for task in tasks.iterdir()}
    opened = kind.open(kind.write(tmp_path / "model", WEIGHTS), 2, 2)
    opened.score_batch(ROWS * 100)
    more = {task.name for task in tasks.iterdir()} - before
    opened.close()
    assert not more


def test_answers_are_plain_floats(runtime: Runtime):
    assert all(type(number) is float for number in runtime.score(ROWS[0]))


def test_a_batch_is_scored_as_its_rows_are(runtime: Runtime):
    batch = runtime.score_batch(ROWS)
    assert [list(row) for row in batch] == [pytest.approx(list(runtime.score(row)), abs=1e-6) for row in ROWS]
    assert runtime.score_batch([]) == []


def test_a_row_of_another_length_is_a_row_error_and_the_next_row_scores(kind: Kind, runtime: Runtime):
    with pytest.raises(RowError) as caught:
        runtime.score([1.0, 2.0, 3.0])
    assert caught.value.kind == "runtime"
    assert list(runtime.score(ROWS[0])) == pytest.approx(softmax(ROWS[0]), abs=kind.tolerance)


def test_a_missing_value_is_answered_or_a_row_error_but_never_a_crash(runtime: Runtime):
    with contextlib.suppress(RowError):
        assert len(runtime.score([math.nan, 1.0])) == 2


def test_bound_to_buffers_it_answers_as_before_one_row_or_many(runtime: Runtime):
    expected = [list(runtime.score(row)) for row in ROWS]
    bound = runtime.bind(64) if isinstance(runtime, BlockRuntime) else None
    if bound is None:
        pytest.skip("this runtime, or this model, cannot be bound")
    entry, answer = (memoryview(part).cast("B") for part in (bound.entry, bound.exit))
    for row, each in zip(ROWS, expected, strict=True):
        entry[:] = struct.pack("2f", *row)
        bound.run(*bound.arguments)
        assert struct.unpack("2f", answer) == pytest.approx(each, abs=1e-6)
        assert list(runtime.score(row)) == each
    if bound.run_many is not None:
        rows, answers = (memoryview(part).cast("B") for part in (bound.rows, bound.answers))
        for n in (1, len(ROWS), 2):
            rows[: 8 * n] = b"".join(struct.pack("2f", *row) for row in ROWS[:n])
            bound.run_many(n)
            found = memoryview(bytes(answers[: 8 * n])).cast("f").tolist()
            assert found == pytest.approx([number for each in expected[:n] for number in each], abs=1e-6)
    with pytest.raises(RowError):
        runtime.score([1.0, 2.0, 3.0])


@pytest.mark.parametrize("n_features", [1, 3])
def test_a_model_of_another_input_width_is_refused_with_its_file(kind: Kind, tmp_path: Path, n_features: int):
    path = kind.write(tmp_path / "model", WEIGHTS)
    with pytest.raises(BundleError, match=str(path)):
        kind.open(path, n_features, 2)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_model_of_another_output_width_is_refused_with_its_file(kind: Kind, tmp_path: Path, n_outputs: int):
    path = kind.write(tmp_path / "model", WEIGHTS)
    with pytest.raises(BundleError, match=str(path)):
        kind.open(path, 2, n_outputs)


@pytest.mark.parametrize("content", [b"", b"no model at all", bytes(1000)])
def test_a_file_that_is_no_model_is_refused_with_its_name(kind: Kind, tmp_path: Path, content: bytes):
    path = tmp_path / "model"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=str(path)):
        kind.open(path, 2, 2)


def test_a_file_that_is_not_there_is_refused_with_its_name(kind: Kind, tmp_path: Path):
    with pytest.raises(BundleError, match="absent"):
        kind.open(tmp_path / "absent", 2, 2)
