"""The scoring loop: read, score, report, update."""

import contextlib
import itertools
import json
import logging
import random
import threading
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.messages import AskLabels, BundleRef, ScoreRow
from broker.topics import DeviceId
from edge_agent.agent import MAX_HOLD_S, ORDER, ScoringLoop
from edge_agent.bundle import Inputs
from edge_agent.engine.loading import load_row_engine
from edge_agent.errors import RowError, SourceError
from edge_agent.handover import Answer, ClosedWindow, Handover
from edge_agent.scoring.row_block import BlockScorer
from edge_agent.scoring.runtime import Bound, Runtime
from edge_agent.scoring.schema import RawRow
from edge_agent.scoring.scorer import Prediction, Scorer
from edge_agent.sensing.json_lines_sink import JsonLinesSink
from edge_agent.sensing.sink import Sink
from edge_agent.sensing.source import SourceRow, take_ready
from edge_agent.tally import COUNTING
from edge_agent.telemetry.sampler import Sampler
from edge_agent.turn import MAX_ADDED_S
from edge_agent.update.engine import Engine, TrialMeter
from edge_agent.update.record import Content
from tests.unit.edge_agent.examples import ManualClock, classification_manifest, softmax
from tests.waiting import wait_until

GOOD = ("1.0", "2.0")


class ListedRows:
    """A source of rows from a list; `stop` is called when it is empty."""

    def __init__(self, rows: Sequence[RawRow], cursor: int = 0) -> None:
        self.rows = list(enumerate(rows))[cursor:]
        self.is_closed = False
        self.before_row: dict[int, threading.Event] = {}

    @property
    def at_end(self) -> bool:
        return not self.rows

    def next_row(self, timeout_s: float) -> SourceRow | None:
        if not self.rows:
            return None
        number, values = self.rows[0]
        gate = self.before_row.get(number)
        if gate is not None and not gate.wait(timeout_s):
            return None
        del self.rows[0]
        return SourceRow(number, values)

    def ready_rows(self, limit: int) -> list[SourceRow]:
        return take_ready(self, limit)

    def close(self) -> None:
        self.is_closed = True


class PlainRuntime:
    """The example model in plain Python; with an error it raises.

    Attributes:
        binds: whether it can be bound to a block of rows.
        calls: how many rows each call scored.
    """

    binds = False

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.calls: list[int] = []

    def bind(self, capacity: int) -> Bound | None:
        if not self.binds:
            return None
        rows, answers = array("f", bytes(8 * capacity)), array("f", bytes(8 * capacity))
        entry, answer = array("f", bytes(8)), array("f", bytes(8))

        def run() -> None:
            self.calls.append(1)
            answer[:] = array("f", self.score(entry))

        def run_many(n: int) -> None:
            self.calls.append(n)
            for at in range(0, 2 * n, 2):
                answers[at : at + 2] = array("f", self.score(rows[at : at + 2]))

        return Bound(rows, answers, entry, answer, run, (), run_many, ())

    def score(self, row: Sequence[float]) -> list[float]:
        if self.error is not None:
            raise self.error
        return softmax(list(row))

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        return [self.score(row) for row in rows]

    def close(self) -> None:
        return


class ListSink:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.lost = 0
        self.has_room = True
        self.answers: list[tuple[str, int, str]] = []
        self.refused: list[tuple[int, str]] = []
        self.abstained: list[bool] = []

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        assert at_utc_s > 0
        assert prediction.label is not None
        self.answers.append((prediction_id, row, str(bundle)))
        self.abstained.append(prediction.abstained)

    def refuse(self, row: int, error: RowError) -> None:
        self.refused.append((row, error.kind))

    def flush(self) -> None:
        return

    def close(self) -> None:
        return


def engine(
    version: int = 3, runtime: Runtime | None = None, meter: TrialMeter | None = None, **changes: object
) -> Engine:
    manifest = classification_manifest(version=version, **changes)
    content = Content(manifest.ref, "onnx-fp32", "0" * 64)
    return Engine("a", content, manifest, Scorer(manifest, runtime or PlainRuntime()), meter)


