"""Claim tokens for cards: from a file that was made before, or made with the card in the folder of its fleet.

This floor knows no fleet's register: whoever composes the command hands in what makes a token (`TokenMaker`).
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from exporter.image.errors import CardError

FleetOption = Annotated[
    Path | None,
    typer.Option(
        "--fleet", metavar="FOLDER", help="The fleet's folder: puts --device down in it, and makes its claim token."
    ),
]


@dataclass(frozen=True, slots=True)
class TokenMaker:
    """Is the object of the command's context.

    Attributes:
        make: puts a device down in the fleet of a folder, and returns the text of the claim token with which it, and no
            other, enrols.
    """

    make: Callable[[Path, str], str]


@contextmanager
def claim_of(ctx: typer.Context, claim: Path | None, fleet: Path | None, device: str | None) -> Iterator[Path | None]:
    """Give the file of the claim token that a card shall carry; None: what its own files say.

    Args:
        ctx: of the command.
        claim: a file that was named.
        fleet: where to make a token instead. What is made here is on the card alone.
        device: that it is for.

    Raises:
        CardError: the options do not go together.
    """
    if fleet is None:
        yield claim
        return
    if claim is not None:
        raise CardError("--claim and --fleet both say where the claim token comes from: give one of them")
    if device is None or "*" in device:
        raise CardError(
            "--fleet makes the claim token of one device: name it with --device. For many alike: "
            "fieldloop device token --uses 50 --out FILE, and --claim FILE here"
        )
    maker = ctx.find_object(TokenMaker)
    if maker is None:
        raise CardError("--fleet is an option of `fieldloop`: this command was started without it; give --claim")
    with tempfile.TemporaryDirectory(prefix="fieldloop-claim-") as folder:
        file = Path(folder) / "claim-token"
        file.touch(mode=0o600)
        file.write_text(maker.make(fleet, device) + "\n")
        yield file
