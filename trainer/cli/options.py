"""Options that several commands share, and how they write a time."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

ProjectOption = Annotated[Path, typer.Option("--project", help="The project file, or its folder.")]
VersionArgument = Annotated[
    str, typer.Argument(metavar="VERSION", help="champion, previous or 3 of this project's model, or NAME/3.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

DaskOption = Annotated[
    str | None,
    typer.Option(
        "--dask",
        metavar="ADDRESS",
        help="Have a Dask cluster do it: tcp://HOST:PORT or tls://HOST:PORT of its scheduler.",
    ),
]


def minute_of(utc_s: float) -> str:
    """Return a time in UTC as lists show it."""
    return f"{datetime.fromtimestamp(utc_s, UTC):%Y-%m-%d %H:%M}"
