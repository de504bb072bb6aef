"""Whatever a source delivers, rows that go through the engine together come out as they do one by one in Python."""

import math
import struct
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.messages import TelemetryWindow
from edge_agent.bundle import Estimation, Feature, FeatureReference, LinearModel, Manifest
from edge_agent.engine.loading import load_row_engine
from edge_agent.errors import RowError
from edge_agent.scoring.row_block import BlockScorer
from edge_agent.scoring.runtime import Bound
from edge_agent.scoring.schema import RawRow, Unreadable
from edge_agent.scoring.scorer import Prediction, Scorer
from edge_agent.sensing.source import SourceRow
from edge_agent.telemetry.window import WindowBuilder
from tests.unit.edge_agent.examples import classification_manifest, regression_manifest

pytestmark = pytest.mark.skipif(load_row_engine() is None, reason="there is no native engine here")

BREAKS = 50.0
RULES = st.sampled_from(["flag", "refuse"])
NUMBER = st.builds(
    Feature,
    name=st.just("n"),
    valid_min=st.none() | st.floats(-100, 0) | st.just(-1e300),
    valid_max=st.none() | st.floats(0, 100) | st.just(1e300),
    on_missing=RULES,
    on_out_of_range=RULES,
)
CATEGORY = st.builds(
    Feature, name=st.just("c"), dtype=st.just("category"), categories=st.just(("a", "b", "7")), on_missing=RULES
)
TEXTS = [
    "a", "b", "7", " a", "", " ", "\t", "1e400", "nan", "-inf", "1_0", "0x1", " 3 ", "3.", ".5", ".", "-", "+1", "1e5",
    "-0", "0.1", "12345678901234567890", "0.30000000000000004", "1e-320", "٣", "1\x00", "3.4028236e38", "\ud800",
    "123456789012345", "1234567890123456", "-99.5",
]  # fmt: skip
# Most values are usual ones, on edges and beside them, or little else would be seen than refusals.
USUAL = st.integers(-20, 20).map(float)
VALUES = (
    USUAL
    | USUAL
    | USUAL
    | USUAL
    | st.integers(-20, 20)
    | st.just(math.nan)
    | st.none()
    | st.floats()
    | st.floats(-120, 120)
    | st.just(BREAKS)
    | st.integers()
    | st.booleans()
    | st.text(max_size=6)
    | st.sampled_from(TEXTS)
    | st.floats().map(repr)
    | st.decimals(allow_nan=False, allow_infinity=False).map(str)
)
# More than the engine compares one by one, too.
EDGES = st.sets(st.integers(-21, 21).map(float), max_size=40).map(sorted) | st.just([float(n) for n in range(-20, 20)])


class Echo:
    """A runtime whose answer hangs on the row and is not always finite; binds as the real ones do."""

    def __init__(self, n_features: int, n_outputs: int) -> None:
        self._n_features = n_features
        self._n_outputs = n_outputs

    def score(self, row: Sequence[float]) -> list[float]:
        try:
            # As every runtime takes it.
            row = struct.unpack(f"={len(row)}f", struct.pack(f"={len(row)}f", *row))
        except OverflowError as error:
            raise RowError("runtime", str(error)) from error
        if row[0] == BREAKS:
            raise RowError("runtime", "a row that breaks it")
        known = [value for value in row if not math.isnan(value)]
        # Quarters are the same in float32; both labels have one half now and then.
        first = (abs(round(known[0])) % 5) / 4 if known else 0.5
        if first == 0.0:
            return [math.nan] * self._n_outputs
        return [first, *[1.0 - first] * (self._n_outputs - 1)]

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        return [self.score(row) for row in rows]

    def bind(self, capacity: int) -> Bound:
        n, o = self._n_features, self._n_outputs
        rows, answers = bytearray(4 * n * capacity), bytearray(4 * o * capacity)
        entry, answer = bytearray(4 * n), bytearray(4 * o)
        row, given, taken, one = (memoryview(part).cast("f") for part in (entry, rows, answers, answer))

        def run() -> None:
            for place, number in enumerate(self.score(row.tolist())):
                one[place] = number

        def run_many(count: int) -> None:
            for at in range(count):
                for place, number in enumerate(self.score(given[at * n : (at + 1) * n].tolist())):
                    taken[at * o + place] = number

        return Bound(rows, answers, entry, answer, run, (), run_many, ())

    def close(self) -> None:
        return


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    features = tuple(draw(st.lists(NUMBER | CATEGORY, min_size=1, max_size=4)))
    is_classification = draw(st.booleans())
    base = classification_manifest() if is_classification else regression_manifest()
    n, o = len(features), base.n_outputs
    # Few of them, so that labels are equally likely now and then.
    numbers = st.sampled_from((-1.0, 0.0, 0.0, 0.5, 1.0, 3.7))
    coefficients = tuple(tuple(draw(st.lists(numbers, min_size=n, max_size=n))) for _ in range(o))
    intercepts = tuple(draw(st.lists(numbers, min_size=o, max_size=o)))
    if draw(st.booleans()):
        # Every label is as likely as the first.
        coefficients, intercepts = coefficients[:1] * o, intercepts[:1] * o
    second = LinearModel(
        means=tuple(draw(st.lists(numbers, min_size=n, max_size=n))),
        scales=tuple(draw(st.lists(st.floats(0.5, 4), min_size=n, max_size=n))),
        coefficients=coefficients,
        intercepts=intercepts,
    )
    old = base.estimation
    estimation = Estimation(
        second, old.disagreement_edges, old.quality, old.rows, old.expected_quality, old.block_quality
    )
    references = tuple(FeatureReference(tuple(edges), ()) for edges in draw(st.lists(EDGES, min_size=n, max_size=n)))
    change = classification_manifest if is_classification else regression_manifest
    return change(features=features, references=references, estimation=estimation, golden=())


