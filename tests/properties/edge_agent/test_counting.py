"""Sketches and windows: adding up does not depend on the order, and errors stay within their bounds."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import AskLabels, Resources, TelemetryWindow
from edge_agent.errors import RowError
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.sketches import MAX_US, MIN_US, RELATIVE_ERROR, LatencySketch
from edge_agent.telemetry.window import WindowBuilder, merge_windows
from tests.unit.edge_agent.examples import RAIN, classification_manifest, encoded, prediction_of

LATENCIES = st.lists(st.floats(MIN_US * 2, MAX_US / 2), min_size=1, max_size=60)


def sketch_of(numbers: list[float]) -> LatencySketch:
    sketch = LatencySketch()
    for number in numbers:
        sketch.add(number)
    return sketch


@given(LATENCIES, st.floats(0, 1))
def test_a_quantile_is_within_the_relative_error_of_the_number_of_its_rank(numbers: list[float], q: float):
    exact = sorted(numbers)[int(q * (len(numbers) - 1))]
    assert abs(sketch_of(numbers).quantile(q) - exact) <= exact * RELATIVE_ERROR * (1 + 1e-9)


@given(LATENCIES, LATENCIES, LATENCIES)
def test_merging_sketches_is_counting_together_in_any_order(a: list[float], b: list[float], c: list[float]):
    one, two, three = sketch_of(a), sketch_of(b), sketch_of(c)
    together = sketch_of(a + b + c).as_pairs()
    assert one.merge(two).merge(three).as_pairs() == together
    assert one.merge(two.merge(three)).as_pairs() == together
    assert three.merge(one).merge(two).as_pairs() == together


@st.composite
def windows(draw: st.DrawFn) -> TelemetryWindow:
    builder = WindowBuilder(classification_manifest(), "onnx-fp32", float(draw(st.integers(0, 1000))))
    start = draw(st.integers(0, 1000))
    for number in range(draw(st.integers(0, 12))):
        if draw(st.booleans()):
            value, sure = draw(st.floats(-50, 50)), draw(st.floats(0, 1))
            builder.count(start + number, encoded(value, draw(st.floats(0, 50))), prediction_of(1.0, sure), 3.0)
        else:
            builder.refuse(start + number, RowError(draw(st.sampled_from(["missing", "malformed"])), "", 0))
    if draw(st.booleans()):
        builder.error(draw(st.sampled_from(["spool", "sink"])))
    # Often at the same time: windows of several devices end together.
    resources = draw(st.none() | st.builds(Resources, st.integers(0, 3), st.just(0.5), st.just(7)))
    return builder.close(2000.0 + draw(st.integers(0, 2) | st.integers(0, 1000)), resources)


@given(windows(), windows(), windows())
def test_merging_windows_does_not_depend_on_order_or_grouping(
    a: TelemetryWindow, b: TelemetryWindow, c: TelemetryWindow
):
    together = merge_windows([a, b, c])
    assert merge_windows([c, a, b]) == together
    assert merge_windows([a, merge_windows([b, c])]) == together
    assert together.rows_scored == a.rows_scored + b.rows_scored + c.rows_scored
    assert all(sum(f.counts) == together.rows_scored for f in together.features[1:])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    share=st.floats(0, 1),
    background=st.integers(0, 10),
    window_rows=st.lists(st.integers(0, 30), max_size=12),
    asks=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 50), st.integers(40, 4000)), max_size=5),
)
def test_no_row_is_sent_twice_no_share_is_exceeded_and_no_ask_gets_more_than_it_asked(
    seed: int, share: float, background: int, window_rows: list[int], asks: list[tuple[int, int, int]]
):
    sampler = Sampler(random.Random(seed), background, share)
    number, sent, by_ask = 0, [], dict.fromkeys(range(len(asks)), 0)
    for index, rows in enumerate(window_rows):
        for place, (when, wanted, max_bytes) in enumerate(asks):
            if when == index:
                sampler.ask(AskLabels(str(place), wanted, max_bytes))
        for _ in range(rows):
            sampler.offer(
                f"d.{number}", 0.0, encoded(1.0, float(number)), prediction_of(1.0, (number * 37 % 100) / 100)
            )
            number += 1
        closed = sampler.close_window(RAIN)
        if index % 3 == 2:
            # A restart between windows changes nothing that counts.
            sampler = Sampler(random.Random(seed + index), background, share, sampler.state())
        for sample in (row for record in closed for row in record.rows):
            sent.append(sample.prediction_id)
            if sample.ask_id is not None:
                by_ask[int(sample.ask_id)] += 1
        assert len(sent) <= share * number + 1e-6
    assert len(set(sent)) == len(sent)
    assert all(by_ask[place] <= wanted for place, (_, wanted, _) in enumerate(asks))
