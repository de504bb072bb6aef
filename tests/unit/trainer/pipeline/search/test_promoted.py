"""A candidate that the project names itself, from the file to the champion."""

import pytest

from tests.unit.trainer.cli.projects import write_small_project
from trainer.pipeline.production import run_production
from trainer.pipeline.runs import run_folder
from trainer.pipeline.training import load_front
from trainer.project.loading import load_project
from trainer.registry.registry import CHAMPION, Registry

OWN = """\
trials = 3
blocks = 2

[[training.estimators]]
name = "light"
class = "lightgbm.LGBMClassifier"
fixed = { max_bin = 63 }
start = { num_leaves = 7 }
[training.estimators.space]
n_estimators = { int = [20, 60] }
num_leaves = { int = [4, 15], log = true }
learning_rate = { float = [0.05, 0.3], log = true }
"""


@pytest.mark.slow
def test_lightgbm_by_its_dotted_name_is_trained_exported_and_promoted(new_store, tmp_path):
    folder = write_small_project(tmp_path)
    new_store(folder / ".fieldloop")
    file = folder / "fieldloop.toml"
    text = file.read_text(encoding="utf-8")
    text = text.replace('candidates = ["forest"]\ntrials = 1\nblocks = 2\n', OWN)
    text = text.replace('variants = ["onnx-fp32"]', 'variants = ["native", "onnx-fp32"]')
    file.write_text(text, encoding="utf-8")
    loaded = load_project(folder)
    result = run_production(loaded, trigger="manual", reason="a test", resume=None, progress=lambda _: None)
    assert result.promoted, result.reason
    champion = Registry(loaded.state).find("quality", alias=CHAMPION)
    assert champion is not None
    assert champion.version == result.version
    assert {v.name for v in result.report.variants if v.accepted} == {"native", "onnx-fp32"}
    assert "LGBMClassifier" in result.report.model
    train = next(step for step in result.steps if step.name == "train")
    assert train.params["family"] == "light"
    front = load_front(run_folder(loaded.state, result.run_id) / "train")
    assert {contender.family for contender in front} == {"light"}
    assert " kB, " in dict(train.facts)["front"]
