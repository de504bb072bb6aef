"""Step ``train``: a search over families and their parameters, and the model of the trial that was taken.

Every trial is judged on contiguous blocks that it did not see. The search and its answers are kept in the step's
folder, so that a run that broke off goes on with the trials it had.

The best of many trials looks better than it is on the rows that chose it. So each block is answered, for the
evaluation, by the trial that is taken when the *other* blocks alone choose.
"""

import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from edge_agent.durable import replace_file
from exporter.models.model_file import load_estimator
from trainer.pipeline.alarms import alarm_share
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value
from trainer.pipeline.candidates import Family, Value
from trainer.pipeline.lesson import Lesson, lesson_of
from trainer.pipeline.model_bytes import model_bytes
from trainer.pipeline.outcome import Facts, Outcome
from trainer.pipeline.search.calibration import Calibrated, calibrate
from trainer.pipeline.search.exportable import verify_exportable
from trainer.pipeline.search.families import families_of_project, unweighted
from trainer.pipeline.search.front import Budget, Contender, choose, pareto_front
from trainer.pipeline.search.places import Here, Place
from trainer.pipeline.search.study import FAMILY, FLEET_WEIGHT, ONLY_STUDY, Search
from trainer.project.learning import ClassWeight

__all__ = ["MODEL_NAME", "Chosen", "Lesson", "Trained", "choose_by_other_blocks", "lesson_of"]
__all__ += ["load_front", "load_trained", "train_model"]

MODEL_NAME: Final = "model.skops"
FRONT_NAME: Final = "front.json"
_STUDY_NAME: Final = "study.json"

PlaceOf = Callable[[Lesson, Sequence[Family]], AbstractContextManager[Place]]


