"""A table that is not what it says is refused, by the guard that is meant for it; nothing that was refused runs."""

import math
import struct

import numpy as np
import pytest

from edge_agent.engine.face import PORTABLE
from edge_agent.engine.loading import load_engine
from exporter.native.file import encode_program
from exporter.programs.program import ProgramBuilder, Trees
from tests.unit.edge_agent.engine.tables import (
    AFFINE,
    AVERAGE,
    BINS,
    CLIP,
    COLUMNS,
    COMPLEMENT,
    COUPLING,
    CURVE,
    FILL,
    INTERPOLATE,
    JOIN,
    KERNEL,
    LINEAR,
    LOOKUP,
    NORMALISE,
    ONE_HOT,
    OVR_OF_OVO,
    PRODUCT,
    ROW,
    SCALE,
    SOFTMAX,
    doubles,
    floats,
    ints,
    packed,
    record,
    sealed,
    table,
    tree_table,
    trees,
)
from tests.unit.exporter.grown_trees import Shape, grow

NAN, INF = math.nan, math.inf
NO_TABLE = "no model table"
LENGTH = "longer or shorter"
DAMAGED = "checksum"
UNKNOWN = "does not know"
SOURCE = "does not stand before it"
SHAPE = "do not fit each other"
NUMBER = "a number is none"
ORDER = "ascend"
TREE = "a tree has no end"
LARGE = "more memory, or more work"


def refusal_of(data: bytes) -> str:
    reasons = set()
    for flags in (0, PORTABLE):
        with pytest.raises(ValueError, match="operation") as caught:
            load_engine().open(data, flags)
        reasons.add(str(caught.value))
    assert len(reasons) == 1
    return reasons.pop()


def one(kind: int, width: int, parts: bytes = b"", *, n_features: int = 1, sources: tuple[int, ...] = (0,)) -> bytes:
    """A table of a row and one operation."""
    return table(record(ROW, n_features), record(kind, width, sources, parts), n_features=n_features, n_outputs=width)


def asked(tests: bytes) -> bytes:
    """The parts of an ensemble that asks a category test."""
    return trees(n_tests=1, n_thresholds=0, columns=bytes([0, 0, 1]), thresholds=b"", tests=tests)


def named(n_numbers: int, names: str, *, n_bytes: int | None = None) -> bytes:
    """A table of two outputs, whose leaves' numbers are named."""
    stream = packed(names)
    leaves = ints(n_numbers) + floats(*range(n_numbers)) + ints(len(stream) if n_bytes is None else n_bytes) + stream
    return tree_table(trees(modes=(0, 0, 0, 2), base=doubles(0.0, 0.0), leaves=leaves), n_outputs=2)


GOOD = tree_table(trees())
# A branch, a left child that is one, and so on: more leaves stay open than the table says there are.
CHAIN = packed("11 " * 40)


def test_the_honest_table_that_all_others_are_changed_from_is_taken():
    for flags in (0, PORTABLE):
        model = load_engine().open(GOOD, flags)
        assert [model.score([x]) for x in (1.5, 2.0, 2.1, NAN)] == [[10.0], [10.0], [20.0], [20.0]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", NO_TABLE),
        (GOOD[:31], NO_TABLE),
        (b"x" + GOOD[1:], NO_TABLE),
        (GOOD[:8] + ints(2) + GOOD[12:], "version"),
        (GOOD[:8] + ints(0) + GOOD[12:], "version"),
        (GOOD + b"x", LENGTH),
        (GOOD[:-1], LENGTH),
        (GOOD[:12] + ints(len(GOOD) + 1) + GOOD[16:], LENGTH),
        (GOOD[:-1] + bytes([GOOD[-1] ^ 1]), DAMAGED),
        (GOOD[:20] + ints(7) + GOOD[24:], DAMAGED),
    ],
)
def test_the_head_of_a_table_is_verified_first(data: bytes, reason: str):
    assert reason in refusal_of(data)


