"""The folder of what builds made: who uses what is known by locks, and only the few that were used last stay.

Debians are files, roots are folders; what is being made, or was left by a build that was killed, is a hidden folder. A
build holds a lock of its own on each thing that it uses or makes, for as long as it runs. It knows nothing of what is
in them.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from exporter.image.build.tools import as_root, run_tool

DEBIANS: Final = "debian-*.tar"
ROOTS: Final = "root-*"
# Each is about 600 MB, and takes minutes to make; each about 450 MB, and takes half a minute.
MAX_DEBIANS: Final = 4
MAX_ROOTS: Final = 6
_BEGUN: Final = ".new-"
_GUARD: Final = ".lock"
# A build that was just begun has no lock yet; and its programs live on for a while when it is killed.
_LEFT_S: Final = 3600.0


class Kept:
    """The folder, for the time of one build: as a context, which gives back what it held."""

    def __init__(self, folder: Path, now_s: float) -> None:
        """Make the folder if it is missing.

        Args:
            folder: of what was made.
            now_s: when what this build takes was used, UTC seconds since 1970.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._now_s = now_s
        self._held = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()

    def newest(self, pattern: str) -> Path | None:
        """Return the last by name of those that fit, and hold it; None: there is none."""
        with self._guarded():
            found = max(self.folder.glob(pattern), default=None)
            if found is not None:
                self._hold(found)
            return found

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder to make something in, which goes away with all that is still in it."""
        with ExitStack() as held:
            with self._guarded():
                name = held.enter_context(tempfile.TemporaryDirectory(dir=self.folder, prefix=_BEGUN))
                _lock(Path(name), fcntl.LOCK_EX, held)
            yield Path(name)

    def keep(self, made: Path, name: str) -> Path:
        """Give what was made its name, hold it, and return it; where another build was quicker, that one's."""
        place = self.folder / name
        with self._guarded():
            # Not for files: a later one takes the place of an earlier one.
            if not place.is_dir():
                made.rename(place)
            self._hold(place)
        return place

    def remove_unused(self) -> tuple[Path, ...]:
        """Remove what nobody has used for long, and what killed builds left; return what went away.

        What another build uses stays, whatever its age; so does what cannot be locked.
        """
        with self._guarded():
            gone = [*self._too_many(DEBIANS, MAX_DEBIANS), *self._too_many(ROOTS, MAX_ROOTS), *self._left()]
            return tuple(place for place in gone if self._remove(place))

    def _too_many(self, pattern: str, most: int) -> list[Path]:
        return sorted(self.folder.glob(pattern), key=_used_s, reverse=True)[most:]

    def _left(self) -> list[Path]:
        return [place for place in self.folder.glob(f"{_BEGUN}*") if _used_s(place) < self._now_s - _LEFT_S]

    def _remove(self, place: Path) -> bool:
        with ExitStack() as held:
            try:
                _lock(place, fcntl.LOCK_EX | fcntl.LOCK_NB, held)
            except OSError:
                return False
            # First what takes it out of everyone's sight: a root that is half removed must not be found.
            dying = place
            if not place.name.startswith(_BEGUN):
                dying = place.rename(self.folder / f"{_BEGUN}{place.name}")
            if dying.is_dir():
                # A tree in there may belong to whom stands for root.
                run_tool(as_root('rm -rf -- "$1"', str(dying)), time_s=0)
            else:
                dying.unlink()
        return True

    def _hold(self, place: Path) -> None:
        _lock(place, fcntl.LOCK_SH, self._held)
        os.utime(place, (self._now_s, self._now_s))

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Let no other build find, take or remove anything meanwhile."""
        with (self.folder / _GUARD).open("wb") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield


def _lock(place: Path, how: int, held: ExitStack) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    fcntl.flock(descriptor, how)


def _used_s(place: Path) -> float:
    # What went away meanwhile is older than everything.
    with suppress(FileNotFoundError):
        return place.stat().st_mtime
    return 0.0
