"""Turns errors of this package into what a command says and ends with."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn an error into its message and its class's exit code."""
    # Not at the top: `--help` needs none of it.
    from edge_agent.errors import AgentError  # noqa: PLC0415
    from exporter.errors import ExporterError  # noqa: PLC0415

    try:
        yield
    except (ExporterError, AgentError) as error:
        for line in str(error).splitlines():
            typer.echo(f"fieldloop: {line}", err=True)
        raise typer.Exit(error.exit_code) from error
