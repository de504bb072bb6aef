"""What a step leaves behind: files with hashes. Arrays as npz, values as JSON; never a pickle."""

import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from edge_agent.durable import replace_file
from trainer.errors import RunError

T = TypeVar("T")


class Artefact(Struct, frozen=True):
    """A pointer to one file of a step: its path within the step's folder, and what must be in it."""

    path: str
    size_bytes: int
    sha256: str


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays of numbers; the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **dict(arrays))
    replace_file(path, buffer.getvalue())


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read arrays of numbers.

    Raises:
        RunError: unreadable, or it holds objects.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path}: cannot be read: {error}; start a new run, or put the file back if it is the champion's"
        raise RunError(msg) from error


def save_value(path: Path, value: object) -> None:
    """Write a value as indented JSON."""
    replace_file(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def load_value(path: Path, kind: type[T]) -> T:
    """Read a value that `save_value` wrote.

    Raises:
        RunError: unreadable, or of another shape.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        msg = f"{path}: cannot be read: {error}; start a new run"
        raise RunError(msg) from error


def list_artefacts(folder: Path, *, besides: frozenset[str] = frozenset()) -> tuple[Artefact, ...]:
    """Return a pointer to every file under a folder, in the order of their paths."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in besides:
            found.append(Artefact(name, path.stat().st_size, sha256_of(path)))
    return tuple(found)


def is_intact(folder: Path, artefacts: tuple[Artefact, ...]) -> bool:
    """Tell whether every file is there as it was written."""
    return all(
        (folder / artefact.path).is_file() and sha256_of(folder / artefact.path) == artefact.sha256
        for artefact in artefacts
    )


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_files(folder: Path) -> None:
    """Make files durable that were not written by `replace_file`."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
