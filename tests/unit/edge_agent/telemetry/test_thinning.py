"""What a full spool gives up, and in which order."""

from broker.topics import Channel
from edge_agent.telemetry.thinning import MAX_PARTS, Drop, Entry, Merge, plan_thinning

WINDOW, SAMPLES, EVENT = Channel.TELEMETRY, Channel.SAMPLES, Channel.EVENTS


def entry(sequence: int, channel: Channel = WINDOW, group: str = "rain/3 onnx", parts: int = 1) -> Entry:
    return Entry(sequence, channel, group if channel is WINDOW else "", parts)


def test_neighbouring_windows_of_one_bundle_are_merged_first_oldest_first_each_once():
    entries = [entry(1), entry(2, SAMPLES), entry(3), entry(4), entry(5), entry(6, EVENT), entry(7)]
    assert plan_thinning(entries, 0) == [Merge(1, 3), Merge(4, 5)]


def test_windows_of_another_bundle_or_variant_are_not_merged():
    entries = [entry(1, group="a"), entry(2, group="b"), entry(3, group="a"), entry(4, group="a")]
    assert plan_thinning(entries, 0) == [Merge(3, 4)]


def test_windows_that_may_have_been_sent_are_never_merged():
    entries = [entry(1), entry(2), entry(3), entry(4)]
    assert plan_thinning(entries, 1) == [Merge(2, 3)]
    assert all(isinstance(step, Drop) for step in plan_thinning(entries, 3))


def test_those_merged_least_often_are_merged_before_the_oldest():
    entries = [entry(1, parts=4), entry(2, parts=4), entry(3), entry(4)]
    assert plan_thinning(entries, 0) == [Merge(3, 4)]


def test_windows_merge_up_to_a_limit():
    entries = [entry(1, parts=MAX_PARTS), entry(2)]
    assert all(isinstance(step, Drop) for step in plan_thinning(entries, 0))


def test_then_samples_then_windows_then_events_are_dropped_oldest_first():
    entries = [entry(1, EVENT), entry(2, group="a"), entry(3, SAMPLES), entry(4, group="b"), entry(5, SAMPLES)]
    assert plan_thinning(entries, 0) == [Drop(3), Drop(5), Drop(2), Drop(4), Drop(1)]


def test_an_empty_spool_has_nothing_to_give():
    assert plan_thinning([], 0) == []
