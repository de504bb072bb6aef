"""Trees as the native table holds them: thresholds once a column, and a stream of bits for the nodes.

A node says whether it is a leaf (1 bit), which column it looks at, and which of that column's thresholds or category
tests it asks: each in the fewest bits that can name it. Nodes stand in pre-order, so that no child's place is stored.
"""

import struct
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from exporter.programs.ensemble import ALL_OUTPUTS, LEAF, NUMERIC, CategoryTest, TreeEnsemble

LeafCoding = Literal["float32", "uint16", "uint8"]

# As in trees_read.c.
MOST_CATEGORIES: Final = 1 << 20
_ALL, _BY_TURNS, _NAMED = 0, 1, 2
_LEAVES_NAMED, _NUMBERS_NAMED = 1, 2
_MISSING_RIGHT, _MISSING_LEFT, _MISSING_BOTH = 0, 1, 2
_CODINGS: Final[dict[LeafCoding, tuple[int, str]]] = {"float32": (0, "<f4"), "uint16": (1, "<u2"), "uint8": (2, "u1")}

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns that the trees look at.

    Attributes:
        numbers: ``(n,)``: ascending.
        thresholds, tests: what each of them is asked.
        split: ``(n_nodes,)``: place of a node's question among those of its column; 0 at a leaf.
        place: ``(n_nodes,)``: place of a node's column in `numbers`; 0 at a leaf.
        split_bits: ``(n,)``: bits that name a question of each column.
    """

    numbers: Ints
    thresholds: tuple[NDArray[np.float32], ...]
    tests: tuple[tuple[CategoryTest, ...], ...]
    split: Ints
    place: Ints
    split_bits: Ints


def encode_trees(ensemble: TreeEnsemble, leaves: LeafCoding = "float32") -> bytes:
    """Return the parts of a `Trees` record.

    Raises:
        ValueError: no trees, or categories or leaves beyond what the engine takes.
    """
    outputs, leaf_of_node, table = _outputs_and_leaves(ensemble)
    order, tree_sizes = _pre_order(ensemble)
    columns = _columns_of(ensemble)
    is_leaf = ensemble.feature[order] == LEAF
    missing = _missing_mode(ensemble)
    coded = _code_leaves(table, leaf_of_node[order][is_leaf], leaves)
    stream = _stream(ensemble, order, columns, missing, coded)
    head = struct.pack(
        "<7I4B",
        ensemble.n_trees,
        len(order),
        len(columns.numbers),
        sum(len(thresholds) for thresholds in columns.thresholds),
        sum(len(tests) for tests in columns.tests),
        coded.n_rows,
        max((size + 1) // 2 for size in tree_sizes),
        outputs.mode,
        missing,
        _CODINGS[leaves][0],
        (_LEAVES_NAMED if coded.places is not None else 0) | (_NUMBERS_NAMED if coded.is_named else 0),
    )
    return b"".join((
        head,
        struct.pack("<d", ensemble.divisor),
        ensemble.base.astype("<f8").tobytes(),
        _encode_columns(columns),
        outputs.names,
        coded.table,
        stream,
    ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Outputs:
    mode: int
    names: bytes


def _outputs_and_leaves(ensemble: TreeEnsemble) -> tuple[_Outputs, Ints, Floats]:
    """Return which output a tree adds to, the row of the leaf table of each node, and the table."""
    leaf_of_node, table, outputs = ensemble.leaf.astype(np.int64), ensemble.leaves, ensemble.outputs
    if (outputs == ALL_OUTPUTS).any() and (outputs != ALL_OUTPUTS).any():
        raise ValueError("trees of one ensemble that add to all outputs, beside trees that add to one")
    if (outputs == ALL_OUTPUTS).all():
        return _Outputs(_ALL, b""), leaf_of_node, table
    if np.array_equal(outputs, np.arange(len(outputs)) % ensemble.n_outputs):
        return _Outputs(_BY_TURNS, b""), leaf_of_node, table
    return _Outputs(_NAMED, b"".join(_varint(output) for output in outputs.tolist())), leaf_of_node, table


def _pre_order(ensemble: TreeEnsemble) -> tuple[Ints, list[int]]:
    """Return the nodes of all trees in pre-order, and how many each tree has; raise ValueError if they are no trees."""
    left, right, is_leaf = ensemble.left.tolist(), ensemble.right.tolist(), (ensemble.feature == LEAF).tolist()
    order: list[int] = []
    sizes: list[int] = []
    for root in ensemble.roots.tolist():
        before, waiting = len(order), [root]
        while waiting:
            node = waiting.pop()
            order.append(node)
            if len(order) > len(is_leaf):
                raise ValueError("a node of the trees has two parents")
            if not is_leaf[node]:
                waiting += (right[node], left[node])
        sizes.append(len(order) - before)
    return np.array(order, dtype=np.int64), sizes


def _columns_of(ensemble: TreeEnsemble) -> _Columns:
    """Number the questions of each column: its thresholds ascending, then its category tests as they come."""
    feature, is_branch = ensemble.feature, ensemble.feature != LEAF
    is_numeric = is_branch & (ensemble.category == NUMERIC)
    numbers = np.unique(feature[is_branch])
    # 0 and -0 are one threshold: adding 0 makes them one number.
    threshold = ensemble.threshold + np.float32(0)
    split, place = np.zeros(len(feature), dtype=np.int64), np.zeros(len(feature), dtype=np.int64)
    all_thresholds, all_tests = [], []
    for index, column in enumerate(numbers.tolist()):
        numeric, asked = is_numeric & (feature == column), is_branch & (feature == column)
        thresholds, ranks = np.unique(threshold[numeric], return_inverse=True)
        split[numeric] = ranks
        kinds, which = np.unique(ensemble.category[asked & ~numeric], return_inverse=True)
        split[asked & ~numeric] = len(thresholds) + which
        place[asked] = index
        all_thresholds.append(thresholds.astype(np.float32))
        all_tests.append(tuple(ensemble.tests[kind] for kind in kinds.tolist()))
    questions = [len(a) + len(b) for a, b in zip(all_thresholds, all_tests, strict=True)]
    bits = np.array([_bits_for(n) for n in questions], dtype=np.int64)
    return _Columns(numbers.astype(np.int64), tuple(all_thresholds), tuple(all_tests), split, place, bits)


def _missing_mode(ensemble: TreeEnsemble) -> int:
    goes_left = ensemble.missing_left[ensemble.feature != LEAF]
    if not goes_left.any():
        return _MISSING_RIGHT
    return _MISSING_LEFT if goes_left.all() else _MISSING_BOTH


@dataclass(frozen=True, slots=True)
class _CodedLeaves:
    """The leaf table.

    Attributes:
        places: ``(n_leaves,)``: the row that each leaf of the stream names; None: they are in its order.
        is_named: whether the numbers of the rows are names of a few distinct ones.
    """

    table: bytes
    n_rows: int
    places: Ints | None
    is_named: bool


def _code_leaves(table: Floats, leaf_rows: Ints, coding: LeafCoding) -> _CodedLeaves:
    """Store each leaf's numbers, or each distinct row once and its place a leaf, whichever is smaller."""
    head, stored = _stored_numbers(table[leaf_rows], coding)
    distinct, places = np.unique(stored, axis=0, return_inverse=True)
    bits_for_places = len(leaf_rows) * _bits_for(len(distinct))
    if 8 * distinct.nbytes + bits_for_places < 8 * stored.nbytes:
        rows, named = _smaller_rows(distinct)
        return _CodedLeaves(head + rows, len(distinct), places.reshape(-1).astype(np.int64), named)
    rows, named = _smaller_rows(stored)
    return _CodedLeaves(head + rows, len(stored), None, named)


