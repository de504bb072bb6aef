"""Where trials are judged, and how many at a time, changes nothing of what comes out."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pytest

from tests.unit.trainer.pipeline.lessons import draw_table, make_lesson, make_project
from tests.unit.trainer.pipeline.search.test_study import TOLD
from trainer.features.table import RowTimes
from trainer.pipeline.search.lesson_bytes import lesson_bytes, parse_lesson
from trainer.pipeline.search.places import Here
from trainer.pipeline.search.study import Search
from trainer.pipeline.splits import LabelTimes

if TYPE_CHECKING:
    from trainer.pipeline.search.trial import Answered

BLOCKS = 6


def lesson(**training):
    project = make_project(training={"candidates": ["forest"], "blocks": BLOCKS, "trials": 16, **training})
    return make_lesson(project, draw_table(300))


class Backwards:
    """Works on many trials at once, and is through with the later blocks of the later ones first."""

    def __init__(self, taught, n_at_once):
        self.n_at_once = n_at_once
        self.name = "threads"
        self.most = self.open = 0
        self._here = Here(taught, [TOLD])
        self._pool = ThreadPoolExecutor(1)
        self._todo = []
        self._lock = threading.Lock()

    def begin(self, draw):
        begun = self._here.begin(draw)
        self.open += 1
        self.most = max(self.most, self.open)
        futures: dict[int, Future[Answered]] = {block: Future() for block in range(BLOCKS)}
        with self._lock:
            self._todo += [(begun, block, future) for block, future in futures.items()]
        return _Begun(self, futures)

    def work_off(self):
        with self._lock:
            todo, self._todo = self._todo[::-1], []
        for begun, block, future in todo:
            future.set_result(self._pool.submit(begun.answered, block).result())


class _Begun:
    def __init__(self, place, futures):
        self._place, self._futures, self._is_open = place, futures, True

    def answered(self, block):
        self._place.work_off()
        return self._futures[block].result(0)

    def drop(self):
        self._place.open -= self._is_open
        self._is_open = False


def searched(folder, taught, place=None):
    folder.mkdir()
    search = Search(taught, [TOLD], folder, place=place)
    search.run()
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'search.db'}")
    return [(t.state, t.params, t.values, t.user_attrs, t.intermediate_values) for t in study.trials]


@pytest.mark.parametrize("ahead", [1, 4])
def test_many_at_once_and_in_any_order_make_the_same_trials_as_one_after_the_other(tmp_path, ahead):
    taught = lesson(ahead=ahead)
    place = Backwards(taught, 10)
    there = searched(tmp_path / "there", taught, place)
    assert there == searched(tmp_path / "here", taught)
    assert place.most == 4, "drawn by chance are max(4, families + 2)"
    assert place.open == 0
    assert len(there) == 16
    assert {state.name for state, *_ in there} == {"COMPLETE", "PRUNED"}


def test_what_is_drawn_ahead_knows_less(tmp_path):
    one, four = (searched(tmp_path / str(n), lesson(ahead=n)) for n in (1, 4))
    assert one[:4] == four[:4]
    assert one != four


def test_a_lesson_comes_out_of_its_bytes_as_it_was():
    taught = lesson()
    assert (parse_lesson(lesson_bytes(taught)).times, parse_lesson(lesson_bytes(taught)).splits.late) == (None, None)
    at = np.arange(300.0)
    times = RowTimes(at, at + np.where(at % 7, 1.0, np.nan), np.zeros(300, dtype=np.int64))
    taught = replace(taught, times=times, splits=replace(taught.splits, late=LabelTimes(times.at, times.known)))
    back = parse_lesson(lesson_bytes(taught))
    assert back.times is not None
    assert back.splits.late is not None
    np.testing.assert_array_equal(back.times.known, times.known)
    np.testing.assert_array_equal(back.splits.late.at, times.at)
    assert lesson_bytes(back) == lesson_bytes(taught)
    assert back.project == taught.project
    assert (back.rows == taught.rows).all()
    assert back.rows.dtype == taught.rows.dtype
    assert (back.splits.block_of == taught.splits.block_of).all()
    assert (back.n_labels, back.labels) == (taught.n_labels, taught.labels)
