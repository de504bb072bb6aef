"""A row becomes a prediction with its confidence, and with the second model's agreement."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_agent.bundle import LinearModel
from edge_agent.errors import RowError
from edge_agent.scoring.onnx_runtime import OnnxRuntime
from edge_agent.scoring.scorer import Prediction, Scorer, prediction_text
from edge_agent.scoring.second_model import SecondModel
from tests.unit.edge_agent.examples import (
    classification_manifest,
    regression_manifest,
    softmax,
    write_onnx_classifier,
    write_onnx_regressor,
)


class FixedRuntime:
    """Answers what a test says: for answers that no honest model gives."""

    def __init__(self, outputs: Sequence[float]) -> None:
        self._outputs = list(outputs)

    def score(self, row: Sequence[float]) -> Sequence[float]:
        del row
        return self._outputs

    def score_batch(self, rows: Sequence[Sequence[float]]) -> list[list[float]]:
        return [self._outputs for _ in rows]

    def close(self) -> None:
        pass


@pytest.fixture
def rain(tmp_path: Path) -> Scorer:
    return Scorer(classification_manifest(), OnnxRuntime(write_onnx_classifier(tmp_path / "m.onnx"), 2, 2))


@pytest.fixture
def value(tmp_path: Path) -> Scorer:
    return Scorer(regression_manifest(), OnnxRuntime(write_onnx_regressor(tmp_path / "m.onnx"), 2, 1))


def test_the_most_probable_label_is_predicted_with_its_probability(rain: Scorer):
    prediction = rain.score(["1", "2"])
    assert (prediction.label_index, prediction.label, prediction.value) == (1, "rain", 1.0)
    assert prediction.confidence == pytest.approx(softmax([1.0, 2.0])[1], abs=1e-6)
    assert prediction.uncertainty == pytest.approx(1 - prediction.confidence)


def test_the_agreement_bin_is_ten_for_agreement_plus_the_bin_of_confidence(rain: Scorer):
    # Second model: rain where (t - 10) / 5 + 0.5 * (w - 5) / 2 > 0.125.
    agreeing, disagreeing = rain.score([20.0, 2.0]), rain.score([0.25, 0.25])
    assert agreeing.agrees
    assert agreeing.agreement_bin == 10 + 9
    assert not disagreeing.agrees
    assert disagreeing.agreement_bin == int(disagreeing.confidence * 10) == 6


def test_a_confidence_of_one_and_a_hair_falls_into_the_last_bin():
    prediction = Scorer(classification_manifest(), FixedRuntime([0.0, 1.0000001])).score([20.0, 2.0])
    assert (prediction.confidence, prediction.agreement_bin) == (1.0, 19)


def test_regression_counts_its_distance_from_the_second_model_by_bin(value: Scorer):
    # The model answers the wind, the second model the temperature; edges 0.5, 1, 2; an edge belongs to the bin above.
    rows = {(3.0, 3.25): 0, (3.0, 3.5): 1, (3.0, 4.5): 2, (1.0, 9.0): 3}
    for row, place in rows.items():
        prediction = value.score(row)
        assert prediction.agreement_bin == place
        assert prediction.uncertainty == pytest.approx(abs(row[0] - row[1]))
        assert prediction.agrees is (place < 2)
        assert (prediction.label_index, prediction.label, prediction.confidence) == (None, None, 0.0)


@pytest.mark.parametrize("outputs", [(math.nan, 0.5), (0.5, math.nan), (math.inf, 0.0), (math.inf, -math.inf)])
def test_an_answer_that_is_not_finite_is_a_row_error_of_the_runtime(outputs: tuple[float, float]):
    with pytest.raises(RowError) as caught:
        Scorer(classification_manifest(), FixedRuntime(outputs)).score([1.0, 2.0])
    assert caught.value.kind == "runtime"


def test_a_model_that_cannot_take_a_missing_value_refuses_the_row_and_scores_the_next(rain: Scorer):
    with pytest.raises(RowError) as caught:
        rain.score([None, 2.0])
    assert caught.value.kind == "runtime"
    assert rain.score([1.0, 2.0]).label == "rain"


def test_a_batch_is_scored_as_its_rows_are_and_refused_rows_stand_in_their_place(rain: Scorer):
    rows: list[list[str | float | None]] = [[1.0, 2.0], [1.0], ["x", 2.0], [-3.0, 2.0], [None, 1.0], [1.0, 99.0]]
    answers = rain.score_batch(rows)
    kinds = [answer.kind if isinstance(answer, RowError) else answer.label for answer in answers]
    assert kinds == ["rain", "wrong_length", "not_a_number", "dry", "runtime", "out_of_range"]
    first = answers[0]
    assert isinstance(first, Prediction)
    assert first.confidence == pytest.approx(rain.score(rows[0]).confidence, abs=1e-6)
    assert rain.score_batch([]) == []


def test_the_second_model_is_linear_over_standardised_features_and_nan_is_the_mean():
    model = LinearModel(
        means=(10.0, -2.0), scales=(5.0, 0.5), coefficients=((2.0, -1.0), (0.5, 3.0)), intercepts=(1.0, -1.0)
    )
    second = SecondModel(model)
    z = ((12.0 - 10.0) / 5.0, (-1.0 + 2.0) / 0.5)
    assert second.score([12.0, -1.0], has_missing=False) == pytest.approx(
        [1.0 + 2.0 * z[0] - 1.0 * z[1], -1.0 + 0.5 * z[0] + 3.0 * z[1]]
    )
    assert second.score([math.nan, -1.0], has_missing=True) == pytest.approx([1.0 - z[1], -1.0 + 3.0 * z[1]])


def test_an_indexed_row_is_scored_like_any_other(rain: Scorer):
    assert rain.score_indexed((1.0, 2.0)) == rain.score(["1.0", "2.0"])


def test_predictions_have_words_for_people(rain: Scorer, value: Scorer):
    assert prediction_text(rain.manifest, rain.score([1.0, 2.0])) == "rain (98% sure of 2 labels)"
    assert prediction_text(value.manifest, value.score([1.0, 2.5])) == "2.5"