class Bench:
    """A loop with everything around it."""

    def __init__(
        self,
        rows: Sequence[RawRow],
        first: Engine | None,
        *,
        max_windows: int = 64,
        stop_at_end: bool = True,
        sink: Sink | None = None,
        max_batch_rows: int = 64,
        abstain_below: float = 0.0,
    ) -> None:
        self.clock = ManualClock()
        self.handover = Handover(max_windows)
        self.sink: Any = sink or ListSink()
        self.opened: list[tuple[tuple[str, ...], int]] = []
        self.rows = rows
        self.source = ListedRows(rows)
        self.loop = ScoringLoop(
            DeviceId("dev"),
            open_source=self._open,
            sink=self.sink,
            sampler=Sampler(random.Random(1), 1, 0.5),
            handover=self.handover,
            clock=self.clock,
            max_window_s=60.0,
            stop_at_end=stop_at_end,
            engine=first,
            cursor=0,
            max_batch_rows=max_batch_rows,
            abstain_below=abstain_below,
        )
        self.thread = threading.Thread(target=self.loop.run)

    def _open(self, inputs: Inputs, cursor: int) -> ListedRows:
        self.opened.append((inputs.features, cursor))
        if cursor:
            self.source = ListedRows(self.rows, cursor)
        return self.source

    def windows(self) -> list[ClosedWindow]:
        return [item for item in self.handover.take(0.0) if isinstance(item, ClosedWindow)]


