"""A disk that is made from operations, and what a power cut may leave of it.

It promises no more than POSIX does. What was written to a file is there for sure once that file was synced; a name is
there, or gone, or moved for sure once its folder was synced. Of all that was done since, anything may have happened and
anything not: see `Loss`.
"""

import enum
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from tests.crash.oplog import Kind, Operation

SECTOR_BYTES: Final = 512


class Loss(enum.Enum):
    """What a cut takes of what was not synced."""

    NOTHING = "nothing"  # as after SIGKILL, or when the disk was quick; the write that is cut may be torn
    ALL = "all"  # the disk had begun with nothing
    CONTENTS = "contents"  # names are as they were last, files that were not synced are as before: empty, where new
    NAMES = "names"  # the other way round
    REST = "rest"  # everything from some point on, as a journal has it: the last write is torn
    RANDOM = "random"  # each name and each sector for itself: what was written later may be there, what was before not


@dataclass(slots=True, eq=False)
class File:
    """A file: what of it is durable, and what was done to it since, as (offset, data) or (length, None)."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        """Make everything durable."""
        for change in self.pending:
            _apply(self.content, change)
        self.pending.clear()

    def after(self, changes: Iterable[tuple[int, bytes | None]]) -> bytes:
        """Return the content with some changes to what is durable."""
        content = bytearray(self.content)
        for change in changes:
            _apply(content, change)
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder."""


@dataclass(frozen=True, slots=True)
class SymbolicLink:
    """A symbolic link."""

    text: str