def test_a_table_cut_anywhere_is_refused_even_if_its_head_was_made_to_fit():
    for end in range(len(GOOD)):
        refusal_of(GOOD[:end])
        if end >= 20:
            refusal_of(sealed(GOOD[:end]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (table(n_operations=0), SHAPE),
        (table(record(ROW, 0), n_features=0, n_outputs=0), SHAPE),
        (table(record(ROW, 1), n_operations=5000), LARGE),
        (table(record(ROW, 2**21), n_features=2**21, n_outputs=2**21), LARGE),
        (table(record(ROW, 1), n_features=2), SHAPE),
        (table(record(ROW, 1), n_outputs=2), SHAPE),
        (table(record(ROW, 1), n_operations=2), LENGTH),
        (table(record(ROW, 1), record(SOFTMAX, 1, (0,)), n_operations=1), LENGTH),
        (table(record(SOFTMAX, 1, (0,))), UNKNOWN),
        (table(record(ROW, 1), record(ROW, 1)), UNKNOWN),
        (one(25, 1), UNKNOWN),
        (one(2**31, 1), UNKNOWN),
        (one(SOFTMAX, 1, sources=(1,)), SOURCE),
        (one(SOFTMAX, 1, sources=(2**31,)), SOURCE),
        (one(SOFTMAX, 1, sources=()), SHAPE),
        (one(SOFTMAX, 1, sources=(0, 0)), SHAPE),
        (one(JOIN, 1, sources=()), SHAPE),
        (one(JOIN, 3, sources=(0, 0)), SHAPE),
        (one(SOFTMAX, 2), SHAPE),
        (one(SOFTMAX, 0), SHAPE),
        (one(SOFTMAX, 1, b"x"), LENGTH),
        # What is too much is a record itself.
        (table(record(ROW, 1), record(SOFTMAX, 1, (0,), record(SOFTMAX, 1, (1,))), n_operations=3), LENGTH),
        (table(record(ROW, 1), struct.pack("<5I", SOFTMAX, 1, 1, 99, 0)), LENGTH),
        (table(record(ROW, 1), struct.pack("<4I", SOFTMAX, 1, 2**32 - 1, 0)), LARGE),
        (table(record(ROW, 1), struct.pack("<4I", COLUMNS, 2**32 - 1, 1, 0)), LARGE),
    ],
)
def test_records_that_do_not_fit_the_table_are_refused(data: bytes, reason: str):
    assert reason in refusal_of(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (one(COLUMNS, 1, ints(1)), SHAPE),
        (one(COLUMNS, 2, ints(0)), LENGTH),
        (one(FILL, 1, floats(NAN)), LENGTH),
        (one(SCALE, 1, doubles(NAN, 1.0)), NUMBER),
        (one(SCALE, 1, doubles(0.0, INF)), NUMBER),
        (one(AFFINE, 1, doubles(0.0)), LENGTH),
        (one(CLIP, 1, floats(NAN, 1.0)), NUMBER),
        (one(CURVE, 1, ints(11)), UNKNOWN),
        (one(NORMALISE, 1, ints(3)), UNKNOWN),
        (one(ONE_HOT, 1, ints(2) + floats(1.0)), LENGTH),
        (one(ONE_HOT, 2, ints(2**32 - 1, 2**32 - 1)), LARGE),
        (one(ONE_HOT, 1, ints(0), n_features=2), SHAPE),
        (one(LOOKUP, 1, ints(2**31) + floats(0.0)), LARGE),
        (one(LOOKUP, 2, ints(0) + floats(0.0)), SHAPE),
        (one(BINS, 1, ints(2) + floats(2.0, 1.0)), ORDER),
        (one(BINS, 1, ints(1) + floats(NAN)), NUMBER),
        (one(INTERPOLATE, 1, ints(2) + doubles(1.0, 1.0, 0.0, 0.0)), ORDER),
        (one(INTERPOLATE, 1, ints(0)), SHAPE),
        (one(INTERPOLATE, 1, ints(1) + doubles(0.0, NAN)), NUMBER),
        (one(LINEAR, 1, ints(3) + doubles(0.0) + floats(1.0)), UNKNOWN),
        (one(LINEAR, 1, ints(0) + doubles(0.0) + floats(NAN)), NUMBER),
        (one(LINEAR, 1, ints(1) + doubles(INF) + doubles(1.0)), NUMBER),
        (one(LINEAR, 1, ints(2) + doubles(0.0) + floats(0.0) + b"x"), NUMBER),
        (one(LINEAR, 1, ints(2) + doubles(0.0) + floats(1.0)), LENGTH),
        (one(LINEAR, 2**20, ints(0), n_features=2**20), LARGE),
        (one(LINEAR, 1, ints(2), n_features=2**17), LENGTH),
        (one(LINEAR, 1, ints(2) + doubles(0.0) + floats(1.0) + bytes(2**17), n_features=2**17), LARGE),
        (one(KERNEL, 1, ints(4, 0) + doubles(1.0, 0.0) + floats(1.0)), UNKNOWN),
        (one(KERNEL, 1, ints(2, 2**31) + doubles(1.0, 0.0) + floats(1.0)), UNKNOWN),
        (one(KERNEL, 1, ints(1, 0) + doubles(NAN, 0.0) + floats(1.0)), NUMBER),
        (one(COMPLEMENT, 1), SHAPE),
        (one(COMPLEMENT, 2, n_features=2), SHAPE),
        (one(PRODUCT, 1), SHAPE),
        (one(AVERAGE, 1, doubles(NAN)), NUMBER),
        (one(OVR_OF_OVO, 4, n_features=5), SHAPE),
        (one(OVR_OF_OVO, 1), SHAPE),
        (one(COUPLING, 1024, n_features=523776), LARGE),
    ],
)
def test_parts_of_an_operation_are_verified(data: bytes, reason: str):
    assert reason in refusal_of(data)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        # Counts that contradict each other, or the bytes that are there.
        (trees(n_trees=0), SHAPE),
        (trees(n_trees=4), SHAPE),
        (trees(n_nodes=2**31), SHAPE),
        (trees(n_nodes=4), SHAPE),
        (trees(most_leaves=0), SHAPE),
        (trees(most_leaves=3), SHAPE),
        (trees(n_columns=2**31), SHAPE),
        (trees(n_tests=2**31), SHAPE),
        (trees(n_leaf_rows=0), SHAPE),
        (trees(n_leaf_rows=2**31), LENGTH),
        (trees(n_thresholds=2**31), SHAPE),
        (trees(n_thresholds=1), SHAPE),
        (trees(n_thresholds=3), SHAPE),
        (trees(modes=(3, 0, 0, 0)), UNKNOWN),
        (trees(modes=(0, 3, 0, 0)), UNKNOWN),
        (trees(modes=(0, 0, 3, 0)), UNKNOWN),
        (trees(modes=(0, 0, 0, 4)), UNKNOWN),
        (trees(modes=(0, 0, 0, 2), leaves=ints(1) + floats(1.0) + ints(1) + b"\x00"), SHAPE),
        # Columns and thresholds.
        (trees(columns=bytes([1, 2, 0])), SHAPE),
        (trees(columns=bytes([0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 2, 0])), SHAPE),
        (trees(columns=bytes([0xFF] * 5)), NUMBER),
        (trees(n_columns=2, columns=bytes([0, 1, 0, 0, 1, 0])), SHAPE),
        (trees(n_columns=2, n_thresholds=2, columns=bytes([0, 2, 0, 0, 0, 0])), SHAPE),
        (trees(columns=bytes([0, 2, 1])), SHAPE),
        (trees(thresholds=floats(NAN, 2.0)), NUMBER),
        (trees(thresholds=floats(2.0, 1.0)), ORDER),
        (trees(thresholds=floats(1.0, 1.0)), ORDER),
        (trees(thresholds=floats(-0.0, 0.0)), ORDER),
        # Category tests.
        (asked(tests=b"\x80\x80\x80\x01\x00"), NUMBER),
        (asked(tests=b"\x08\x02\x00"), NUMBER),
        # Outputs, leaves and what they are divided by.
        (trees(divisor=0.0), NUMBER),
        (trees(divisor=NAN), NUMBER),
        (trees(base=doubles(INF)), NUMBER),
        (trees(modes=(2, 0, 0, 0), outputs=b"\x01"), SHAPE),
        (trees(leaves=floats(1.0, NAN)), NUMBER),
        (trees(leaves=floats(1.0, INF)), NUMBER),
        (trees(modes=(0, 0, 1, 0), leaves=doubles(0.0, NAN) + bytes(4)), NUMBER),
        (trees(modes=(0, 0, 2, 0), leaves=doubles(1e300, 1e300) + bytes(2)), NUMBER),
        # Nodes: without an end, with more or fewer leaves than there are, with places that are not there.
        (trees(nodes=b""), TREE),
        (trees(nodes=packed("1 1 0 1 0 0 0 0")), TREE),
        (trees(nodes=packed("0 0 0 0")), TREE),
        (trees(nodes=packed("1 1 0 0") + b"\x00"), TREE),
        (trees(nodes=CHAIN, n_nodes=41, most_leaves=20), TREE),
        (trees(nodes=CHAIN, n_nodes=41, most_leaves=21), TREE),
        (trees(n_nodes=5, nodes=packed("11 0 11 0 0"), leaves=floats(1.0, 2.0, 3.0), n_leaf_rows=3), TREE),
        (trees(nodes=packed("11 0 11 0 0"), leaves=floats(1.0, 2.0, 3.0), n_leaf_rows=3), TREE),
        (trees(n_leaf_rows=1, leaves=floats(1.0)), TREE),
        (trees(n_leaf_rows=3, leaves=floats(1.0, 2.0, 3.0), modes=(0, 0, 0, 1), nodes=packed("11 0 11 0 00")), TREE),
        (
            trees(n_thresholds=3, columns=bytes([0, 3, 0]), thresholds=floats(1.0, 2.0, 3.0), nodes=packed("1 11 0 0")),
            TREE,
        ),
        (
            trees(
                n_columns=3, n_thresholds=3, columns=bytes([0, 1, 0] * 3), thresholds=floats(1, 2, 3),
                nodes=packed("1 11 0 0"),
            ),
            TREE,
        ),
    ],
)  # fmt: skip
def test_lies_about_trees_are_refused(parts: bytes, reason: str):
    assert reason in refusal_of(tree_table(parts, n_features=3 if parts[8] == 3 else 1))


