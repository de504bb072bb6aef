"""Rows are encoded by the manifest's rules, and refused by them."""

import math

import pytest

from edge_agent.bundle import Feature
from edge_agent.errors import RowError
from edge_agent.scoring.schema import RawRow, RowEncoder, Unreadable
from tests.unit.edge_agent.examples import classification_manifest


def encoder(*features: Feature) -> RowEncoder:
    return RowEncoder(classification_manifest(features=features))


def refusal(row_encoder: RowEncoder, row: RawRow) -> RowError:
    with pytest.raises(RowError) as caught:
        row_encoder.encode(row)
    return caught.value


FLAGS = Feature("t", valid_min=-10.0, valid_max=10.0, on_missing="flag", on_out_of_range="flag")
REFUSES = Feature("t", valid_min=-10.0, valid_max=10.0, on_missing="refuse", on_out_of_range="refuse")
SKY = Feature("sky", dtype="category", categories=("clear", "cloud", "3"), on_missing="flag")
STRICT_SKY = Feature("sky", dtype="category", categories=("clear", "cloud"), on_missing="refuse")


@pytest.mark.parametrize(("raw", "number"), [("1.5", 1.5), (" 2 ", 2.0), (3, 3.0), (-4.25, -4.25), ("1e1", 10.0)])
def test_numbers_and_their_text_are_taken(raw, number: float):
    assert encoder(FLAGS).encode([raw]).values == [number]


def test_the_row_is_filled_again_not_built_again():
    one = encoder(FLAGS)
    assert one.encode([1.0]) is one.encode([2.0])


@pytest.mark.parametrize("missing", [None, "", "  ", "nan", "NaN", math.nan])
def test_a_missing_value_is_nan_where_it_is_flagged(missing):
    row = encoder(FLAGS).encode([missing])
    assert math.isnan(row.values[0])
    assert row.has_missing
    assert row.out_of_range == []


@pytest.mark.parametrize("missing", [None, "", "  ", "nan", math.nan])
def test_a_missing_value_is_refused_where_it_is_refused(missing):
    error = refusal(encoder(SKY, REFUSES), ["clear", missing])
    assert (error.kind, error.feature) == ("missing", 1)
    assert "'t'" in str(error)


@pytest.mark.parametrize("value", [10.5, "-11", 1e30])
def test_a_value_out_of_range_is_flagged_and_kept(value):
    row = encoder(FLAGS).encode([value])
    assert row.values == [float(value)]
    assert row.out_of_range == [0]


@pytest.mark.parametrize("value", [10.0, -10.0])
def test_the_ends_of_a_range_are_in_it(value: float):
    assert encoder(REFUSES).encode([value]).out_of_range == []


def test_a_value_out_of_range_is_refused_where_it_is_refused():
    error = refusal(encoder(REFUSES), ["10.5"])
    assert (error.kind, error.feature) == ("out_of_range", 0)


@pytest.mark.parametrize("value", [math.inf, -math.inf, "inf", "-Infinity", "1e999", 1e39])
def test_what_float32_cannot_hold_is_refused_even_where_it_would_be_flagged(value):
    for feature in (FLAGS, Feature("t", on_missing="flag", on_out_of_range="flag")):
        assert refusal(encoder(feature), [value]).kind == "out_of_range"


@pytest.mark.parametrize("value", ["warm", "1,5", "0x10", "1_000", "--", True, 10**400])
def test_what_is_no_number_is_refused_always(value):
    error = refusal(encoder(FLAGS), [value])
    assert (error.kind, error.feature) == ("not_a_number", 0)


@pytest.mark.parametrize("row", [[], [1.0], [1.0, 2.0, 3.0]])
def test_a_row_of_another_length_is_refused(row: list[float]):
    error = refusal(encoder(FLAGS, Feature("u")), row)
    assert (error.kind, error.feature) == ("wrong_length", None)


def test_a_row_that_its_source_could_not_read_is_malformed():
    assert refusal(encoder(FLAGS), Unreadable()).kind == "malformed"


def test_a_category_becomes_its_index_whether_text_or_number():
    one = encoder(SKY)
    assert [one.encode([raw]).values[0] for raw in ("clear", " cloud ", "3", 3.0)] == [0.0, 1.0, 2.0, 2.0]


def test_an_unseen_category_is_missing_where_that_is_flagged():
    row = encoder(SKY).encode(["fog"])
    assert math.isnan(row.values[0])
    assert row.has_missing


def test_an_unseen_category_is_refused_where_missing_is_refused():
    error = refusal(encoder(STRICT_SKY), ["fog"])
    assert (error.kind, error.feature) == ("unseen_category", 0)
    assert refusal(encoder(STRICT_SKY), [""]).kind == "missing"


def test_indexed_rows_carry_categories_as_their_index():
    one = encoder(SKY, FLAGS)
    assert one.encode_indexed([2.0, 1.0]).values == [2.0, 1.0]
    assert math.isnan(one.encode_indexed([None, None]).values[0])
    strict = encoder(STRICT_SKY)
    for index in (2.0, -1.0, 0.5):
        with pytest.raises(RowError, match="never saw"):
            strict.encode_indexed([index])
    with pytest.raises(RowError, match="row of 1 values"):
        one.encode_indexed([1.0])


def test_a_refused_row_leaves_nothing_behind_in_the_next():
    one = encoder(FLAGS, Feature("u", on_missing="refuse"))
    refusal(one, [None, None])
    refusal(one, [99.0, None])
    row = one.encode([1.0, 2.0])
    assert (row.values, row.has_missing, row.out_of_range) == ([1.0, 2.0], False, [])