Node = File | Folder | SymbolicLink
Image = dict[str, bytes | Folder | SymbolicLink]


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of names: each of them names this afterwards, or nothing."""

    names: tuple[tuple[str, Node | None], ...]

    def apply(self, names: dict[str, Node]) -> None:
        """Do it."""
        for name, node in self.names:
            if node is None:
                names.pop(name, None)
            else:
                names[name] = node

    def is_in(self, folder: str) -> bool:
        """Tell whether it changes a folder."""
        return any(str(PurePosixPath(name).parent) == folder for name, _ in self.names)


class Disk:
    """The files below one folder, as a sequence of operations leaves them."""

    def __init__(self, folder: Path, *, is_empty: bool = False) -> None:
        """Begin with what lies in ``folder`` now, or with nothing; all of that is durable."""
        self._root = str(folder.resolve())
        self._names: dict[str, Node] = {}
        self._files: dict[int, File] = {}
        for path in () if is_empty else folder.resolve().rglob("*"):
            if path.is_symlink():
                self._names[str(path)] = SymbolicLink(str(path.readlink()))
            elif path.is_dir():
                self._names[str(path)] = Folder()
            else:
                inode = path.stat().st_ino
                file = self._files.setdefault(inode, File(bytearray(path.read_bytes())))
                self._names[str(path)] = file
        self._durable = dict(self._names)
        self._pending: list[Naming] = []

    def apply(self, operation: Operation) -> None:
        """Let an operation happen to its end."""
        match operation.kind:
            case Kind.WRITE | Kind.TRUNCATE:
                file = self._files.get(operation.inode)
                if file is not None:
                    data = operation.data if operation.kind is Kind.WRITE else None
                    file.pending.append((operation.offset, data))
            case Kind.SYNC:
                file = self._files.get(operation.inode)
                if file is not None:
                    file.sync()
            case Kind.SYNC_FOLDER:
                here = [naming for naming in self._pending if naming.is_in(operation.path)]
                for naming in here:
                    naming.apply(self._durable)
                self._pending = [naming for naming in self._pending if naming not in here]
            case Kind.NOTE:
                return
            case _:
                naming = self._naming(operation)
                naming.apply(self._names)
                self._pending.append(naming)
                created = naming.names[0][1]
                if isinstance(created, File) and operation.kind is Kind.CREATE:
                    self._files[operation.inode] = created

    def _naming(self, operation: Operation) -> Naming:
        path, other = operation.path, operation.other
        match operation.kind:
            case Kind.CREATE:
                return Naming(((path, File()),))
            case Kind.MKDIR:
                return Naming(((path, Folder()),))
            case Kind.SYMLINK:
                return Naming(((path, SymbolicLink(other)),))
            case Kind.RENAME:
                return Naming(((path, None), (other, self._names[path])))
            case Kind.LINK:
                return Naming(((other, self._names[path]),))
            case _:
                return Naming(((path, None),))

    def image(self) -> Image:
        """Return what a program finds that looks at it now, by path below the folder."""
        return self._image(self._names, {file: file.pending for file in _files_of(self._names)})

    def cut(self, loss: Loss, chance: random.Random, during: Operation | None = None) -> Image:
        """Return what a power cut leaves.

        Args:
            loss: what it takes.
            chance: chooses, where there is a choice.
            during: the operation that is cut: begun, not ended. A sync that is cut has done nothing for sure.
        """
        pending, extra = list(self._pending), None
        if during is not None:
            if during.kind in (Kind.WRITE, Kind.TRUNCATE):
                extra = self._files.get(during.inode)
            elif during.kind not in (Kind.SYNC, Kind.SYNC_FOLDER, Kind.NOTE):
                pending.append(self._naming(during))
        names = dict(self._durable)
        for naming in _kept_names(pending, loss, chance):
            naming.apply(names)
        kept: dict[File, list[tuple[int, bytes | None]]] = {}
        for file in _files_of(names):
            changes = list(file.pending)
            is_cut = file is extra and during is not None
            if during is not None and is_cut:
                changes.append((during.offset, during.data if during.kind is Kind.WRITE else None))
            kept[file] = list(_kept_changes(changes, loss, chance, is_cut=is_cut))
        return self._image(names, kept)

    def _image(self, names: Mapping[str, Node], kept: Mapping[File, Iterable[tuple[int, bytes | None]]]) -> Image:
        image: Image = {}
        for name in sorted(names):
            node = names[name]
            relative = name.removeprefix(self._root + "/")
            above = str(PurePosixPath(relative).parent)
            # What lies in a folder that is not there is not there.
            if above == "." or isinstance(image.get(above), Folder):
                image[relative] = node.after(kept[node]) if isinstance(node, File) else node
        return image


def write_image(image: Image, folder: Path) -> None:
    """Make a folder of it."""
    folder.mkdir(parents=True)
    for name, content in image.items():
        path = folder / name
        if isinstance(content, Folder):
            path.mkdir()
        elif isinstance(content, SymbolicLink):
            path.symlink_to(content.text)
        else:
            path.write_bytes(content)


def _files_of(names: Mapping[str, Node]) -> list[File]:
    # By name, so that the same chance leaves the same disk.
    return list(dict.fromkeys(node for _, node in sorted(names.items()) if isinstance(node, File)))


def _kept_names(pending: list[Naming], loss: Loss, chance: random.Random) -> Iterator[Naming]:
    match loss:
        case Loss.NOTHING | Loss.CONTENTS:
            yield from pending
        case Loss.ALL | Loss.NAMES:
            return
        case Loss.REST:
            yield from pending[: chance.randint(0, len(pending))]
        case Loss.RANDOM:
            lost: set[str] = set()
            for naming in pending:
                names = {name for name, _ in naming.names}
                # What follows from a change that is lost is lost with it.
                if names & lost or chance.random() < 0.5:
                    lost |= names
                else:
                    yield naming


def _kept_changes(
    changes: list[tuple[int, bytes | None]], loss: Loss, chance: random.Random, *, is_cut: bool
) -> Iterator[tuple[int, bytes | None]]:
    match loss:
        case Loss.NOTHING | Loss.NAMES:
            yield from changes[:-1] if is_cut else changes
            if is_cut:
                yield from _torn(changes[-1], chance)
        case Loss.ALL | Loss.CONTENTS:
            return
        case Loss.REST:
            n_kept = chance.randint(0, len(changes))
            yield from changes[:n_kept]
            if n_kept < len(changes):
                yield from _torn(changes[n_kept], chance)
        case Loss.RANDOM:
            for change in changes:
                yield from _sectors(change, chance)


def _torn(change: tuple[int, bytes | None], chance: random.Random) -> Iterator[tuple[int, bytes | None]]:
    """Yield the part of a change that was done when it was cut: some of its first sectors."""
    offset, data = change
    if data is None:
        if chance.random() < 0.5:
            yield change
        return
    ends = [*range(SECTOR_BYTES - offset % SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]
    n_done = chance.randint(0, len(ends))
    if n_done:
        yield offset, data[: ends[n_done - 1]]


def _sectors(change: tuple[int, bytes | None], chance: random.Random) -> Iterator[tuple[int, bytes | None]]:
    """Yield some sectors of a change; of a file that became longer, what is missing in between reads as zeros."""
    offset, data = change
    if data is None:
        if chance.random() < 0.5:
            yield change
        return
    begin = 0
    for end in [*range(SECTOR_BYTES - offset % SECTOR_BYTES, len(data), SECTOR_BYTES), len(data)]:
        if chance.random() < 0.5:
            yield offset + begin, data[begin:end]
        begin = end


def _apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, data = change
    length = offset if data is None else max(len(content), offset + len(data))
    if len(content) < length:
        content.extend(bytes(length - len(content)))
    if data is None:
        del content[length:]
    else:
        content[offset : offset + len(data)] = data
