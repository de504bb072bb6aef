"""The command ``fieldloop``: one module for each group of commands, composed in `application`.

A command's module imports what it needs inside the command: ``fieldloop --help`` must be instant.
"""

from trainer.cli.application import main

__all__ = ["main"]
