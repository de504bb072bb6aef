"""A block of rows takes nothing that does not fit it, and nothing that Python does to it breaks it."""

import gc
import math
import random
import sys
from array import array
from typing import Any

import pytest

from edge_agent.bundle import LinearModel
from edge_agent.engine.face import COUNTED, NOT_TAKEN, SCORED, TAKEN, RowBlock
from edge_agent.engine.loading import load_row_engine
from edge_agent.scoring.second_model import SecondModel
from edge_agent.sensing.source import SourceRow
from edge_agent.telemetry.sketches import bucket_of
from tests.resident import resident_kib

engine = load_row_engine()
pytestmark = pytest.mark.skipif(engine is None, reason="there is no native engine here")

CAPACITY = 4


def parts(**changes: Any) -> list[Any]:
    """Two features (a number, a category) and two labels."""
    usual: dict[str, Any] = {
        "capacity": CAPACITY,
        "n_outputs": 2,
        "n_agreement": 20,
        "is_classification": 1,
        "categories": (None, {"a": 0.0, "b": 1.0}),
        "flags": bytes((0, 1)),
        "limits": array("d", (-10, 10, -3e38, 3e38)),
        "starts": array("I", (0, 2, 3)),
        "edges": array("d", (0.0, 1.0, 0.5)),
        "output_edges": array("d"),
        "disagreement_edges": array("d"),
        "means": array("d", (0.0, 0.0)),
        "slopes": array("d", (1.0, -1.0, 0.0, 0.0)),
        "intercepts": array("d", (0.0, 0.0)),
        "rows": bytearray(8 * CAPACITY),
        "answers": bytearray(8 * CAPACITY),
        "entry": bytearray(8),
        "exit": bytearray(8),
    }
    return list((usual | changes).values())


def block_of(**changes: Any) -> RowBlock:
    assert engine is not None
    return engine.rows(*parts(**changes))


def rows(*values: Any) -> list[SourceRow]:
    return [SourceRow(number, row) for number, row in enumerate(values)]


