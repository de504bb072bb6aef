"""Trees in a native table decide as the ensemble does, in every layout, on and next to every threshold."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.engine.face import PORTABLE
from edge_agent.engine.loading import load_engine
from exporter.errors import UnsupportedError
from exporter.native.file import encode_program
from exporter.native.trees import LeafCoding, encode_trees, pack_bits
from exporter.programs.ensemble import CategoryTest, TreeEnsemble
from exporter.programs.program import ProgramBuilder, Trees
from tests.unit.exporter.grown_trees import Shape, grow, rows_for

SHAPES = {
    "small trees": ("narrow", Shape()),
    "trees that add to all outputs": ("narrow", Shape(one_output=False)),
    "one tree": ("narrow", Shape(n_trees=1)),
    "stumps and bare leaves": ("narrow", Shape(n_trees=30, most_leaves=2)),
    "bare leaves only": ("narrow", Shape(n_trees=3, most_leaves=1)),
    "missing values right": ("narrow", Shape(missing="right")),
    "missing values left": ("narrow", Shape(missing="left")),
    "sixteen inputs": ("narrow", Shape(n_features=12, category_share=0.0, n_trees=70)),
    "sixty inputs": ("narrow", Shape(n_features=60, category_share=0.0, n_trees=100)),
    "full bands": ("narrow", Shape(n_trees=64, most_leaves=32, balanced=True, n_outputs=1)),
    "many outputs": ("narrow", Shape(n_trees=90, n_outputs=40)),
    "many outputs at once": ("narrow", Shape(n_outputs=17, one_output=False)),
    "deep trees": ("narrow", Shape(most_leaves=600)),
    "as many thresholds as a byte ranks": ("narrow", Shape(n_features=2, n_thresholds=255, most_leaves=500)),
    "more thresholds than a byte ranks": ("wide", Shape(n_features=2, n_thresholds=400, most_leaves=900)),
    "more columns than a byte names": ("wide", Shape(n_features=300, most_leaves=60, n_trees=40)),
    "more columns than a wide node names": ("plain", Shape(n_features=2500, most_leaves=2500, n_trees=10)),
}
# Bands need their processor; what does not fit into them is walked with it too.
BANDS = 32


def table_of(ensemble: TreeEnsemble, leaves: LeafCoding = "float32") -> bytes:
    builder = ProgramBuilder(ensemble.n_features)
    return encode_program(builder.build(builder.add(Trees(0, ensemble))), leaves=leaves)


def answers(table: bytes, rows: NDArray[np.float32], n_outputs: int, flags: int = 0) -> NDArray[np.float32]:
    model = load_engine().open(table, flags)
    found = np.zeros((len(rows), n_outputs), dtype=np.float32)
    model.score_into(rows.tobytes(), found)  # type: ignore[arg-type]  # an array is a buffer; numpy says so from Python 3.12 on
    model.close()
    return found


@pytest.mark.parametrize("name", list(SHAPES))
@pytest.mark.parametrize("flags", [0, PORTABLE])
def test_trees_decide_as_the_ensemble_does(name: str, flags: int):
    layout, shape = SHAPES[name]
    for seed in range(3):
        ensemble = grow(shape, seed)
        rows = rows_for(ensemble)
        table = table_of(ensemble)
        if flags == PORTABLE:
            assert load_engine().open(table, flags).layout(1) == layout
        found = answers(table, rows, ensemble.n_outputs, flags)
        np.testing.assert_allclose(found, ensemble.score(rows), rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_portable_walk_answers_as_vectors_do(name: str):
    ensemble = grow(SHAPES[name][1], 7)
    rows = rows_for(ensemble)
    table = table_of(ensemble)
    vector, portable = (answers(table, rows, ensemble.n_outputs, flags) for flags in (0, PORTABLE))
    np.testing.assert_array_equal(vector, portable)


def test_small_trees_stand_in_bands_where_the_processor_has_vectors():
    model = load_engine().open(table_of(grow(Shape(most_leaves=BANDS))), 0)
    if model.layout(1) != "bands":
        pytest.skip("this processor has neither AVX2 nor NEON")
    assert load_engine().open(table_of(grow(Shape(most_leaves=BANDS + 30))), 0).layout(1) == "narrow"
    assert (
        load_engine().open(table_of(grow(Shape(n_features=65, n_trees=200, category_share=0.0))), 0).layout(1)
        == "narrow"
    )


def test_a_row_on_a_threshold_goes_left_and_the_next_number_right():
    ensemble = replace(
        grow(Shape(n_trees=1, most_leaves=2, balanced=True, n_features=1, n_outputs=1, category_share=0.0)),
        threshold=np.array([1e-45, 0, 0], dtype=np.float32),
        leaves=np.array([[1.0], [2.0]]),
        base=np.zeros(1),
        divisor=1.0,
    )
    rows = np.array([[1e-45], [0.0], [-0.0], [3e-45], [1e-38]], dtype=np.float32)
    for flags in (0, PORTABLE):
        assert answers(table_of(ensemble), rows, 1, flags)[:, 0].tolist() == [1.0, 1.0, 1.0, 2.0, 2.0]


def test_thresholds_of_zero_and_minus_zero_are_one():
    ensemble = grow(Shape(n_features=1, category_share=0.0, most_leaves=30))
    odd = replace(ensemble, threshold=np.where(ensemble.threshold == 0, np.float32(-0.0), ensemble.threshold))
    rows = rows_for(ensemble)
    found = answers(table_of(odd), rows, ensemble.n_outputs)
    np.testing.assert_allclose(found, ensemble.score(rows), rtol=3e-7, atol=1e-6)


@pytest.mark.parametrize(("coding", "steps"), [("uint16", 65535), ("uint8", 255)])
@pytest.mark.parametrize("one_output", [True, False])
def test_leaves_in_whole_steps_are_off_by_half_a_step_a_tree_at_most(
    coding: LeafCoding, steps: int, *, one_output: bool
):
    ensemble = grow(Shape(one_output=one_output, n_outputs=4))
    rows = rows_for(ensemble)
    step = float(np.ptp(ensemble.leaves)) / steps
    table = table_of(ensemble, coding)
    assert len(table) < len(table_of(ensemble))
    differences = np.abs(answers(table, rows, 4) - ensemble.score(rows))
    assert 0 < differences.max() <= step / 2 * ensemble.n_trees / ensemble.divisor + 1e-6


def test_leaves_that_are_all_alike_are_stored_once():
    ensemble = grow(Shape(n_outputs=2, one_output=False, most_leaves=200))
    pure = replace(ensemble, leaves=np.eye(2)[np.arange(len(ensemble.leaves)) % 2])
    assert len(table_of(pure)) < 0.5 * len(table_of(ensemble))
    rows = rows_for(ensemble)
    np.testing.assert_allclose(answers(table_of(pure), rows, 2), pure.score(rows), rtol=3e-7, atol=1e-6)
    for coding in ("uint16", "uint8"):
        np.testing.assert_allclose(answers(table_of(pure, coding), rows, 2), pure.score(rows), rtol=3e-7, atol=1e-6)


def test_rows_of_few_distinct_numbers_name_them():
    ensemble = grow(Shape(n_outputs=10, one_output=False, most_leaves=300))
    rng = np.random.default_rng(0)
    shares = rng.multinomial(5, [0.1] * 10, size=len(ensemble.leaves)) / 5
    impure = replace(ensemble, leaves=np.where(rng.random(shares.shape) < 0.5, shares, 0.0))
    assert len(table_of(impure)) < 0.3 * len(table_of(ensemble))
    rows = rows_for(ensemble)
    np.testing.assert_allclose(answers(table_of(impure), rows, 10), impure.score(rows), rtol=3e-7, atol=1e-6)


def test_categories_beyond_the_engine_are_refused_by_their_step():
    ensemble = replace(
        grow(Shape(category_share=1.0)), tests=(CategoryTest(frozenset({1 << 21}), frozenset(), False),) * 4
    )
    builder = ProgramBuilder(8)
    with builder.step("forest", "Forest"):
        trees = builder.add(Trees(0, ensemble))
    with pytest.raises(UnsupportedError, match=r"step `forest`.*category 2097152"):
        encode_program(builder.build(trees))


def test_leaves_that_float32_cannot_hold_are_refused():
    ensemble = grow(Shape())
    with pytest.raises(ValueError, match="float32 cannot hold"):
        encode_trees(replace(ensemble, leaves=ensemble.leaves * 1e300))


def test_nodes_with_two_parents_are_refused_before_they_multiply():
    depth = 60
    chain = np.arange(depth, dtype=np.int32)
    leaf = np.append(np.full(depth, -1, dtype=np.int32), 0)
    ensemble = replace(
        grow(Shape(n_trees=1, most_leaves=1, n_outputs=1, n_features=1)),
        feature=np.append(np.zeros(depth, dtype=np.int32), np.int32(-1)),
        threshold=np.zeros(depth + 1, dtype=np.float32),
        left=np.append(chain + 1, np.int32(0)),
        right=np.append(chain + 1, np.int32(0)),
        missing_left=np.zeros(depth + 1, dtype=np.bool_),
        category=np.full(depth + 1, -1, dtype=np.int32),
        leaf=leaf,
    )
    with pytest.raises(ValueError, match="two parents"):
        encode_trees(ensemble)


def test_bits_are_packed_from_the_lowest_on():
    assert pack_bits(np.array([1, 0b10, 0b11111]), np.array([1, 2, 5])) == bytes([0b11111_10_1])
    assert pack_bits(np.array([0b1_1111_1111]), np.array([9])) == bytes([0xFF, 0x01])
