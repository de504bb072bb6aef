"""What a service scored becomes windows and samples by a device's rules, row by row the same."""

import random
from dataclasses import dataclass

import numpy as np
import pytest

from broker.messages import AskLabels, ScoreRow, TelemetryWindow
from edge_agent.clock import SystemClock
from edge_agent.errors import RowError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.telemetry.sampler import Sampler
from edge_agent.telemetry.window import WindowBuilder
from tests.bundles import FEATURES
from tests.serving import Shelf
from trainer.serving.feedback.counting import UNCOUNTED, Counting
from trainer.serving.feedback.scored import ScoredRows
from trainer.serving.inference import Rows
from trainer.serving.model import ServedModel, open_model


@dataclass
class Bench:
    """A counting whose rows come from a test; what it handed over is read once it has ended."""

    counting: Counting
    handover: Handover
    numbers: int = 0

    def score(self, model: ServedModel, rows) -> ScoredRows:
        ids = [f"one.{self.numbers + place}" for place in range(len(rows))]
        self.numbers += len(rows)
        scored = Rows(rows, None, ids)
        return ScoredRows(model.manifest, model.variant.name, rows, ids, scored.score(model.inline), 7.0)

    def ended(self):
        assert self.counting.stop(30)
        items = self.handover.take(0.0)
        return (
            [item for item in items if isinstance(item, ClosedWindow)],
            [item for item in items if isinstance(item, Answer)],
        )

    def windows(self) -> list[TelemetryWindow]:
        return [closed.window for closed in self.ended()[0]]


@pytest.fixture
def bench():
    def make(**how):
        handover = Handover()
        sampler = Sampler(random.Random(1), how.pop("background_rows", 5), 1.0)
        counting = Counting(sampler, handover, SystemClock(), **({"cursor": 0, "max_window_s": 600.0} | how))
        return Bench(counting, handover)

    return make


@pytest.fixture(scope="module")
def models(bundles):
    opened = {version: open_model(Shelf(bundles[version]).current(), 1, SystemClock()) for version in (1, 2, "gaps")}
    yield opened
    for model in opened.values():
        model.retire()


def rows_of(n, seed=3):
    return np.random.default_rng(seed).normal(size=(n, len(FEATURES))).tolist()


def test_windows_are_those_of_a_device_that_scores_the_same_rows(bench, models):
    """The device's own counter is the oracle; the bundle says ten rows a window."""
    model, rows = models[1], rows_of(25)
    rows[3] = [1.0, None, 1.0]
    made = bench(cursor=100)
    for at in (0, 7, 8):
        end = {0: 7, 7: 8, 8: 25}[at]
        made.counting.count(made.score(model, rows[at:end]))
    made.counting.start()
    found = made.windows()
    device = WindowBuilder(model.manifest, model.variant.name, 0.0)
    expected = []
    for number, row in enumerate(rows, 100):
        try:
            prediction = model.inline.score(row)
        except RowError as error:
            device.refuse(number, error)
        else:
            device.count(number, model.inline.row, prediction, 7.0)
        if device.is_full:
            expected.append(device.close(1.0))
    expected.append(device.close(1.0))
    assert [(w.first_row, w.last_row) for w in found] == [(100, 109), (110, 119), (120, 124)]
    for one, other in zip(found, expected, strict=True):
        for name in ("bundle", "variant", "first_row", "rows_scored", "rows_refused", "features", "predictions"):
            assert getattr(one, name) == getattr(other, name)
        assert (one.agreement, one.latency) == (other.agreement, other.latency)


def test_no_window_mixes_two_bundles_and_rows_that_were_under_way_go_to_their_own(bench, models):
    made = bench()
    made.counting.start()
    made.counting.count(made.score(models[1], rows_of(3)))
    under_way = made.score(models[1], rows_of(2))
    made.counting.take_over(models[2].manifest, models[2].variant.name)
    assert made.counting.bundle == models[2].manifest.ref
    made.counting.count(made.score(models[2], rows_of(4)))
    made.counting.count(under_way)
    found = made.windows()
    assert [(w.bundle.version, w.first_row, w.last_row, w.rows_scored) for w in found] == [
        (1, 0, 2, 3),
        (2, 3, 6, 4),
        (1, 7, 8, 2),
    ]


def test_a_take_over_ends_the_window_though_no_row_comes_after_it(bench, models):
    made = bench()
    made.counting.start()
    made.counting.count(made.score(models[1], rows_of(3)))
    made.counting.take_over(models[2].manifest, models[2].variant.name)
    (closed,) = made.handover.take(30)
    assert closed.window.rows_scored == 3
    assert made.windows() == []


def test_a_window_of_few_rows_ends_at_its_age(bench, models):
    made = bench(max_window_s=0.05)
    made.counting.start()
    made.counting.count(made.score(models[1], rows_of(3)))
    (closed,) = made.handover.take(30)
    assert (closed.window.rows_scored, closed.cursor) == (3, 3)
    assert made.windows() == []


def test_labels_that_are_asked_for_come_as_samples_with_their_ids(bench, models):
    made = bench(background_rows=0)
    made.counting.ask("command-1", AskLabels("ask-1", 4, 1 << 16, 0.5))
    made.counting.count(made.score(models[1], rows_of(10)))
    made.counting.start()
    windows, (answer,) = made.ended()
    samples = [sample for closed in windows for record in closed.samples for sample in record.rows]
    assert (answer.command_id, answer.accepted) == ("command-1", True)
    assert {sample.ask_id for sample in samples} == {"ask-1"}
    assert len(samples) == 4
    rows = dict(zip([f"one.{number}" for number in range(10)], rows_of(10), strict=True))
    for sample in samples:
        np.testing.assert_allclose(sample.features, rows[sample.prediction_id])


def test_a_row_that_is_ordered_is_scored_by_whoever_answers(bench):
    made = bench()

    def score(row):
        if row[0] is None:
            raise RowError("missing", "no a", 0)
        return (0.25, 0.75)

    made.counting.ask("early", ScoreRow((1.0,)))
    made.counting.start()
    (early,) = made.handover.take(30)
    made.counting.score_by(score)
    made.counting.ask("good", ScoreRow((1.0,)))
    made.counting.ask("bad", ScoreRow((None,)))
    _, answers = made.ended()
    assert (early.accepted, early.reason) == (False, "the service does not answer yet")
    assert [(answer.accepted, answer.scores, answer.reason) for answer in answers] == [
        (True, (0.25, 0.75), ""),
        (False, (), "missing: no a"),
    ]


def test_rows_beyond_what_may_wait_are_told_and_the_others_counted(bench, models, caplog):
    made = bench(max_waiting=5)
    for _ in range(3):
        made.counting.count(made.score(models[1], rows_of(2)))
    made.counting.start()
    (window,) = made.windows()
    assert (window.rows_scored, window.errors, made.counting.uncounted) == (4, ((UNCOUNTED, 1),), 2)
    assert "2 rows so far were answered and not counted" in caplog.text


def test_what_nobody_foresaw_is_counted_and_counting_goes_on(bench, models, caplog):
    made = bench()
    good = made.score(models[1], rows_of(2))
    broken = ScoredRows(good.manifest, good.variant, [("x",)], ["one.9"], [good.outcomes[0]], 1.0)
    for scored in (good, broken, good):
        made.counting.count(scored)
    made.counting.start()
    (window,) = made.windows()
    assert (window.rows_scored, window.errors) == (4, (("counting", 1),))
    assert "counting what was scored" in caplog.text
