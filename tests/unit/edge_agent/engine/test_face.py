"""The extension module and ctypes give the same: rows of every kind, buffers, refusals."""

import array
import math
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edge_agent.engine.face import Engine, EngineModel
from edge_agent.engine.loading import FaceName, load_engine
from exporter.native.file import encode_program
from exporter.programs.program import Linear, ProgramBuilder, Trees
from tests.resident import resident_kib
from tests.unit.edge_agent.engine.tables import tree_table, trees
from tests.unit.exporter.grown_trees import Shape, grow, rows_for

FACES: tuple[FaceName, ...] = ("extension", "ctypes")
ENSEMBLE = grow(Shape(n_trees=40, n_features=8))


def table() -> bytes:
    builder = ProgramBuilder(ENSEMBLE.n_features)
    return encode_program(builder.build(builder.add(Trees(0, ENSEMBLE))))


@pytest.fixture(params=FACES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return load_engine(request.param)


@pytest.fixture
def model(engine: Engine) -> Iterator[EngineModel]:
    opened = engine.open(table(), 0)
    yield opened
    opened.close()


def test_a_model_says_what_it_takes_and_gives(model: EngineModel):
    assert (model.n_features, model.n_outputs, model.n_operations) == (8, 3, 2)
    assert 0 < model.memory_bytes < 1 << 20
    assert model.layout(0) == ""
    assert model.layout(1) in ("bands", "narrow")
    assert model.layout(99) == ""


def test_both_faces_answer_alike():
    models = [load_engine(face).open(table(), 0) for face in FACES]
    for row in rows_for(ENSEMBLE, 50).tolist():
        assert models[0].score(row) == models[1].score(row)


def test_a_row_may_be_any_sequence_or_buffer_of_numbers(model: EngineModel):
    row = rows_for(ENSEMBLE, 3)[2]
    expected = model.score(row.tolist())
    assert [type(number) for number in expected] == [float] * 3
    singles = array.array("f", row.tolist())
    doubles = array.array("d", row.tolist())
    for given in (tuple(row.tolist()), row, singles, singles.tobytes(), memoryview(singles), doubles):
        assert model.score(given) == expected
    assert model.score(np.repeat(row, 2)[::2]) == expected  # type: ignore[arg-type]  # an array is a buffer; numpy says so from Python 3.12 on


def test_whole_numbers_are_numbers(model: EngineModel):
    assert model.score([1, 0, 2, 3, 0, 1, 1, 1]) == model.score([1.0, 0.0, 2.0, 3.0, 0.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("row", [[], [1.0] * 7, [1.0] * 9, (1.0,), array.array("f", [1.0]), b"1234", bytes(36)])
def test_a_row_of_another_length_is_refused(model: EngineModel, row: list[float]):
    with pytest.raises(ValueError, match=r"row of \d+ values, the model takes 8"):
        model.score(row)
    assert len(model.score([0.0] * 8)) == 3


def test_a_number_beyond_float32_is_refused_and_infinity_is_not(model: EngineModel):
    with pytest.raises(OverflowError):
        model.score([1e39] + [0.0] * 7)
    assert len(model.score([math.inf] + [0.0] * 7)) == 3


@pytest.mark.parametrize("row", [["x"] * 8, [None] * 8, 5.0, None])
def test_what_is_no_number_is_an_error_and_the_next_row_scores(model: EngineModel, row: list[float]):
    with pytest.raises((TypeError, ValueError)):
        model.score(row)
    assert len(model.score([0.0] * 8)) == 3


def test_rows_of_a_buffer_are_scored_into_another_one(model: EngineModel):
    rows = rows_for(ENSEMBLE, 100)
    answers = np.zeros((100, 3), dtype=np.float32)
    model.score_into(rows, answers)  # type: ignore[arg-type]  # an array is a buffer; numpy says so from Python 3.12 on
    assert answers.tolist() == [model.score(row) for row in rows.tolist()]
    as_bytes = bytearray(1200)
    model.score_into(rows.tobytes(), as_bytes)
    assert bytes(as_bytes) == answers.tobytes()
    # Not aligned to a float.
    shifted = bytearray(b"x" + rows.tobytes())
    model.score_into(memoryview(shifted)[1:], memoryview(as_bytes))
    assert bytes(as_bytes) == answers.tobytes()


@pytest.mark.parametrize(("n_rows", "n_answers"), [(32, 24), (31, 12), (64, 12), (0, 12)])
def test_buffers_that_do_not_fit_each_other_are_refused(model: EngineModel, n_rows: int, n_answers: int):
    with pytest.raises(ValueError, match="are not rows of 8 float32"):
        model.score_into(bytes(n_rows), bytearray(n_answers))
    model.score_into(b"", bytearray())


def test_answers_cannot_be_written_where_nothing_may_be_written(model: EngineModel):
    with pytest.raises((TypeError, BufferError)):
        model.score_into(bytes(32), bytes(12))


def test_a_closed_model_refuses_and_closes_again(model: EngineModel):
    model.close()
    model.close()
    for call in (lambda: model.score([0.0] * 8), lambda: model.score_into(bytes(32), bytearray(12))):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_refused_table_is_named_by_its_operation(engine: Engine):
    with pytest.raises(ValueError, match="operation 1: a tree has no end"):
        engine.open(tree_table(trees(nodes=b"")), 0)


def test_models_may_be_many_and_are_given_back(engine: Engine):
    builder = ProgramBuilder(1)
    weights = np.ones((1, 500_000))
    big = encode_program(builder.build(builder.add(Linear(0, weights, np.zeros(500_000)))))
    engine.open(big, 0)
    before_kib = resident_kib()
    for _ in range(30):
        assert engine.open(big, 0).memory_bytes > 5_000_000
    assert resident_kib() - before_kib < 60_000


def test_a_row_that_runs_code_cannot_pull_the_model_away(model: EngineModel):
    refused: list[str] = []

    class Meddler:
        def __float__(self) -> float:
            for call in (model.close, lambda: model.score([0.0] * 8), lambda: model.score_into(b"", bytearray())):
                try:
                    call()
                except RuntimeError as error:
                    refused.append(str(error))
            return 1.0

    assert len(model.score([Meddler()] + [0.0] * 7)) == 3  # type: ignore[arg-type]  # it has __float__
    assert len(refused) == 3
    assert all("another caller" in text for text in refused)


def test_another_thread_is_refused_while_many_rows_are_scored_without_the_lock(model: EngineModel):
    rows = np.zeros((400_000, 8), dtype=np.float32)
    answers = np.zeros((400_000, 3), dtype=np.float32)
    worker = threading.Thread(target=model.score_into, args=(rows, answers))
    worker.start()
    outcomes = set()
    while worker.is_alive():
        try:
            model.score([0.0] * 8)
            outcomes.add("scored")
        except RuntimeError as error:
            outcomes.add(str(error))
    worker.join()
    # The lock was given away, and the model was not used twice at once.
    assert "the model is scoring for another caller: one model a thread" in outcomes
    assert answers[-1].tolist() == model.score([0.0] * 8)
