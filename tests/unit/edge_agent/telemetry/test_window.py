"""A window counts everything that happened to its rows, in a size that does not grow with them."""

import math
from array import array

import pytest

from broker.messages import FeatureCounts, Resources, TelemetryWindow, encode_body, encode_record, parse
from broker.messages import RecordKey as Key
from broker.topics import Channel
from edge_agent.errors import RowError
from edge_agent.scoring.scorer import Prediction
from edge_agent.telemetry.sketches import bucket_of
from edge_agent.telemetry.window import WindowBuilder, can_merge, merge_windows
from tests.unit.edge_agent.examples import (
    classification_manifest,
    encoded,
    prediction_of,
    regression_manifest,
    window_of,
)


@pytest.fixture
def builder() -> WindowBuilder:
    return WindowBuilder(classification_manifest(), "onnx-fp32", 100.0)


def test_rows_are_counted_into_the_manifest_s_bins(builder: WindowBuilder):
    row = encoded(10.0, 4.9)
    row.out_of_range.append(1)
    builder.count(7, row, prediction_of(1.0, 0.95), 12.0)
    builder.count(9, encoded(math.nan, 5.0), prediction_of(0.0, 0.55), 13.0)
    window = builder.close(160.0)
    assert window.features == (
        FeatureCounts((0, 0, 1, 0), missing=1, out_of_range=0),
        FeatureCounts((1, 1), missing=0, out_of_range=1),
    )
    assert window.predictions == (1, 1)
    assert [place for place, count in enumerate(window.agreement) if count] == [15, 19]
    assert (window.first_row, window.last_row, window.rows_scored) == (7, 9, 2)
    assert (window.started_utc_s, window.ended_utc_s, window.variant) == (100.0, 160.0, "onnx-fp32")
    assert sum(count for _, count in window.latency) == 2


def test_refused_rows_are_counted_by_rule_and_at_the_feature_to_blame(builder: WindowBuilder):
    builder.refuse(3, RowError("missing", "", 0))
    builder.refuse(4, RowError("out_of_range", "", 1))
    builder.refuse(5, RowError("not_a_number", "", 1))
    builder.refuse(6, RowError("malformed", ""))
    builder.refuse(7, RowError("missing", "", 0))
    window = builder.close(160.0)
    assert window.rows_scored == 0
    assert dict(window.rows_refused) == {"missing": 2, "out_of_range": 1, "not_a_number": 1, "malformed": 1}
    assert [(f.missing, f.out_of_range, sum(f.counts)) for f in window.features] == [(2, 0, 0), (1, 1, 0)]
    assert (window.first_row, window.last_row) == (3, 7)


def test_regression_counts_predictions_by_output_edges_and_agreement_by_its_own():
    builder = WindowBuilder(regression_manifest(), "onnx-fp32", 0.0)
    for value, place in ((-1.0, 0), (0.0, 3), (5.0, 3)):
        builder.count(0, encoded(1.0, 2.0), Prediction(None, None, value, 0.0, True, place, 0.0, (value,)), 1.0)
    window = builder.close(1.0)
    assert window.predictions == (1, 1, 1)
    assert window.agreement == (1, 0, 0, 2)


def test_a_window_is_full_at_the_manifest_s_rows_refused_ones_too(builder: WindowBuilder):
    for number in range(9):
        builder.count(number, encoded(1.0, 2.0), prediction_of(), 1.0)
    assert not builder.is_full
    builder.refuse(9, RowError("missing", "", 0))
    assert builder.is_full
    assert builder.rows == 10


def test_closing_starts_the_next_window_empty_where_the_last_one_ended(builder: WindowBuilder):
    assert builder.is_empty
    builder.count(0, encoded(1.0, 2.0), prediction_of(), 1.0)
    builder.error("spool")
    first = builder.close(160.0)
    assert builder.is_empty
    builder.count(1, encoded(2.0, 3.0), prediction_of(), 2.0)
    second = builder.close(200.0)
    assert (second.started_utc_s, second.first_row, second.rows_scored, second.errors) == (160.0, 1, 1, ())
    assert first.rows_scored == 1
    assert sum(first.features[0].counts) == 1


def test_errors_are_counted_by_kind_and_their_names_are_bounded(builder: WindowBuilder):
    for number in range(100):
        builder.error(f"kind-{number}")
    builder.error("kind-0")
    window = builder.close(1.0)
    assert len(window.errors) <= 32
    assert dict(window.errors)["kind-0"] == 2
    assert sum(count for _, count in window.errors) == 101
    assert not builder.errors


def test_a_window_travels_over_the_wire():
    window = window_of(10, 20)
    _, read = parse(Channel.TELEMETRY, encode_record(Key(1, 1, 0), encode_body(window)))
    assert read == window


