"""The command ``fieldloop pipeline compare``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainer.cli.options import JsonOption, ProjectOption

if TYPE_CHECKING:
    from trainer.pipeline.comparing import Comparison, Pair, StepPair


def compare_command(
    left: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or last.")],
    right: Annotated[str, typer.Argument(metavar="RUN", help="Another run's id, or last.")],
    project: ProjectOption = Path(),
    *,
    as_json: JsonOption = False,
) -> None:
    """Lay two runs side by side: steps, parameters, metrics, and in what they differ."""
    import msgspec

    from trainer.pipeline.comparing import compare_runs
    from trainer.pipeline.runs import load_run
    from trainer.project.loading import load_project

    state = load_project(project).state
    comparison = compare_runs(load_run(state, left), load_run(state, right))
    if as_json:
        typer.echo(msgspec.json.encode(comparison).decode())
        return
    for line in _lines_of(comparison):
        typer.echo(line)


def _lines_of(comparison: "Comparison") -> list[str]:
    """Return plain lines: ids are for copying, and a table would cut them."""
    return [
        f"left   {comparison.left}",
        f"right  {comparison.right}",
        "",
        f"  {'step':<10}{'left':>18}{'right':>18}",
        *(line for step in comparison.steps for line in _step_lines(step)),
        "",
        f"  {'parameter':<34}{'left':>18}{'right':>18}",
        *map(_pair_line, comparison.parameters),
        "",
        f"  {'metric':<34}{'left':>18}{'right':>18}",
        *map(_pair_line, comparison.metrics),
    ]


def _step_lines(step: "StepPair") -> list[str]:
    mark = {True: "=", False: "≠", None: " "}[step.makes_the_same]
    left, right = _took(step.left, step.left_seconds), _took(step.right, step.right_seconds)
    return [f"{mark} {step.step:<10}{left:>18}{right:>18}", *(f"    {change}" for change in step.changes)]


def _took(how: str, seconds: float | None) -> str:
    return how if seconds is None else f"{how} {seconds:.1f} s"


def _pair_line(pair: "Pair") -> str:
    mark = "=" if pair.is_alike else "≠"
    return f"{mark} {f'{pair.step}: {pair.name}':<34}{_text(pair.left):>18}{_text(pair.right):>18}"


def _text(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)[:16]
