"""The table of variants: a new target is one line here and one module."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal

from edge_agent.bundle import RuntimeName
from exporter.c.target import convert_c
from exporter.errors import ExporterError
from exporter.material import Material
from exporter.native.target import convert_native, convert_native_quantised
from exporter.onnx.int8 import convert_onnx_int8
from exporter.onnx.target import convert_onnx_fp32
from exporter.proof.boards import libraries_of
from exporter.proof.runtimes import claims_of
from exporter.tflite.target import convert_tflite_fp32, convert_tflite_int8

AUTO: Final = "auto"


class UnknownVariantError(ExporterError):
    """A variant was asked for that nobody can make."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Form:
    """One executable form.

    Attributes:
        runtime: of the agent that runs its file; ``c``: no agent does, it is source for a microcontroller.
        file: name of its file in a bundle.
        convert: from a model and calibration rows to the file's bytes; raises UnsupportedError or ConversionError. The
            same input gives the same bytes.
    """

    name: str
    runtime: RuntimeName | Literal["c"]
    file: str
    is_quantised: bool
    convert: Callable[[Material], bytes]


FORMS: Final[Mapping[str, Form]] = {
    form.name: form
    for form in (
        Form("onnx-fp32", "onnx", "model.fp32.onnx", is_quantised=False, convert=convert_onnx_fp32),
        Form("onnx-int8", "onnx", "model.int8.onnx", is_quantised=True, convert=convert_onnx_int8),
        Form("tflite-fp32", "tflite", "model.fp32.tflite", is_quantised=False, convert=convert_tflite_fp32),
        Form("tflite-int8", "tflite", "model.int8.tflite", is_quantised=True, convert=convert_tflite_int8),
        Form("native", "native", "model.native", is_quantised=False, convert=convert_native),
        Form("native-int8", "native", "model.int8.native", is_quantised=True, convert=convert_native_quantised),
        Form("c", "c", "model.h", is_quantised=False, convert=convert_c),
    )
}


def choose_forms(requested: tuple[str, ...], boards: tuple[str, ...] = ()) -> tuple[Form, ...]:
    """Return the forms of the names, in that order and each once.

    Args:
        requested: names; ``auto`` stands for all that one of the boards runs.
        boards: keys of `exporter.proof.boards`; none: all boards.

    Raises:
        UnknownVariantError: a name that is not in the table, or none at all.
        UnknownBoardError: a board that is not in its table.
    """
    names = _names_for(boards) if AUTO in requested else tuple(dict.fromkeys(requested))
    unknown = [name for name in names if name not in FORMS]
    if unknown or not names:
        nearest = get_close_matches(unknown[0], FORMS, n=1) if unknown else []
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise UnknownVariantError(f"unknown variants {unknown}; {hint}known: {', '.join(FORMS)}, {AUTO}")
    return tuple(FORMS[name] for name in names)


def _names_for(boards: tuple[str, ...]) -> tuple[str, ...]:
    if not boards:
        return tuple(FORMS)
    libraries = libraries_of(boards)
    return tuple(name for name, form in FORMS.items() if libraries.intersection(claims_of(form.runtime)))
