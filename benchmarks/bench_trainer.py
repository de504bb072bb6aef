"""A whole production run against a bare scikit-learn search with the same work: rows, families, trials and folds.

Ours extracts, validates, searches (Optuna, every trial kept on disk), evaluates, registers, exports and proves
variants, asks the gate, and records each step in MLflow. The peer is ``GridSearchCV`` over the very parameters that our
search tried, on the same contiguous folds, with one refit and as many threads; it records and exports nothing. Ours
gives no trial up early here: the peer cannot.

What is not the search costs the same few seconds whatever is searched. Beside the sizes that are held to the reach, the
shortest search of a project that says nothing is shown: its five seconds are the least that this can look like.

``FIELDLOOP_BENCH_TRIALS`` bounds the trials, ``FIELDLOOP_BENCH_ROUNDS`` the rounds.
"""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import optuna
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from benchmarks.feast_benches import bench_join_beside_feast
from benchmarks.feature_benches import bench_online_lookup, bench_point_in_time_join
from tests.conftest import REPOSITORY
from trainer.cli.application import app
from trainer.demo.data import DATA_SETS
from trainer.pipeline.candidates import FAMILIES, Circumstances, Family, Parameters
from trainer.pipeline.outcome import StepEvent
from trainer.pipeline.production import run_production
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject

# Collected here, so that the trainer's figures stand in one file.
__all__ = [
    "bench_a_resume_after_training",
    "bench_join_beside_feast",
    "bench_online_lookup",
    "bench_point_in_time_join",
    "bench_production_run_against_a_bare_search",
]

MOST_TRIALS: Final = int(os.environ.get("FIELDLOOP_BENCH_TRIALS", "1000"))
# What a project has that says nothing else.
FEW_TRIALS: Final = 12
DIGITS: Final = "digits"
TURBINE: Final = "gas_turbine 2011-2012"
ROUNDS: Final = int(os.environ.get("FIELDLOOP_BENCH_ROUNDS", "3"))
SEED: Final = 1
REACH: Final = 1.25
REACH_RESUME: Final = 0.15
# Data, trials, and what is to be reached with them: a run, and a resume.
SIZES: Final = (
    (DIGITS, 40, REACH, REACH_RESUME),
    (TURBINE, FEW_TRIALS, REACH, REACH_RESUME),
    (DIGITS, FEW_TRIALS, None, None),
)
SCORING: Final = {"classification": "accuracy", "regression": "r2"}

Trial = tuple[Family, Parameters]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Search:
    """What our search did: what it tried, and on which rows."""

    trials: tuple[Trial, ...]
    rows: NDArray[np.float32]
    truth: NDArray[Any]
    loaded: LoadedProject


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "trials", "reach", "_"), SIZES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def bench_production_run_against_a_bare_search(name: str, trials: int, reach, _, tmp_path, record_ratio) -> None:
    trials = min(trials, MOST_TRIALS)
    ours_s: list[float] = []
    peer_s: list[float] = []
    for number in range(ROUNDS):
        loaded = _make_project(name, tmp_path / str(number), trials)
        ours_s.append(_seconds(_run_production, loaded))
        search = _search_of(loaded)
        assert len(search.trials) == trials
        peer_s.append(_seconds(_search_bare, search))
    record_ratio(
        f"{name}: production run / bare search of the same {trials} trials",
        ours=statistics.median(ours_s),
        peer=statistics.median(peer_s),
        reach=reach,
        unit="s",
        runs=ROUNDS,
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "trials", "_", "reach"), SIZES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def bench_a_resume_after_training(name: str, trials: int, _, reach, tmp_path, record_ratio) -> None:
    trials = min(trials, MOST_TRIALS)
    whole_s: list[float] = []
    resumed_s: list[float] = []
    for number in range(ROUNDS):
        whole_s.append(_seconds(_run_production, _make_project(name, tmp_path / f"whole-{number}", trials)))
        broken = _make_project(name, tmp_path / f"broken-{number}", trials)
        with pytest.raises(KeyboardInterrupt):
            run_production(broken, trigger="benchmark", reason="timed", progress=_interrupt_behind_training)
        resumed_s.append(_seconds(_resume, broken))
    record_ratio(
        f"{name}: resume after training / the whole run of {trials} trials",
        ours=statistics.median(resumed_s),
        peer=statistics.median(whole_s),
        reach=reach,
        unit="s",
        runs=ROUNDS,
    )


