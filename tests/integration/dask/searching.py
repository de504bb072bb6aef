"""A search of seconds, and what is compared of two of them."""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna

from edge_agent.clock import SystemClock
from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from trainer.pipeline.lesson import Lesson
from trainer.pipeline.search.cluster import opened_place
from trainer.pipeline.training import train_model
from trainer.project.cluster import ClusterSection

FIVE = ["forest", "extra_trees", "logistic", "hist_gradient_boosting", "mlp"]


def a_lesson(n_rows: int = 400, **training: Any) -> Lesson:
    """A lesson over the five families; without more said, each family's start is the whole list of trials."""
    wanted = {"candidates": FIVE, "blocks": 3, "trials": len(FIVE), "class_weights": ["none", "balanced"], **training}
    return make_lesson(make_project(training=wanted), draw_table(n_rows))


def search(
    folder: Path, lesson: Lesson, cluster: ClusterSection | str | None, on_begin: Callable[[int], None] | None = None
) -> None:
    """Train in a folder; `on_begin` is told, after a trial's blocks were handed out, how many trials were so far."""
    folder.mkdir(exist_ok=True)
    section = cluster if isinstance(cluster, ClusterSection) else ClusterSection(dask=cluster)
    train_model(lesson, folder, place_of=partial(_watched, section, on_begin or (lambda _: None)))


@contextmanager
def _watched(section, on_begin, lesson, families):
    with opened_place(lesson, families, section, SystemClock()) as place:
        yield _Watched(place, on_begin)


class _Watched:
    def __init__(self, place, on_begin):
        self._place, self._on_begin, self._begun = place, on_begin, 0
        self.n_at_once, self.name = place.n_at_once, place.name

    def begin(self, draw):
        made = self._place.begin(draw)
        self._begun += 1
        self._on_begin(self._begun)
        return made


def trials_of(folder: Path) -> list[tuple[Any, ...]]:
    """Everything of the trials but their times of day, in their order."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'search.db'}")
    return [(t.state.name, t.params, t.values, t.user_attrs, t.intermediate_values) for t in study.trials]


def made_by(folder: Path) -> dict[str, bytes]:
    """Every file of the step but the search's own book."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "search.db"
    }
