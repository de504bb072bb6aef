"""Writes the variant of an export that a microcontroller's TFLite runs as a C header."""

from pathlib import Path
from typing import Final

from exporter.c.array import write_c_array
from exporter.errors import ConversionError
from exporter.proof.report import ExportReport

_VARIANT: Final = "tflite-int8"


def write_accepted(report: ExportReport, folder: Path) -> Path:
    """Write the ``tflite-int8`` variant of an export in ``folder`` as a C header.

    Raises:
        ConversionError: the export has no such variant that was accepted.
    """
    for variant in report.accepted:
        if variant.name == _VARIANT:
            return write_c_array(folder / variant.file)
    reasons = [variant.verdict for variant in report.variants if variant.name == _VARIANT]
    why = reasons[0] if reasons else f"it was not asked for: add --to {_VARIANT}"
    raise ConversionError(f"no C array, for there is no {_VARIANT}: {why}")
