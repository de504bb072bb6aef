"""The command ``fieldloop pipeline schedule``."""

import signal
import threading
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from trainer.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from trainer.continuous.schedule import Scheduler

_LOOK_S: Final = 1.0


def schedule_command(
    project: ProjectOption = Path(),
    n: Annotated[int, typer.Option("--next", min=1, max=1000, help="How many of the next times to list.")] = 5,
    *,
    serve: Annotated[
        bool, typer.Option("--serve", help="Stay, and begin the runs; where a monitor runs, it does so itself.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List when the project's schedule begins runs, or keep it."""
    import msgspec

    from edge_agent.clock import SystemClock
    from trainer.cli.feature_places import source_access
    from trainer.continuous.new_labels import NewLabels
    from trainer.continuous.runner import SubprocessRunner
    from trainer.continuous.schedule import Scheduler
    from trainer.continuous.triggers import minute_of, times_after
    from trainer.pipeline.runs import RUNS_NAME
    from trainer.project.loading import load_project

    loaded, clock = load_project(project), SystemClock()
    triggers = loaded.project.triggers
    if not serve:
        times = list(islice(times_after(triggers, clock.utc_s()), n))
        if as_json:
            told = {"schedule": triggers.schedule, "timezone": triggers.timezone, "next_utc_s": times}
            typer.echo(msgspec.json.encode({**told, "new_labels": triggers.new_labels}).decode())
            return
        typer.echo("\n".join(minute_of(time, triggers) for time in times) or "no schedule: key 'triggers.schedule'")
        if triggers.new_labels:
            whose = "" if loaded.project.data.views else " of the fleet, while a monitor runs"
            typer.echo(f"and with {triggers.new_labels} new labelled rows{whose}")
        return
    runner = SubprocessRunner(loaded.folder, loaded.state / RUNS_NAME, clock=clock)
    try:
        new_labels = NewLabels(loaded, source_access(project), clock)
        _serve(Scheduler(loaded, runner, clock, new_labels.count), as_json=as_json)
    finally:
        runner.close()


def _serve(scheduler: "Scheduler", *, as_json: bool) -> None:
    """Begin runs until SIGINT or SIGTERM comes."""
    import msgspec

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    told = scheduler.request
    while not ended.is_set():
        outcome = scheduler.step()
        if scheduler.request is not None and scheduler.request != told:
            told = scheduler.request
            typer.echo(msgspec.json.encode(told).decode() if as_json else f"a run begins: {told.reason}")
        if outcome is not None:
            typer.echo(msgspec.json.encode(outcome).decode() if as_json else f"{outcome.kind}: {outcome.reason}")
        ended.wait(_LOOK_S)
