"""Runs on the disk: the head of each, the record of each finished step. What a resumed run, and people, read."""

import re
from pathlib import Path
from typing import Final

from msgspec import Struct

from trainer.errors import RunError
from trainer.features.views.use import ViewRead
from trainer.pipeline.artefacts import Artefact, load_value, save_value
from trainer.pipeline.keys import StepKey
from trainer.pipeline.outcome import Ending, ending_of

RUNS_NAME: Final = "pipeline"
HEAD_NAME: Final = "run.json"
RECORD_NAME: Final = "step.json"
RESULT_NAME: Final = "result.json"
ATTEMPTS_NAME: Final = "attempts.json"
_RUN_ID: Final = re.compile(r"[0-9a-f]{32}")

STEPS: Final = (
    "extract",
    "validate",
    "prepare",
    "train",
    "evaluate",
    "register",
    "export",
    "gate",
    "promote",
)


class RunHead(Struct, frozen=True):
    """What a run was begun with; a resumed run begins with the same.

    Attributes:
        as_of_utc_s: rows that became known later are not used.
        champion: version that the candidate is compared with; 0: none.
        code_version: of the whole pipeline.
        views: what there was in the views of the project; None in a run of an earlier release.
    """

    run_id: str
    model: str
    trigger: str
    reason: str
    as_of_utc_s: float
    champion: int
    code_version: str
    host: str
    views: tuple[ViewRead, ...] | None = None


class StepRecord(Struct, frozen=True):
    """A finished step: written last, so that where it stands the step's files are whole.

    Attributes:
        version: hash of the step's code.
        inputs: hash of all that the step depends on.
        executor: what ran it, as whoever ran it says.
        artefacts: pointers to its files, with hashes.
        key: what it depends on, piece by piece; None in a record of an earlier release.
        outputs: hash of those of its files that other steps read.
        why: it was carried out.
        host: on which it was carried out.
    """

    name: str
    version: str
    inputs: str
    executor: str
    started_utc_s: float
    ended_utc_s: float
    seconds: float
    params: dict[str, str | int | float]
    metrics: dict[str, float]
    facts: tuple[tuple[str, str], ...]
    artefacts: tuple[Artefact, ...]
    key: StepKey | None = None
    outputs: str = ""
    why: str = ""
    host: str = ""


class StepVerdict(Struct, frozen=True):
    """Whether an attempt carried a step out or kept it, and why."""

    step: str
    ran: bool
    why: str


class Attempt(Struct, frozen=True):
    """One process at work on a run: its steps as far as it came, in the order in which it took them."""

    started_utc_s: float
    host: str
    executor: str
    verdicts: tuple[StepVerdict, ...] = ()


class RunEnd(Struct, frozen=True):
    """How a run ended.

    Attributes:
        reason: for people.
        waits: whether its version passed the gate, and a person must approve it.
    """

    promoted: bool
    version: int
    reason: str
    ended_utc_s: float
    waits: bool = False

    @property
    def outcome(self) -> Ending:
        """What came of it, in one word."""
        return ending_of(promoted=self.promoted, waits=self.waits)


class RunOverview(Struct, frozen=True):
    """One run as people see it; ``end`` is None while it goes on, or when it broke off."""

    head: RunHead
    steps: tuple[StepRecord, ...]
    end: RunEnd | None
    attempts: tuple[Attempt, ...] = ()

    def verdict_on(self, step: str) -> StepVerdict | None:
        """Return what the latest attempt that came to a step did with it, and why."""
        found = [verdict for attempt in self.attempts for verdict in attempt.verdicts if verdict.step == step]
        return found[-1] if found else None

    def times_run(self, step: str) -> int:
        """Return how often a step was begun, over all attempts."""
        return sum(v.ran for attempt in self.attempts for v in attempt.verdicts if v.step == step)


def run_folder(state: Path, run_id: str) -> Path:
    """Return the folder of a run; raise RunError for what cannot be the name of one."""
    if _RUN_ID.fullmatch(run_id) is None:
        raise RunError(f"{run_id!r} is no run: list them with: fieldloop pipeline list")
    return state / RUNS_NAME / run_id


def load_run(state: Path, run_id: str) -> RunOverview:
    """Read a run by its id, or ``last``.

    Raises:
        RunError: there is none.
    """
    if run_id == "last":
        runs = list_runs(state)
        if not runs:
            raise RunError("there is no run yet; start one with: fieldloop pipeline run")
        return runs[-1]
    folder = run_folder(state, run_id)
    if not (folder / HEAD_NAME).exists():
        raise RunError(f"there is no run {run_id}; list them with: fieldloop pipeline list")
    steps = tuple(
        load_value(folder / name / RECORD_NAME, StepRecord) for name in STEPS if (folder / name / RECORD_NAME).exists()
    )
    end = load_value(folder / RESULT_NAME, RunEnd) if (folder / RESULT_NAME).exists() else None
    return RunOverview(load_value(folder / HEAD_NAME, RunHead), steps, end, load_attempts(folder))


def load_attempts(folder: Path) -> tuple[Attempt, ...]:
    """Read the attempts at a run from its folder; none of a run of an earlier release."""
    path = folder / ATTEMPTS_NAME
    return load_value(path, tuple[Attempt, ...]) if path.exists() else ()


def save_attempts(folder: Path, attempts: tuple[Attempt, ...]) -> None:
    """Write the attempts at a run."""
    save_value(folder / ATTEMPTS_NAME, attempts)


def list_runs(state: Path) -> tuple[RunOverview, ...]:
    """Read all runs, the earliest first."""
    folders = (path.parent for path in (state / RUNS_NAME).glob(f"*/{HEAD_NAME}"))
    runs = [load_run(state, folder.name) for folder in folders if _RUN_ID.fullmatch(folder.name)]
    return tuple(sorted(runs, key=lambda run: run.head.as_of_utc_s))
