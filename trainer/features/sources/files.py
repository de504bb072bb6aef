"""Reads the CSV and Parquet files of a view, on this machine or wherever fsspec reaches."""

import tempfile
from collections.abc import Iterator, MutableMapping
from hashlib import file_digest
from pathlib import Path
from typing import Any, Final

import fsspec

from trainer.errors import DataError
from trainer.features.files import read_raw
from trainer.features.storage.reaching import told_of, why_unreachable
from trainer.project.stores import hidden

# What the ways of fsspec call what changes with the content of a file.
_SIGNS: Final = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "Last-Modified", "updated")


def read_files(addresses: tuple[str, ...], marks: MutableMapping[str, str] | None = None) -> Iterator[tuple[str, Any]]:
    """Read file after file, each a raw Arrow table, with its address for messages; ``*`` and ``?`` name several.

    Args:
        addresses: paths, or what fsspec knows.
        marks: what each file was when it was read before, by its address; such a file is left out if it is the same
            now. What is read is marked; None: everything is read.

    Raises:
        DataError: no such file, or one that is neither CSV nor Parquet.
    """
    for address in addresses:
        try:
            fs, place = fsspec.core.url_to_fs(address)
            places = sorted(fs.glob(place)) if any(sign in place for sign in "*?[") else [place]
        except Exception as error:
            # Each way has errors of its own.
            raise DataError(f"{hidden(address)}: {why_unreachable(address, error)}") from error
        if not places:
            raise DataError(f"{hidden(address)}: there is no such file; mend 'path' of the view's source")
        for each in places:
            told = each if "://" not in address else hidden(fs.unstrip_protocol(each))
            # Before it is read: of a file that changes meanwhile the mark is old, and it is read again.
            mark = _mark(fs, each, is_local="://" not in address) if marks is not None else ""
            if marks is not None and mark and marks.get(told) == mark:
                continue
            yield told, (read_raw(Path(each)) if "://" not in address else _fetched(fs, each, told))
            if marks is not None:
                marks[told] = mark


def _mark(fs: Any, place: str, *, is_local: bool) -> str:  # noqa: ANN401 - fsspec has no types
    """Return what changes with a file; empty where nothing says so: it must be read."""
    try:
        if is_local:
            with Path(place).open("rb") as file:
                return file_digest(file, "sha256").hexdigest()
        # Of a file that was just replaced, what was listed before is not asked.
        fs.invalidate_cache()
        about = fs.info(place)
    except Exception:  # noqa: BLE001 - each way has errors of its own; reading it will tell
        return ""
    signs = [f"{name}={about[name]}" for name in _SIGNS if about.get(name)]
    return " ".join([*signs, f"size={about.get('size')}"]) if signs else ""


def _fetched(fs: Any, place: str, told: str) -> Any:  # noqa: ANN401 - fsspec has no types
    with tempfile.TemporaryDirectory(prefix="fieldloop-source-") as folder:
        copy = Path(folder) / "copy"
        try:
            fs.get_file(place, str(copy))
        except Exception as error:
            # Each way has errors of its own: a server that breaks off in the midst of a file gives aiohttp's.
            raise DataError(f"{told}: cannot be read: {told_of(told, error)}") from error
        try:
            return read_raw(copy)
        except DataError as error:
            # Nobody knows the copy.
            raise DataError(str(error).replace(str(copy), told)) from error
