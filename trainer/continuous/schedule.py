"""Keeps a project's schedule where no monitor does: for a project without a fleet, or before it has one.

What it has begun is in a file, so that one that is killed and started again neither forgets a run nor repeats it.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge_agent.clock import Clock
from edge_agent.durable import replace_file
from trainer.continuous.runner import ProductionRunner, RunOutcome, RunRequest
from trainer.continuous.triggers import find_due
from trainer.errors import DataError, ProjectError
from trainer.project.project import LoadedProject

logger = logging.getLogger(__name__)

STATE_NAME: Final = "schedule.json"
# Labels that a run could not learn from, since it could not begin, do not begin the next one at once.
_AGAIN_S: Final = 600.0


class Kept(Struct, frozen=True):
    """What the file says.

    Attributes:
        ran_utc_s: when the last run began, or when somebody first kept this schedule.
        request: the run that goes on.
    """

    ran_utc_s: float
    request: RunRequest | None = None


class Scheduler:
    """Begins a run when the schedule says so; `step` it now and then."""

    def __init__(
        self,
        loaded: LoadedProject,
        runner: ProductionRunner,
        clock: Clock,
        count_rows: Callable[[int], int | None] = int,
    ) -> None:
        """Take up what was kept.

        Args:
            loaded: the project.
            runner: carries out the runs.
            clock: tells the time.
            count_rows: returns how many labelled rows of the project's views are new, given that no fleet sends any;
                None: nobody looked now. Raises DataError.

        Raises:
            ProjectError: the project has nothing that begins a run here, or what was kept cannot be read.
        """
        self._triggers = loaded.project.triggers
        self._counts = bool(loaded.project.data.views and self._triggers.new_labels)
        if self._triggers.schedule is None and not self._counts:
            raise ProjectError("the project has no schedule: set the key 'triggers.schedule', for example '0 3 * * 1'")
        self._count_rows = count_rows
        self._runner = runner
        self._clock = clock
        self._path = loaded.state / STATE_NAME
        kept = _load(self._path)
        if kept is None:
            loaded.state.mkdir(parents=True, exist_ok=True)
            kept = Kept(clock.utc_s())
            replace_file(self._path, msgspec.json.encode(kept))
        self._kept = kept
        self._has_run = False
        self._told = ""

    @property
    def request(self) -> RunRequest | None:
        """The run that goes on."""
        return self._kept.request

    def step(self) -> RunOutcome | None:
        """Begin a run that is due, or look at the one that goes on; return how it ended, once."""
        request = self._kept.request or self._begin()
        if request is None:
            return None
        outcome = self._runner.ensure(request)
        if outcome is not None:
            self._keep(replace(self._kept, request=None))
        return outcome

    def _begin(self) -> RunRequest | None:
        now_s = self._clock.utc_s()
        due = find_due(self._triggers, since_utc_s=self._kept.ran_utc_s, now_utc_s=now_s, labels=self._labels(now_s))
        if due is None:
            return None
        request = RunRequest(f"schedule-{int(now_s)}", due.trigger, due.reason)
        # Before the run: a scheduler that is cut off here begins it after all, under the same token.
        self._keep(Kept(now_s, request))
        self._has_run = True
        return request

    def _labels(self, now_s: float) -> int:
        if not self._counts or (self._has_run and now_s < self._kept.ran_utc_s + _AGAIN_S):
            return 0
        try:
            found = self._count_rows(0)
        except DataError as error:
            if str(error) != self._told:
                logger.warning("new labelled rows cannot be counted: %s", error)
            self._told = str(error)
            return 0
        if found is not None:
            self._told = ""
        return found or 0

    def _keep(self, kept: Kept) -> None:
        replace_file(self._path, msgspec.json.encode(kept))
        self._kept = kept


def _load(path: Path) -> Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ProjectError(f"{path}: cannot be read: {error}; remove it to keep the schedule from now on") from error
