"""Step ``evaluate``: how good is the model on rows that it was not trained on, and how good is the champion there?

Without rows of the fleet the held-out, latest part of the files judges. With enough of them the fleet's rows judge (and
where the project splits by entities, those that were left out), by the out-of-fold answers of the search's best
candidate; rows that a device chose for being hard do not count.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from exporter.models.metrics import quality
from exporter.models.model import Evidence
from exporter.proof.intervals import Judge
from trainer.features.table import row_keys
from trainer.pipeline.alarms import AlarmFigures, agreement, alarm_share
from trainer.pipeline.artefacts import load_arrays, load_value, save_arrays, save_value
from trainer.pipeline.baselines import (
    NO_PERSISTENCE,
    Persistence,
    constant_answers,
    constant_quality,
    judge_persistence,
    last_known,
    majority_share,
    persistent_answers,
)
from trainer.pipeline.fitting import outputs_of
from trainer.pipeline.outcome import Facts, Outcome
from trainer.pipeline.paired import chance_of_gain
from trainer.pipeline.slices import SliceFigures
from trainer.pipeline.training import Lesson, Trained

KEYS_NAME: Final = "trained_rows.npz"
_RECENT_ROWS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """The model that the candidate must match.

    Attributes:
        answers_alike: whether it takes the same features and gives the same labels; else nothing can be compared.
        trained_rows: names of the rows that it was fitted on (`trainer.features.table.row_keys`).
        honest_rows, honest_answers: names of rows, sorted, and what models of its own kind that did not see them
            answered, ``(n, n_outputs)``: they stand for it on rows that it was fitted on.
    """

    version: int
    estimator: Any
    answers_alike: bool
    trained_rows: NDArray[np.uint64]
    honest_rows: NDArray[np.uint64]
    honest_answers: NDArray[np.float64]

    def answer(self, rows: NDArray[np.float32], keys: NDArray[np.uint64], n_labels: int) -> NDArray[np.float64]:
        """Answer rows, ``(n, n_outputs)``; NaN for those of which it can give no honest answer."""
        answers = np.full((len(rows), n_labels or 1), np.nan)
        if not self.answers_alike or not len(rows):
            return answers
        unseen = ~np.isin(keys, self.trained_rows)
        if unseen.any():
            answers[unseen] = outputs_of(self.estimator, rows[unseen], n_labels)
        known = ~unseen & np.isin(keys, self.honest_rows)
        answers[known] = self.honest_answers[np.searchsorted(self.honest_rows, keys[known])]
        return answers


def load_champion(version: int, estimator: Any, folder: Path, *, answers_alike: bool) -> Champion:  # noqa: ANN401
    """Join a champion from its estimator and what its own evaluation left in ``folder``."""
    evidence = load_arrays(folder / "evidence.npz")
    keys, first = np.unique(row_keys(evidence["rows"], evidence["truth"]), return_index=True)
    return Champion(
        version,
        estimator,
        answers_alike,
        load_arrays(folder / KEYS_NAME)["keys"],
        keys,
        evidence["predictions"][first].astype(np.float64),
    )


class Figures(Struct, frozen=True):
    """The figures of the evaluation; see `trainer.pipeline.gate_evidence.GateEvidence`.

    Attributes:
        train_quality: of the model on the rows that it was fitted on.
        blocks: quality of each contiguous block of the evidence.
        quality_low, quality_high: 95 % confidence interval of `quality`; 0 and 0 in figures of before.
        champion_chance: how often a gain like that over the champion comes about by chance.
        constant_chance: the same over the constant answer.
        slices: of the parts that the gate judges.
        persistence_rows: judged rows before which a label of the same entity, or device, was known; 0 without times.
        persistence_quality: of the last of those labels as the answer, and of the constant one where there was none.
        persistence_chance: how often a gain like that over this answer comes about by chance.
        alarms: of a detector whose rows nobody has labelled; then no figure above says how good it is.
    """

    judged_rows: int
    quality: float
    train_quality: float
    constant_quality: float
    majority_share: float
    champion_version: int
    champion_answers_alike: bool
    compared_rows: int
    compared_quality: float
    champion_quality: float
    recent_rows: int
    recent_quality: float
    recent_constant_quality: float
    recent_majority_share: float
    blocks: tuple[float, ...]
    quality_low: float = 0.0
    quality_high: float = 0.0
    champion_chance: float = 1.0
    constant_chance: float = 1.0
    slices: tuple[SliceFigures, ...] = ()
    persistence_rows: int = 0
    persistence_quality: float = 0.0
    persistence_chance: float = 1.0
    alarms: AlarmFigures | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What the step found.

    Attributes:
        evidence: answers of models that did not see a row's block, for references and estimation.
        judged: ``(n_kept,) bool``: the rows that judge.
    """

    figures: Figures
    evidence: Evidence
    judged: NDArray[np.bool_]