def rows_of(n: int) -> st.SearchStrategy[list[RawRow]]:
    """Rows of ``n`` features, now and then of another length."""
    fitting = st.lists(VALUES, min_size=n, max_size=n)
    row = fitting | fitting.map(tuple) | fitting | st.lists(VALUES, max_size=5) | st.just(Unreadable())
    return st.lists(row, max_size=20)


def one_by_one(manifest: Manifest, rows: Sequence[RawRow]) -> tuple[list[Prediction | str], TelemetryWindow]:
    scorer = Scorer(manifest, Echo(len(manifest.features), manifest.n_outputs))
    window = WindowBuilder(manifest, "v", 0.0)
    answers: list[Prediction | str] = []
    for number, raw in enumerate(rows):
        try:
            prediction = scorer.score(raw)
        except RowError as error:
            answers.append(f"{error.kind} {error.feature}")
            window.refuse(number, error)
            continue
        answers.append(prediction)
        window.count(number, scorer.row, prediction, 0.0)
    return answers, window.close(1.0)


def in_a_block(
    manifest: Manifest, rows: Sequence[RawRow], *, together: bool, portable: bool
) -> tuple[list[Prediction | str], TelemetryWindow]:
    scorer = Scorer(manifest, Echo(len(manifest.features), manifest.n_outputs))
    block = scorer.block
    assert isinstance(block, BlockScorer)
    if portable:
        block.block.portable()
    window = WindowBuilder(manifest, "v", 0.0, block.block)
    given = [SourceRow(number, raw) for number, raw in enumerate(rows)]
    answers: list[Prediction | str] = [""] * len(given)
    if given:
        refused = block.score(given, lambda: 0.0, together=together)
        window.count_block(0, len(given) - 1, block.settle(len(given), refused))
        for place, error in refused:
            window.refuse(place, error)
            answers[place] = f"{error.kind} {error.feature}"
        for place in block.counted(len(given)):
            answers[place] = scorer.scored(place)
    return answers, window.close(1.0)


def near(one: Prediction | str, other: Prediction | str) -> bool:
    """Tell whether two answers are the same; sums of Python 3.12 are rounded otherwise than plain ones."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return (one.label, one.value, one.confidence, one.agrees, one.agreement_bin, tuple(one.outputs)) == (
        other.label, other.value, other.confidence, other.agrees, other.agreement_bin, tuple(other.outputs),
    ) and math.isclose(one.uncertainty, other.uncertainty, rel_tol=1e-9, abs_tol=1e-9)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(data=st.data(), manifest=manifests(), together=st.booleans(), portable=st.booleans())
def test_a_block_answers_refuses_and_counts_as_the_portable_way_does(
    *, data: st.DataObject, manifest: Manifest, together: bool, portable: bool
):
    rows = data.draw(rows_of(len(manifest.features)))
    expected, counted = one_by_one(manifest, rows)
    answers, window = in_a_block(manifest, rows, together=together, portable=portable)
    assert all(map(near, answers, expected)), (answers, expected)
    assert window == counted
