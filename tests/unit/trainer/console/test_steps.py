import io

from rich.console import Console

from trainer.console.steps import StepLines
from trainer.pipeline.outcome import StepEvent


def shown(*events: StepEvent) -> str:
    console = Console(file=io.StringIO(), width=80)
    lines = StepLines(console)
    for event in events:
        lines(event)
    lines.stop()
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_finished_step_is_one_line_with_its_time_and_facts() -> None:
    text = shown(StepEvent("train", "started", 0.0), StepEvent("train", "finished", 12.34, (("best", "forest"),)))
    (line,) = [line for line in text.splitlines() if "12.3 s" in line]
    assert line.split() == ["✓", "train", "12.3", "s", "best", "forest"]


def test_a_step_that_an_earlier_attempt_finished_is_shown_as_kept() -> None:
    assert shown(StepEvent("extract", "skipped", 0.0)).split() == ["=", "extract", "kept"]


def test_facts_are_shown_as_they_are_whatever_brackets_they_hold() -> None:
    text = shown(StepEvent("validate", "finished", 1.0, (("[b]", "range [/] of [red]x"), ("rows", "5"))))
    assert "[b] range [/] of [red]x" in text
    assert text.splitlines()[1].split() == ["rows", "5"]


def test_stopping_twice_is_harmless() -> None:
    lines = StepLines(Console(file=io.StringIO()))
    lines(StepEvent("train", "started", 0.0))
    lines.stop()
    lines.stop()
