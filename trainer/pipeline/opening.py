"""Begins a run, takes up one that broke off, and ends it.

One process at a time works on the runs of a project, on any of the machines that share its metadata store.
"""

import fcntl
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from mlflow import MlflowClient
from msgspec.structs import replace

from edge_agent.clock import Clock
from trainer.errors import BusyError, RunError
from trainer.features.sources.reading import Access
from trainer.features.view_rows import as_read, pull_project_views
from trainer.features.views.use import ViewRead
from trainer.pipeline.artefacts import save_value
from trainer.pipeline.bench import RunBench
from trainer.pipeline.executor import Executor
from trainer.pipeline.journal import Journal, Progress, packages_text
from trainer.pipeline.runs import (
    HEAD_NAME,
    RESULT_NAME,
    RUNS_NAME,
    RunEnd,
    RunHead,
    load_run,
    run_folder,
)
from trainer.pipeline.sources import Code, Sources
from trainer.pipeline.steps import PRODUCTION
from trainer.project.project import LoadedProject
from trainer.registry.registry import CHAMPION, Registry, open_registry
from trainer.registry.run_lock import Alone, run_lock
from trainer.registry.tracking import ensure_experiment, open_client, store_address


@dataclass(frozen=True, slots=True)
class Beginning:
    """Why a new run begins."""

    trigger: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that this process works on."""

    head: RunHead
    folder: Path
    bench: RunBench
    journal: Journal
    executor: Executor[RunBench]
    client: MlflowClient

    def end(self, end: RunEnd) -> None:
        """Write down how it ended."""
        save_value(self.folder / RESULT_NAME, end)
        self.client.set_tag(self.head.run_id, "fieldloop.promoted", str(end.promoted).lower())
        self.client.set_tag(self.head.run_id, "fieldloop.outcome", end.outcome)
        self.client.set_tag(self.head.run_id, "fieldloop.version", str(end.version))
        self.client.set_terminated(self.head.run_id, "FINISHED")


@contextmanager
def opened_run(
    loaded: LoadedProject,
    start: Beginning | str,
    *,
    clock: Clock,
    progress: Progress,
    executor: str,
    on_begin: Callable[[str], None],
    access: Access,
) -> Iterator[OpenRun]:
    """Begin a run, or take one up; what breaks it off is recorded.

    Args:
        loaded: the project.
        start: why a new one begins; or the id of the one to take up, or ``last``.
        clock: tells the time.
        progress: is told of every step.
        executor: what runs the steps, for the records.
        on_begin: is told the run's id as soon as there is one.
        access: to the sources of the project's views, which are read before anything else.

    Raises:
        DataError: the source of a view cannot be read; no run was begun, and none was changed.
        BusyError: another process works on a run of this project, here or on another machine.
        RunError: there is nothing to take up.
    """
    state = loaded.state
    (state / RUNS_NAME).mkdir(parents=True, exist_ok=True)
    client = open_client(state, loaded.stores.metadata)
    name = loaded.project.name
    with (
        _alone(state / RUNS_NAME / ".lock"),
        run_lock(store_address(loaded), client, name, clock) as alone,
    ):
        registry = open_registry(loaded, client)
        experiment = ensure_experiment(client, name, state, loaded.stores.artefacts)
        sources = _CodeOnce(Sources())
        join = _Joiner(loaded, client, registry, experiment, clock, progress, executor, sources, alone)
        if isinstance(start, Beginning):
            read = pull_project_views(loaded, access)
            run = join(_begin(loaded, client, experiment, registry, start, clock, sources, read))
        else:
            run = _take_up(loaded, start, registry, join, access)
        on_begin(run.head.run_id)
        try:
            yield run
        except BaseException:
            client.set_terminated(run.head.run_id, "FAILED")
            raise


@dataclass(frozen=True, slots=True)
class _Joiner:
    """Joins what works on a run, once its head is known."""

    loaded: LoadedProject
    client: MlflowClient
    registry: Registry
    experiment: str
    clock: Clock
    progress: Progress
    executor: str
    code_of: "_CodeOnce"
    alone: Alone

    def __call__(self, head: RunHead) -> OpenRun:
        folder = run_folder(self.loaded.state, head.run_id)
        loaded = self.loaded if head.views is None else as_read(self.loaded, head.views)
        bench = RunBench(loaded, head, self.registry, folder)
        journal = Journal(
            self.client,
            self.experiment,
            head.run_id,
            folder,
            clock=self.clock,
            progress=self.progress,
            executor=self.executor,
        )
        executor = Executor(
            PRODUCTION, bench, self.loaded.project, journal, self.code_of, before_each=_Watch(self.alone, bench)
        )
        return OpenRun(head, folder, bench, journal, executor, self.client)


@dataclass(frozen=True, slots=True)
class _Watch:
    """Is asked before each step whether this run may go on: the lock is not its own machine's alone."""

    alone: Alone
    bench: RunBench

    def __call__(self) -> None:
        self.alone.verify()
        if not self.alone.was_lost:
            return
        # Nobody else runs now; somebody may have, and what is promoted is compared with the champion of the beginning.
        head = self.bench.head
        champion = self.bench.registry.find(head.model, alias=CHAMPION)
        is_another = champion is not None and champion.version != head.champion and champion.run_id != head.run_id
        if champion is not None and is_another:
            raise BusyError(
                f"while the lock of this run was lost, {champion.name}/{champion.version} became the champion; this "
                f"run must be compared with it: fieldloop pipeline resume {head.run_id}"
            )