def test_windows_of_one_bundle_merge_into_what_one_window_would_have_counted():
    whole, first, second = window_of(0, 19), window_of(0, 7), window_of(8, 19)
    assert merge_windows([first, second]) == whole
    assert merge_windows([second, first]) == whole
    assert merge_windows([first]) == first


def test_a_window_without_rows_does_not_stretch_the_rows_of_a_merged_one():
    builder = WindowBuilder(classification_manifest(), "onnx-fp32", 1.7e9)
    builder.error("source")
    merged = merge_windows([window_of(5, 9), builder.close(1.8e9)])
    assert (merged.first_row, merged.last_row, merged.errors) == (5, 9, (("source", 1),))


def test_the_resources_of_a_merged_window_are_the_last_ones():
    builder = WindowBuilder(classification_manifest(), "onnx-fp32", 0.0)
    early = builder.close(10.0, Resources(1, 0.5, 3))
    late = builder.close(20.0, Resources(2, 0.7, 3, 41.5))
    assert merge_windows([late, early]).resources == Resources(2, 0.7, 3, 41.5)


def test_of_two_windows_that_ended_together_a_merged_one_wins_or_loses_as_its_parts_did():
    def window(ended_utc_s: float, refused_rows: tuple[int, ...], resources: Resources | None) -> TelemetryWindow:
        builder = WindowBuilder(classification_manifest(), "onnx-fp32", 0.0)
        for row in refused_rows:
            builder.refuse(row, RowError("missing", "", 0))
        return builder.close(ended_utc_s, resources)

    told, silent, earlier = window(20.0, (), Resources(2, 0.7, 3)), window(20.0, (), None), window(10.0, (1,), None)
    merged = merge_windows([silent, earlier])
    assert merge_windows([told, merged]) == merge_windows([merged, told]) == merge_windows([earlier, told, silent])
    assert merge_windows([told, merged]).resources == Resources(2, 0.7, 3)


def test_windows_of_another_bundle_do_not_merge():
    assert not can_merge(window_of(0, 1), window_of(2, 3, version=4))
    with pytest.raises(ValueError, match="do not merge"):
        merge_windows([window_of(0, 1), window_of(2, 3, version=4)])
    with pytest.raises(ValueError, match="no window"):
        merge_windows([])


class Block:
    """Counts of the example's two features: bins and missing, out of range, predictions, agreement; one bucket."""

    def __init__(self) -> None:
        self.forgotten = 0

    def counts(self) -> tuple[bytes, int, bytes]:
        counts = [1, 0, 2, 0, 4] + [3, 4, 0] + [5, 6] + [3, 4] + [0] * 19 + [7]
        return array("Q", counts).tobytes(), 100, array("I", [3, 0, 4]).tobytes()

    def forget(self) -> None:
        self.forgotten += 1


def test_rows_counted_in_a_block_and_one_by_one_are_added():
    block = Block()
    builder = WindowBuilder(classification_manifest(), "onnx-fp32", 0.0, block)
    assert block.forgotten == 0
    # What was there before is no row of this window.
    builder.begin(100.0)
    assert block.forgotten == 1
    builder.refuse(12, RowError("missing", "", 1))
    builder.count_block(10, 17, 7)
    builder.count(18, encoded(10.0, 4.9), prediction_of(1.0, 0.95), 12.0)
    assert (builder.rows, builder.rows_scored, builder.rows_left) == (9, 8, 1)
    window = builder.close(160.0)
    assert window.features == (
        FeatureCounts((1, 0, 3, 0), missing=4, out_of_range=5),
        FeatureCounts((4, 4), missing=1, out_of_range=6),
    )
    assert window.predictions == (3, 5)
    assert (window.agreement[18], window.agreement[19]) == (0, 8)
    assert (window.first_row, window.last_row, window.rows_scored) == (10, 18, 8)
    assert window.latency == ((100, 3), (102, 4), (bucket_of(12.0), 1))


def test_a_window_that_is_finished_is_built_later_and_no_other_is_begun(builder: WindowBuilder):
    builder.count(0, encoded(1.0, 2.0), prediction_of(), 1.0)
    window = builder.finish(160.0)()
    assert (window.rows_scored, window.ended_utc_s) == (1, 160.0)


def test_a_window_that_ended_is_built_later_and_stays_as_it_was(builder: WindowBuilder):
    builder.count(0, encoded(1.0, 2.0), prediction_of(), 1.0)
    builder.error("spool")
    build = builder.end(160.0)
    builder.count(1, encoded(2.0, 3.0), prediction_of(), 2.0)
    builder.refuse(2, RowError("missing", "", 0))
    builder.error("spool")
    window = build()
    assert (window.rows_scored, window.first_row, window.last_row, window.errors) == (1, 0, 0, (("spool", 1),))
    assert window.rows_refused == ()
    assert sum(window.features[0].counts) == 1