class Chosen(Struct, frozen=True):
    """The trial that was taken.

    Attributes:
        fleet_weight: of one row of the fleet against one of the files; 1 without rows of the fleet.
        quality: of its out-of-fold answers on the search's blocks, by which it was chosen.
        trials: (number, family, quality) of all trials that were judged on all blocks.
        class_weight: whether rare labels weighed as much as frequent ones.
        given_up: trials that were given up before their last block.
        calibration: how the model's probabilities were made true; empty: they are as the model gives them.
    """

    family: str
    parameters: dict[str, Value]
    fleet_weight: float
    quality: float
    trials: tuple[tuple[int, str, float], ...]
    class_weight: ClassWeight = "none"
    given_up: int = 0
    calibration: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What the step made.

    Attributes:
        estimator: fitted on every row that is not held out, and whose label was known when those began.
        out_of_fold: ``(n_kept, n_outputs)``: for rows of the search's blocks the answers of models that neither saw
            their block nor were chosen by it; NaN elsewhere.
    """

    estimator: Any
    chosen: Chosen
    out_of_fold: NDArray[np.float64]


def train_model(
    lesson: Lesson, folder: Path, *, storage: str | None = None, place_of: PlaceOf | None = None
) -> Outcome[Trained]:
    """Search, then fit the candidate that was taken on every row that is not held out.

    Args:
        lesson: rows, truths and roles.
        folder: of the step.
        storage: address of the database that keeps the trials; None: a file in the folder.
        place_of: opens where trials are judged, when the first is to be; None: in this process.

    Raises:
        ProjectError: a candidate that there is none of, or that no device can run.
        RunError: the database of the trials cannot be reached, or the place is lost.
        DataError: a classifier would see one label only.
    """
    families = families_of_project(lesson.project)
    if not lesson.is_labelled:
        families, lesson = families[:1], _with_one_trial(lesson)
    verify_exportable(lesson, families)
    name = _study_name(lesson, folder, storage)
    with _here(lesson, families) if place_of is None else place_of(lesson, families) as place:
        search = Search(lesson, families, folder, storage=storage, study_name=name, place=place)
        search.run()
        judged_on = place.name
    contenders = search.contenders()
    taken = contenders[choose(contenders, _budget_of(lesson), lesson.project.training.choice)]
    draw = search.draw_of(taken.number)
    family = next(family for family in families if family.name == draw.family)
    estimator = lesson.fit(family, draw.parameters, draw.fleet_weight, lesson.splits.fitted, draw.class_weight)
    calibrated = calibrate(lesson, draw, family, estimator)
    answers = [search.answers_of(one.number) for one in contenders]
    out_of_fold = choose_by_other_blocks(lesson, answers, contenders=contenders)
    if calibrated is not None:
        estimator = calibrated.estimator
        out_of_fold = _with_calibrated(out_of_fold, answers[contenders.index(taken)], calibrated.answers)
    chosen = Chosen(
        draw.family,
        draw.parameters,
        draw.fleet_weight,
        taken.quality,
        tuple((one.number, one.family, one.quality) for one in contenders),
        draw.class_weight,
        search.n_given_up,
        "" if calibrated is None else calibrated.method,
    )
    trained = Trained(estimator, chosen, out_of_fold)
    front = pareto_front(contenders)
    replace_file(folder / MODEL_NAME, model_bytes(trained.estimator))
    save_value(folder / "chosen.json", chosen)
    save_value(folder / FRONT_NAME, front)
    save_arrays(folder / "out_of_fold.npz", {"answers": trained.out_of_fold})
    metrics = {f"search_{lesson.project.metric}": chosen.quality} if lesson.is_labelled else {}
    where = (("judged on", judged_on),) if judged_on else ()
    facts = (
        (*_facts_of(lesson, families, chosen, front), *where, *_calibration_facts(calibrated))
        if lesson.is_labelled
        else _facts_without_labels(lesson, chosen, out_of_fold)
    )
    return Outcome(trained, params=_params_of(chosen), metrics=metrics, facts=facts)


def load_trained(folder: Path) -> Trained:
    """Read what `train_model` wrote."""
    return Trained(
        load_estimator(folder / MODEL_NAME),
        load_value(folder / "chosen.json", Chosen),
        load_arrays(folder / "out_of_fold.npz")["answers"].astype(np.float64),
    )


def load_front(folder: Path) -> tuple[Contender, ...]:
    """Read which trials no other one beat in quality, size and latency at once, the best quality first."""
    return load_value(folder / FRONT_NAME, tuple[Contender, ...])


def choose_by_other_blocks(
    lesson: Lesson, answers: Sequence[NDArray[np.float64]], *, contenders: Sequence[Contender] = ()
) -> NDArray[np.float64]:
    """Answer each of the search's blocks by the trial that is taken when the other blocks choose.

    Args:
        lesson: rows, truths and blocks.
        answers: of each trial, ``(n_kept, n_outputs)``, at least one.
        contenders: what those trials cost; none: quality alone chooses.

    Returns:
        ``(n_kept, n_outputs)``; NaN outside of the search's blocks.
    """
    block_of, search_blocks = lesson.splits.block_of, lesson.splits.search_blocks
    judged_blocks = [block for block in search_blocks if (lesson.judged & (block_of == block)).any()]
    known = list(contenders) or [Contender(number, "", 0.0, (), None, None) for number in range(len(answers))]
    chosen = np.full_like(answers[0], np.nan)
    for block in search_blocks:
        others = [other for other in judged_blocks if other != block] or judged_blocks  # a single block judges itself
        masks = [lesson.judged & (block_of == other) for other in others]
        judged = np.logical_or.reduce(masks)
        rivals = [
            replace(
                one,
                quality=lesson.quality_of(its, judged),
                blocks=tuple(lesson.quality_of(its, mask) for mask in masks),
            )
            for one, its in zip(known, answers, strict=True)
        ]
        best = choose(rivals, _budget_of(lesson), lesson.project.training.choice)
        chosen[block_of == block] = answers[best][block_of == block]
    return chosen


def _with_calibrated(
    chosen: NDArray[np.float64], taken: NDArray[np.float64], calibrated: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Put calibrated answers where the trial that was taken answers; another one's stay as it gave them."""
    is_takens = (chosen == taken).all(axis=1) & ~np.isnan(calibrated).any(axis=1)
    return np.where(is_takens[:, np.newaxis], calibrated, chosen)