class _CodeOnce:
    """Finds the code of the same modules once."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._found: dict[tuple[str, ...], Code] = {}

    def __call__(self, modules: tuple[str, ...]) -> Code:
        if modules not in self._found:
            self._found[modules] = self._sources.code_of(modules)
        return self._found[modules]


def _begin(
    loaded: LoadedProject,
    client: MlflowClient,
    experiment: str,
    registry: Registry,
    start: Beginning,
    clock: Clock,
    code_of: _CodeOnce,
    read: tuple[ViewRead, ...],
) -> RunHead:
    champion = registry.find(loaded.project.name, alias=CHAMPION)
    code = code_of(tuple(sorted({module for step in PRODUCTION.order for module in step.modules})))
    tags = {
        "fieldloop.pipeline": "production",
        "fieldloop.pipeline_version": code.digest,
        "fieldloop.packages": packages_text(code.packages),
        "fieldloop.trigger": start.trigger,
        "fieldloop.reason": start.reason[:1000],
        "fieldloop.previous_model": "" if champion is None else f"{champion.name}/{champion.version}",
        "fieldloop.project": msgspec.json.encode(loaded.project).decode()[:4000],
    }
    run = client.create_run(experiment, run_name=f"production {start.trigger}", tags=tags)
    head = RunHead(
        run_id=str(run.info.run_id),
        model=loaded.project.name,
        trigger=start.trigger,
        reason=start.reason,
        as_of_utc_s=clock.utc_s(),
        champion=0 if champion is None else champion.version,
        code_version=code.digest,
        host=socket.gethostname(),
        views=read,
    )
    folder = run_folder(loaded.state, head.run_id)
    folder.mkdir(parents=True)
    save_value(folder / HEAD_NAME, head)
    return head


def _take_up(loaded: LoadedProject, start: str, registry: Registry, join: _Joiner, access: Access) -> OpenRun:
    """Take up a run that broke off; it must match the champion as it is now, not as it was then.

    Its rows are those that it took; where it broke off before it had any, they are those that there are now.
    """
    overview = load_run(loaded.state, start)
    head = overview.head
    if overview.end is not None:
        came_of_it = {"waits": "it waits for approval"}.get(overview.end.outcome, overview.end.outcome)
        raise RunError(f"run {head.run_id} has ended ({came_of_it}): there is nothing to resume; start a new one")
    if head.model != loaded.project.name:
        raise RunError(f"run {head.run_id} is of model {head.model!r}, the project's is {loaded.project.name!r} now")
    if head.views is not None and not any(step.name == PRODUCTION.order[0].name for step in overview.steps):
        head = replace(head, views=pull_project_views(loaded, access))
        save_value(run_folder(loaded.state, head.run_id) / HEAD_NAME, head)
    run = join(head)
    champion = registry.find(loaded.project.name, alias=CHAMPION)
    # A run that was cut off in its promotion is itself the champion, and goes on as it began.
    is_another = champion is not None and champion.version != head.champion and champion.run_id != head.run_id
    # One whose steps are all done is done: it must not be promoted once more, over who came after it.
    if champion is not None and is_another and any(verdict.action != "keep" for verdict in run.executor.forecast()):
        head = replace(head, champion=champion.version)
        save_value(run.folder / HEAD_NAME, head)
        run.client.set_tag(head.run_id, "fieldloop.previous_model", f"{champion.name}/{champion.version}")
        run = join(head)
    run.client.update_run(head.run_id, "RUNNING")
    return run


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one run of a project go on at a time, in any process."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                f"another production run of this project goes on ({path.parent}); wait for it, or end it"
            ) from error
        yield