@pytest.fixture(params=["one by one", "in blocks"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test runs both ways, where there is an engine for blocks."""
    if request.param == "in blocks" and load_row_engine() is None:
        pytest.skip("there is no native engine here")
    monkeypatch.setattr(PlainRuntime, "binds", request.param == "in blocks")
    return str(request.param)


@pytest.fixture
def running() -> Iterator[list[Bench]]:
    """Benches whose loops run in a thread are stopped at the end."""
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.loop.stop()
        bench.thread.join(5.0)
        assert not bench.thread.is_alive()


def test_windows_close_at_the_manifest_s_rows_and_at_the_end():
    bench = Bench([GOOD] * 25, engine())
    bench.loop.run()
    closed = bench.windows()
    assert [(c.window.first_row, c.window.last_row, c.cursor) for c in closed] == [
        (0, 9, 10),
        (10, 19, 20),
        (20, 24, 25),
    ]
    assert sum(c.window.rows_scored for c in closed) == 25
    assert [answer[0] for answer in bench.sink.answers] == [f"dev.{n}" for n in range(25)]
    assert bench.source.is_closed


def test_refused_rows_are_counted_by_kind_and_scoring_goes_on():
    rows = [GOOD, ("1.0",), ("x", "2"), ("1", "999"), ("5", "2"), GOOD]
    bench = Bench(rows, engine())
    bench.loop.run()
    (closed,) = bench.windows()
    assert closed.window.rows_scored == 3
    assert dict(closed.window.rows_refused) == {"wrong_length": 1, "not_a_number": 1, "out_of_range": 1}
    assert closed.cursor == 6
    assert bench.sink.refused == [(1, "wrong_length"), (2, "not_a_number"), (3, "out_of_range")]


def test_a_surprise_in_the_runtime_is_counted_and_scoring_goes_on():
    bench = Bench([GOOD] * 3, engine(runtime=PlainRuntime(ZeroDivisionError("surprise"))))
    bench.loop.run()
    (closed,) = bench.windows()
    assert dict(closed.window.rows_refused) == {"runtime": 3}


class FailingSink(ListSink):
    """A sink with a mistake in it, for some rows."""

    def write(self, prediction_id: str, row: int, at_utc_s: float, bundle: BundleRef, prediction: Prediction) -> None:
        if row % 2:
            raise IndexError("a mistake")
        super().write(prediction_id, row, at_utc_s, bundle, prediction)


def test_a_surprise_behind_the_score_is_counted_and_told_once_and_scoring_goes_on(caplog: pytest.LogCaptureFixture):
    meter = TrialMeter(6)
    bench = Bench([GOOD] * 6, engine(meter=meter), sink=FailingSink())
    bench.loop.run()
    (closed,) = bench.windows()
    assert closed.window.rows_scored == 6
    assert dict(closed.window.errors) == {COUNTING: 3}
    assert closed.cursor == 6
    assert [row for _, row, _ in bench.sink.answers] == [0, 2, 4]
    assert (meter.rows, meter.errors) == (3, 3)
    assert [bool(record.exc_info) for record in caplog.records] == [True]


def test_surprises_are_told_once_for_each_type_and_place(caplog: pytest.LogCaptureFixture):
    runtime = PlainRuntime(ZeroDivisionError("surprise"))
    caplog.set_level(logging.DEBUG, "edge_agent.agent")
    Bench([GOOD] * 100, engine(runtime=runtime)).loop.run()
    assert [bool(record.exc_info) for record in caplog.records] == [True] + [False] * 99
    assert {record.levelno for record in caplog.records[1:]} == {logging.DEBUG}


def test_a_row_scored_on_demand_that_brings_a_surprise_is_answered_and_counted():
    bench = Bench([GOOD] * 3, engine(runtime=PlainRuntime(ZeroDivisionError("surprise"))))
    bench.loop.ask("c", ScoreRow((1.0, 2.0)))
    bench.loop.run()
    answer, closed = bench.handover.take(0.0)
    assert isinstance(answer, Answer)
    assert isinstance(closed, ClosedWindow)
    assert not answer.accepted
    assert "ZeroDivisionError" in answer.reason
    assert dict(closed.window.errors) == {ORDER: 1}
    assert closed.cursor == 3


def test_a_signal_s_handler_may_stop_the_loop_whatever_lock_its_thread_holds():
    bench = Bench([GOOD] * 3, engine())
    locks = [vars(each)["_cond"] for each in vars(bench.loop).values() if isinstance(each, threading.Event)]
    with contextlib.ExitStack() as held:
        for lock in locks:
            held.enter_context(lock)
        # As by its first and its second signal.
        handler = threading.Thread(target=lambda: [act() for act in (bench.loop.stop,) * 2], daemon=True)
        handler.start()
        handler.join(5.0)
        assert not handler.is_alive()
    bench.loop.run()
    assert bench.sink.answers == []
    assert bench.loop.wait_for_stop(60.0)


def test_a_window_ends_when_it_is_old_even_with_few_rows(running: list[Bench]):
    bench = Bench([GOOD] * 4, engine(), stop_at_end=False)
    bench.source.before_row[3] = threading.Event()
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: len(bench.sink.answers) == 3)
    assert bench.handover.is_empty
    bench.clock.advance(61.0)
    wait_until(lambda: not bench.handover.is_empty)
    assert bench.windows()[0].cursor == 3
    bench.source.before_row[3].set()


def test_while_nothing_takes_windows_the_open_one_grows_and_no_row_is_lost():
    bench = Bench([GOOD] * 100, engine(), max_windows=2)
    bench.loop.run()
    closed = bench.windows()
    assert [c.window.rows_scored for c in closed] == [10, 10, 80]
    assert closed[-1].cursor == 100


def test_a_switch_happens_between_two_rows_and_ends_the_window(running: list[Bench]):
    bench = Bench([GOOD] * 50, engine(3), stop_at_end=False)
    bench.source.before_row[25] = threading.Event()
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: len(bench.sink.answers) == 25)
    new = engine(4)
    bench.loop.offer(new)
    wait_until(lambda: bench.loop.engine is new)
    bench.source.before_row[25].set()
    wait_until(lambda: len(bench.sink.answers) == 50)
    closed = bench.windows()
    assert [(c.window.bundle.version, c.window.first_row, c.window.last_row) for c in closed[:4]] == [
        (3, 0, 9),
        (3, 10, 19),
        (3, 20, 24),
        (4, 25, 34),
    ]
    assert [row for _, row, _ in bench.sink.answers] == list(range(50))
    assert len(bench.opened) == 1


class OfferingRows(ListedRows):
    """A source that has a bundle offered when it is asked for a row; it gives one row at a time."""

    def __init__(self, rows: Sequence[RawRow], offers: dict[int, Engine]) -> None:
        super().__init__(rows)
        self.offers = offers
        self.loop: ScoringLoop | None = None

    def ready_rows(self, limit: int) -> list[SourceRow]:
        del limit
        row = self.next_row(0.0)
        if row is not None and self.loop is not None and row.number in self.offers:
            self.loop.offer(self.offers[row.number])
        return [row] if row is not None else []


def switching(first: Engine, offers: dict[int, Engine]) -> Bench:
    """A loop that has taken 30 rows, with these bundles offered while it scores the rows of these numbers."""
    bench = Bench([GOOD] * 30, first)
    bench.source = source = OfferingRows([GOOD] * 30, offers)
    source.loop = bench.loop
    bench.loop.run()
    return bench


def test_a_bundle_that_comes_back_before_its_window_was_read_begins_a_new_one():
    one, other = engine(3), engine(4)
    closed = switching(one, {3: other, 7: one, 8: other}).windows()
    assert [(c.window.bundle.version, c.window.first_row, c.window.last_row) for c in closed[:4]] == [
        (3, 0, 3),
        (4, 4, 7),
        (3, 8, 8),
        (4, 9, 18),
    ]
    assert [sum(c.window.predictions) for c in closed[:4]] == [4, 4, 1, 10]
    assert [sum(n for _, n in c.window.latency) for c in closed[:4]] == [4, 4, 1, 10]
    assert [c.cursor for c in closed[:4]] == [4, 8, 9, 19]


def test_offering_what_scores_already_changes_nothing():
    first = engine()
    bench = switching(first, {3: first, 12: first})
    closed = bench.windows()
    assert [(c.window.rows_scored, sum(c.window.predictions)) for c in closed] == [(10, 10)] * 3
    assert bench.opened == [(("temperature", "wind"), 0)]


def test_a_bundle_that_is_taken_over_at_once_leaves_no_window():
    one, other = engine(3), engine(4)
    bench = Bench([GOOD] * 5, one)
    bench.loop.offer(other)
    bench.loop.offer(one)
    bench.loop.run()
    assert [(c.window.bundle.version, c.window.rows_scored) for c in bench.windows()] == [(3, 5)]


def test_a_window_says_when_its_bundle_took_over_not_when_that_was_offered():
    bench = Bench([GOOD] * 5, engine())
    bench.clock.advance(7.0)
    begun_utc_s = bench.clock.utc_s()
    bench.loop.run()
    assert bench.windows()[0].window.started_utc_s == begun_utc_s


def test_a_bundle_with_other_features_has_the_source_opened_anew_where_it_was(running: list[Bench]):
    bench = Bench([GOOD] * 50, engine(3), stop_at_end=False)
    bench.source.before_row[25] = threading.Event()
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: len(bench.sink.answers) == 25)
    features = tuple(reversed(classification_manifest().features))
    new = engine(4, features=features)
    first_source = bench.source
    bench.loop.offer(new)
    wait_until(lambda: bench.loop.engine is new)
    wait_until(lambda: len(bench.sink.answers) == 50)
    assert bench.opened == [(("temperature", "wind"), 0), (("wind", "temperature"), 25)]
    assert first_source.is_closed
    assert [row for _, row, _ in bench.sink.answers] == list(range(50))


def test_without_a_bundle_nothing_is_read_until_one_is_offered(running: list[Bench]):
    bench = Bench([GOOD] * 5, None, stop_at_end=False)
    running.append(bench)
    bench.thread.start()
    bench.loop.ask("c", ScoreRow((1.0, 2.0)))
    wait_until(lambda: not bench.handover.is_empty)
    (answer,) = bench.handover.take(0.0)
    assert isinstance(answer, Answer)
    assert not answer.accepted
    assert bench.opened == []
    bench.loop.offer(engine())
    wait_until(lambda: len(bench.sink.answers) == 5)


def test_when_the_last_bundle_is_taken_away_rows_wait(running: list[Bench]):
    bench = Bench([GOOD] * 50, engine(), stop_at_end=False)
    bench.source.before_row[5] = threading.Event()
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: len(bench.sink.answers) == 5)
    bench.loop.offer(None)
    wait_until(lambda: bench.loop.engine is None)
    bench.source.before_row[5].set()
    assert [c.cursor for c in bench.windows()] == [5]
    assert len(bench.sink.answers) == 5


def test_the_meter_of_a_trial_counts_rows_errors_and_refusals():
    meter = TrialMeter(3)
    bench = Bench([GOOD, ("1",), GOOD], engine(meter=meter))
    bench.loop.run()
    assert (meter.rows, meter.errors, meter.refused) == (2, 0, 1)
    assert meter.evidence(0, 1.0).median_latency_us == 0.0
    failing = TrialMeter(3)
    Bench([GOOD], engine(runtime=PlainRuntime(ValueError("no")), meter=failing)).loop.run()
    assert (failing.rows, failing.errors) == (0, 1)


def test_asked_rows_leave_with_their_window_and_the_ask_is_durable_before_it_is_answered(running: list[Bench]):
    bench = Bench([GOOD] * 40, engine(), stop_at_end=False)
    bench.source.before_row[0] = threading.Event()
    running.append(bench)
    bench.thread.start()
    bench.loop.ask("c1", AskLabels("ask", 3))
    wait_until(lambda: not bench.handover.is_empty)
    (answer,) = bench.handover.take(0.0)
    assert isinstance(answer, Answer)
    assert answer.accepted
    assert answer.sampler_state is not None
    bench.source.before_row[0].set()
    wait_until(lambda: len(bench.sink.answers) == 40)
    rows = list(itertools.chain(*(s.rows for c in bench.windows() for s in c.samples)))
    assert sum(row.ask_id == "ask" for row in rows) == 3


def test_an_ask_is_answered_by_the_row_that_is_least_like_training_too():
    rare = ("1.0", "6.0")
    bench = Bench([GOOD] * 4 + [rare] + [GOOD] * 5, engine())
    bench.loop.ask("c1", AskLabels("ask", 4, uncertain_share=1.0))
    bench.loop.run()
    rows = list(itertools.chain(*(s.rows for c in bench.windows() for s in c.samples)))
    novel = [row.features for row in rows if row.reason == "novel"]
    assert len(novel) == 2
    assert novel[0] == (1.0, 6.0)


def test_a_row_scored_on_demand_is_not_counted():
    bench = Bench([], engine())
    bench.loop.ask("c", ScoreRow((1.0, 2.0)))
    bench.loop.ask("d", ScoreRow((1.0,)))
    bench.loop.run()
    good, bad = bench.handover.take(0.0)
    assert isinstance(good, Answer)
    assert isinstance(bad, Answer)
    assert good.scores == pytest.approx(softmax([1.0, 2.0]))
    assert not bad.accepted
    assert bad.reason.startswith("wrong_length")


def test_at_the_end_of_the_source_the_agent_waits_for_orders(running: list[Bench]):
    bench = Bench([GOOD] * 12, engine(), stop_at_end=False)
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: len(bench.sink.answers) == 12)
    seen: list[ClosedWindow] = []

    def has_last_window() -> bool:
        seen.extend(bench.windows())
        return len(seen) == 2

    wait_until(has_last_window, what="the last window is handed over")
    new = engine(4)
    bench.loop.offer(new)
    wait_until(lambda: bench.loop.engine is new)
    assert bench.thread.is_alive()


def test_a_source_that_breaks_ends_the_loop_with_its_window_handed_over(tmp_path: Path):
    class Breaking(ListedRows):
        def next_row(self, timeout_s: float) -> SourceRow | None:
            if len(self.rows) == 2:
                raise SourceError(f"{tmp_path}: gone")
            return super().next_row(timeout_s)

    bench = Bench([GOOD] * 5, engine())
    bench.source = Breaking([GOOD] * 5)
    with pytest.raises(SourceError, match="gone"):
        bench.loop.run()
    assert [c.cursor for c in bench.windows()] == [3]
    assert bench.source.is_closed


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_answers_in_a_file_are_in_the_order_of_their_rows_each_once_refused_ones_left_out(tmp_path: Path):
    rows: list[RawRow] = [GOOD, ("1.0",), (None, "1.0"), (" 3 ", "2.0"), ("x", "2"), (-51.0, 1)]
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    bench = Bench(rows, engine(), sink=sink)
    bench.loop.run()
    sink.close()
    answered = lines_of(tmp_path / "answers.jsonl")
    (closed,) = bench.windows()
    assert [line["row"] for line in answered] == [0, 3, 5]
    assert [line["id"] for line in answered] == ["dev.0", "dev.3", "dev.5"]
    assert answered[0] == {
        "id": "dev.0", "row": 0, "at": bench.clock.utc_s(), "bundle": "rain/3", "label": "rain", "confidence": 0.982014,
    }  # fmt: skip
    assert closed.window.rows_scored == 3
    assert closed.window.features[0].out_of_range == 1


def test_answers_of_less_confidence_than_asked_for_abstain(tmp_path: Path):
    sink = JsonLinesSink(tmp_path / "answers.jsonl")
    bench = Bench([("0.0", "0.5"), GOOD], engine(), sink=sink, abstain_below=0.9)
    bench.loop.run()
    sink.close()
    unsure, sure = lines_of(tmp_path / "answers.jsonl")
    assert (unsure["label"], unsure["abstained"]) == (None, True)
    assert 0.5 < float(str(unsure["confidence"])) < 0.9
    assert sure["label"] == "rain"
    assert "abstained" not in sure
    # The window counts them as ever: how sure answers were is in its agreement.
    assert bench.windows()[0].window.rows_scored == 2


def test_a_sink_of_predictions_is_told_that_they_abstain():
    bench = Bench([("0.0", "0.5"), GOOD], engine(), abstain_below=0.9)
    bench.loop.run()
    assert bench.sink.abstained == [True, False]


def test_sinks_hear_of_refused_rows():
    bench = Bench([GOOD, ("1.0",), ("x", "2")], engine())
    bench.loop.run()
    assert bench.sink.refused == [(1, "wrong_length"), (2, "not_a_number")]


def test_rows_that_wait_are_scored_together_but_on_trial_or_where_that_is_forbidden(way: str):
    runtimes = [PlainRuntime() for _ in range(3)]
    Bench([GOOD] * 25, engine(runtime=runtimes[0])).loop.run()
    Bench([GOOD] * 25, engine(runtime=runtimes[1], meter=TrialMeter(20))).loop.run()
    Bench([GOOD] * 25, engine(runtime=runtimes[2]), max_batch_rows=1).loop.run()
    if way == "in blocks":
        assert [runtime.calls for runtime in runtimes] == [[1, 9, 10, 5], [1] * 25, [1] * 25]
    else:
        assert [runtime.calls for runtime in runtimes] == [[], [], []]


def test_no_row_waits_long_for_others_that_are_scored_with_it():
    class Slow(PlainRuntime):
        def score(self, row: Sequence[float]) -> list[float]:
            bench.clock.advance(0.004)
            return super().score(row)

    bench = Bench([GOOD] * 40, engine(runtime=Slow(), window_rows=40))
    taken: list[int] = []
    ready = bench.source.ready_rows

    def ready_rows(limit: int) -> list[SourceRow]:
        rows = ready(limit)
        taken.append(len(rows))
        return rows

    bench.source.ready_rows = ready_rows  # type: ignore[method-assign]
    bench.loop.run()
    assert max(taken) * 0.004 <= MAX_ADDED_S
    assert taken[0] == 1
    assert sum(taken) == 40


def test_a_block_that_breaks_is_scored_one_by_one(way: str, caplog: pytest.LogCaptureFixture):
    if way == "one by one":
        pytest.skip("there is no block")
    first = engine()
    block = first.scorer.block
    assert block is not None
    broken = engine()
    # What is no list of rows is a mistake that no row brings about.
    broken.scorer.block = BlockScorer(block._bound, block.block, None, 64)  # type: ignore[arg-type]
    bench = Bench([GOOD, ("1.0",), GOOD], broken)
    bench.loop.run()
    (closed,) = bench.windows()
    assert (closed.window.rows_scored, dict(closed.window.rows_refused), closed.cursor) == (2, {"wrong_length": 1}, 3)
    assert [row for _, row, _ in bench.sink.answers] == [0, 2]
    assert [record.exc_info is not None for record in caplog.records] == [True]


def test_the_meter_of_a_trial_has_a_latency_for_every_row_of_a_block():
    class Slow(PlainRuntime):
        def score(self, row: Sequence[float]) -> list[float]:
            bench.clock.advance(0.001)
            return super().score(row)

    meter = TrialMeter(10)
    bench = Bench([GOOD] * 10, engine(runtime=Slow(), meter=meter))
    bench.loop.run()
    assert meter.rows == 10
    assert meter.evidence(0, 1.0).median_latency_us == pytest.approx(1000.0, rel=1e-6)
    assert sum(count for _, count in bench.windows()[0].window.latency) == 10


def test_while_answers_find_no_room_no_row_is_read_and_then_every_one(running: list[Bench]):
    sink = ListSink()
    sink.has_room = False
    bench = Bench([GOOD] * 20, engine(), sink=sink)
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: bench.loop.rounds > 3, what="it goes round")
    assert sink.answers == []
    assert not bench.handover.is_empty, "housekeeping is told to take answers"
    sink.has_room = True
    bench.thread.join(5.0)
    assert len(sink.answers) == 20


def test_who_takes_no_answers_at_all_does_not_stop_scoring(running: list[Bench]):
    sink = ListSink()
    sink.has_room = False
    bench = Bench([GOOD] * 20, engine(), sink=sink)
    running.append(bench)
    bench.thread.start()
    wait_until(lambda: bench.loop.rounds > 1, what="it waits")
    bench.clock.advance(MAX_HOLD_S + 0.1)
    bench.thread.join(5.0)
    assert len(sink.answers) == 20