def _here(lesson: Lesson, families: Sequence[Family]) -> AbstractContextManager[Place]:
    return nullcontext(Here(lesson, families))


def _study_name(lesson: Lesson, folder: Path, storage: str | None) -> str:
    """Return the name of the search: in a database that keeps many, one like no other, which goes with the folder."""
    file = folder / _STUDY_NAME
    if storage is None:
        return ONLY_STUDY
    if not file.exists():
        save_value(file, f"{lesson.project.name} {folder.parent.name} {secrets.token_hex(4)}")
    return load_value(file, str)


def _budget_of(lesson: Lesson) -> Budget:
    export = lesson.project.export
    return Budget(export.max_size_bytes, export.max_latency_us)


def _params_of(chosen: Chosen) -> dict[str, str | int | float]:
    return {
        FAMILY: chosen.family,
        **chosen.parameters,
        FLEET_WEIGHT: chosen.fleet_weight,
        "class_weight": chosen.class_weight,
        "calibration": chosen.calibration or "none",
    }


def _with_one_trial(lesson: Lesson) -> Lesson:
    """Return a lesson that is tried once: without labels nothing tells which of two candidates is better."""
    once = replace(lesson.project.training, trials=1)
    return replaced(lesson, project=replace(lesson.project, training=once))


def _facts_without_labels(lesson: Lesson, chosen: Chosen, out_of_fold: NDArray[np.float64]) -> Facts:
    parameters = " ".join(f"{name}={_text(value)}" for name, value in chosen.parameters.items())
    return (
        ("not searched", "no row is labelled, so that no candidate can be called better: the first one as it starts"),
        ("taken", f"{chosen.family} {parameters}"),
        ("alarms", f"{alarm_share(out_of_fold[lesson.judged]):.2%} of the rows of blocks that it did not see"),
    )


def _facts_of(lesson: Lesson, families: Sequence[Family], chosen: Chosen, front: Sequence[Contender]) -> Facts:
    names = ", ".join(family.name for family in families)
    given_up = f", {chosen.given_up} given up early" if chosen.given_up else ""
    parameters = " ".join(f"{name}={_text(value)}" for name, value in chosen.parameters.items())
    return (
        ("trials", f"{len(chosen.trials)} over {names}{given_up}"),
        ("best", f"{chosen.family} {parameters}"),
        *((("weight of the fleet's rows", f"{chosen.fleet_weight:g}"),) if lesson.splits.fleet_judges else ()),
        *_unweighted_facts(lesson, families),
        *((("weight of labels", chosen.class_weight),) if chosen.class_weight != "none" else ()),
        (lesson.project.metric, f"{chosen.quality:.4f} on contiguous blocks"),
        *((("front", f"{_front_text(front)}"),) if front else ()),
    )


def _unweighted_facts(lesson: Lesson, families: Sequence[Family]) -> Facts:
    """Say of which families the weights that are asked for do not reach: nobody should believe that they did."""
    names = ", ".join(unweighted(families))
    weighed = [
        *(["labels"] if lesson.n_labels and lesson.project.training.class_weights != ("none",) else []),
        *(["rows of the fleet"] if lesson.splits.fleet_judges else []),
    ]
    if not names or not weighed:
        return ()
    return (("tried without weights", f"{names}: takes none, so that {' and '.join(weighed)} are not weighed with it"),)


def _calibration_facts(calibrated: Calibrated | None) -> Facts:
    if calibrated is None:
        return ()
    before, after = calibrated.log_losses
    return (("calibration", f"{calibrated.method}: log-loss {before:.4f} to {after:.4f}"),)


def _front_text(front: Sequence[Contender]) -> str:
    return "; ".join(
        f"{one.family} {one.quality:.4f}, {(one.size_bytes or 0) / 1000:.1f} kB, {one.latency_us or 0:.0f} µs"
        for one in front
    )


def _text(value: Value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