def evaluate_model(lesson: Lesson, trained: Trained, champion: Champion | None, folder: Path) -> Outcome[Evaluation]:
    """Evaluate the model, and the champion on the same rows."""
    splits, metric = lesson.splits, lesson.project.metric
    answers = trained.out_of_fold.copy()
    held = splits.is_holdout
    answers[held] = outputs_of(trained.estimator, lesson.rows[held], lesson.n_labels)
    has_answer = ~np.isnan(answers).any(axis=1) & lesson.is_fair
    judged = held if held.any() and not splits.fleet_judges else has_answer & ~held
    evidence = Evidence(
        lesson.rows[has_answer], lesson.truth[has_answer], answers[has_answer], splits.block_of[has_answer]
    )
    figures = _figures(lesson, trained, champion, answers, judged, evidence)
    save_value(folder / "figures.json", figures)
    save_arrays(
        folder / "evidence.npz",
        {
            "rows": evidence.rows,
            "truth": evidence.truth,
            "predictions": evidence.predictions,
            "block_of": evidence.block_of,
            "judged": judged,
        },
    )
    fitted = splits.fitted
    save_arrays(folder / KEYS_NAME, {"keys": row_keys(lesson.rows[fitted], lesson.truth[fitted])})
    facts, metrics = _told(metric, figures) if figures.alarms is None else _told_without_labels(figures, figures.alarms)
    return Outcome(Evaluation(figures, evidence, judged), metrics=metrics, facts=facts)


def _told(metric: str, figures: Figures) -> tuple[Facts, dict[str, float]]:
    facts = [
        (
            metric,
            (
                f"{figures.quality:.4f} ({figures.quality_low:.4f} to {figures.quality_high:.4f}) on "
                f"{figures.judged_rows:,} rows, constant {figures.constant_quality:.4f}"
            ),
        ),
        ("blocks", f"{min(figures.blocks):.3f} to {max(figures.blocks):.3f}"),
    ]
    if figures.persistence_rows:
        text = f"{figures.persistence_quality:.4f}, {figures.persistence_rows:,} have one"
        facts.append(("last known label", f"{text}, a gain like that by chance: {figures.persistence_chance:.3f}"))
    if figures.compared_rows:
        text = f"{figures.champion_quality:.4f} on {figures.compared_rows:,} of them"
        facts.append(("champion", f"{text}, a gain like that by chance: {figures.champion_chance:.3f}"))
    metrics = {
        f"test_{metric}": figures.quality,
        f"test_{metric}_low": figures.quality_low,
        f"test_{metric}_high": figures.quality_high,
        f"train_{metric}": figures.train_quality,
        "constant": figures.constant_quality,
        **({"persistence": figures.persistence_quality} if figures.persistence_rows else {}),
        **({"champion": figures.champion_quality} if figures.compared_rows else {}),
    }
    return tuple(facts), metrics


def _told_without_labels(figures: Figures, alarms: AlarmFigures) -> tuple[Facts, dict[str, float]]:
    facts = [
        (
            "alarms",
            f"{alarms.judged:.2%} of {figures.judged_rows:,} rows, {alarms.trained:.2%} of those it learnt from",
        ),
        ("not judged", "no row is labelled: how good it is nobody can say"),
    ]
    metrics = {"test_alarm_share": alarms.judged, "train_alarm_share": alarms.trained}
    if figures.compared_rows:
        facts.append(
            ("champion", f"decides alike on {alarms.champion_agreement:.2%} of {figures.compared_rows:,} rows")
        )
        metrics["champion_agreement"] = alarms.champion_agreement
    return tuple(facts), metrics


def load_evaluation(folder: Path) -> Evaluation:
    """Read what `evaluate_model` wrote."""
    arrays = load_arrays(folder / "evidence.npz")
    evidence = Evidence(
        arrays["rows"].astype(np.float32),
        arrays["truth"].astype(np.float64),
        arrays["predictions"].astype(np.float64),
        arrays["block_of"].astype(np.int64),
    )
    return Evaluation(load_value(folder / "figures.json", Figures), evidence, arrays["judged"].astype(np.bool_))


