"""What step ``train`` learns from: the kept rows with their roles."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.models.metrics import quality
from trainer.features.table import RowTimes, TrainingTable
from trainer.pipeline.candidates import Circumstances, Family, Parameters
from trainer.pipeline.fitting import fit, outputs_of
from trainer.pipeline.splits import Splits
from trainer.project.learning import ClassWeight
from trainer.project.project import Project


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """The kept rows with their roles: what a model is fitted on and judged by; `times` are None where none has one."""

    project: Project
    rows: NDArray[np.float32]
    truth: NDArray[np.float64]
    is_fleet: NDArray[np.bool_]
    is_fair: NDArray[np.bool_]
    splits: Splits
    n_labels: int
    labels: tuple[str, ...]
    times: RowTimes | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether anybody knows the truth about the rows that judge."""
        return self.project.target.is_labelled or self.splits.fleet_judges

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows that the search judges by: of its blocks, and no rows that were chosen for being hard."""
        in_search: NDArray[np.bool_] = np.isin(self.splits.block_of, self.splits.search_blocks) & self.is_fair
        return in_search

    def fit(
        self,
        family: Family,
        parameters: Parameters,
        weight: float,
        chosen: NDArray[np.bool_],
        class_weight: ClassWeight = "none",
    ) -> Any:  # noqa: ANN401 - scikit-learn ships no types
        """Fit one candidate on the chosen rows; the last block of them finds the number of rounds, if one does."""
        project = self.project
        circumstances = Circumstances(
            task=project.target.task,
            n_outputs=self.n_labels or 1,
            n_rows=int((chosen & (self.truth == 0)).sum() if project.target.task == "anomaly" else chosen.sum()),
            max_size_bytes=project.export.max_size_bytes,
            seed=project.seed,
        )
        truth = self.truth[chosen]
        weights = np.where(self.is_fleet[chosen], weight, 1.0) if self.is_fleet[chosen].any() else None
        if class_weight == "balanced" and self.n_labels:
            weights = _balanced(truth, np.ones(len(truth)) if weights is None else weights)
        judging = None
        if project.training.early_stopping:
            block_of = self.splits.block_of[chosen]
            judging = block_of == block_of.max()
        return fit(
            family, parameters, circumstances, project.features, self.rows[chosen], truth, weights, judging=judging
        )

    def answer_block(
        self,
        block: int,
        family: Family,
        parameters: Parameters,
        weight: float,
        class_weight: ClassWeight = "none",
    ) -> tuple[Any, NDArray[np.float64]]:
        """Return a model of all rows that may train one to answer the block, and what it answers for the block."""
        inside = self.splits.block_of == block
        estimator = self.fit(family, parameters, weight, self.splits.trains_for(inside), class_weight)
        return estimator, outputs_of(estimator, self.rows[inside], self.n_labels)

    def out_of_fold(self, family: Family, parameters: Parameters, weight: float) -> NDArray[np.float64]:
        """Answer each of the search's blocks by a model of all other rows that are not held out."""
        answers = self.no_answers()
        for block in self.splits.search_blocks:
            _, answers[self.splits.block_of == block] = self.answer_block(block, family, parameters, weight)
        return answers

    def no_answers(self) -> NDArray[np.float64]:
        """Return NaN for every row, ``(n_kept, n_outputs)``."""
        return np.full((len(self.rows), self.n_labels or 1), np.nan)

    def quality_of(self, answers: NDArray[np.float64], judged: NDArray[np.bool_]) -> float:
        """Judge answers ``(n_kept, n_outputs)`` by the rows that `judged` ``(n_kept,)`` names."""
        return quality(self.project.metric, self.truth[judged], answers[judged])


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
        0 if project.target.task == "anomaly" else len(table.labels),
        table.labels,
        None if table.times is None else table.times.of(index),
    )


def _balanced(truth: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights under which each label that occurs has the same sum, and all together the sum they had."""
    labels, places = np.unique(truth, return_inverse=True)
    sums = np.bincount(places, weights=weights)
    balanced: NDArray[np.float64] = weights * (weights.sum() / (len(labels) * sums))[places]
    return balanced
