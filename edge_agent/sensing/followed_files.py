"""Remembers which file a followed name was, so that a rotation while nobody followed loses and repeats no row silently.

A line's number counts on over all files that ever had the name, so a number alone does not say which file it is in.
Therefore each file that is begun is written down: the number of its first line, and by what it is known again (its
first bytes, and its inode). A file that was renamed is found beside the name by that, is read to its end, and after it
those that are newer, by their time of change. What was compressed or removed is gone: that is told, as an error.
"""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from edge_agent.durable import replace_file

logger = logging.getLogger(__name__)

# So many first bytes tell files apart; a file that is still shorter is known by what it has.
HEAD_BYTES: Final = 256

_MAX_MARKS: Final = 64


class FileMark(Struct, frozen=True):
    """One file that had the name.

    Attributes:
        first: number of its first line.
        inode: of the file when it was begun.
        head_bytes, head: how many of its first bytes are known, and their BLAKE2 digest.
    """

    first: int
    inode: int
    head_bytes: int
    head: str


class Begin(Struct, frozen=True):
    """Where to go on reading.

    Attributes:
        files: to be read one after the other; the last one has the name, and may still grow.
        first: number of the first line of the first of them.
    """

    files: tuple[Path, ...]
    first: int


class FollowedFiles:
    """The files of one name; used by one thread."""

    def __init__(self, path: Path, marks: Path | None) -> None:
        """Remember in the file ``marks``; None: remember nothing."""
        self._path = path
        self._marks_path = marks
        self._marks: list[FileMark] = _load(marks) if marks is not None else []

    def begin_at(self, cursor: int) -> Begin:
        """Find the file that holds line number ``cursor``, and those that came after it."""
        reached = [mark for mark in self._marks if mark.first <= cursor]
        if not reached:
            return Begin((self._path,), 0 if cursor == 0 or not self._marks else cursor)
        # What lies before the cursor is not needed any more.
        self._marks = self._marks[len(reached) - 1 :]
        found = [(mark, _find(mark, self._path)) for mark in self._marks]
        known = [(mark, path) for mark, path in found if path is not None]
        for mark, path in found:
            if path is None:
                logger.error(
                    "%s: the file with the lines from number %d on is gone; what was not read of it is lost",
                    self._path,
                    max(mark.first, cursor),
                )
        if not known:
            return Begin((self._path,), cursor)
        files = [path for _, path in known]
        if self._path not in files:
            files += [*_newer_than(files[-1], self._path, set(files)), self._path]
        first = known[0][0].first
        # Of a file that is gone the numbers up to the cursor were given, those up to the next file were not.
        return Begin(tuple(files), first if first <= cursor else max(first, cursor))

    def note(self, descriptor: int, first: int) -> None:
        """Write down that this file's first line has this number, once for each file, and again while it is short."""
        if self._marks_path is None:
            return
        last = self._marks[-1] if self._marks else None
        is_noted = last is not None and last.first == first
        if is_noted and last is not None and last.head_bytes >= HEAD_BYTES:
            return
        head = os.pread(descriptor, HEAD_BYTES, 0)
        mark = FileMark(first, os.fstat(descriptor).st_ino, len(head), _digest(head))
        if mark == last:
            return
        kept = [each for each in self._marks if each.first < first]
        self._marks = [*kept, mark][-_MAX_MARKS:]
        try:
            self._marks_path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._marks_path, msgspec.json.encode(self._marks))
        except OSError as error:
            logger.warning(
                "%s: cannot be written, a rotation before the next start may be missed: %s", self._path, error
            )


def _find(mark: FileMark, path: Path) -> Path | None:
    """Return the file that a mark means: the name itself, or a file beside it whose name goes on."""
    alike = [each for each in (path, *_beside(path)) if _is_like(each, mark)]
    same = [each for each in alike if each.stat().st_ino == mark.inode]
    return next(iter(same or (alike if mark.head_bytes else ())), None)


def _is_like(path: Path, mark: FileMark) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(mark.head_bytes)
    except OSError:
        return False
    return len(head) == mark.head_bytes and _digest(head) == mark.head


def _newer_than(oldest: Path, path: Path, known: set[Path]) -> Sequence[Path]:
    """Return files beside the name that were changed after ``oldest``, in the order of that."""
    since_ns = oldest.stat().st_mtime_ns
    newer = [(each.stat().st_mtime_ns, each) for each in _beside(path) if each not in known]
    return [each for changed_ns, each in sorted(newer) if changed_ns > since_ns and _is_text(each)]


def _is_text(path: Path) -> bool:
    """Tell whether a file begins as lines of JSON do: what was compressed begins otherwise."""
    with path.open("rb") as file:
        return file.read(1) in b"[{ \t\r\n"


def _beside(path: Path) -> list[Path]:
    return [
        each
        for each in path.parent.iterdir()
        if each.name.startswith(f"{path.name}") and each != path and each.is_file()
    ]


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=16).hexdigest()


def _load(marks: Path) -> list[FileMark]:
    try:
        return msgspec.json.decode(marks.read_bytes(), type=list[FileMark])
    except FileNotFoundError:
        return []
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        logger.warning("%s: cannot be read, a rotation since the last start may be missed: %s", marks, error)
        return []
