"""Writes a .deb (deb(5)): an ar archive of two tar archives. The same entries and time give the same bytes."""

import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

_MAGIC: Final = b"!<arch>\n"
_FILE: Final = 0o644
_FOLDER: Final = 0o755


@dataclass(frozen=True, slots=True, order=True)
class Entry:
    """A file of the package, or an empty folder; it belongs to root.

    Attributes:
        path: below the root, as ``usr/bin/fieldloop-agent``.
        data: what is in it; None: a folder.
    """

    path: str
    data: bytes | None
    mode: int = _FILE


def debian_package(control: Sequence[Entry], contents: Sequence[Entry], time_s: int) -> bytes:
    """Return a package.

    Args:
        control: the files that dpkg reads itself.
        contents: what it installs.
        time_s: the time of every file, UTC seconds since 1970.

    Raises:
        ValueError: a path is there twice, or leads outside.
    """
    members = (
        ("debian-binary", b"2.0\n"),
        ("control.tar.xz", _tar_xz(control, time_s)),
        ("data.tar.xz", _tar_xz(contents, time_s)),
    )
    return _MAGIC + b"".join(_ar_member(name, data, time_s) for name, data in members)


def md5sums(contents: Iterable[Entry]) -> bytes:
    """Return the file ``md5sums``, with which ``dpkg --verify`` finds what was altered."""
    return b"".join(
        f"{hashlib.md5(entry.data, usedforsecurity=False).hexdigest()}  {entry.path}\n".encode()
        for entry in sorted(contents)
        if entry.data is not None
    )


def installed_kb(contents: Iterable[Entry]) -> int:
    """Return the field Installed-Size: every file in whole KiB, one for every folder."""
    contents = tuple(contents)
    files = sum((len(entry.data) + 1023) // 1024 for entry in contents if entry.data is not None)
    return files + len(_folders(contents))


def _tar_xz(entries: Sequence[Entry], time_s: int) -> bytes:
    paths = [entry.path for entry in entries]
    if len(set(paths)) != len(paths) or any(path.startswith("/") or ".." in path.split("/") for path in paths):
        raise ValueError(f"a path twice, or one that leads outside: {sorted(paths)}")
    named = {entry.path: entry for entry in entries} | {
        folder: Entry(folder, None, _FOLDER) for folder in _folders(entries)
    }
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(_header(Entry("", None, _FOLDER), time_s))
        for path in sorted(named):
            entry = named[path]
            tar.addfile(_header(entry, time_s), io.BytesIO(entry.data or b""))
    return lzma.compress(raw.getvalue(), check=lzma.CHECK_CRC64, preset=6)


def _folders(entries: Iterable[Entry]) -> frozenset[str]:
    """Return every folder that the entries lie in, beside those that are entries themselves."""
    entries = tuple(entries)
    own = {entry.path for entry in entries if entry.data is None}
    parents = {str(parent) for entry in entries for parent in PurePosixPath(entry.path).parents}
    return frozenset(parents - own - {"."})


def _header(entry: Entry, time_s: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(f"./{entry.path}")
    header.mtime = time_s
    header.mode = entry.mode
    header.uname = header.gname = "root"
    if entry.data is None:
        header.type = tarfile.DIRTYPE
    else:
        header.size = len(entry.data)
    return header


def _ar_member(name: str, data: bytes, time_s: int) -> bytes:
    header = f"{name:<16}{time_s:<12}{0:<6}{0:<6}{0o100644:<8o}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