@pytest.mark.parametrize(
    "change",
    [
        {"capacity": 0},
        {"capacity": 5},
        {"n_outputs": 0},
        {"n_outputs": 3},
        {"n_agreement": 19},
        {"is_classification": 0},
        {"categories": (None,)},
        {"flags": b""},
        {"flags": b"\0"},
        {"limits": array("d", (0, 1))},
        {"starts": array("I", (0, 2))},
        {"starts": array("I", (1, 2, 3))},
        {"starts": array("I", (0, 4, 3))},
        {"starts": array("I", (0, 2, 4_000_000_000))},
        {"edges": array("d", (0.0,))},
        {"means": array("d", (0.0,))},
        {"slopes": array("d", (0.0,))},
        {"intercepts": array("d", (0.0,))},
        {"rows": bytearray(8)},
        {"answers": bytearray(8)},
        {"entry": bytearray(4)},
        {"exit": bytearray(4)},
        {"capacity": 1 << 21},
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(change: dict[str, Any]):
    with pytest.raises(ValueError, match=r"rows\(\.\.\.\)"):
        block_of(**change)


@pytest.mark.parametrize("change", [{"rows": bytes(32)}, {"answers": bytes(32)}, {"entry": bytes(8)}])
def test_what_will_be_written_must_be_writable(change: dict[str, Any]):
    with pytest.raises((BufferError, TypeError)):
        block_of(**change)


def test_a_wrong_number_of_parts_is_refused():
    assert engine is not None
    with pytest.raises(TypeError):
        engine.rows(*parts()[:-1])
    with pytest.raises(TypeError):
        engine.rows(*parts(categories=[None, {}]))


def test_places_beyond_the_block_and_what_is_no_list_of_rows_are_refused():
    block = block_of()
    good = rows(*[(1.0, "a")] * CAPACITY)
    for call in (
        lambda: block.encode(good + good, 0),
        lambda: block.encode(good, -1),
        lambda: block.states(CAPACITY + 1),
        lambda: block.settle(CAPACITY + 1),
        lambda: block.scored(CAPACITY + 1, 0.0),
        lambda: block.score_each(0, CAPACITY + 1, print, (), lambda: 0.0, 0.0),
        lambda: block.answer(CAPACITY),
        lambda: block.outputs(-1),
        lambda: block.values(CAPACITY),
        lambda: block.packed(CAPACITY),
        lambda: block.put(CAPACITY, [0.0, 0.0], []),
        lambda: block.put(0, [0.0, 0.0], [2]),
    ):
        with pytest.raises(ValueError, match=r"place|feature"):
            call()
    for call in (
        lambda: block.encode(tuple(good), 0),
        lambda: block.put(0, [0.0], []),
        lambda: block.put(0, [0.0, "x"], []),  # type: ignore[list-item]
        lambda: block.lines(good, b"", b"", (b"",), 0.0),
        lambda: block.lines(good, "", b"", (b"", b""), 0.0),  # type: ignore[arg-type]
        lambda: block.states("1"),  # type: ignore[arg-type]
        lambda: block.score_each(1, 2, print, (), lambda: "now", 0.0),  # type: ignore[arg-type, return-value]
    ):
        block.encode(good, 0)
        block.scored(1, 1.0)
        block.settle(1)
        with pytest.raises(TypeError):
            call()
    with pytest.raises(AttributeError):
        block.encode([object()], 0)
    with pytest.raises(OverflowError):
        block.put(0, [1e39, 0.0], [])


def test_a_row_goes_its_way_state_by_state():
    answers, answer = memoryview(bytearray(8 * CAPACITY)), bytearray(8)
    block = block_of(answers=answers, exit=answer)
    given = rows((1.0, "a"), (1.0, "unseen"), (20.0, "b"))
    assert block.encode(given, 0) == 1
    assert block.encode(given, 2) == 3
    assert list(block.states(3)) == [TAKEN, NOT_TAKEN, TAKEN]
    told = iter([0.0, 1.0, 3.0])

    def run() -> None:
        answer[:] = array("f", (0.25, 0.75)).tobytes()

    block.score_each(0, 3, run, (), lambda: next(told), 5.0)
    assert list(block.states(3)) == [SCORED, NOT_TAKEN, SCORED]
    assert block.settle(3) == 2
    assert list(block.states(3)) == [COUNTED, NOT_TAKEN, COUNTED]
    assert block.answer(2) == (1, 1.0, 0.75, 0, 7, 0.25, 2e6 + 5.0)
    assert (block.values(2), block.outputs(2)) == ((20.0, 1.0), (0.25, 0.75))
    counts, lowest, buckets = block.counts()
    # Bins and missing of each feature, out of range, predictions, agreement.
    expected = [0, 0, 2, 0] + [1, 1, 0] + [1, 0] + [0, 2] + [0] * 7 + [2] + [0] * 12
    assert array("Q", counts).tolist() == expected
    assert sum(array("I", buckets)) == 2
    assert lowest > 0
    assert block.settle(3) == 0
    assert not any(block.counts()[0])


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("n_outputs", [1, 2, 4, 5, 10, 12, 13, 24, 33])
def test_the_second_model_says_of_any_number_of_labels_what_python_says(n_outputs: int, *, portable: bool):
    rng = random.Random(n_outputs)
    capacity, n_features = 7, 5
    second = LinearModel(
        means=tuple(rng.gauss(0, 1) for _ in range(n_features)),
        scales=(1.0,) * n_features,
        coefficients=tuple(tuple(rng.gauss(0, 1) for _ in range(n_features)) for _ in range(n_outputs)),
        intercepts=tuple(rng.gauss(0, 1) for _ in range(n_outputs)),
    )
    model = SecondModel(second)
    answers = array("f", [0.0] * capacity * n_outputs)
    block = block_of(
        capacity=capacity,
        n_outputs=n_outputs,
        categories=(None,) * n_features,
        flags=bytes(n_features),
        limits=array("d", (-9, 9) * n_features),
        starts=array("I", (0,) * (n_features + 1)),
        edges=array("d"),
        means=array("d", model.means),
        slopes=array("d", [slopes[i] for i in range(n_features) for slopes in model.slopes]),
        intercepts=array("d", model.intercepts),
        rows=bytearray(4 * n_features * capacity),
        answers=answers,
        entry=bytearray(4 * n_features),
        exit=bytearray(4 * n_outputs),
    )
    if portable:
        block.portable()
    given = [tuple(rng.choice([None, *[rng.gauss(0, 1)] * 5]) for _ in range(n_features)) for _ in range(capacity)]
    # The third is not finite, so that those beside it are others.
    for place, row in enumerate(given):
        scores = model.score([math.nan if value is None else value for value in row], has_missing=True)
        answers[place * n_outputs + scores.index(max(scores))] = 1.0
    answers[2 * n_outputs] = math.nan
    assert block.encode(rows(*given), 0) == capacity
    block.scored(capacity, 1.0)
    assert block.settle(capacity) == capacity - 1
    assert [block.answer(place)[3] for place in range(capacity) if place != 2] == [1] * (capacity - 1)


def test_numbers_are_read_where_they_lie_unless_every_python_shall_do():
    block = block_of()
    # Later versions are compared first: test_loading.py.
    assert block.knows_objects == (sys.version_info < (3, 15))
    block.portable()
    assert block.knows_objects == 0


def test_latencies_are_counted_each_in_its_bucket():
    block = block_of()
    for latency_us in (1.0, 1.0, 1000.0, 1.0):
        block.encode(rows((1.0, "a")), 0)
        block.scored(1, latency_us)
        block.settle(1)
    _, lowest, buckets = block.counts()
    found = {lowest + at: count for at, count in enumerate(array("I", buckets)) if count}
    assert found == {bucket_of(1.0): 3, bucket_of(1000.0): 1}


def test_what_was_counted_can_be_forgotten():
    block = block_of()
    block.encode(rows((1.0, "a"), (2.0, "b")), 0)
    block.scored(2, 7.0)
    assert block.settle(2) == 2
    block.forget()
    counts, _, buckets = block.counts()
    assert (any(counts), any(buckets)) == (False, False)


def test_a_row_on_which_the_runtime_fails_is_told_by_its_place_and_the_next_goes_on():
    block = block_of()
    given = rows(*[(float(number), "a") for number in range(4)])
    block.encode(given, 0)
    calls: list[int] = []

    def run() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("no")

    with pytest.raises(KeyError):
        block.score_each(0, 4, run, (), lambda: 0.0, 0.0)
    assert block.place == 1
    block.score_each(2, 4, run, (), lambda: 0.0, 0.0)
    assert list(block.states(4)) == [SCORED, TAKEN, SCORED, SCORED]


def test_rows_that_vanish_while_they_are_read_do_no_harm():
    given: list[Any] = []

    class Vanishing:
        number = 0

        @property
        def values(self) -> tuple[float, str]:
            given.clear()
            return (1.0, "a")

    given += [Vanishing(), Vanishing(), Vanishing()]
    block = block_of()
    assert block.encode(given, 0) <= 3


def test_buffers_stay_while_the_block_does_and_blocks_leave_nothing_behind():
    held = bytearray(8 * CAPACITY)
    block = block_of(rows=held)
    with pytest.raises(BufferError):
        held.extend(b"more")
    del block
    gc.collect()
    held.extend(b"more")
    good = rows(*[(1.0, "a")] * CAPACITY)

    def use() -> None:
        each = block_of()
        each.encode(good, 0)
        each.scored(4, 1.0)
        each.settle(4)
        each.lines(good, b"{", b",", (b"a", b"b"), 0.9)
        each.counts()
        each.answer(0)
        each.values(0)

    for _ in range(200):
        use()
    before = resident_kib()
    for _ in range(20_000):
        use()
    assert resident_kib() - before < 4096
