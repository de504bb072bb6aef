"""The variant ``native``: the model's program as a table for the engine that the agent carries."""

from exporter.material import Material
from exporter.native.file import encode_program


def convert_native(material: Material) -> bytes:
    """Return a model as a native table: trees exact, linear layers in float32 or better.

    Raises:
        UnsupportedError: a step that no reader knows, or beyond the engine's limits; named.
    """
    return encode_program(material.program)


def convert_native_quantised(material: Material) -> bytes:
    """Return a model as a small native table: leaves in whole steps of 16 bits, linear layers in int8.

    The greatest error of a leaf is half a step, (greatest - least leaf) / 65535 / 2: both stand in the table. int8
    weights have one scale an output; what enters a layer is quantised as it comes, by its own greatest number.

    Raises:
        UnsupportedError: as `convert_native` does.
    """
    return encode_program(material.program, leaves="uint16", int8=True)
