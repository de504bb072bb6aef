"""Model tables by hand: honest ones, and ones that lie with a right checksum."""

import struct
import zlib
from collections.abc import Sequence

ROW, COLUMNS, JOIN, FILL, FLAGS, SCALE, AFFINE, CLIP, CURVE, ONE_HOT, LOOKUP, BINS, LINEAR, KERNEL = range(14)
TREES, SOFTMAX, COMPLEMENT, PROPORTIONS, AVERAGE, PRODUCT, NORMALISE, INTERPOLATE, ARG_MAX = range(14, 23)
OVR_OF_OVO, COUPLING = 23, 24


def record(kind: int, width: int, sources: Sequence[int] = (), parts: bytes = b"") -> bytes:
    """Return one operation."""
    return struct.pack(f"<4I{len(sources)}I", kind, width, len(sources), len(parts), *sources) + parts


def table(*records: bytes, n_features: int = 1, n_outputs: int = 1, n_operations: int | None = None) -> bytes:
    """Return a table of records, its length and checksum right."""
    count = len(records) if n_operations is None else n_operations
    return sealed(bytes(20) + struct.pack("<3I", n_features, count, n_outputs) + b"".join(records))


def sealed(data: bytes) -> bytes:
    """Return a table with its first 20 bytes made right: magic, version, length, checksum."""
    return b"FLNATIVE" + struct.pack("<3I", 1, len(data), zlib.crc32(data[20:])) + data[20:]


def floats(*numbers: float) -> bytes:
    """Return float32."""
    return struct.pack(f"<{len(numbers)}f", *numbers)


def doubles(*numbers: float) -> bytes:
    """Return float64."""
    return struct.pack(f"<{len(numbers)}d", *numbers)


def ints(*numbers: int) -> bytes:
    """Return uint32."""
    return struct.pack(f"<{len(numbers)}I", *numbers)


def packed(bits: str) -> bytes:
    """Return a string of 0 and 1 (spaces between them allowed) as bytes, the first bit lowest."""
    digits = bits.replace(" ", "")
    digits += "0" * (-len(digits) % 8)
    return bytes(int(digits[at : at + 8][::-1], 2) for at in range(0, len(digits), 8))


def trees(
    *,
    n_trees: int = 1,
    n_nodes: int = 3,
    n_columns: int = 1,
    n_thresholds: int = 2,
    n_tests: int = 0,
    n_leaf_rows: int = 2,
    most_leaves: int = 2,
    modes: tuple[int, int, int, int] = (0, 0, 0, 0),
    divisor: float = 1.0,
    base: bytes = doubles(0.0),
    columns: bytes = bytes([0, 2, 0]),
    thresholds: bytes = floats(1.0, 2.0),
    tests: bytes = b"",
    outputs: bytes = b"",
    leaves: bytes = floats(10.0, 20.0),
    # One branch at its column's threshold 1 (a bit of its own), and two leaves.
    nodes: bytes = packed("1 1 0 0"),
) -> bytes:
    """Return the parts of an ensemble: x <= 2 gives 10, else 20."""
    counts = ints(n_trees, n_nodes, n_columns, n_thresholds, n_tests, n_leaf_rows, most_leaves)
    return counts + bytes(modes) + doubles(divisor) + base + columns + thresholds + tests + outputs + leaves + nodes


def tree_table(parts: bytes, *, n_features: int = 1, n_outputs: int = 1) -> bytes:
    """Return a table of a row and an ensemble."""
    row, ensemble = record(ROW, n_features), record(TREES, n_outputs, (0,), parts)
    return table(row, ensemble, n_features=n_features, n_outputs=n_outputs)
