"""Judges one trial: a family with its parameters, block by block, each block by a model that did not see it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from exporter.errors import ExporterError
from exporter.models.model import FittedModel
from exporter.reading.models import read_model
from exporter.variants import choose_forms
from trainer.pipeline.candidates import Family, Value
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.cost import Cost, estimate_cost
from trainer.project.learning import ClassWeight


class Draw(Struct, frozen=True):
    """What a trial tries."""

    family: str
    parameters: dict[str, Value]
    fleet_weight: float = 1.0
    class_weight: ClassWeight = "none"


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A trial that was judged on all blocks.

    Attributes:
        answers: ``(n_kept, n_outputs)``: out of fold; NaN outside of the search's blocks.
        blocks: quality of each block that has judged rows, in their order.
        cost: of one of its models; None: it has no form for devices.
    """

    answers: NDArray[np.float64]
    quality: float
    blocks: tuple[float, ...]
    cost: Cost | None


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """A block that was answered by a model that did not see it.

    Attributes:
        answers: ``(n_rows, n_outputs) float64`` of the block.
        cost: of that model; None: it has no form for devices, or this is not the last block.
    """

    answers: NDArray[np.float64]
    cost: Cost | None = None


def answer_block(lesson: Lesson, family: Family, draw: Draw, block: int) -> Answered:
    """Fit a model on what is neither held out nor of the block, and ask it for the block.

    Raises:
        DataError: a classifier would see one label only.
    """
    estimator, answers = lesson.answer_block(block, family, draw.parameters, draw.fleet_weight, draw.class_weight)
    is_last = block == lesson.splits.search_blocks[-1]
    return Answered(answers, cost_of(lesson, estimator) if is_last else None)


def judge(
    lesson: Lesson, answered: Callable[[int], Answered], is_hopeless: Callable[[tuple[float, ...]], bool]
) -> Judged | tuple[float, ...]:
    """Judge a trial; return the qualities of its first blocks alone, when it was given up.

    Args:
        lesson: rows, truths and blocks.
        answered: is asked for one of the search's blocks after the other.
        is_hopeless: is asked after each block but the last, with the qualities so far.

    Raises:
        DataError: a classifier would see one label only.
    """
    answers = lesson.no_answers()
    blocks: list[float] = []
    cost: Cost | None = None
    search_blocks = lesson.splits.search_blocks
    for block in search_blocks:
        inside = lesson.splits.block_of == block
        found = answered(block)
        answers[inside], cost = found.answers, found.cost
        judged = inside & lesson.judged
        if not judged.any():
            continue
        blocks.append(lesson.quality_of(answers, judged))
        if block != search_blocks[-1] and is_hopeless(tuple(blocks)):
            return tuple(blocks)
    return Judged(answers, lesson.quality_of(answers, lesson.judged), tuple(blocks), cost)


def cost_of(lesson: Lesson, estimator: Any) -> Cost | None:  # noqa: ANN401 - scikit-learn ships no types
    """Estimate what an estimator costs devices; None where it has no form for them, or lacks a label."""
    project = lesson.project
    labels = tuple(str(label) for label in range(lesson.n_labels))
    try:
        program = read_model(FittedModel(estimator, project.target.task, project.features, labels))
    except ExporterError:
        return None
    return estimate_cost(program, choose_forms(project.export.variants, project.export.boards))
