"""Many rows encoded at once are encoded, and refused, as the device does it row by row."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import Feature
from edge_agent.errors import RowError
from edge_agent.scoring.schema import RowEncoder
from tests.unit.edge_agent.examples import classification_manifest
from trainer.errors import DataError
from trainer.serving.batch.encoding import BlockEncoder, verify_columns

NAMES = ("a", "b")
TEXTS = ("", " ", "1", " 2.5 ", "-3e2", "+4", "1_000", "nan", "NaN", "inf", "1e39", "0x10", "x", ".5", "5.", "3", "3.0")
VALUES = st.one_of(st.none(), st.floats(width=32), st.sampled_from((0.1, 0.10000000001, 3.5e38, -1.0, 60.0, 60.000001)))


def features(draw, kind):
    rules = st.sampled_from(("flag", "refuse"))
    made = []
    for name in NAMES:
        more = {"on_missing": draw(rules), "on_out_of_range": draw(rules)}
        if kind == "category" and name == "a":
            made.append(Feature(name, "category", categories=("x", "3", "nan"), **more))
        else:
            made.append(Feature(name, valid_min=draw(st.sampled_from((None, 0.1, -1.0))), valid_max=60.0, **more))
    return tuple(made)


@st.composite
def tables(draw, kind):
    size = draw(st.integers(1, 12))

    def column(of):
        return draw(st.lists(of, min_size=size, max_size=size))

    manifest = classification_manifest(features=features(draw, kind))
    if kind == "text":
        return manifest, {name: pa.array(column(st.sampled_from(TEXTS))) for name in NAMES}
    if kind == "category":
        words = pa.array(column(st.sampled_from((None, *TEXTS))))
        words = words.dictionary_encode() if draw(st.booleans()) else words
        return manifest, {"a": words, "b": pa.array(column(st.integers(-2, 70)))}
    types = st.sampled_from((pa.float32(), pa.float64()))
    return manifest, {name: pa.array(column(VALUES), draw(types)) for name in NAMES}


def assert_as_row_by_row(manifest, columns):
    table = pa.table(columns)
    found = np.zeros((table.num_rows, len(NAMES)), dtype=np.float32)
    refused = BlockEncoder(manifest).encode(table, found)
    encoder = RowEncoder(manifest)
    for place, raw in enumerate(zip(*(column.to_pylist() for column in columns.values()), strict=True)):
        expected, error = encoded(encoder, raw)
        assert (str(refused.get(place)), getattr(refused.get(place), "kind", None)) == (
            str(error),
            getattr(error, "kind", None),
        )
        np.testing.assert_array_equal(found[place], np.array(expected, dtype=np.float32))


def encoded(encoder, raw):
    try:
        return encoder.encode(raw).values, None
    except RowError as error:
        return [math.nan] * len(NAMES), error


@given(tables("numbers"))
def test_numbers(made):
    assert_as_row_by_row(*made)


@given(tables("text"))
def test_numbers_as_text(made):
    assert_as_row_by_row(*made)


@given(tables("category"))
def test_categories_and_whole_numbers(made):
    assert_as_row_by_row(*made)


def test_decimals_are_numbers():
    manifest = classification_manifest(features=tuple(Feature(name) for name in NAMES))
    money = pa.array(["1.5", "2"]).cast(pa.decimal128(5, 2))
    found = np.zeros((2, 2), dtype=np.float32)
    assert BlockEncoder(manifest).encode(pa.table({"a": money, "b": [1, 2]}), found) == {}
    assert found.tolist() == [[1.5, 1.0], [2.0, 2.0]]


def test_columns_that_do_not_fit_are_all_named():
    manifest = classification_manifest(
        features=(Feature("a"), Feature("b", "category", categories=("x",)), Feature("c"))
    )
    kinds = {"a": pa.string(), "b": pa.bool_(), "d": pa.int8()}
    with pytest.raises(DataError) as refusal:
        verify_columns(manifest, kinds, "rows.parquet", is_text=False)
    assert str(refusal.value) == (
        f"rows.parquet does not fit {manifest.ref}: column 'a' is of type string, the feature takes numbers; "
        "column 'b' is of type bool, the feature takes text or whole numbers; column 'c' is missing"
    )
    with pytest.raises(DataError, match="'c' is missing"):
        verify_columns(manifest, kinds, "rows.csv", is_text=True)
    verify_columns(manifest, kinds | {"c": pa.string()}, "rows.csv", is_text=True)


def test_a_missing_number_becomes_nan():
    manifest = classification_manifest(features=tuple(Feature(name, on_missing="flag") for name in NAMES))
    found = np.zeros((2, 2), dtype=np.float32)
    BlockEncoder(manifest).encode(pa.table({"a": [1, None], "b": [0.5, math.nan]}), found)
    np.testing.assert_array_equal(found, [[1.0, 0.5], [math.nan, math.nan]])
