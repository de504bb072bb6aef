"""The variant ``onnx-fp32``: one input and one output of float32, by the first route that the model can take.

A model that is read into a program is written by our own writer; sklearn-onnx converts the rest. A graph from outside
keeps its operators, but for trees of the older operators, which ours are several times smaller than, where they answer
alike. The metadata of the file says what wrote it (``writer``).
"""

from typing import Final

import numpy as np

from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.normalised import normalised, writer_of
from exporter.material import Material
from exporter.onnx.finish import finish_model
from exporter.onnx.program import write_program
from exporter.onnx.sklearn import WRITER as SKLEARN_WRITER
from exporter.onnx.sklearn import convert_with_sklearn_onnx
from exporter.programs.interpreter import run_program
from exporter.programs.program import Trees

WRITER: Final = "fieldloop"
_COMPARED_ROWS: Final = 500
# Of answers, relative to their size: sums of leaves in another order.
_ALIKE: Final = 1e-6


def convert_onnx_fp32(material: Material) -> bytes:
    """Return the model as ONNX, computing in float32.

    Raises:
        UnsupportedError: a step has no form in ONNX, named.
        ConversionError: sklearn-onnx failed otherwise, or a graph from outside cannot be brought into form.
    """
    model = material.model
    if isinstance(model.estimator, OnnxEstimator):
        return _from_outside(material, model.estimator)
    try:
        program = material.program
    except UnsupportedError as refusal:
        try:
            proto = convert_with_sklearn_onnx(model)
        except ConversionError as error:
            raise ConversionError(f"{error}; our own writer: {refusal}") from error
        return finish_model(proto, model, SKLEARN_WRITER)
    return finish_model(write_program(program), model, WRITER)


def _from_outside(material: Material, estimator: OnnxEstimator) -> bytes:
    kept = finish_model(normalised(estimator), material.model, writer_of(estimator))
    rewritten = _with_our_trees(material, estimator)
    return kept if rewritten is None or len(rewritten) >= len(kept) else rewritten


def _with_our_trees(material: Material, estimator: OnnxEstimator) -> bytes | None:
    """Return a graph of trees as we write it, or None where it has none, or answers real rows otherwise."""
    try:
        program = material.program
    except UnsupportedError:
        return None
    if not any(isinstance(node.operation, Trees) for node in program.nodes):
        return None
    places = np.unique(np.linspace(0, len(material.calibration) - 1, _COMPARED_ROWS).astype(np.int64))
    rows = material.calibration[places]
    expected, got = estimator.answers(rows), run_program(program, rows)
    if not np.allclose(got, expected, rtol=_ALIKE, atol=_ALIKE):
        return None
    return finish_model(write_program(program), material.model, WRITER)
