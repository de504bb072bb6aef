"""Writes the files of a fleet folder: never half, never over an older one unless asked, keys for their owner alone."""

import os
import tempfile
from pathlib import Path

from broker.identity.names import IdentityError

_SECRET = 0o600
_PUBLIC = 0o644
_OTHERS = 0o077


class UnwritableError(IdentityError):
    """A file or folder cannot be made; the message says which, and why."""


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that is there already keeps its content.

    Raises:
        UnwritableError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise UnwritableError(f"the folder {folder} cannot be made: {error.strerror or error}") from error


def write_file(path: Path, data: bytes, *, is_secret: bool, replaces: bool = False) -> None:
    """Write a file durably: it is there whole, or not at all.

    Args:
        path: where; its folder is there.
        data: all of it.
        is_secret: only the owner may read it; it never was readable for others, not even for a moment.
        replaces: whether an older one may be there.

    Raises:
        IdentityError: there is one already.
        UnwritableError: it cannot be written; nothing was changed.
    """
    try:
        _write(path, data, _SECRET if is_secret else _PUBLIC, replaces=replaces)
    except FileExistsError as error:
        raise IdentityError(f"{path} is there already and is not replaced; name another folder") from error
    except OSError as error:
        raise UnwritableError(f"{path} cannot be written: {error.strerror or error}") from error


def verify_free(path: Path) -> None:
    """Make sure that a new file can be written, before anything is done that only this file will tell.

    Raises:
        IdentityError: there is one already, or no folder to write to.
    """
    if path.exists():
        raise IdentityError(f"{path} is there already and is not replaced; name another file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise IdentityError(f"{path} cannot be written: no folder {path.parent} that you may write to")


def _write(path: Path, data: bytes, mode: int, *, replaces: bool) -> None:
    # mkstemp makes it readable for its owner alone.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        if replaces:
            temporary.replace(path)
        else:
            # Unlike a rename, a link does not replace what is there.
            path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_secret(path: Path, max_bytes: int = 4096) -> bytes:
    """Return the content of a file that only its owner may read.

    Raises:
        IdentityError: it cannot be read, others may read it too, or it is larger than a secret.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise IdentityError(f"{path} cannot be read: {error.strerror or error}") from error
    if mode & _OTHERS:
        raise IdentityError(f"{path} can be read by others: chmod 600 {path}")
    if len(data) > max_bytes:
        raise IdentityError(f"{path} has more than {max_bytes} bytes; is it the right file?")
    return data