def _stored_numbers(values: Floats, coding: LeafCoding) -> tuple[bytes, NDArray[Any]]:
    """Return what stands before the table, and the numbers as they are stored."""
    kind = np.dtype(_CODINGS[coding][1])
    if coding == "float32":
        if np.abs(values).max() > np.finfo(np.float32).max:
            raise ValueError("a leaf that float32 cannot hold")
        return b"", values.astype(kind) + kind.type(0)
    low, high = float(values.min()), float(values.max())
    step = (high - low) / np.iinfo(kind).max
    return struct.pack("<2d", low, step), np.round((values - low) / (step or 1.0)).astype(kind)


def _smaller_rows(rows: NDArray[Any]) -> tuple[bytes, bool]:
    """Return the rows as they are, or each distinct number once and a name for each number: 0 for the commonest."""
    if rows.shape[1] == 1:
        return rows.tobytes(), False
    numbers, names, counts = np.unique(rows, return_inverse=True, return_counts=True)
    commonest = int(np.argmax(counts))
    # The commonest first: its name is one bit.
    order = np.concatenate([[commonest], np.delete(np.arange(len(numbers)), commonest)])
    place = np.empty(len(numbers), dtype=np.int64)
    place[order] = np.arange(len(numbers))
    named = place[names.reshape(-1)]
    stream = pack_bits(np.where(named, named << 1 | 1, 0), np.where(named, 1 + _bits_for(len(numbers)), 1))
    coded = struct.pack("<I", len(numbers)) + numbers[order].tobytes() + struct.pack("<I", len(stream)) + stream
    return (coded, True) if len(coded) < rows.nbytes else (rows.tobytes(), False)


