"""Whatever a source delivers is encoded by rule or refused by rule, and leaves nothing behind for the next row."""

import math

from hypothesis import given
from hypothesis import strategies as st

from edge_agent.bundle import Feature
from edge_agent.errors import RowError
from edge_agent.scoring.schema import RowEncoder
from tests.unit.edge_agent.examples import classification_manifest

RULES = st.sampled_from(["flag", "refuse"])
NUMBER = st.builds(
    Feature,
    name=st.just("n"),
    valid_min=st.none() | st.floats(-100, 0),
    valid_max=st.none() | st.floats(0, 100),
    on_missing=RULES,
    on_out_of_range=RULES,
)
CATEGORY = st.builds(
    Feature, name=st.just("c"), dtype=st.just("category"), categories=st.just(("a", "b", "7")), on_missing=RULES
)
VALUES = (
    st.none()
    | st.floats()
    | st.integers()
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(["a", "b", "7", "1e400", "nan", "-inf", "1_0", "0x1", " 3 "])
)
KINDS = {"wrong_length", "malformed", "not_a_number", "missing", "out_of_range", "unseen_category"}


@given(st.lists(NUMBER | CATEGORY, min_size=1, max_size=4), st.lists(st.lists(VALUES, max_size=5), max_size=6))
def test_a_row_is_encoded_within_its_rules_or_refused(features: list[Feature], rows: list[list[str | float | None]]):
    encoder = RowEncoder(classification_manifest(features=tuple(features)))
    for raw in rows:
        try:
            row = encoder.encode(raw)
        except RowError as error:
            assert error.kind in KINDS  # noqa: PT017 - either answer is right, if it is whole
            continue
        assert len(row.values) == len(features) == len(raw)
        assert row.has_missing == any(math.isnan(value) for value in row.values)
        for index, (value, feature) in enumerate(zip(row.values, features, strict=True)):
            assert abs(value) <= 3.5e38 or math.isnan(value)
            if math.isnan(value):
                assert feature.on_missing == "flag"
            elif feature.dtype == "category":
                assert value in range(3)
            else:
                low = -math.inf if feature.valid_min is None else feature.valid_min
                high = math.inf if feature.valid_max is None else feature.valid_max
                assert (index in row.out_of_range) == (not low <= value <= high)
                assert feature.on_out_of_range == "flag" or index not in row.out_of_range
