"""Step ``train``: a search over families and their parameters, and the model of the best trial.

Every trial is judged on contiguous blocks that it did not see. The search and its answers are kept in the step's
folder, so that a run that broke off goes on with the trials it had.

The best of many trials looks better than it is on the rows that chose it. So each block is answered, for the
evaluation, by the trial that was best on the *other* blocks.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from msgspec import Struct
from numpy.typing import NDArray
from optuna.trial import TrialState

from edge_agent.durable import replace_file
from exporter.models.metrics import quality
from exporter.models.model_file import load_estimator
from trainer.features.table import TrainingTable
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value
from trainer.pipeline.candidates import Choice, Circumstances, Family, Parameters, Value, Whole, families_of
from trainer.pipeline.fitting import fit, outputs_of
from trainer.pipeline.model_bytes import model_bytes
from trainer.pipeline.outcome import Outcome
from trainer.pipeline.preparing import Splits
from trainer.project.project import Project

MODEL_NAME: Final = "model.skops"
_SEARCH_NAME: Final = "search.db"
_ANSWERS_FOLDER: Final = "answers"
_FAMILY: Final = "family"
_FLEET_WEIGHT: Final = "fleet_weight"


class Chosen(Struct, frozen=True):
    """The best trial.

    Attributes:
        fleet_weight: of one row of the fleet against one of the files; 1 without rows of the fleet.
        quality: of its out-of-fold answers on the search's blocks, by which it was chosen.
        trials: (number, family, quality) of all trials.
    """

    family: str
    parameters: dict[str, Value]
    fleet_weight: float
    quality: float
    trials: tuple[tuple[int, str, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What the step made.

    Attributes:
        estimator: fitted on every row that is not held out.
        out_of_fold: ``(n_kept, n_outputs)``: for rows of the search's blocks the answers of models that neither saw
            their block nor were chosen by it; NaN elsewhere.
    """

    estimator: Any
    chosen: Chosen
    out_of_fold: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The kept rows with their roles: what a model is fitted on and judged by."""

    project: Project
    rows: NDArray[np.float32]
    truth: NDArray[np.float64]
    is_fleet: NDArray[np.bool_]
    is_fair: NDArray[np.bool_]
    splits: Splits
    n_labels: int

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows that the search judges by: of its blocks, and no rows that were chosen for being hard."""
        in_search: NDArray[np.bool_] = np.isin(self.splits.block_of, self.splits.search_blocks) & self.is_fair
        return in_search

    def fit(self, family: Family, parameters: Parameters, weight: float, chosen: NDArray[np.bool_]) -> Any:  # noqa: ANN401
        """Fit one candidate on the chosen rows."""
        project = self.project
        circumstances = Circumstances(
            task=project.target.task,
            n_outputs=self.n_labels or 1,
            n_rows=int(chosen.sum()),
            max_size_bytes=project.export.max_size_bytes,
            seed=project.seed,
        )
        weights = np.where(self.is_fleet[chosen], weight, 1.0) if self.is_fleet[chosen].any() else None
        return fit(family, parameters, circumstances, project.features, self.rows[chosen], self.truth[chosen], weights)

    def out_of_fold(self, family: Family, parameters: Parameters, weight: float) -> NDArray[np.float64]:
        """Answer each of the search's blocks by a model of all other rows that are not held out."""
        answers = np.full((len(self.rows), self.n_labels or 1), np.nan)
        for block in self.splits.search_blocks:
            inside = self.splits.block_of == block
            estimator = self.fit(family, parameters, weight, ~inside & ~self.splits.is_holdout)
            answers[inside] = outputs_of(estimator, self.rows[inside], self.n_labels)
        return answers


def lesson_of(project: Project, table: TrainingTable, splits: Splits) -> Lesson:
    """Take the kept rows out of the table."""
    index = splits.index
    return Lesson(
        project,
        table.rows[index],
        table.truth[index],
        table.is_fleet[index],
        ~table.is_chosen[index],
        splits,
        len(table.labels),
    )


def train_model(lesson: Lesson, folder: Path) -> Outcome[Trained]:
    """Search, then fit the best candidate on every row that is not held out.

    Raises:
        ProjectError: a candidate that there is none of.
        DataError: a classifier would see one label only.
    """
    project = lesson.project
    families = families_of(project.training.candidates, project.target.task)
    study = _search(lesson, families, folder)
    best = study.best_trial
    family = next(family for family in families if family.name == best.params[_FAMILY])
    parameters = {name: best.params[f"{family.name}.{name}"] for name in family.space}
    weight = float(best.params.get(_FLEET_WEIGHT, 1.0))
    trials = tuple((t.number, str(t.params[_FAMILY]), float(t.value)) for t in study.trials if t.value is not None)
    chosen = Chosen(family.name, parameters, weight, float(best.value or 0.0), trials)
    trained = Trained(
        lesson.fit(family, parameters, weight, ~lesson.splits.is_holdout),
        chosen,
        choose_by_other_blocks(lesson, _answers_of(trials, folder)),
    )
    replace_file(folder / MODEL_NAME, model_bytes(trained.estimator))
    save_value(folder / "chosen.json", chosen)
    save_arrays(folder / "out_of_fold.npz", {"answers": trained.out_of_fold})
    facts = (
        ("trials", f"{len(trials)} over {', '.join(family.name for family in families)}"),
        ("best", f"{chosen.family} " + " ".join(f"{name}={_text(value)}" for name, value in parameters.items())),
        *((("weight of the fleet's rows", f"{weight:g}"),) if lesson.splits.fleet_judges else ()),
        (project.metric, f"{chosen.quality:.4f} on contiguous blocks"),
    )
    params = {_FAMILY: chosen.family, **parameters, _FLEET_WEIGHT: weight}
    return Outcome(trained, params=params, metrics={f"search_{project.metric}": chosen.quality}, facts=facts)