def _stream(ensemble: TreeEnsemble, order: Ints, columns: _Columns, missing: int, leaves: _CodedLeaves) -> bytes:
    """Return the nodes: for each the bit that it is no leaf, its column, its question, where missing values go."""
    is_branch = ensemble.feature[order] != LEAF
    column_bits = _bits_for(len(columns.numbers))
    place, split = columns.place[order], columns.split[order]
    has_missing = missing == _MISSING_BOTH
    split_bits = columns.split_bits[place] if len(columns.numbers) else np.zeros(len(order), dtype=np.int64)
    value = 1 | place << 1 | split << (1 + column_bits)
    width = 1 + column_bits + split_bits
    if has_missing:
        value = value | ensemble.missing_left[order].astype(np.int64) << width
        width = width + 1
    leaf_value, leaf_width = np.zeros(len(order), dtype=np.int64), 1
    if leaves.places is not None:
        leaf_value[~is_branch] = leaves.places << 1
        leaf_width += _bits_for(leaves.n_rows)
    return pack_bits(np.where(is_branch, value, leaf_value), np.where(is_branch, width, leaf_width))


def pack_bits(values: Ints, widths: Ints) -> bytes:
    """Return each value in as many bits as its width says, the lowest first, one value behind the other."""
    ends = np.cumsum(widths)
    # On a machine of 32 bits numpy takes no counts of 64.
    counts = widths.astype(np.intp)
    within = np.arange(int(ends[-1]), dtype=np.int64) - np.repeat(ends - widths, counts)
    bits = (np.repeat(values, counts) >> within) & 1
    return np.packbits(bits.astype(np.uint8), bitorder="little").tobytes()


def _encode_columns(columns: _Columns) -> bytes:
    parts: list[bytes] = []
    before = 0
    for index, column in enumerate(columns.numbers.tolist()):
        numbers = (column - before - (1 if index else 0), len(columns.thresholds[index]), len(columns.tests[index]))
        parts += map(_varint, numbers)
        before = column
    parts += [thresholds.astype("<f4").tobytes() for thresholds in columns.thresholds]
    parts += [_encode_test(test) for tests in columns.tests for test in tests]
    return b"".join(parts)


def _encode_test(test: CategoryTest) -> bytes:
    """Return how many categories have a bit, where all others go, and the bits: 1 goes left."""
    named = sorted(test.left | test.right)
    n_bits = named[-1] + 1 if named else 0
    if n_bits > MOST_CATEGORIES:
        raise ValueError(f"category {named[-1]}, the native engine takes categories below {MOST_CATEGORIES}")
    bits = np.full(n_bits, test.other_left, dtype=np.uint8)
    bits[sorted(test.left)] = 1
    bits[sorted(test.right)] = 0
    return _varint(n_bits) + bytes([test.other_left]) + np.packbits(bits, bitorder="little").tobytes()


def _bits_for(n: int) -> int:
    """Return the bits that it takes to name one of n."""
    return (n - 1).bit_length() if n > 1 else 0


def _varint(value: int) -> bytes:
    """Return a number in seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
