"""The search on a Dask cluster: every block of every trial is a task of its own.

The lesson is sent to each worker once, as bytes that hold no code; a task is a draw and the number of a block. The
trials themselves stay here: a worker that dies loses none, and none is told twice.
"""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge_agent.clock import Clock
from trainer.pipeline.candidates import Family
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.families import families_of_project
from trainer.pipeline.search.lesson_bytes import lesson_bytes, parse_lesson
from trainer.pipeline.search.places import Begun, Here, Place
from trainer.pipeline.search.trial import Answered, Draw, answer_block
from trainer.project.cluster import ClusterSection

if TYPE_CHECKING:
    from trainer.cluster.crew import Crew, Task

# What answers of models rest on.
_PACKAGES: Final = ("numpy", "scipy", "scikit-learn", "threadpoolctl", "msgspec")
# So many tasks wait for each thread: none is idle while an answer travels.
_AHEAD: Final = 2


@contextmanager
def opened_place(lesson: Lesson, families: Sequence[Family], cluster: ClusterSection, clock: Clock) -> Iterator[Place]:
    """Give the place where trials are judged: the cluster, if there is one, else this process.

    Raises:
        ClusterError: it does not answer, or its workers are not as this machine is.
        MissingProgramError: Dask is not installed.
    """
    if cluster.dask is None:
        yield Here(lesson, families)
        return
    from trainer.cluster.opening import opened_crew  # noqa: PLC0415 - without a cluster nobody needs Dask

    modules = [section.class_ for section in lesson.project.training.estimators]
    with opened_crew(
        cluster, _opened_lesson, lesson_bytes(lesson), clock=clock, packages=_PACKAGES, modules=modules
    ) as crew:
        yield OnCluster(crew, lesson)


class OnCluster:
    """The workers of a cluster.

    Attributes:
        n_at_once: trials whose blocks keep all threads busy.
        name: for people.
    """

    def __init__(self, crew: "Crew", lesson: Lesson) -> None:
        self._crew = crew
        self._blocks = lesson.splits.search_blocks
        self._numbers = itertools.count()
        n_workers, n_threads = crew.n_workers, crew.n_threads
        self.n_at_once = max(1, -(-_AHEAD * n_threads // max(1, len(self._blocks))))
        self.name = f"{crew.address}, {n_workers} workers with {n_threads} threads when it began"

    def begin(self, draw: Draw) -> Begun:
        """Hand out all blocks of a trial."""
        number = next(self._numbers)
        return _OfCrew(
            {block: self._crew.give(f"{number} {block}", _answer_there, draw, block) for block in self._blocks}
        )


class _OfCrew:
    def __init__(self, tasks: "dict[int, Task[Answered]]") -> None:
        self._tasks = tasks

    def answered(self, block: int) -> Answered:
        return self._tasks.pop(block).result()

    def drop(self) -> None:
        for task in self._tasks.values():
            task.drop()


@dataclass(frozen=True, slots=True)
class _There:
    """What a worker has of the search."""

    lesson: Lesson
    families: dict[str, Family]


@contextmanager
def _opened_lesson(data: bytes) -> Iterator[_There]:
    lesson = parse_lesson(data)
    yield _There(lesson, {family.name: family for family in families_of_project(lesson.project)})


def _answer_there(there: _There, draw: Draw, block: int) -> Answered:
    return answer_block(there.lesson, there.families[draw.family], draw, block)
