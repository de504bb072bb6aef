"""The variants ``tflite-fp32`` and ``tflite-int8``: a model's program, written by ourselves as TFLite operators.

Graphs from outside that no program expresses go through onnx2tf (`exporter.tflite.outside`).

What int8 is used for, and what stays float32 in such a file, is in `exporter.tflite.int8`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graphs.graph import OnnxEstimator
from exporter.material import Material
from exporter.models.model import Rows
from exporter.programs.program import Program, Row, sources_of
from exporter.tflite.file import Tensor, TfliteFile
from exporter.tflite.int8 import Special, plan_int8
from exporter.tflite.operations import WRITERS
from exporter.tflite.operators import Graph
from exporter.tflite.outside import convert_outside_fp32, convert_outside_int8

_NOTHING: Final[Mapping[int, Special]] = MappingProxyType({})
_CALIBRATION_ROWS: Final = 2000


def convert_tflite_fp32(material: Material) -> bytes:
    """Return the model as TFLite, computing in float32.

    Raises:
        UnsupportedError: a step that no reader knows, named.
        ConversionError: onnx2tf failed on a graph from outside.
    """
    try:
        program = material.program
    except UnsupportedError:
        if not isinstance(material.model.estimator, OnnxEstimator):
            raise
        return convert_outside_fp32(material.model.estimator, material.calibration)
    return write_program(program, _NOTHING, "fieldloop tflite-fp32")


def convert_tflite_int8(material: Material) -> bytes:
    """Return the model as TFLite with its layers, kernels and trees in int8 and int16.

    Args:
        material: the vectors of its calibration rows set the ranges of int8.

    Raises:
        UnsupportedError: a step that no reader knows, or a model without anything to quantise; named.
        ConversionError: onnx2tf failed on a graph from outside.
    """
    try:
        program = material.program
    except UnsupportedError:
        if not isinstance(material.model.estimator, OnnxEstimator):
            raise
        return convert_outside_int8(material.model.estimator, material.calibration)
    specials = plan_int8(program, _evenly_spaced(material.calibration))
    if not specials:
        last = program.nodes[program.output]
        raise UnsupportedError(
            last.step,
            f"step `{last.step}`: {last.kind} is not supported for tflite-int8: the model has no layers, kernels or "
            "trees to quantise; tflite-fp32 is",
        )
    errors = [special.error for special in specials.values() if special.error]
    rounding = f"; rounded leaves change what trees answer by at most {max(errors):.1e}" if errors else ""
    return write_program(program, specials, f"fieldloop tflite-int8{rounding}")


def write_program(program: Program, specials: Mapping[int, Special], description: str) -> bytes:
    """Write a program.

    Args:
        program: what is written.
        specials: how the vectors of some places are written instead of as float32 operations.
        description: goes into the file.
    """
    graph = Graph(TfliteFile(description))
    row = graph.tensor((1, program.n_features), name="rows")
    vectors: dict[int, Tensor] = {}
    for place in _needed(program, specials):
        operation = program.nodes[place].operation
        if place in specials:
            vectors[place] = specials[place].write(graph, vectors[specials[place].of])
        elif isinstance(operation, Row):
            vectors[place] = row
        else:
            taken = [vectors[source] for source in sources_of(operation)]
            vectors[place] = WRITERS[type(operation)](graph, operation, *taken)
    return graph.file.encode(graph, row, graph.answer(vectors[program.output]))


def _needed(program: Program, specials: Mapping[int, Special]) -> list[int]:
    """Return the places that the answer is computed from, ascending: a special one skips what stands within it."""
    wanted = {program.output}
    for place in range(len(program.nodes) - 1, -1, -1):
        if place in wanted:
            wanted.update((specials[place].of,) if place in specials else sources_of(program.nodes[place].operation))
    return sorted(wanted)


def _evenly_spaced(rows: Rows) -> Rows:
    """Return the rows, or evenly spaced ones when there are more than ranges need."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _CALIBRATION_ROWS)).astype(np.int64))]
