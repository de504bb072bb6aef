"""What the steps of one production run work with: the project, the run's head, the registry, what earlier steps made.

What a step made is read from the disk when it is first asked for: a step that is kept, and that nobody reads, costs
nothing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trainer.features.table import TrainingTable
from trainer.pipeline import (
    evaluating,
    exporting,
    extracting,
    judging,
    lesson,
    preparing,
    promoting,
    registering,
    training,
    validating,
)
from trainer.pipeline.evaluating import Evaluation
from trainer.pipeline.exporting import Exported
from trainer.pipeline.gate_evidence import GateDecision
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.preparing import Splits
from trainer.pipeline.runs import RunHead
from trainer.pipeline.training import Trained
from trainer.pipeline.validating import Validation
from trainer.project.project import LoadedProject, Project
from trainer.registry.registry import Registry

T = TypeVar("T")


class RunBench:
    """The bench of one run."""

    def __init__(self, loaded: LoadedProject, head: RunHead, registry: Registry, folder: Path) -> None:
        """Lay out what there is; `folder` is that of the run."""
        self.loaded = loaded
        self.head = head
        self.registry = registry
        self.folder = folder
        self._made: dict[str, Any] = {}

    def put(self, step: str, value: Any) -> None:  # noqa: ANN401 - of each step another
        """Take what a step has just made, in place of what lies on the disk."""
        self._made[step] = value

    @property
    def project(self) -> Project:
        """The project as it is now."""
        return self.loaded.project

    @property
    def table(self) -> TrainingTable:
        """What ``extract`` made."""
        return self._of("extract", extracting.load_rows)

    @property
    def validation(self) -> Validation:
        """What ``validate`` made."""
        return self._of("validate", validating.load_validation)

    @property
    def splits(self) -> Splits:
        """What ``prepare`` made."""
        return self._of("prepare", preparing.load_splits)

    @property
    def lesson(self) -> Lesson:
        """The rows with their roles, from ``extract`` and ``prepare``."""
        return lesson.lesson_of(self.project, self.table, self.splits)

    @property
    def trained(self) -> Trained:
        """What ``train`` made."""
        return self._of("train", training.load_trained)

    @property
    def evaluation(self) -> Evaluation:
        """What ``evaluate`` made."""
        return self._of("evaluate", evaluating.load_evaluation)

    @property
    def version(self) -> int:
        """What ``register`` made."""
        return self._of("register", registering.load_version)

    @property
    def exported(self) -> Exported:
        """What ``export`` made."""
        return self._of("export", exporting.load_exported)

    @property
    def decision(self) -> GateDecision:
        """What ``gate`` made."""
        return self._of("gate", judging.load_decision)

    @property
    def promoted(self) -> bool:
        """What ``promote`` made."""
        return self._of("promote", promoting.load_promoted)

    def _of(self, step: str, load: Callable[[Path], T]) -> T:
        if step not in self._made:
            self._made[step] = load(self.folder / step)
        value: T = self._made[step]
        return value
