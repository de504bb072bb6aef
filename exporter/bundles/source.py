"""Reads a bundle, whether it is a folder or packed in one file, without following what leads out of it."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from edge_agent.bundle import MANIFEST_NAME, MAX_MANIFEST_BYTES, BundleFile, Manifest, bundle_files, parse_manifest
from edge_agent.bundle_file import named, open_packed, verified
from edge_agent.errors import AlteredError, BundleError, StorageError

_CHUNK_BYTES: Final = 1 << 20


class BundleSource(Protocol):
    """A bundle that is open for reading.

    Attributes:
        manifest_data: the bytes of its manifest.
    """

    manifest_data: bytes
    manifest: Manifest

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        """Read one of ``bundle_files(manifest)``; raise AlteredError when it is not what the manifest says."""
        ...


class FolderBundle:
    """A bundle in a folder: plain files of its own, opened through the folder that was opened first.

    Attributes:
        manifest_data: the bytes of its manifest.
        strangers: what else lies in the folder.
    """

    def __init__(self, folder: int) -> None:
        """Read the manifest.

        Args:
            folder: descriptor of the folder; it stays the caller's.

        Raises:
            BundleError: there is no manifest, or none that can be taken.
        """
        self._folder = folder
        with self._open(MANIFEST_NAME) as file:
            # One byte more than is allowed: the parser refuses it unread.
            self.manifest_data = _read(file, MAX_MANIFEST_BYTES + 1)
        self.manifest: Manifest = parse_manifest(self.manifest_data)
        known = {MANIFEST_NAME, *(file.name for file in bundle_files(self.manifest))}
        with os.scandir(folder) as entries:
            self.strangers = tuple(sorted(entry.name for entry in entries if entry.name not in known))

    def chunks(self, file: BundleFile) -> Iterator[bytes]:
        """Read a file of the bundle, at most 1 MiB at a time; see `BundleSource.chunks`."""
        with self._open(file.name) as opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            if size_bytes != file.size_bytes:
                raise AlteredError(f"{file.name}: {size_bytes} bytes, its manifest says {file.size_bytes}")
            yield from verified(iter(lambda: _read(opened, _CHUNK_BYTES), b""), file)

    def _open(self, name: str) -> BinaryIO:
        """Open a plain file of this folder that has no other name anywhere."""
        try:
            # Without blocking: a pipe that nobody writes to must not keep us.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=self._folder)
        except FileNotFoundError as error:
            raise BundleError(f"lacks {name}") from error
        except OSError as error:
            raise BundleError(f"{name}: cannot be read as a plain file: {error.strerror or error}") from error
        status = os.fstat(descriptor)
        problem = ""
        if not stat.S_ISREG(status.st_mode):
            problem = "is no plain file"
        elif status.st_nlink > 1:
            problem = f"has {status.st_nlink} names (hard links), so it may change from outside; copy it"
        if problem:
            os.close(descriptor)
            raise BundleError(f"{name}: {problem}")
        return os.fdopen(descriptor, "rb")


def _read(file: BinaryIO, n_bytes: int) -> bytes:
    try:
        return file.read(n_bytes)
    except OSError as error:
        raise StorageError(f"cannot be read: {error.strerror or error}") from error


@contextmanager
def read_bundle(path: Path, *, alone: bool = False) -> Iterator[BundleSource]:
    """Open a bundle, which is a folder or packed in one file.

    Args:
        path: of the folder or the file; it may be a link itself.
        alone: whether anything else in the folder is an error.

    Raises:
        BundleError: not a bundle; the message names it.
    """
    if not path.is_dir():
        with open_packed(path) as packed:
            yield packed
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        with named(path):
            bundle = FolderBundle(descriptor)
            if alone and bundle.strangers:
                shown = ", ".join(map(repr, bundle.strangers[:5]))
                raise BundleError(f"holds {shown}, which {MANIFEST_NAME} does not name; remove what does not belong")
        yield bundle
    finally:
        os.close(descriptor)


@contextmanager
def open_bundle(path: Path) -> Iterator[Path]:
    """Give the folder of a bundle: itself, or, for a packed one, a folder that lives as long as the context.

    Raises:
        BundleError: not a packed bundle.
        OSError: there is no room to unpack it.
    """
    if path.is_dir():
        yield path
        return
    with open_packed(path) as packed, tempfile.TemporaryDirectory(prefix="fieldloop-") as folder:
        write_files(packed, Path(folder))
        yield Path(folder)


def write_files(bundle: BundleSource, folder: Path) -> None:
    """Write a bundle's files, checked while they are written, into an empty folder; the manifest comes last.

    Raises:
        BundleError: a file is not what the manifest says.
        OSError: it cannot be written.
    """
    for file in bundle_files(bundle.manifest):
        _write(folder / file.name, bundle.chunks(file))
    _write(folder / MANIFEST_NAME, iter((bundle.manifest_data,)))


def _write(path: Path, chunks: Iterator[bytes]) -> None:
    # "x": nothing that lies there already is written to, or followed.
    with path.open("xb") as target:
        for chunk in chunks:
            target.write(chunk)
        target.flush()
        os.fsync(target.fileno())
