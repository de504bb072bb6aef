"""A whole production run against a bare scikit-learn search with the same work: rows, families, trials, folds.

Ours extracts, validates, searches (Optuna, every trial kept on disk), evaluates, registers, exports and proves
variants, asks the gate, and records each step in MLflow. The peer is ``GridSearchCV`` over the very parameters that our
search tried, on the same contiguous folds, with one refit and as many threads; it records and exports nothing.

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
import pytest
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.feature_benches import bench_online_lookup, bench_point_in_time_join
from trainer.demo.data import DATA_SETS
from trainer.pipeline.candidates import FAMILIES, Circumstances, Family, Parameters
from trainer.pipeline.production import run_production
from trainer.project.loading import load_project
from trainer.project.project import LoadedProject

# Collected here, so that the trainer's figures stand in one file.
__all__ = ["bench_online_lookup", "bench_point_in_time_join", "bench_production_run_against_a_bare_search"]

TRIALS: Final = int(os.environ.get("FIELDLOOP_BENCH_TRIALS", "8"))
ROUNDS: Final = int(os.environ.get("FIELDLOOP_BENCH_ROUNDS", "3"))
SEED: Final = 1
REACH: Final = 1.25

Trial = tuple[Family, Parameters]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Search:
    """What our search did: what it tried, and on which rows."""

    trials: tuple[Trial, ...]
    rows: NDArray[np.float32]
    truth: NDArray[np.int64]
    loaded: LoadedProject


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def bench_production_run_against_a_bare_search(tmp_path, record_ratio) -> None:
    ours_s: list[float] = []
    peer_s: list[float] = []
    for number in range(ROUNDS):
        loaded = _make_project(tmp_path / str(number))
        ours_s.append(_seconds(_run_production, loaded))
        search = _search_of(loaded)
        assert len(search.trials) == TRIALS
        peer_s.append(_seconds(_search_bare, search))
    record_ratio(
        f"production run / bare search of the same {TRIALS} trials",
        ours=statistics.median(ours_s),
        peer=statistics.median(peer_s),
        reach=REACH,
        unit="s",
        runs=ROUNDS,
    )


def _make_project(folder: Path) -> LoadedProject:
    folder.mkdir()
    DATA_SETS["rainfall"].write(folder, SEED)
    file = folder / "fieldloop.toml"
    text, found = re.subn(r"^trials = \d+$", f"trials = {TRIALS}", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert found == 1
    file.write_text(text, encoding="utf-8")
    return load_project(folder)


def _run_production(loaded: LoadedProject) -> None:
    result = run_production(loaded, trigger="benchmark", reason="timed", resume=None, progress=lambda _: None)
    assert result.promoted, result.decision


def _search_of(loaded: LoadedProject) -> Search:
    """Read what the run left: the trials of its search, and the rows from its source."""
    (database,) = loaded.state.rglob("search.db")
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{database}")
    trials = tuple(_trial(dict(trial.params)) for trial in study.trials)
    names = [feature.name for feature in loaded.project.features]
    first, last = loaded.project.data.rows or (0, None)
    table = np.genfromtxt(loaded.data_paths[0], delimiter=",", names=True)[first:last]
    n_search = round(len(table) * (1 - loaded.project.training.holdout))
    rows = np.column_stack([table[name] for name in names]).astype(np.float32)[:n_search]
    truth = table[loaded.project.target.column].astype(np.int64)[:n_search]
    return Search(trials, rows, truth, loaded)


def _trial(params: dict[str, Any]) -> Trial:
    family = FAMILIES[str(params["family"])]
    return family, {name: params[f"{family.name}.{name}"] for name in family.space}


def _search_bare(search: Search) -> None:
    project = search.loaded.project
    grid = [dict(_grid_row(family, parameters, search)) for family, parameters in search.trials]
    pipeline = Pipeline([("scale", "passthrough"), ("model", "passthrough")])
    with threadpool_limits(1, user_api="blas"):
        GridSearchCV(pipeline, grid, scoring="accuracy", cv=KFold(project.training.blocks)).fit(
            search.rows, search.truth
        )


def _grid_row(family: Family, parameters: Parameters, search: Search) -> Iterator[tuple[str, list[Any]]]:
    project = search.loaded.project
    model = family.build(
        parameters,
        Circumstances(
            task="classification",
            n_outputs=2,
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
