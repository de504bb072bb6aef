from dataclasses import dataclass

import numpy as np
import pytest

from exporter.errors import ModelError
from exporter.reading.model_files import MAX_BYTES, ModelFile, read_bytes


@dataclass(frozen=True, slots=True)
class Said:
    n_features: int
    n_outputs: int


def file(n_outputs: int, *, is_classifier: bool) -> ModelFile[Said]:
    """Return a file whose scores are the first columns of the rows."""
    return ModelFile(
        Said(3, n_outputs),
        lambda rows: rows[:, 0] if n_outputs == 1 else rows[:, :n_outputs],
        is_classifier=is_classifier,
    )


ROWS = np.array([[0.25, 0.5, 0.25], [0.75, 0.125, 0.125]], dtype=np.float32)


def test_one_score_of_a_classifier_is_the_probability_of_the_second_of_two_classes():
    two = file(1, is_classifier=True)
    assert two.classes_ is not None
    assert two.classes_.tolist() == [0, 1]
    assert two.n_features_in_ == 3
    assert two.predict_proba(ROWS).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert two.predict(ROWS).tolist() == [0, 1]


def test_the_most_probable_of_many_classes_is_predicted():
    three = file(3, is_classifier=True)
    assert three.classes_ is not None
    assert three.classes_.tolist() == [0, 1, 2]
    assert three.predict_proba(ROWS).tolist() == ROWS.tolist()
    assert three.predict(ROWS).tolist() == [1, 0]


def test_a_regression_has_no_classes_and_answers_its_score():
    value = file(1, is_classifier=False)
    assert value.classes_ is None
    assert value.predict(ROWS).tolist() == [0.25, 0.75]


def test_a_file_that_is_absent_or_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(ModelError, match="model: cannot be read: No such file"):
        read_bytes(path)
    path.write_bytes(b"tree")
    assert read_bytes(path) == b"tree"
    with path.open("r+b") as sparse:
        sparse.truncate(MAX_BYTES + 1)
    with pytest.raises(ModelError, match="model: larger than the 536870912 bytes"):
        read_bytes(path)
