"""Writes a file as a C header, for programs on microcontrollers that have no file system to read a model from."""

import re
from pathlib import Path
from typing import Final

from edge_agent.durable import replace_file
from exporter.errors import ConversionError

_BYTES_A_LINE: Final = 16
# What TensorFlow Lite for Microcontrollers, and every reader of flatbuffers, asks of a model's address.
_ALIGNMENT: Final = 16
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def write_c_array(file: Path) -> Path:
    """Write a file as a C header beside it, for example ``model.int8.tflite.h``; return the header's path.

    The array is named for the file, with underscores for what C's names cannot have.

    Raises:
        ConversionError: see `c_array`.
    """
    header = file.with_name(f"{file.name}.h")
    replace_file(header, c_array(file.read_bytes(), re.sub(r"\W", "_", file.name, flags=re.ASCII)).encode())
    return header


def c_array(data: bytes, name: str) -> str:
    """Return a C11 header that holds the bytes as ``name``, and their number as ``name_len``.

    Args:
        data: the file, at least one byte.
        name: identifier in C.

    Raises:
        ConversionError: the name is no identifier, or there are no bytes.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ConversionError(f"{name!r} names no array in C: use letters, digits and underscores, a letter first")
    if not data:
        raise ConversionError(f"{name}: an array in C needs at least one byte")
    guard = f"FIELDLOOP_{name.upper()}_H"
    lines = [data[start : start + _BYTES_A_LINE] for start in range(0, len(data), _BYTES_A_LINE)]
    rows = "\n".join(f"    {', '.join(f'0x{byte:02x}' for byte in line)}," for line in lines)
    return f"""/* Written by fieldloop: a TensorFlow Lite model of {len(data)} bytes. */
#ifndef {guard}
#define {guard}

#ifndef __cplusplus
#include <stdalign.h>
#endif

/* Every source file that includes this gets a copy: include it in one. */
alignas({_ALIGNMENT}) static const unsigned char {name}[{len(data)}] = {{
{rows}
}};
static const unsigned int {name}_len = {len(data)}u;

#endif
"""
