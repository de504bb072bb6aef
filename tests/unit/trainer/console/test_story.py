import io

import pytest
from rich.console import Console

from trainer.console.story import print_story
from trainer.continuous.books import StoryEvent


def shown(kind: str, text: str, *, in_colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(), width=40, force_terminal=in_colour, color_system="standard" if in_colour else None
    )
    print_story(console, StoryEvent(1.0, kind, text, None))
    written: str = console.file.getvalue()  # type: ignore[attr-defined]
    return written


def test_a_turn_is_its_kind_and_an_indented_paragraph() -> None:
    first, *paragraph = shown("sign", "The estimate fell from 0.80 to 0.70 on both devices.").splitlines()
    assert first == "● sign"
    assert len(paragraph) == 2
    assert all(line.startswith("  ") for line in paragraph)


@pytest.mark.parametrize("odd", ["[/]", "[red]hot[/red]", "a [b] c"])
def test_brackets_of_a_turn_are_shown_as_they_are(odd: str) -> None:
    assert odd in shown("sign", odd)
    assert odd in shown(odd, "text")


def test_a_loss_and_its_mending_have_different_colours_and_an_unknown_kind_has_one_too() -> None:
    heads = {shown(kind, "text", in_colour=True).split("●")[0] for kind in ("confirmed", "promoted", "something new")}
    assert len(heads) == 3
    assert "" not in heads
