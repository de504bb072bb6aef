"""One run that is killed four times in every step, each time in another process: it ends as if it never was."""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.trainer.cli.projects import write_small_project
from tests.unit.trainer.conftest import NewStore
from trainer.pipeline import artefacts, exporting, journal
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import run_production
from trainer.pipeline.runs import RECORD_NAME, STEPS, load_run, run_folder
from trainer.project.loading import load_project
from trainer.registry.registry import Registry

# Before it does anything; with half a file written, and what it does to the registry done; with all its files written
# and nothing recorded; with MLflow's record made, and not the one that counts.
PHASES: Final = ("before", "midst", "after", "recorded")
# What would be loaded in each of the processes.
_LOADED_ONCE: Final = (
    "trainer.pipeline.production",
    "sklearn.linear_model",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def replaced(step: str, phase: str) -> list[tuple[Any, str, Any]]:
    """Return what must be replaced in this process for it to die at a point of a step: module, name, by what."""
    replace_file: Any = vars(artefacts)["replace_file"]
    save_value, sync_files = artefacts.save_value, artefacts.sync_files

    def write_half(path: Path, data: bytes) -> None:
        if step in path.parts and path.name != "begun.json":
            path.write_bytes(data[: len(data) // 2])
            die()
        replace_file(path, data)

    def save_all_but_the_record(path: Path, value: object) -> None:
        if step in path.parts and path.name == RECORD_NAME:
            die()
        save_value(path, value)

    def sync(at: Path) -> None:
        if at.name == step:
            die()
        sync_files(at)

    by_phase: dict[str, list[tuple[Any, str, Any]]] = {
        "midst": [(artefacts, "replace_file", write_half), (exporting, "replace_file", write_half)],
        "after": [(journal, "sync_files", sync)],
        "recorded": [(journal, "save_value", save_all_but_the_record)],
    }
    return by_phase.get(phase, [])


def work_until(folder: Path, step: str, phase: str, *, is_first: bool) -> None:
    """Begin a run, or take up the last one, and die at a point of a step; in a process of its own."""

    def tell(event: StepEvent) -> None:
        if phase == "before" and event.step == step and event.phase == "started":
            die()

    for module, name, by in replaced(step, phase):
        setattr(module, name, by)
    run_production(
        load_project(folder), trigger="manual", reason="a test", resume=None if is_first else "last", progress=tell
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_run_that_is_killed_anywhere_in_every_step_goes_on_to_the_same_model_and_never_repeats_a_finished_step(
    new_store: NewStore, tmp_path: Path
) -> None:
    folder = write_small_project(tmp_path)
    state = new_store(folder / ".fieldloop")
    file = folder / "fieldloop.toml"
    file.write_text(file.read_text().replace("forest", "logistic"))
    # Not forked from this process, whose threads would not come along.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*_LOADED_ONCE])
    for step in STEPS:
        for phase in PHASES:
            is_first = (step, phase) == (STEPS[0], PHASES[0])
            process = context.Process(target=work_until, args=(folder, step, phase), kwargs={"is_first": is_first})
            process.start()
            process.join(120)
            assert process.exitcode == -signal.SIGKILL, (step, phase)
            broken = load_run(state, "last")
            assert [record.name for record in broken.steps] == list(STEPS[: STEPS.index(step)]), (step, phase)
            verdicts = broken.attempts[-1].verdicts
            if phase == "before" and not is_first:
                # It finishes the step in which it was killed before, and comes to the next one.
                assert [verdict.step for verdict in verdicts if verdict.ran] == [STEPS[STEPS.index(step) - 1], step]
            else:
                assert [verdict.step for verdict in verdicts if verdict.ran] == [step]
    loaded = load_project(folder)
    result = run_production(loaded, trigger="", reason="", resume="last")
    assert result.promoted
    overview = load_run(state, result.run_id)
    assert {step: overview.times_run(step) for step in STEPS} == dict.fromkeys(STEPS, len(PHASES) + 1)
    registry = Registry(state)
    assert [model.version for model in registry.versions("quality")] == [1]
    assert len(registry.promotions("quality")) == 1
    assert registry.load("quality").run_id == result.run_id
    undisturbed = run_production(loaded, trigger="manual", reason="to compare with")
    models = [
        run_folder(state, run.run_id).joinpath("train", "model.skops").read_bytes() for run in (result, undisturbed)
    ]
    assert models[0] == models[1]
    assert result.decision.evidence.quality == undisturbed.decision.evidence.quality
