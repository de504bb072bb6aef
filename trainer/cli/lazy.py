"""A group of commands whose modules are imported when a command is called, not to list them."""

import importlib
import re
from inspect import cleandoc
from typing import Any, ClassVar, Final

import typer
from msgspec import Struct
from typer.core import TyperCommand, TyperGroup

# A break within a paragraph, and not one before the point of a list.
_BREAK: Final = re.compile(r"(?<!\n)\n(?![\n\s*-])")


class Part(Struct, frozen=True):
    """One command.

    Attributes:
        help: one line, shown without importing the module.
        module: has a typer app named `app`, in which the command of this name is taken, else the app as a whole.
    """

    name: str
    help: str
    module: str


class LazyGroup(TyperGroup):
    """Lists `parts`; imports one of them when it is called or completed."""

    parts: ClassVar[tuple[Part, ...]] = ()

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401 - typer's own arguments
        super().__init__(**attributes)
        for part in self.parts:
            self.add_command(TyperCommand(part.name, help=part.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer carries click's types privately
        """Find the command that the arguments name, and import its module."""
        name, command, rest = super().resolve_command(ctx, args)
        part = next((part for part in self.parts if part.name == name), None)
        return name, command if part is None else load_part(part), rest


def load_part(part: Part) -> Any:  # noqa: ANN401 - a command of click, whose types typer carries privately
    """Import a command."""
    whole = typer.main.get_command(importlib.import_module(part.module).app)
    command = whole.commands.get(part.name, whole) if isinstance(whole, TyperGroup) else whole
    command.name = part.name
    _let_flow(command)
    return command


def _let_flow(command: Any) -> None:  # noqa: ANN401 - as above
    """Join the lines of each paragraph of a help text: typer keeps the breaks of the source but in the first one."""
    if command.help:
        command.help = _BREAK.sub(" ", cleandoc(command.help))
    for part in getattr(command, "commands", {}).values():
        _let_flow(part)
