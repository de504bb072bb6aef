"""How many labelled rows came since the last run, for a project whose rows come from views of the feature store.

Nobody else may read the sources of these views between two runs: whoever counts reads them, now and then.
"""

import math
from typing import Final

import numpy as np

from edge_agent.clock import Clock
from trainer.features.sources.reading import Access
from trainer.features.view_labels import count_later_rows, count_new_events
from trainer.features.view_rows import as_read, open_store, pull_labels
from trainer.pipeline.extracting import load_rows
from trainer.pipeline.runs import RunOverview, list_runs, run_folder
from trainer.project.project import LoadedProject

LOOK_S: Final = 60.0


class NewLabels:
    """Counts them, no more often than once a minute."""

    def __init__(self, loaded: LoadedProject, access: Access, clock: Clock) -> None:
        """Give it the project, the way to the sources of its views, and the time."""
        self._loaded = loaded
        self._access = access
        self._clock = clock
        self._next_look_s = -math.inf

    def count(self, of_fleet: int) -> int | None:
        """Return how many new labelled rows there are; None where somebody looked less than a minute ago.

        A run that could not begin has learnt nothing: what it would have learnt stays new.

        Args:
            of_fleet: that devices sent, which a run learns from too; they count unless the view of labels has them.

        Raises:
            DataError: the source of the view of labels, or a file of labelled rows, cannot be read.
        """
        data = self._loaded.project.data
        if not data.views:
            return of_fleet
        now_s = self._clock.monotonic_s()
        if now_s < self._next_look_s:
            return None
        self._next_look_s = now_s + LOOK_S
        last = self._last_run()
        if data.labels is None:
            newest = -math.inf if last is None else self._newest_of(last)
            return count_later_rows(self._loaded, newest) + of_fleet
        pull_labels(self._loaded, self._access)
        learnt = None if last is None else as_read(self._loaded, last.head.views or ())
        then_s = 0.0 if last is None else last.head.as_of_utc_s
        new = count_new_events(self._loaded, self._clock.utc_s(), learnt, then_s)
        view = open_store(self._loaded).catalogue.find(data.labels).view
        return new + (0 if view.source.fleet == "labels" else of_fleet)

    def _last_run(self) -> RunOverview | None:
        """Return the last run that has rows; one that broke off before is taken up, or learns nothing."""
        runs = [
            run for run in list_runs(self._loaded.state) if run.steps and run.head.model == self._loaded.project.name
        ]
        return runs[-1] if runs else None

    def _newest_of(self, run: RunOverview) -> float:
        table = load_rows(run_folder(self._loaded.state, run.head.run_id) / "extract")
        if table.times is None:
            return -math.inf
        return float(np.max(table.times.at[~table.is_fleet], initial=-math.inf))
