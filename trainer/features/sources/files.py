"""Reads the CSV and Parquet files of a view, on this machine or wherever fsspec reaches."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec

from trainer.errors import DataError
from trainer.features.files import read_raw
from trainer.project.stores import hidden


def read_files(addresses: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Read file after file, each a raw Arrow table, with its address for messages; ``*`` and ``?`` name several.

    Raises:
        DataError: no such file, or one that is neither CSV nor Parquet.
    """
    for address in addresses:
        try:
            fs, place = fsspec.core.url_to_fs(address)
            places = sorted(fs.glob(place)) if any(sign in place for sign in "*?[") else [place]
        except (ImportError, ValueError, OSError) as error:
            raise DataError(f"{hidden(address)}: cannot be reached: {error}") from error
        if not places:
            raise DataError(f"{hidden(address)}: there is no such file; mend 'path' of the view's source")
        for each in places:
            if "://" not in address:
                yield each, read_raw(Path(each))
            else:
                told = hidden(fs.unstrip_protocol(each))
                yield told, _fetched(fs, each, told)


def _fetched(fs: Any, place: str, told: str) -> Any:  # noqa: ANN401 - fsspec has no types
    with tempfile.TemporaryDirectory(prefix="fieldloop-source-") as folder:
        copy = Path(folder) / "copy"
        try:
            fs.get_file(place, str(copy))
        except Exception as error:
            # Each way has errors of its own: a server that breaks off in the midst of a file gives aiohttp's.
            raise DataError(f"{told}: cannot be read: {hidden(str(error))}") from error
        try:
            return read_raw(copy)
        except DataError as error:
            # Nobody knows the copy.
            raise DataError(str(error).replace(str(copy), told)) from error
