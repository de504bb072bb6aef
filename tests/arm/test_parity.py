"""Every variant answers on the processors of boards as it does here, by every runtime that there is for them.

The same file, rows and library on both sides: what differs is the processor. `TOLERANCES` state by how much.
"""

import os
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from exporter.models.metrics import decisions_of
from exporter.proof.emulated import EmulatedPlace, emulated_places
from exporter.proof.places import Answer, Job, NotRunError, PythonPlace
from tests.unit.exporter.families import Learnt, export, learn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
# Greatest difference of a probability. TFLite's kernels of int8 round in other places on x86 and on ARM: one step of a
# layer, which the softmax of floats behind it makes up to 0.03 of a probability.
TOLERANCES: Final[Mapping[str, float]] = {
    "onnx-fp32": 1e-6,
    "onnx-int8": 1e-6,
    "tflite-fp32": 2e-6,
    "tflite-int8": 0.05,
    "native": 1e-6,
    "native-int8": 1e-6,
}
MODELS: Final[Mapping[str, tuple[str, str, tuple[str, ...]]]] = {
    "network": ("mlp", "digits", tuple(TOLERANCES)),
    "forest": ("forest", "cancer", ("onnx-fp32", "tflite-fp32", "native")),
}
PLACES: Final = tuple(
    place for place in emulated_places(("arm64", "armhf"), os.environ) if isinstance(place, EmulatedPlace)
)
CASES: Final = tuple(
    (model, variant, place)
    for model, (_, _, variants) in MODELS.items()
    for variant in variants
    for place in PLACES
    if place.runtime == variant.partition("-")[0]
)
Case = tuple[str, str, EmulatedPlace]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[tuple[str, str], Path]:
    """Every variant's file, by model and variant."""
    found: dict[tuple[str, str], Path] = {}
    for model, (_, _, variants) in MODELS.items():
        folder = tmp_path_factory.mktemp(model)
        report = export(learnt(model), folder, *variants)
        found |= {(model, each.name): folder / each.file for each in report.variants if each.file}
    return found


@pytest.fixture(scope="module")
def answers(
    files: Mapping[tuple[str, str], Path],
    compiled_for_arm: None,  # noqa: ARG001 - the engine that is copied into the root
    two_at_a_time: ThreadPoolExecutor,
) -> Mapping[Case, Future[Answer]]:
    """What the emulated processors answer, two at a time."""
    return {
        case: two_at_a_time.submit(case[2].run, job_of(case, files[case[:2]])) for case in CASES if case[:2] in files
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[1]} by {case[2].implementation}")
def test_a_variant_answers_there_as_here(
    case: Case,
    files: Mapping[tuple[str, str], Path],
    answers: Mapping[Case, Future[Answer]],
    request: pytest.FixtureRequest,
):
    model, variant, place = case
    python = Path(sys.executable)
    if place.library == "tflite-runtime":
        python = request.getfixturevalue("tflite_python")
    try:
        there = answers[case].result()
        here = PythonPlace(place.runtime, place.library, python).run(job_of(case, files[case[:2]]))
    except NotRunError as reason:
        pytest.skip(f"{place.implementation}: {reason}")
    assert ("aarch64" if place.architecture == "arm64" else "armv7l") in there.where
    assert there.outputs.shape == here.outputs.shape
    task = learnt(model).model.task
    np.testing.assert_array_equal(decisions_of(task, there.outputs), decisions_of(task, here.outputs))
    assert np.abs(there.outputs - here.outputs).max() <= TOLERANCES[variant]


def learnt(model: str) -> Learnt:
    family, data, _ = MODELS[model]
    return learn(family, data)


def job_of(case: Case, path: Path) -> Job:
    model, _, place = case
    rows = learnt(model).evaluation
    return Job(place.runtime, path, rows, learnt(model).model.n_outputs, weighs=False, times=False)