def _figures(
    lesson: Lesson,
    trained: Trained,
    champion: Champion | None,
    answers: NDArray[np.float64],
    judged: NDArray[np.bool_],
    evidence: Evidence,
) -> Figures:
    metric, truth, fitted = lesson.project.metric, lesson.truth, lesson.splits.fitted
    trained_answers = outputs_of(trained.estimator, lesson.rows[fitted], lesson.n_labels)
    alarms: AlarmFigures | None = None
    if not lesson.is_labelled:
        alarms = AlarmFigures(alarm_share(answers[judged]), alarm_share(trained_answers))
    compared, champion_quality, champion_chance = np.zeros_like(judged), 0.0, 1.0
    rng = np.random.default_rng(lesson.project.seed)
    constant = constant_answers(metric, truth[judged], lesson.n_labels)
    interval = Judge(metric, truth[judged], rng).quality(answers[judged])
    if champion is not None:
        theirs = champion.answer(lesson.rows, row_keys(lesson.rows, truth), lesson.n_labels)
        compared = judged & ~np.isnan(theirs).any(axis=1)
        if compared.any():
            champion_quality = quality(metric, truth[compared], theirs[compared])
            champion_chance = chance_of_gain(metric, truth[compared], answers[compared], theirs[compared], rng)
            if alarms is not None:
                alarms = replace(alarms, champion_agreement=agreement(answers[compared], theirs[compared]))
    constant_chance = chance_of_gain(metric, truth[judged], answers[judged], constant, rng)
    persistence = _persistence(lesson, judged, answers[judged], constant, rng)
    recent = np.zeros_like(judged)
    if lesson.splits.fleet_judges:
        recent[np.flatnonzero(judged)[-_RECENT_ROWS:]] = True
    return Figures(
        judged_rows=int(judged.sum()),
        quality=quality(metric, truth[judged], answers[judged]),
        train_quality=quality(metric, truth[fitted], trained_answers),
        constant_quality=constant_quality(metric, truth[judged], lesson.n_labels),
        majority_share=majority_share(truth[judged], lesson.n_labels),
        champion_version=0 if champion is None else champion.version,
        champion_answers_alike=champion is None or champion.answers_alike,
        compared_rows=int(compared.sum()),
        compared_quality=quality(metric, truth[compared], answers[compared]) if compared.any() else 0.0,
        champion_quality=champion_quality,
        recent_rows=int(recent.sum()),
        recent_quality=quality(metric, truth[recent], answers[recent]) if recent.any() else 0.0,
        recent_constant_quality=constant_quality(metric, truth[recent], lesson.n_labels) if recent.any() else 0.0,
        recent_majority_share=majority_share(truth[recent], lesson.n_labels) if recent.any() else 0.0,
        blocks=tuple(
            quality(metric, evidence.truth[inside], evidence.predictions[inside])
            for inside in (evidence.block_of == block for block in evidence.blocks)
        ),
        quality_low=interval.low,
        quality_high=interval.high,
        champion_chance=champion_chance,
        constant_chance=constant_chance,
        slices=tuple(
            SliceFigures(
                name, int(inside.sum()), quality(metric, truth[inside], answers[inside]) if inside.any() else 0.0
            )
            for name, inside in _slices(lesson, judged)
        ),
        persistence_rows=persistence.rows,
        persistence_quality=persistence.quality,
        persistence_chance=persistence.chance,
        alarms=alarms,
    )


def _persistence(
    lesson: Lesson,
    judged: NDArray[np.bool_],
    answers: NDArray[np.float64],
    constant: NDArray[np.float64],
    rng: np.random.Generator,
) -> Persistence:
    """Hold the answers to the judged rows against the last labels that were known before them."""
    if lesson.times is None or not lesson.is_labelled:
        return NO_PERSISTENCE
    values = last_known(lesson.truth, lesson.times, judged)
    is_detector = lesson.project.target.task == "anomaly"
    others = persistent_answers(values, constant, is_detector=is_detector)
    return judge_persistence(lesson.project.metric, lesson.truth[judged], values, answers, others, rng)


def _slices(lesson: Lesson, judged: NDArray[np.bool_]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Cut the judged rows as ``[gate.slices]`` names them, each with its name there."""
    project = lesson.project
    columns = {feature.name: (place, feature.categories) for place, feature in enumerate(project.features)}
    cuts: dict[str, NDArray[np.bool_]] = {}
    for wanted in project.gate.slices:
        column, _, value = wanted.rpartition("=")
        if column == "target":
            values, codes = lesson.labels, lesson.truth
        else:
            place, values = columns[column]
            codes = lesson.rows[:, place].astype(np.float64)
        for code, name in enumerate(values):
            if value in {"*", name}:
                cuts[f"{column}={name}"] = judged & (codes == code)
    return list(cuts.items())
