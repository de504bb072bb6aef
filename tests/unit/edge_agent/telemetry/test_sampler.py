"""Rows worth a label are chosen fairly, within their share, their bytes, and each once."""

import math
import random
from array import array
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from broker.messages import AskLabels, Sample, Samples, encode_body, encode_record, parse
from broker.messages import RecordKey as Key
from broker.topics import Channel
from edge_agent.telemetry.sampler import MAX_PENDING_ASKS, Candidate, Sampler
from tests.unit.edge_agent.examples import RAIN, encoded, prediction_of


def sampler_of(background: int = 2, share: float = 0.3, seed: int = 1, state: bytes | None = None) -> Sampler:
    return Sampler(random.Random(seed), background, share, state)


def offer(sampler: Sampler, numbers: range, confidence: float | None = None) -> None:
    """Offer rows; without a confidence, row n of every hundred is sure by n percent."""
    for number in numbers:
        sure = (number % 100) / 100 if confidence is None else confidence
        sampler.offer(f"d.{number}", 1.7e9 + number, encoded(float(number), 2.0), prediction_of(1.0, sure))


def close(sampler: Sampler) -> list[Sample]:
    return [row for record in sampler.close_window(RAIN) for row in record.rows]


def numbers_of(samples: list[Sample]) -> set[int]:
    return {int(sample.prediction_id.removeprefix("d.")) for sample in samples}


def test_a_few_rows_of_every_window_are_background():
    sampler = sampler_of(background=3)
    for start in (0, 50, 100):
        offer(sampler, range(start, start + 50))
        samples = close(sampler)
        assert len(samples) == 3
        assert numbers_of(samples) <= set(range(start, start + 50))
        assert {(sample.reason, sample.ask_id) for sample in samples} == {("background", None)}


def test_a_sample_is_the_row_as_the_model_got_it():
    sampler = sampler_of(background=1, share=1.0)
    sampler.offer("d.7", 1.7e9, encoded(math.nan, 2.5), prediction_of(1.0, 0.75))
    (record,) = sampler.close_window(RAIN)
    assert record == Samples(
        RAIN, (Sample("d.7", 1.7e9, (None, 2.5), 1.0, 0.75, agrees=True, reason="background", ask_id=None),)
    )


def test_every_row_has_the_same_chance_of_background():
    counts: Counter[int] = Counter()
    sampler = sampler_of(background=5, share=1.0, seed=3)
    for _ in range(2000):
        offer(sampler, range(20))
        counts.update(numbers_of(close(sampler)))
    # 500 expected, standard deviation 19.4: five of them on either side.
    assert set(counts) == set(range(20))
    assert all(403 < count < 597 for count in counts.values())


@pytest.mark.parametrize(("share", "background"), [(0.0, 5), (0.1, 5), (0.3, 20), (0.05, 1)])
def test_the_share_of_all_rows_is_never_exceeded(share: float, background: int):
    sampler = sampler_of(background=background, share=share)
    sampler.ask(AskLabels("a", 1000))
    taken = 0
    for window in range(30):
        offer(sampler, range(window * 10, window * 10 + 10))
        taken += len(close(sampler))
        assert taken <= share * (window + 1) * 10 + 1e-9
    assert taken == math.floor(share * 300 + 1e-9)


def test_an_ask_is_answered_by_its_share_of_the_least_certain_and_the_others_at_random():
    sampler = sampler_of(background=2, share=0.5)
    sampler.ask(AskLabels("ask-1", 20, uncertain_share=0.5))
    offer(sampler, range(100))
    samples = close(sampler)
    by_reason = {reason: [s for s in samples if s.reason == reason] for reason in ("background", "uncertain", "asked")}
    assert {reason: len(rows) for reason, rows in by_reason.items()} == {"background": 2, "uncertain": 10, "asked": 10}
    background = numbers_of(by_reason["background"])
    assert numbers_of(by_reason["uncertain"]) == set([n for n in range(100) if n not in background][:10])
    assert len(numbers_of(samples)) == 22
    assert {s.ask_id for s in by_reason["uncertain"] + by_reason["asked"]} == {"ask-1"}
    assert sampler.pending_asks == ()


def test_the_random_half_is_drawn_from_all_rows_that_are_left():
    counts: Counter[int] = Counter()
    for seed in range(400):
        sampler = sampler_of(background=0, share=1.0, seed=seed)
        sampler.ask(AskLabels("a", 10, uncertain_share=0.5))
        offer(sampler, range(25))
        counts.update(numbers_of([s for s in close(sampler) if s.reason == "asked"]))
    # The five least certain are rows 0 to 4; the other five are drawn from 20: 100 expected of each, deviation 8.7.
    assert set(counts) == set(range(5, 25))
    assert all(56 < count < 144 for count in counts.values())