def load_trained(folder: Path) -> Trained:
    """Read what `train_model` wrote."""
    return Trained(
        load_estimator(folder / MODEL_NAME),
        load_value(folder / "chosen.json", Chosen),
        load_arrays(folder / "out_of_fold.npz")["answers"].astype(np.float64),
    )


def choose_by_other_blocks(lesson: Lesson, answers: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Answer each of the search's blocks by the trial that is best on the other blocks.

    Args:
        lesson: rows, truths and blocks.
        answers: of each trial, ``(n_kept, n_outputs)``, at least one.

    Returns:
        ``(n_kept, n_outputs)``; NaN outside of the search's blocks.
    """
    metric, block_of = lesson.project.metric, lesson.splits.block_of
    chosen = np.full_like(answers[0], np.nan)
    for block in lesson.splits.search_blocks:
        judged = lesson.judged & (block_of != block)
        if not judged.any():  # a single block judges itself
            judged = lesson.judged
        best = int(np.argmax([quality(metric, lesson.truth[judged], its[judged]) for its in answers]))
        chosen[block_of == block] = answers[best][block_of == block]
    return chosen


def _answers_of(trials: Sequence[tuple[int, str, float]], folder: Path) -> list[NDArray[np.float64]]:
    files = (_answers_file(folder, number) for number, _, _ in trials)
    return [load_arrays(file)["answers"].astype(np.float64) for file in files if file.exists()]


def _answers_file(folder: Path, number: int) -> Path:
    return folder / _ANSWERS_FOLDER / f"{number}.npz"


def _search(lesson: Lesson, families: Sequence[Family], folder: Path) -> optuna.Study:
    """Go on with the search until its trials or its time are used up; keep each trial's answers as a file."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    training = lesson.project.training
    study = optuna.create_study(
        storage=f"sqlite:///{folder / _SEARCH_NAME}",
        study_name="search",
        direction="maximize",
        # Each family's start is tried first; a search that knows nothing yet should not guess for long.
        sampler=optuna.samplers.TPESampler(seed=lesson.project.seed, n_startup_trials=max(4, len(families) + 2)),
        load_if_exists=True,
    )
    if not study.trials:
        for family in families:
            starts = {f"{family.name}.{name}": value for name, value in family.starts_with.items()}
            study.enqueue_trial({_FAMILY: family.name, **starts})
    _put_back_broken(study)
    done = sum(trial.value is not None for trial in study.trials)
    wanted = max(training.trials, len(families)) - done
    (folder / _ANSWERS_FOLDER).mkdir(exist_ok=True)

    def judge(trial: optuna.Trial) -> float:
        return _judge(trial, lesson, families, folder)

    if not done:  # one trial there must be, however little time there is
        study.optimize(judge, n_trials=1)
        wanted -= 1
    if wanted > 0:
        study.optimize(judge, n_trials=wanted, timeout=training.timeout_s)
    return study


def _put_back_broken(study: optuna.Study) -> None:
    """Let trials that were broken off be tried again, first: else a family's start might never be."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        # Its parameters, or, before it had any, those that were laid down for it.
        study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}))
        study.tell(trial.number, state=TrialState.FAIL)


def _judge(trial: optuna.Trial, lesson: Lesson, families: Sequence[Family], folder: Path) -> float:
    name = trial.suggest_categorical(_FAMILY, [family.name for family in families])
    family = next(family for family in families if family.name == name)
    parameters = {key: _suggest(trial, f"{name}.{key}", space) for key, space in family.space.items()}
    weight = 1.0
    if lesson.splits.fleet_judges:
        weight = float(trial.suggest_categorical(_FLEET_WEIGHT, list(lesson.project.training.fleet_weights)))
    answers = lesson.out_of_fold(family, parameters, weight)
    # The order is the safety: a trial that counts has its answers.
    save_arrays(_answers_file(folder, trial.number), {"answers": answers})
    judged = lesson.judged
    return quality(lesson.project.metric, lesson.truth[judged], answers[judged])


def _suggest(trial: optuna.Trial, name: str, space: Any) -> Value:  # noqa: ANN401 - one of three spaces
    if isinstance(space, Whole):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    if isinstance(space, Choice):
        place = trial.suggest_categorical(name, list(space.values))
        return space.values[space.values.index(place)]
    return trial.suggest_float(name, space.low, space.high, log=True)


def _text(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
