"""Shows the turns of the story, one paragraph each, as they happen."""

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from trainer.continuous.books import StoryEvent

_COLOURS = {
    "sign": "yellow",
    "confirmed": "red",
    "gathered": "magenta",
    "promoted": "green",
    "waits": "magenta",
    "rolled_out": "green",
    "cleared": "cyan",
    "cooled": "dim",
}


def print_story(console: Console, event: StoryEvent) -> None:
    """Print one turn."""
    colour = _COLOURS.get(event.kind, "bold yellow")
    console.print(f"[{colour}]● {escape(event.kind)}[/]", highlight=False)
    console.print(Padding(Text(event.text), (0, 0, 0, 2)))
