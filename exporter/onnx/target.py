"""The variant ``onnx-fp32``: one input and one output of float32, by the first of three routes that the model can take.

A graph from outside keeps its operators (`exporter.graphs.graph`); a model that is read into a program is written by
our own writer; sklearn-onnx converts the rest. The metadata of the file says which one it was (``writer``).
"""

from typing import Final

from exporter.errors import ConversionError, UnsupportedError
from exporter.graphs.graph import OnnxEstimator
from exporter.graphs.normalised import normalised, writer_of
from exporter.material import Material
from exporter.onnx.finish import finish_model
from exporter.onnx.program import write_program
from exporter.onnx.sklearn import WRITER as SKLEARN_WRITER
from exporter.onnx.sklearn import convert_with_sklearn_onnx

WRITER: Final = "fieldloop"


def convert_onnx_fp32(material: Material) -> bytes:
    """Return the model as ONNX, computing in float32.

    Raises:
        UnsupportedError: a step has no form in ONNX, named.
        ConversionError: sklearn-onnx failed otherwise.
    """
    model = material.model
    if isinstance(model.estimator, OnnxEstimator):
        return finish_model(normalised(model.estimator), model, writer_of(model.estimator))
    try:
        program = material.program
    except UnsupportedError as refusal:
        try:
            proto = convert_with_sklearn_onnx(model)
        except ConversionError as error:
            raise ConversionError(f"{error}; our own writer: {refusal}") from error
        return finish_model(proto, model, SKLEARN_WRITER)
    return finish_model(write_program(program), model, WRITER)
