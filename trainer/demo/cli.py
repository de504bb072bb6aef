"""The command ``fieldloop demo``."""

import signal
import threading
from pathlib import Path
from typing import Annotated, Literal

import typer

app = typer.Typer(add_completion=False)

_INTERRUPTED = 130


@app.command("demo")
def demo_command(
    devices: Annotated[int, typer.Option(min=1, max=100, help="Devices, each a process of its own.")] = 5,
    seed: Annotated[int, typer.Option(help="Makes runs comparable; a project has its own.")] = 1,
    data: Annotated[
        Literal["rainfall", "digits"], typer.Option(help="Which of the demo's own data sets.")
    ] = "rainfall",
    project: Annotated[
        Path | None, typer.Option(help="Play the loop on your own project instead: its fieldloop.toml or folder.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where everything is kept; an earlier demo there is replaced.")] = Path(
        "demo"
    ),
    broker: Annotated[
        Literal["auto", "mosquitto", "amqtt"],
        typer.Option(help="auto takes a Mosquitto that is installed, else the embedded amqtt."),
    ] = "auto",
    rows_per_second: Annotated[
        float | None, typer.Option(min=0.1, help="Rows that each device scores in a second; by default the data's own.")
    ] = None,
    keep: Annotated[  # noqa: FBT002 - an option
        bool,
        typer.Option("--keep", help="Go on scoring after the last row, from the first one on again, until Ctrl-C."),
    ] = False,
) -> None:
    """Play the whole loop on this machine: train, export, deploy, score, notice a loss, mend it."""
    from rich.console import Console

    from edge_agent.clock import SystemClock
    from trainer.demo.data import DATA_SETS
    from trainer.demo.one_machine import OneMachine
    from trainer.demo.plans import Manner, plan_of_data, plan_of_project
    from trainer.demo.summary import draw_summary, write_summary
    from trainer.demo.view import TerminalView

    chosen = None if project is not None else DATA_SETS[data]
    manner = Manner(broker, rows_per_second, keep)
    if chosen is not None:
        plan = plan_of_data(chosen, folder, devices, manner, seed=seed)
    else:
        plan = plan_of_project(project or Path(), folder, devices, manner)
    view = TerminalView(Console())
    machine = OneMachine(plan, SystemClock(), view, threading.Event())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: machine.end())
    try:
        summary, scored, static = machine.play(keep=keep)
    except KeyboardInterrupt:
        typer.echo("ended while the first model was trained: nothing else was started")
        raise typer.Exit(_INTERRUPTED) from None
    finally:
        view.close()
    files = [
        write_summary(folder, summary),
        *draw_summary(
            folder,
            summary,
            scored,
            plan.replay.truth,
            static,
            documented_drift_row=None if chosen is None else chosen.documented_drift_row,
            note="" if chosen is None else chosen.note,
        ),
    ]
    view.summary(summary, [str(file) for file in files])
