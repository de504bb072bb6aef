"""What is read of every estimator of scikit-learn is written as ONNX that answers as the program does."""

import onnxruntime as ort
import pytest

from exporter.onnx.program import write_program
from exporter.programs.interpreter import run_program
from exporter.reading.models import READERS, read_model
from tests.unit.exporter.every_estimator import CLASSES, MULTIPLE, REFUSED, fitted, is_model, model_of
from tests.unit.exporter.reading.exactness import difference, program_of


@pytest.mark.parametrize("name", sorted(CLASSES.keys() - REFUSED - MULTIPLE))
@pytest.mark.filterwarnings("ignore")
def test_what_is_read_of_an_estimator_answers_alike_in_onnx(name):
    if CLASSES[name] not in READERS:
        pytest.skip("nobody reads it")
    estimator, rows = fitted(name)
    program = read_model(model_of(estimator, rows)) if is_model(estimator) else program_of(estimator, rows)
    data = write_program(program).SerializeToString(deterministic=True)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    got = session.run(["outputs"], {"rows": rows})[0]
    assert difference(got, run_program(program, rows)) <= 1e-5