def test_leaves_whose_numbers_are_named_are_read():
    model = load_engine().open(named(3, "0 101 110 0"), 0)
    assert [model.score([1.0]), model.score([3.0])] == [[0.0, 2.0], [1.0, 0.0]]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (named(0, "0000"), SHAPE),
        (named(3, "0 110 111 0"), TREE),
        (named(3, "0 101 110 0" + "0" * 8), TREE),
        (named(3, "111 111 11"), TREE),
        (named(3, ""), SHAPE),
        (named(3, "0000", n_bytes=2**32 - 1), LENGTH),
    ],
)
def test_lies_about_the_names_of_leaves_are_refused(data: bytes, reason: str):
    assert reason in refusal_of(data)


def test_trees_that_would_take_more_memory_than_a_device_has_are_refused_before_it_is_asked_for():
    # 40 million bare leaves take a bit each in the file, and 16 bytes and more in memory.
    n = 40_000_000
    parts = trees(
        n_trees=n, n_nodes=n, n_columns=0, n_thresholds=0, n_leaf_rows=1, most_leaves=1, columns=b"", thresholds=b"",
        leaves=floats(1.0), modes=(0, 0, 0, 1), nodes=bytes(n // 8),
    )  # fmt: skip
    assert LARGE in refusal_of(tree_table(parts))


def test_vectors_that_would_take_more_memory_than_a_device_has_are_refused():
    wide = 2**20
    records = [record(ROW, wide)] + [record(SOFTMAX, wide, (at,)) for at in range(70)]
    data = table(*records, n_features=wide, n_outputs=wide)
    assert len(data) < 2000
    assert LARGE in refusal_of(data)


def test_work_without_end_is_refused():
    # The same two vectors of a million numbers, averaged 600 times over.
    wide = 2**20
    records = [record(ROW, 1)] + [record(COLUMNS, wide, (0,), bytes(4 * wide))] * 2
    records += [record(AVERAGE, wide, (1, 2) * 600, doubles(*[1.0] * 1200))]
    assert LARGE in refusal_of(table(*records, n_outputs=wide))


def test_every_damaged_bit_is_noticed_or_harmless():
    ensemble = grow(Shape(n_trees=6, most_leaves=6, n_features=3, n_outputs=2))
    builder = ProgramBuilder(3)
    data = encode_program(builder.build(builder.add(Trees(0, ensemble))))
    row = np.zeros(3, dtype=np.float32).tobytes()
    for at in range(20, len(data)):
        for bit in (1, 0x80):
            changed = sealed(data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :])
            for flags in (0, PORTABLE):
                try:
                    model = load_engine().open(changed, flags)
                except (ValueError, MemoryError):
                    continue
                answer = bytearray(4 * model.n_outputs)
                model.score_into(row if model.n_features == 3 else bytes(4 * model.n_features), answer)
                model.close()
