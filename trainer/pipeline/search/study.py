"""Runs the search with Optuna: it asks what to try next, and is told what came of it.

Every trial is stored where the study is, its answers in the step's folder: a search that broke off goes on with the
trials it had.

Trials are asked for in order and told in order, wherever their blocks are answered and whichever is through first: what
a trial is drawn from, and what it is compared with, is the same on one core and on a cluster.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from edge_agent.clock import Clock, SystemClock
from trainer.errors import RunError
from trainer.pipeline.artefacts import load_arrays, save_arrays
from trainer.pipeline.candidates import Choice, Family, Real, Value, Whole
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.front import Contender
from trainer.pipeline.search.places import Begun, Here, Place
from trainer.pipeline.search.pruning import is_hopeless
from trainer.pipeline.search.trial import Draw, Judged, judge
from trainer.project.learning import Objective
from trainer.project.stores import hidden

FAMILY: Final = "family"
FLEET_WEIGHT: Final = "fleet_weight"
CLASS_WEIGHT: Final = "class_weight"
_DATABASE_NAME: Final = "search.db"
_ANSWERS_FOLDER: Final = "answers"
ONLY_STUDY: Final = "search"
_BLOCKS: Final = "blocks"
_QUALITY: Final = "quality"
_COST: Final = "cost"


@dataclass(frozen=True, slots=True)
class _Asked:
    """A trial that was drawn, and the answering of its blocks."""

    trial: optuna.Trial
    begun: Begun


class Search:
    """The search of one lesson, kept in a folder.

    Args:
        lesson: rows, truths and blocks.
        families: what is tried.
        folder: of the step.
        storage: address of the database that keeps the trials; None: a file in the folder.
        study_name: in a database that keeps more than one search: unlike any other.
        clock: tells when the time is used up.
        place: where trials are judged; None: in this process.
    """

    def __init__(
        self,
        lesson: Lesson,
        families: Sequence[Family],
        folder: Path,
        *,
        storage: str | None = None,
        study_name: str = ONLY_STUDY,
        clock: Clock | None = None,
        place: Place | None = None,
    ) -> None:
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._lesson, self._families, self._folder = lesson, {family.name: family for family in families}, folder
        self._clock = clock or SystemClock()
        self._place = place or Here(lesson, families)
        self._study = optuna.create_study(
            storage=_open(storage or f"sqlite:///{folder / _DATABASE_NAME}"),
            study_name=study_name,
            directions=["maximize" if objective == "quality" else "minimize" for objective in self._objectives],
            load_if_exists=True,
        )
        (folder / _ANSWERS_FOLDER).mkdir(exist_ok=True)

    @property
    def _objectives(self) -> tuple[Objective, ...]:
        return tuple(dict.fromkeys(("quality", *self._lesson.project.training.objectives)))

    def run(self) -> None:
        """Go on until the trials or the time are used up; one trial there must be, however little time there is."""
        self._lay_down()
        training = self._lesson.project.training
        ends_s = self._clock.monotonic_s() + training.timeout_s
        wanted = max(training.trials, len(self._families)) - len(self._ended())
        asked: deque[_Asked] = deque()
        try:
            while True:
                while wanted > 0 and self._may_ask(len(asked)) and self._has_time(ends_s, has_asked=bool(asked)):
                    asked.append(self._ask(len(asked)))
                    wanted -= 1
                if not asked:
                    return
                self._settle(asked.popleft())
        finally:
            # What broke off is drawn anew by the next search: `_lay_down`.
            for one in asked:
                one.begun.drop()

    def contenders(self) -> tuple[Contender, ...]:
        """Return the trials that were judged on all blocks and whose answers are there, in their order."""
        return tuple(
            contender_of(trial)
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if self._answers_file(trial.number).exists()
        )

    @property
    def n_given_up(self) -> int:
        """How many trials were given up before their last block."""
        return len(self._study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))

    def draw_of(self, number: int) -> Draw:
        """Return what a trial tried."""
        return draw_of(self._study.get_trials(deepcopy=False)[number].params)

    def answers_of(self, number: int) -> NDArray[np.float64]:
        """Return what a whole trial answered out of fold, ``(n_kept, n_outputs)``."""
        return load_arrays(self._answers_file(number))["answers"].astype(np.float64)

    def _lay_down(self) -> None:
        """Enqueue each family's start, and what was broken off."""
        if not self._study.get_trials(deepcopy=False):
            for family in self._families.values():
                starts = {f"{family.name}.{name}": value for name, value in family.starts_with.items()}
                self._study.enqueue_trial({FAMILY: family.name, **starts})
        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            # Its parameters, or, before it had any, those laid down for it: else a start might never be tried.
            self._study.enqueue_trial(trial.params or trial.system_attrs.get("fixed_params", {}))
            self._study.tell(trial.number, state=TrialState.FAIL)

    @property
    def _n_startup(self) -> int:
        """How many trials are drawn by chance: each family's start, and a few more."""
        # Each family's start is tried first; a search that knows nothing yet should not guess for long.
        return max(4, len(self._families) + 2)

    def _may_ask(self, n_asked: int) -> bool:
        """Tell whether the next trial may be drawn while others are not told yet.

        Those that are drawn by chance rest on no other one, so that as many may be begun as can be worked on; all later
        ones know every trial but the last few, which the project says, and not how many happen to be through.
        """
        if n_asked < self._lesson.project.training.ahead:
            return True
        return n_asked < self._place.n_at_once and len(self._ended()) + n_asked < self._n_startup

    def _has_time(self, ends_s: float, *, has_asked: bool) -> bool:
        return not (has_asked or self.contenders()) or self._clock.monotonic_s() < ends_s

    def _ask(self, n_asked: int) -> _Asked:
        self._study.sampler = self._sampler(len(self._ended()) + n_asked)
        trial = self._study.ask()
        return _Asked(trial, self._place.begin(self._suggest(trial)))

    def _settle(self, asked: _Asked) -> None:
        trial, begun = asked.trial, asked.begun
        rule = self._lesson.project.training.pruning if self._objectives == ("quality",) else "none"
        # What is good enough depends on whole trials alone: of one that was given up nobody knows the rest.
        others = [one.blocks for one in self.contenders()] if rule != "none" else []
        try:
            found = judge(self._lesson, begun.answered, lambda so_far: is_hopeless(so_far, others, rule))
        finally:
            begun.drop()
        if isinstance(found, Judged):
            self._tell(trial, found)
            return
        for step, quality in enumerate(found):
            trial.report(quality, step)
        self._study.tell(trial, state=TrialState.PRUNED)

    def _tell(self, trial: optuna.Trial, found: Judged) -> None:
        trial.set_user_attr(_QUALITY, found.quality)
        trial.set_user_attr(_BLOCKS, list(found.blocks))
        if found.cost is not None:
            trial.set_user_attr(_COST, [found.cost.size_bytes, found.cost.latency_us])
            # Shares of the budgets: above 0, a trial does not fit, and the search looks elsewhere.
            export = self._lesson.project.export
            trial.set_constraint("size", found.cost.size_bytes / export.max_size_bytes - 1)
            if export.max_latency_us is not None:
                trial.set_constraint("latency", found.cost.latency_us / export.max_latency_us - 1)
        values = {
            "quality": found.quality,
            # What no device can run is the worst of all, as far as a number can say it.
            "size": 1e12 if found.cost is None else float(found.cost.size_bytes),
            "latency": 1e12 if found.cost is None else found.cost.latency_us,
        }
        # The order is the safety: a trial that counts has its answers.
        save_arrays(self._answers_file(trial.number), {"answers": found.answers})
        self._study.tell(trial, [values[objective] for objective in self._objectives])

    def _sampler(self, n_before: int) -> optuna.samplers.BaseSampler:
        """Return what draws the next trial: by the seed and its place in the search, not by how often that began."""
        seed = np.random.SeedSequence([self._lesson.project.seed, n_before]).generate_state(1)[0]
        return optuna.samplers.TPESampler(seed=int(seed), n_startup_trials=self._n_startup)

    def _suggest(self, trial: optuna.Trial) -> Draw:
        training = self._lesson.project.training
        name = trial.suggest_categorical(FAMILY, list(self._families))
        family = self._families[name]
        for key, space in family.space.items():
            _suggest(trial, f"{name}.{key}", space)
        if self._lesson.splits.fleet_judges and family.takes_weights:
            trial.suggest_categorical(FLEET_WEIGHT, list(training.fleet_weights))
        if self._lesson.n_labels and family.takes_weights and training.class_weights != ("none",):
            trial.suggest_categorical(CLASS_WEIGHT, list(training.class_weights))
        return draw_of(trial.params)

    def _ended(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def _answers_file(self, number: int) -> Path:
        return self._folder / _ANSWERS_FOLDER / f"{number}.npz"


def _open(address: str) -> RDBStorage:
    """Open the database that keeps the trials."""
    try:
        return RDBStorage(address)
    except (SQLAlchemyError, StorageInternalError) as error:
        raise RunError(
            f"the trials of the search cannot be kept in {hidden(address)}: {hidden(str(error).splitlines()[0])}; "
            "check the key 'stores.search', or FIELDLOOP_STORES_SEARCH"
        ) from error


def draw_of(params: dict[str, Any]) -> Draw:
    """Return what the parameters of a trial stand for."""
    name = str(params[FAMILY])
    prefix = f"{name}."
    own = {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}
    return Draw(name, own, float(params.get(FLEET_WEIGHT, 1.0)), params.get(CLASS_WEIGHT, "none"))


def contender_of(trial: FrozenTrial) -> Contender:
    """Return what a whole trial measured."""
    size_bytes, latency_us = trial.user_attrs.get(_COST, (None, None))
    return Contender(
        trial.number,
        str(trial.params[FAMILY]),
        float(trial.user_attrs[_QUALITY]),
        tuple(float(quality) for quality in trial.user_attrs[_BLOCKS]),
        size_bytes,
        latency_us,
    )


def _suggest(trial: optuna.Trial, name: str, space: Whole | Real | Choice) -> Value:
    if isinstance(space, Whole):
        return trial.suggest_int(name, int(space.low), int(space.high), log=space.log)
    if isinstance(space, Choice):
        place = trial.suggest_categorical(name, list(space.values))
        return next(value for value in space.values if value == place)
    return trial.suggest_float(name, space.low, space.high, log=space.log)