def test_rows_to_judge_by_are_all_chosen_at_random():
    sampler = sampler_of(background=0, share=1.0)
    sampler.ask(AskLabels("a", 10))
    offer(sampler, range(100))
    samples = close(sampler)
    assert [sample.reason for sample in samples] == ["asked"] * 10
    assert numbers_of(samples) != set(range(10)), "the least certain were chosen"


def test_rows_scored_before_the_ask_are_not_chosen_for_it():
    sampler = sampler_of(background=0, share=1.0)
    offer(sampler, range(10), confidence=0.1)
    sampler.ask(AskLabels("a", 4))
    offer(sampler, range(10, 20), confidence=0.9)
    assert numbers_of(close(sampler)) <= set(range(10, 20))


def test_what_the_share_does_not_allow_now_follows_with_later_windows():
    sampler = sampler_of(background=0, share=0.3)
    sampler.ask(AskLabels("a", 7))
    sent = []
    for start in range(0, 40, 10):
        offer(sampler, range(start, start + 10))
        sent.append(len(close(sampler)))
    assert sent == [3, 3, 1, 0]


def test_share_left_over_in_quiet_windows_answers_an_ask_at_once():
    sampler = sampler_of(background=1, share=0.3)
    offer(sampler, range(90))
    close(sampler)
    sampler.ask(AskLabels("a", 20))
    offer(sampler, range(100, 130))
    assert len(close(sampler)) == 21


def test_bytes_bound_an_answer_and_end_it():
    sampler = sampler_of(background=0, share=1.0)
    sampler.ask(AskLabels("a", 100, max_bytes=300, uncertain_share=0.5))
    offer(sampler, range(100))
    samples = close(sampler)
    assert 1 < len(samples) < 100
    assert sum(len(msgspec.msgpack.encode(sample)) for sample in samples) <= 300
    assert {sample.reason for sample in samples} == {"uncertain", "asked"}
    assert sampler.pending_asks == ()


def test_asks_are_answered_in_turn_and_the_same_ask_is_one():
    sampler = sampler_of(background=0, share=1.0)
    assert sampler.ask(AskLabels("a", 3)) == ""
    assert sampler.ask(AskLabels("b", 2)) == ""
    assert sampler.ask(AskLabels("a", 3)) == ""
    offer(sampler, range(10))
    assert {s.ask_id for s in close(sampler)} == {"a"}
    offer(sampler, range(10, 20))
    assert [s.ask_id for s in close(sampler)] == ["b", "b"]
    offer(sampler, range(20, 30))
    assert close(sampler) == []


def test_too_many_asks_are_refused_with_a_reason():
    sampler = sampler_of()
    for number in range(MAX_PENDING_ASKS):
        assert sampler.ask(AskLabels(f"a{number}", 3)) == ""
    assert "pending" in sampler.ask(AskLabels("one too many", 3))
    assert len(sampler.pending_asks) == MAX_PENDING_ASKS


def test_state_carries_asks_and_the_share_through_a_restart():
    sampler = sampler_of(background=0, share=0.2)
    sampler.ask(AskLabels("a", 5))
    offer(sampler, range(10))
    assert len(close(sampler)) == 2
    # Rows of the open window are scored again after a cut, so they are not in the state.
    before = sampler.state()
    offer(sampler, range(10, 18))
    assert sampler.state() == before
    again = sampler_of(background=0, share=0.2, state=before)
    assert again.pending_asks == ("a",)
    offer(again, range(10, 20))
    assert len(close(again)) == 2
    offer(again, range(20, 30))
    assert len(close(again)) == 1
    assert again.pending_asks == ()


@pytest.mark.parametrize("state", [b"", b"\xff", b"\x93\x01\x02", b"text"])
def test_a_state_that_cannot_be_read_is_forgotten(state: bytes):
    sampler = sampler_of(state=state)
    offer(sampler, range(50))
    assert len(close(sampler)) == 2


def test_records_stay_within_the_wire_s_limits():
    sampler = Sampler(random.Random(1), 1500, 1.0)
    for number in range(1500):
        sampler.offer(f"d.{number}", 1.7e9, encoded(*([1.1] * 200)), prediction_of())
    records = sampler.close_window(RAIN)
    assert sum(len(record.rows) for record in records) == 1500
    for record in records:
        parse(Channel.SAMPLES, encode_record(Key(2**32 - 1, 2**53, 2**53), encode_body(record)))


def test_an_empty_window_has_no_samples():
    assert sampler_of().close_window(RAIN) == []


def offer_block(sampler: Sampler, numbers: Sequence[int], uncertainty: float = 0.5) -> list[int]:
    """Offer rows together; return which were written down."""
    written: list[int] = []

    def candidate(index: int) -> Candidate:
        written.append(numbers[index])
        values = array("d", (float(numbers[index]), math.nan)).tobytes()
        return Candidate(f"d.{numbers[index]}", 1.7e9, values, 1.0, 0.5, agrees=True)

    sampler.offer_many(len(numbers), candidate, lambda _index: uncertainty)
    return written


