"""Installs what has an environment of its own, once the user agrees."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from trainer.errors import MissingProgramError

if TYPE_CHECKING:
    from exporter.pinned_environment import PinnedEnvironment


def provide(environment: "PinnedEnvironment", *, size: str, command: str, yes: bool) -> None:
    """Make the environment unless it is there, when the user agrees.

    Args:
        environment: that is needed.
        size: that it has on the disk, in words.
        command: that needs it; with ``--yes`` it does not ask.
        yes: whether the user has agreed already.

    Raises:
        MissingProgramError: nobody can be asked, or it cannot be made.
    """
    if environment.is_complete:
        return
    content = environment.content
    what = f"{content} is not installed yet: {size}, once, into {environment.folder}"
    if not yes:
        if not sys.stdin.isatty():
            raise MissingProgramError(f"{what}.\nType: {command} --yes")
        if not typer.confirm(f"{what}. Install it?"):
            raise typer.Abort
    typer.echo(f"Installing {content} ({size}) into {environment.folder}; a minute or two", err=True)
    environment.make(Path(sys.executable))
