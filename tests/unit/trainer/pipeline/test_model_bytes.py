import io
import json
import zipfile

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from exporter.models.model_file import parse_estimator
from trainer.pipeline.model_bytes import model_bytes


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)


def fitted(rows, c=1.0):
    model = Pipeline([("scale", StandardScaler()), ("model", LogisticRegression(C=c))])
    return model.fit(rows, rows[:, 0] > 0)


def test_two_models_that_are_equal_have_the_same_bytes_and_others_do_not(rows):
    first, second = fitted(rows), fitted(rows)
    assert model_bytes(first) == model_bytes(second) == model_bytes(first)
    assert model_bytes(fitted(rows, c=2.0)) != model_bytes(first)


def test_a_model_that_was_read_and_written_again_answers_the_same(rows):
    model = fitted(rows)
    again = parse_estimator(model_bytes(parse_estimator(model_bytes(model), "here")), "there")
    np.testing.assert_array_equal(again.predict(rows), model.predict(rows))


def test_neither_the_time_of_day_nor_addresses_stand_in_the_file(rows):
    with zipfile.ZipFile(io.BytesIO(model_bytes(fitted(rows)))) as archive:
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        schema = json.loads(archive.read("schema.json"))
        arrays = [name for name in archive.namelist() if name.endswith(".npy")]
    assert arrays
    assert all(int(name.removesuffix(".npy")) < 1000 for name in arrays)
    assert schema["__id__"] < 1000
