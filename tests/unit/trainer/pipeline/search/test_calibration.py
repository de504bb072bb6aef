from dataclasses import replace

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV

from edge_agent.bundle import Feature
from exporter.material import Material
from exporter.models.model import FittedModel
from exporter.models.model_file import parse_estimator
from exporter.variants import FORMS
from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from trainer.pipeline import training
from trainer.pipeline.candidates import FAMILIES
from trainer.pipeline.fitting import outputs_of
from trainer.pipeline.model_bytes import model_bytes
from trainer.pipeline.search.calibration import _calibrated_answers, _said_out_of_fold, calibrate
from trainer.pipeline.search.trial import Draw
from trainer.pipeline.training import train_model

# Trees to the last leaf of a few noisy rows: far too sure of themselves.
SURE = Draw("forest", {"trees": 4, "min_leaf": 1, "feature_share": 1.0})
# So much decay that it dares to say too little.
SHY = Draw("logistic", {"c": 0.03})


def lesson(*methods):
    training = {"candidates": ["logistic"], "blocks": 3, "trials": 1, "calibration": list(methods)}
    return make_lesson(make_project(training=training), draw_table(600))


def calibrated(draw, *methods):
    given = lesson(*methods)
    family = FAMILIES[draw.family]
    estimator = given.fit(family, draw.parameters, 1.0, ~given.splits.is_holdout)
    return given, estimator, calibrate(given, draw, family, estimator)


@pytest.mark.parametrize(
    ("method", "draw"),
    [("sigmoid", SURE), ("temperature", SURE), ("temperature", SHY)],
    ids=["too sure", "too sure, by temperature", "too shy"],
)
def test_a_calibration_that_lowers_the_log_loss_is_kept_and_every_form_can_take_it(method, draw):
    given, plain, found = calibrated(draw, method)
    assert found is not None
    before, after = found.log_losses
    assert after < 0.9 * before
    assert isinstance(found.estimator, CalibratedClassifierCV)
    held = given.splits.is_holdout
    truth = given.truth[held].astype(int)

    def loss(estimator):
        told = outputs_of(estimator, given.rows[held], 2)[np.arange(held.sum()), truth]
        return -np.log(np.clip(told, 1e-9, None)).mean()

    assert loss(found.estimator) < loss(plain), "on rows that nothing was fitted on"
    again = parse_estimator(model_bytes(found.estimator), "calibrated")
    np.testing.assert_array_equal(outputs_of(again, given.rows, 2), outputs_of(found.estimator, given.rows, 2))
    model = FittedModel(found.estimator, "classification", (Feature("a"), Feature("b")), ("good", "scrap"))
    material = Material(model, given.rows[:100])
    for form in ("native", "onnx-fp32", "tflite-fp32"):
        assert FORMS[form].convert(material)


def test_what_gains_nothing_or_costs_quality_or_was_not_asked_for_is_not_kept():
    # By isotonic steps the log-loss falls as far, but a label changes here and there, and more of them are wrong.
    assert calibrated(SURE, "isotonic")[2] is None
    # Already as true as it gets: steps of few rows say 0 and 1.
    assert calibrated(Draw("logistic", {"c": 1.0}), "isotonic")[2] is None
    assert calibrated(SURE)[2] is None


def test_no_block_calibrates_itself():
    given = lesson("isotonic")
    said = _said_out_of_fold(given, SURE, FAMILIES["forest"])
    before = _calibrated_answers(given, said, "isotonic", given.judged)
    block = given.splits.block_of == 0
    given.truth[block] = 1 - given.truth[block]
    after = _calibrated_answers(given, said, "isotonic", given.judged)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(before[block], after[block])
    assert not np.array_equal(before[~block & given.judged], after[~block & given.judged])


def test_the_best_of_several_ways_is_taken():
    losses = {method: calibrated(SURE, method)[2].log_losses[1] for method in ("sigmoid", "temperature")}
    _, _, both = calibrated(SURE, "sigmoid", "temperature")
    assert both.method == min(losses, key=losses.__getitem__)


def test_the_step_says_what_it_kept_and_its_bytes_are_the_same_each_time(tmp_path):
    (tmp_path / "again").mkdir()
    given = lesson("temperature")
    shy = replace(FAMILIES["logistic"], starts_with={"c": 0.03})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "families_of_project", lambda _: (shy,))
        first = train_model(given, tmp_path)
        train_model(given, tmp_path / "again")
    assert first.value.chosen.calibration == "temperature"
    assert first.params["calibration"] == "temperature"
    assert dict(first.facts)["calibration"].startswith("temperature: log-loss 0.")
    assert (tmp_path / "model.skops").read_bytes() == (tmp_path / "again" / "model.skops").read_bytes()
    known = ~given.splits.is_holdout
    np.testing.assert_allclose(first.value.out_of_fold[known].sum(axis=1), 1.0)
