"""Where commands get the passphrase of root keys from: a private file, else whoever sits there; never an argument."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

PassphraseOption = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="File with the passphrase of the root's keys; default: asks, if it must."),
]
NewPassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file", help="File with a passphrase that encrypts the root's keys; default: they are not."
    ),
]


def passphrase_of(file: Path | None) -> Callable[[Path], bytes]:
    """Return what gives the passphrase of keys that are there, and asks for it once, when the first is met."""
    known: list[bytes] = []

    def give(path: Path) -> bytes:
        if not known:
            known.append(_read(file, f"passphrase of {path}", is_new=False))
        return known[0]

    return give


def new_passphrase(file: Path | None) -> bytes:
    """Return the passphrase for new keys; raise KeysError where nobody gives one."""
    return _read(file, "passphrase for the root's keys", is_new=True)


def _read(file: Path | None, prompt: str, *, is_new: bool) -> bytes:
    # Not at the top: `--help` needs none of it.
    from exporter.errors import KeysError  # noqa: PLC0415
    from exporter.repository.sealing import read_private  # noqa: PLC0415

    if file is not None:
        return read_private(file, "passphrase").rstrip(b"\r\n")
    if not sys.stdin.isatty():
        raise KeysError(f"there is nobody to ask for the {prompt}: give --passphrase-file")
    return str(typer.prompt(prompt, hide_input=True, confirmation_prompt=is_new, err=True)).encode()
