"""The commands ``fieldloop pipeline run|resume|show|list``; the others of the group stand beside this module."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trainer.cli.anomalies import anomalies_command
from trainer.cli.compare import compare_command
from trainer.cli.compile import compile_command
from trainer.cli.options import DaskOption, JsonOption, ProjectOption, minute_of
from trainer.cli.schedule import schedule_command
from trainer.cli.step import step_command
from trainer.errors import GateRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from trainer.pipeline.outcome import StepEvent
    from trainer.pipeline.production import RunResult
    from trainer.pipeline.runs import RunOverview

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Run the production pipeline: train, export, gate, promote."
)

app.command("schedule")(schedule_command)
app.command("step")(step_command)
app.command("compare")(compare_command)
app.command("compile")(compile_command)
app.command("anomalies")(anomalies_command)

RunArgument = Annotated[str, typer.Argument(metavar="RUN_ID", help="The run's id, or last.")]


@app.command("run")
def run(
    project: ProjectOption = Path(),
    trigger: Annotated[str, typer.Option(help="What started it: manual, schedule, labels, deterioration.")] = "manual",
    reason: Annotated[str, typer.Option(help="Why, for people; kept with the run.")] = "by hand",
    dask: DaskOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Train, evaluate, register, export and gate a candidate, and promote it when it has earned that.

    Exit code 4: the gate refused it; one that passed and waits for a person's approval ends well. With --json two lines
    are printed: the run's id as soon as there is one, and at the end all facts.
    """
    _produce(project, trigger, reason, None, dask, as_json=as_json)


@app.command("resume")
def resume(
    run_id: RunArgument = "last",
    project: ProjectOption = Path(),
    dask: DaskOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Go on with a run that broke off, from its first unfinished step."""
    _produce(project, "", "", run_id, dask, as_json=as_json)


@app.command("show")
def show(run_id: RunArgument = "last", project: ProjectOption = Path(), *, as_json: JsonOption = False) -> None:
    """Show a run: why it was started, its steps with times and facts, why each ran or was kept, and how it ended."""
    from trainer.pipeline.runs import load_run
    from trainer.project.loading import load_project

    overview = load_run(load_project(project).state, run_id)
    if as_json:
        _print_json(overview)
        return
    from rich.console import Console

    from trainer.console.steps import StepLines
    from trainer.pipeline.outcome import StepEvent

    head = overview.head
    typer.echo(f"run {head.run_id} of {head.model}, {minute_of(head.as_of_utc_s)} UTC on {head.host}")
    typer.echo(f"trigger: {head.trigger}: {head.reason}")
    typer.echo(f"compared with: {f'{head.model}/{head.champion}' if head.champion else 'no champion yet'}")
    lines = StepLines(Console())
    for step in overview.steps:
        verdict = overview.verdict_on(step.name)
        phase: Literal["finished", "skipped"] = "skipped" if verdict is not None and not verdict.ran else "finished"
        lines(StepEvent(step.name, phase, step.seconds, step.facts, "" if verdict is None else verdict.why))
    if overview.end is None:
        typer.echo(f"unfinished: it goes on, or broke off (then: fieldloop pipeline resume {head.run_id})")
    else:
        why = "" if overview.end.promoted else f": {overview.end.reason}"
        typer.echo(f"{head.model}/{overview.end.version} {overview.end.outcome}{why}")


@app.command("list")
def list_runs(project: ProjectOption = Path(), *, as_json: JsonOption = False) -> None:
    """List all runs, the earliest first."""
    from trainer.pipeline import runs
    from trainer.project.loading import load_project

    overviews = runs.list_runs(load_project(project).state)
    if as_json:
        _print_json([(overview.head, overview.end) for overview in overviews])
        return
    if not overviews:
        typer.echo("no run yet: fieldloop pipeline run starts one")
        return
    # Plain lines: a table would cut the ids, which people copy.
    for overview in overviews:
        head = overview.head
        done = f"{len(overview.steps)}/{len(runs.STEPS)} steps"
        typer.echo(f"{head.run_id}  {minute_of(head.as_of_utc_s)}  {done}  {_end_of(overview):<12}  {head.trigger}")


def _produce(project: Path, trigger: str, reason: str, resumed: str | None, dask: str | None, *, as_json: bool) -> None:
    """Carry out a run or go on with one, and show it.

    Raises:
        GateRefusedError: the gate refused the candidate.
    """
    from rich.console import Console

    from trainer.cli.feature_places import source_access
    from trainer.console.steps import StepLines
    from trainer.pipeline.production import run_production
    from trainer.project.loading import load_project, with_dask

    loaded = with_dask(load_project(project), dask)
    # Whoever ends this run by SIGTERM leaves it as Ctrl-C does: recorded as broken off, to be resumed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console()
    lines = StepLines(console)
    began: list[str] = []

    def begin(run_id: str) -> None:
        began.append(run_id)
        if as_json:
            _print_json({"run_id": run_id})
        else:
            console.print(f"run {run_id}", highlight=False)

    progress: Callable[[StepEvent], None] | None = None if as_json else lines
    try:
        result = run_production(
            loaded,
            trigger=trigger,
            reason=reason,
            resume=resumed,
            progress=progress,
            on_begin=begin,
            access=source_access(project),
        )
    except BaseException:
        if began:
            typer.echo(f"the run broke off; go on with: fieldloop pipeline resume {began[0]}", err=True)
        raise
    finally:
        lines.stop()
    if as_json:
        _print_json(_facts(result))
    else:
        _print_result(console, result, loaded.project.name)
    if not result.promoted and not result.waits:
        raise GateRefusedError(f"the gate refused {loaded.project.name}/{result.version}: {result.reason}")


def _facts(result: "RunResult") -> dict[str, object]:
    decision = result.decision
    return {
        "run_id": result.run_id,
        "version": result.version,
        "promoted": result.promoted,
        "waits": result.waits,
        "reason": result.reason,
        "bundle": None if result.bundle is None else str(result.bundle.resolve()),
        "decision": {
            "passed": decision.passed,
            "reason": result.reason,
            "checks": decision.checks,
            "evidence": decision.evidence,
        },
        "report": result.report,
        "steps": result.steps,
    }


def _print_result(console: "Console", result: "RunResult", name: str) -> None:
    from rich.markup import escape

    from exporter.proof.report_text import report_table

    console.print(report_table(result.report))
    # What decided is told by the step `gate` already; a variant that failed is only left out of the bundle.
    for check in result.decision.checks:
        if not check.decides:
            mark = "[green]✓[/]" if check.passed else "[yellow]–[/]"
            console.print(f"  {mark} {escape(check.text)}", highlight=False, soft_wrap=True)
    if result.promoted:
        console.print(
            f"{name}/{result.version} is the champion; its bundle: {result.bundle}", highlight=False, soft_wrap=True
        )
    elif result.waits:
        console.print(f"{name}/{result.version} waits for approval: {result.reason}", highlight=False, soft_wrap=True)


def _end_of(overview: "RunOverview") -> str:
    end = overview.end
    if end is None:
        return "unfinished"
    return f"{end.outcome} {end.version}"


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.encode(value).decode())