def _make_project(name: str, folder: Path, trials: int) -> LoadedProject:
    folder.mkdir()
    if name == DIGITS:
        DATA_SETS["digits"].write(folder, SEED)
    else:
        _init_turbine(folder)
    file = folder / "fieldloop.toml"
    text = file.read_text(encoding="utf-8")
    for key, value in (("trials", str(trials)), ("pruning", '"none"')):
        text, found = re.subn(rf"^#? ?{key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        if not found:
            text = text.replace("[training]\n", f"[training]\n{key} = {value}\n")
    file.write_text(text, encoding="utf-8")
    loaded = load_project(folder)
    assert (loaded.project.training.trials, loaded.project.training.pruning) == (trials, "none")
    return loaded


def _init_turbine(folder: Path) -> None:
    years = [REPOSITORY.parent / "shared" / "data" / "gas_turbine" / f"gt_{year}.csv" for year in (2011, 2012)]
    if not all(year.exists() for year in years):
        pytest.skip(f"no {years[0]}: the data folder beside the checkout is not here")
    words = ["--target", "NOX", "--leave-out", "CO", "--name", "turbine", "--project", str(folder)]
    done = CliRunner().invoke(app, ["init", *map(str, years), *words])
    assert done.exit_code == 0, done.output


def _run_production(loaded: LoadedProject) -> None:
    result = run_production(loaded, trigger="benchmark", reason="timed", resume=None, progress=lambda _: None)
    assert result.promoted, result.decision


def _resume(loaded: LoadedProject) -> None:
    result = run_production(loaded, trigger="", reason="", resume="last", progress=lambda _: None)
    assert result.promoted, result.decision


def _interrupt_behind_training(event: StepEvent) -> None:
    if event.step == "evaluate":
        raise KeyboardInterrupt


def _search_of(loaded: LoadedProject) -> Search:
    """Read what the run left: the trials of its search, and the rows from its source."""
    (database,) = loaded.state.rglob("search.db")
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{database}")
    trials = tuple(_trial(dict(trial.params)) for trial in study.trials)
    names = [feature.name for feature in loaded.project.features]
    first, last = loaded.project.data.rows or (0, None)
    table = pd.concat([pd.read_csv(path) for path in loaded.data_paths])[first:last]
    n_search = round(len(table) * (1 - loaded.project.training.holdout))
    rows = table[names].to_numpy(dtype=np.float32)[:n_search]
    return Search(trials, rows, table[loaded.project.target.column].to_numpy()[:n_search], loaded)


def _trial(params: dict[str, Any]) -> Trial:
    family = FAMILIES[str(params["family"])]
    return family, {name: params[f"{family.name}.{name}"] for name in family.space}


def _search_bare(search: Search) -> None:
    project = search.loaded.project
    grid = [dict(_grid_row(family, parameters, search)) for family, parameters in search.trials]
    pipeline = Pipeline([("scale", "passthrough"), ("model", "passthrough")])
    scoring = SCORING[project.target.task]
    with threadpool_limits(1, user_api="blas"):
        GridSearchCV(pipeline, grid, scoring=scoring, cv=KFold(project.training.blocks)).fit(search.rows, search.truth)


def _grid_row(family: Family, parameters: Parameters, search: Search) -> Iterator[tuple[str, list[Any]]]:
    project = search.loaded.project
    model = family.build(
        parameters,
        Circumstances(
            task=project.target.task,
            n_outputs=len(np.unique(search.truth)) if project.target.task == "classification" else 1,
            n_rows=len(search.rows) * (project.training.blocks - 1) // project.training.blocks,
            max_size_bytes=project.export.max_size_bytes,
            seed=project.seed,
        ),
    )
    if "n_estimators" in model.get_params():
        model.set_params(n_jobs=os.cpu_count())
    yield "scale", [StandardScaler() if family.is_scaled else "passthrough"]
    yield "model", [model]


def _seconds(call: Callable[[T], None], subject: T) -> float:
    start_s = time.perf_counter()
    call(subject)
    return time.perf_counter() - start_s