def test_rows_offered_together_are_each_as_likely_to_be_chosen_as_any_other():
    chosen: Counter[str] = Counter()
    sampler = Sampler(random.Random(5), 4, 1.0)
    for _ in range(3000):
        # The first block fills the reservoir, the second, of one row, and the third compete with it.
        for numbers in (range(12), range(12, 13), range(13, 20)):
            offer_block(sampler, numbers)
        (record,) = sampler.close_window(RAIN)
        assert len({row.prediction_id for row in record.rows}) == 4
        chosen.update(row.prediction_id for row in record.rows)
    # 600 each; five standard deviations are 110.
    assert len(chosen) == 20
    assert all(abs(count - 600) < 110 for count in chosen.values()), chosen


def test_of_rows_offered_together_only_those_that_are_left_are_written_down():
    sampler = Sampler(random.Random(1), 3, 1.0)
    assert len(offer_block(sampler, range(50))) == 3
    assert len(offer_block(sampler, range(50, 100))) <= 3
    (record,) = sampler.close_window(RAIN)
    assert len(record.rows) == 3
    assert all(row.features == (float(row.prediction_id.removeprefix("d.")), None) for row in record.rows)


def test_rows_offered_together_answer_an_ask():
    sampler = Sampler(random.Random(1), 0, 1.0)
    sampler.ask(AskLabels("ask", 4, uncertain_share=0.5))
    offer_block(sampler, range(40))
    offer_block(sampler, [40, 41], uncertainty=0.9)
    (record,) = sampler.close_window(RAIN)
    assert len(record.rows) == 4
    assert {row.prediction_id for row in record.rows if row.reason == "uncertain"} == {"d.40", "d.41"}
    assert not sampler.pending_asks


def test_a_window_s_records_are_written_by_whoever_asks_for_them_later():
    sampler = Sampler(random.Random(1), 3, 1.0)
    offer_block(sampler, range(10))
    chosen = sampler.end_window(RAIN)
    offer_block(sampler, range(10, 20))
    rows = [row for record in chosen.samples() for row in record.rows]
    assert {int(row.prediction_id.removeprefix("d.")) < 10 for row in rows} == {True}


def test_the_state_that_goes_with_a_window_is_that_of_its_end():
    sampler = Sampler(random.Random(1), 3, 1.0)
    offer_block(sampler, range(10))
    chosen = sampler.end_window(RAIN)
    expected = sampler.state()
    sampler.ask(AskLabels("ask", 5))
    offer_block(sampler, range(10, 20))
    sampler.end_window(RAIN)
    assert chosen.state() == expected != sampler.state()


def offer_known(sampler: Sampler, n: int) -> None:
    """Offer rows of which row n is the less sure and the more novel the nearer it is to the one end and the other."""
    for number in range(n):
        sampler.offer(
            f"d.{number}", 1.7e9, encoded(float(number), 2.0), prediction_of(1.0, number / n), lambda row: row[0]
        )


def test_rows_chosen_for_what_they_are_are_the_least_certain_and_the_most_novel_and_the_rest_is_at_random():
    sampler = sampler_of(background=2, share=0.5)
    sampler.ask(AskLabels("ask-1", 20, uncertain_share=0.5))
    offer_known(sampler, 100)
    samples = close(sampler)
    by_reason = {
        reason: numbers_of([s for s in samples if s.reason == reason])
        for reason in ("background", "uncertain", "novel", "asked")
    }
    left = [n for n in range(100) if n not in by_reason["background"]]
    assert by_reason["uncertain"] == set(left[:5])
    assert by_reason["novel"] == set(left[-5:])
    assert len(by_reason["asked"]) == 10
    assert len(numbers_of(samples)) == 22


def test_a_row_that_is_unsure_and_novel_is_sent_once():
    sampler = sampler_of(background=0, share=1.0)
    sampler.ask(AskLabels("a", 8, uncertain_share=1.0))
    for number in range(50):
        sure = number / 50
        sampler.offer(f"d.{number}", 1.7e9, encoded(1.0 - sure, 2.0), prediction_of(1.0, sure), lambda row: row[0])
    samples = close(sampler)
    assert numbers_of([s for s in samples if s.reason == "uncertain"]) == set(range(4))
    assert numbers_of([s for s in samples if s.reason == "novel"]) == set(range(4, 8))
    assert len(samples) == 8


def test_nobody_is_asked_how_novel_a_row_is_unless_rows_are_to_be_chosen_for_it():
    sampler = sampler_of(background=2, share=1.0)
    sampler.ask(AskLabels("at random", 4))
    looked: list[int] = []
    sampler.offer_many(
        30,
        lambda index: Candidate(f"d.{index}", 1.7e9, (1.0,), 1.0, 0.5, agrees=True),
        lambda _index: 0.5,
        lambda index: looked.append(index) or 1.0,  # type: ignore[func-returns-value]
    )
    assert not looked
    assert len(close(sampler)) == 6
