"""Measures every cell, on as many processors as there are."""

import multiprocessing
import os
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from edge_agent.bundle import Task
from tests.integration.exporter.coverage.cases import makers
from tests.integration.exporter.coverage.measuring import Cell, measure


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table: a model and its cells, by variant."""

    group: str
    name: str
    task: Task
    cells: dict[str, Cell]


def measure_all(n_processes: int | None = None) -> tuple[Line, ...]:
    """Return every line, in the order of the cases."""
    n = n_processes or len(os.sched_getaffinity(0))
    # Not forked: OpenMP does not survive it.
    with ProcessPoolExecutor(n, multiprocessing.get_context("spawn")) as pool:
        return tuple(line for lines in pool.map(measure_lines, range(len(makers()))) for line in lines)


def measure_lines(place: int) -> list[Line]:
    """Fit what one maker makes, and measure it."""
    with threadpool_limits(1), warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        return [Line(case.group, case.name, case.model.task, measure(case, Path(folder))) for case in makers()[place]()]
