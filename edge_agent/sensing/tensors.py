"""Tensors of the Open Inference Protocol v2: from JSON or bytes to flat lists of values, and back.

https://github.com/kserve/open-inference-protocol (REST), with Triton's extension of binary tensors. Sizes are checked
against the shape before anything is allocated in proportion to it.
"""

import math
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.scoring.schema import RawValue

MAX_DIMENSIONS: Final = 3

# Of a number in little-endian bytes: format of struct, and size.
_FORMATS: Final = {
    "BOOL": ("?", 1),
    "UINT8": ("B", 1),
    "UINT16": ("H", 2),
    "UINT32": ("I", 4),
    "UINT64": ("Q", 8),
    "INT8": ("b", 1),
    "INT16": ("h", 2),
    "INT32": ("i", 4),
    "INT64": ("q", 8),
    "FP16": ("e", 2),
    "FP32": ("f", 4),
    "FP64": ("d", 8),
}
BYTES: Final = "BYTES"
DATATYPES: Final = frozenset({*_FORMATS, BYTES})

_Scalar = bool | int | float | str | None


class TensorError(Exception):
    """A tensor is not what it says; the message names it."""


class TooLargeError(TensorError):
    """A tensor holds more than is taken at once."""


class Tensor(Struct, frozen=True):
    """One tensor, flat in row-major order; in ``values`` None stands for missing, true and false are words."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: list[RawValue]


def size_of(name: str, shape: Sequence[int], limit: int) -> int:
    """Return how many values a shape has.

    Raises:
        TooLargeError: more than ``limit``.
        TensorError: too many dimensions, or one below 0.
    """
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise TensorError(f"input {name!r}: a shape of {len(shape)} dimensions; 1 or 2 are taken")
    size = math.prod(shape)
    if min(shape) < 0:
        raise TensorError(f"input {name!r}: shape {list(shape)} has a dimension below 0")
    if size > limit:
        raise TooLargeError(f"input {name!r}: shape {list(shape)} has {size} values; at most {limit} are taken at once")
    return size


def decode_json(name: str, datatype: str, shape: tuple[int, ...], data: bytes, limit: int) -> Tensor:
    """Make a tensor of its JSON ``data``: flat, or nested as its shape.

    Raises:
        TensorError: not JSON, not as many values as the shape says, or values of another type.
    """
    size = size_of(name, shape, limit)
    # Every value but the last has a comma behind it: so much cannot be there. (Texts may hold commas.)
    if datatype != BYTES and data.count(b",") > max(0, size - 1):
        raise TensorError(f"input {name!r}: more values than its shape {list(shape)} has")
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TensorError(f"input {name!r}: its data is no JSON array: {error}") from error
    values = list(_flat(content, 0)) if isinstance(content, list) else []
    if len(values) != size:
        raise TensorError(f"input {name!r}: {len(values)} values, its shape {list(shape)} has {size}")
    # Most are floats for a datatype of floats, and need no closer look.
    takes_floats = datatype.startswith("FP")
    checked = [
        value
        if takes_floats and type(value) is float and abs(value) <= sys.float_info.max
        else _checked(name, datatype, value)
        for value in values
    ]
    return Tensor(name, datatype, shape, checked)


def decode_bytes(name: str, datatype: str, shape: tuple[int, ...], data: bytes, limit: int) -> Tensor:
    """Make a tensor of its bytes (little-endian; each text with its length in 4 bytes before it).

    Raises:
        TensorError: not as many bytes as the shape says, or texts that are not UTF-8.
    """
    size = size_of(name, shape, limit)
    if datatype == BYTES:
        texts = list(_texts(name, data, size))
        return Tensor(name, datatype, shape, list(texts))
    code, width = _FORMATS[datatype]
    if len(data) != size * width:
        raise TensorError(f"input {name!r}: {len(data)} bytes, {size} values of {datatype} take {size * width}")
    numbers = struct.unpack(f"<{size}{code}", data)
    return Tensor(name, datatype, shape, [_word(number) for number in numbers])


def encode_bytes(datatype: str, values: Sequence[float | str]) -> bytes:
    """Return values as the bytes of a tensor."""
    if datatype == BYTES:
        texts = [str(value).encode() for value in values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)
    return struct.pack(f"<{len(values)}{_FORMATS[datatype][0]}", *values)


def _flat(content: list[object], depth: int) -> Iterator[object]:
    for each in content:
        if isinstance(each, list) and depth < MAX_DIMENSIONS:
            yield from _flat(each, depth + 1)
        else:
            yield each


def _checked(name: str, datatype: str, value: object) -> RawValue:
    """Return a value of JSON if it is one of its datatype."""
    if value is None:
        return None
    if datatype == BYTES:
        fits = isinstance(value, str)
    elif datatype == "BOOL":
        fits = isinstance(value, bool)
    elif datatype.startswith("FP"):
        fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        value = float(value) if fits and isinstance(value, int) else value
    else:
        code, width = _FORMATS[datatype]
        low, high = (0, 256**width - 1) if code.isupper() else (-(256**width) // 2, 256**width // 2 - 1)
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    if not fits or not isinstance(value, bool | int | float | str):
        raise TensorError(f"input {name!r}: {str(value)[:40]!r} is no {datatype}")
    return _word(value)


def _word(value: bool | float | str) -> RawValue:  # noqa: FBT001 - a value of a tensor
    """Return true and false as words, as rows of JSON have them: they are not the numbers 1 and 0."""
    return str(value).lower() if isinstance(value, bool) else value


def _texts(name: str, data: bytes, size: int) -> Iterator[str]:
    at = 0
    for _ in range(size):
        if at + 4 > len(data):
            raise TensorError(f"input {name!r}: {len(data)} bytes hold fewer than {size} texts")
        (length,) = struct.unpack_from("<I", data, at)
        text = data[at + 4 : at + 4 + length]
        at += 4 + length
        try:
            if len(text) != length:
                raise TensorError(f"input {name!r}: a text of {length} bytes goes over the end of its data")
            yield text.decode()
        except UnicodeDecodeError as error:
            raise TensorError(f"input {name!r}: a text is not UTF-8") from error
    if at != len(data):
        raise TensorError(f"input {name!r}: {len(data) - at} bytes are left over behind its {size} texts")
