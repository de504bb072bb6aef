"""Makes the root partition that alike cards share, with the parts of their boot partitions: once, and keeps them.

What a card of its own has lies elsewhere, so that another identity costs seconds.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from exporter.image.build.boards import BOARDS
from exporter.image.build.boot import BootParts, boot_parts, load_parts
from exporter.image.build.debian import Debian, Made, make_debian
from exporter.image.build.ext4 import FileSystem, make_ext4, used_ranges, verify_ext4
from exporter.image.build.kept import Kept
from exporter.image.build.partitions import ALIGNED_BYTES
from exporter.image.build.regions import Region, pack, read_region
from exporter.image.build.root_tree import RootTree, newest_in, unpack
from exporter.image.build.runtimes import FOLDER, Runtime, fetch_runtime
from exporter.image.build.sbom import Component, parse_components, wheels_in
from exporter.image.card.files import ROOT_LABEL, CardFile, CardLink

OnStep = Callable[[str], None]

# Whoever changes how a root is made counts on, and roots that were kept are made anew.
_RECIPE: Final = 2
_LEVEL: Final = 9
_BLOCK_BYTES: Final = 4096
_INODE_BYTES: Final = 256
# What Debian's packages may grow by, where they are updated on the board.
_GROWTH_BYTES: Final = 512 << 20


@dataclass(frozen=True, slots=True)
class RootWanted:
    """All that a root partition is a function of.

    Attributes:
        package: the Debian package of the agent.
        runtime: beside the native engine; None: that alone.
        files: of the root partition.
        commands: run in the root once the files lie there.
        removed: patterns of paths that are taken away at the end.
        folders: that must be there.
        is_updated: the board installs packages by itself.
    """

    debian: Debian
    package: Path
    runtime: Runtime | None
    files: tuple[CardFile, ...]
    links: tuple[CardLink, ...]
    commands: tuple[tuple[str, ...], ...]
    removed: tuple[str, ...]
    folders: tuple[str, ...]
    is_updated: bool

    def key(self, made: Made) -> str:
        """Return twelve digits for a name: other digits for whatever would give other bytes."""
        digest = hashlib.sha256()
        told: list[object] = [_RECIPE, made.key, self.runtime, self.is_updated]
        told += [*self.files, *self.links, *self.commands, *self.removed, *self.folders]
        for each in (*map(repr, told), hashlib.sha256(self.package.read_bytes()).hexdigest()):
            digest.update(each.encode() + b"\0")
        return digest.hexdigest()[:12]


class About(Struct, frozen=True):
    """What is known of a root partition that was made.

    Attributes:
        time_s: no file of it is newer, UTC seconds since 1970.
        snapshot: lines that say as of when Debian's archive was.
    """

    key: str
    time_s: int
    size_bytes: int
    region: Region
    components: tuple[Component, ...]
    snapshot: tuple[str, ...]
    kernel_version: str


@dataclass(frozen=True, slots=True)
class RootPartition:
    """A root partition in its folder."""

    folder: Path
    about: About
    is_new: bool

    @property
    def file_system(self) -> Path:
        """The file system, as it lies in an image."""
        return self.folder / "root.ext4"

    @property
    def packed(self) -> Path:
        """The same as a Zstandard frame."""
        return self.folder / "root.zst"

    def boot_parts(self) -> BootParts:
        """Read what boot partitions of all boards are made of."""
        return load_parts(self.folder / "boot")


def make_root_partition(
    wanted: RootWanted, cache: Kept, now_s: float, on_step: OnStep, *, anew: bool = False
) -> RootPartition:
    """Return a root partition; made once for all that it is a function of.

    Args:
        wanted: which.
        cache: of what was made; holds the one that is returned.
        now_s: UTC seconds since 1970.
        on_step: told of every step.
        anew: take Debian's packages as they are today, whatever was kept.

    Raises:
        BuildError: a tool is missing, or a step failed.
    """
    made = make_debian(wanted.debian, cache, now_s, on_step, anew=anew)
    key = wanted.key(made)
    name = f"root-{wanted.debian.architecture}-{wanted.debian.suite}-{key}"
    place = cache.newest(name)
    is_new = place is None
    if place is None:
        with cache.scratch() as scratch:
            folder = scratch / "made"
            folder.mkdir()
            _make(wanted, made, key, scratch, folder, on_step)
            place = cache.keep(folder, name)
        cache.remove_unused()
    about = msgspec.json.decode((place / "about.json").read_bytes(), type=About)
    return RootPartition(place, about, is_new)


def _make(wanted: RootWanted, made: Made, key: str, scratch: Path, folder: Path, on_step: OnStep) -> None:
    # Not earlier than the agent's own files: their bytecode is held against the times that they came with.
    time_s = wanted.debian.time_s or max(made.time_s, newest_in(wanted.package))
    on_step("unpacking Debian")
    tree = unpack(made.archive, scratch / "tree", time_s)
    try:
        modules = tree.take_modules()
        tree.take_radios()
        trees = [name for board in BOARDS.values() for name in board.trees]
        firmware = {name for board in BOARDS.values() for name in board.firmware}
        parts = boot_parts(tree, modules, trees, sorted(firmware))
        version = tree.kernel_version
        snapshot = (tree.board / "snapshot").read_text(encoding="utf-8")
        unpacked = parse_components((tree.board / "packages").read_text(encoding="utf-8"))
        wheels: tuple[Component, ...] = ()
        if wanted.runtime is not None:
            on_step(f"fetching {wanted.runtime.name}")
            fetch_runtime(wanted.runtime, wanted.debian.suite, scratch / "wheels")
            wheels = wheels_in(scratch / "wheels")
            tree.add_folder(scratch / "wheels", FOLDER)
        on_step("installing the agent")
        tree.install_package(wanted.package)
        on_step("laying the card's files")
        tree.lay_files(wanted.files, wanted.links)
        for command in wanted.commands:
            tree.run_inside(*command)
        tree.finish(wanted.removed, wanted.folders)
        installed = parse_components((tree.folder / "var/lib/dpkg/status").read_text(encoding="utf-8"))
        on_step("making the root's file system")
        size_bytes = _size_of(tree, _GROWTH_BYTES if wanted.is_updated else 0)
        label = FileSystem(
            ROOT_LABEL,
            size_bytes,
            ("-t", "ext4", "-b", str(_BLOCK_BYTES), "-m", "0"),
            key,
            time_s,
            has_journal=wanted.is_updated,
        )
        make_ext4(tree.folder, label, folder / "root.ext4")
    finally:
        tree.remove()
    verify_ext4(folder / "root.ext4")
    (folder / "boot").mkdir()
    for name, data in parts.files.items():
        (folder / "boot" / name).write_bytes(data)
    on_step("packing the root's file system")
    pack(folder / "root.ext4", 0, size_bytes, folder / "root.zst", _LEVEL)
    about = About(
        key,
        time_s,
        size_bytes,
        read_region(folder / "root.ext4", used_ranges(folder / "root.ext4")),
        tuple(sorted((*installed, *unpacked, *wheels))),
        _snapshot_lines(snapshot),
        version,
    )
    (folder / "about.json").write_bytes(msgspec.json.encode(about))


def _size_of(tree: RootTree, spare_bytes: int) -> int:
    """Return the size of a file system that holds a tree, with a little to spare."""
    told = tree.run('find "$1" -printf "%i %s %y\\n"').decode().splitlines()
    sizes = {inode: -(-int(size) // _BLOCK_BYTES) * _BLOCK_BYTES for inode, size, _ in map(str.split, told)}
    # mke2fs makes an inode for every 16 KiB, each of 256 bytes; and tables of blocks beside them.
    content = sum(sizes.values()) + len(sizes) * _BLOCK_BYTES // 4
    total = (content + spare_bytes) * 105 // 100 + 16 * (_INODE_BYTES << 10)
    return -(-total // ALIGNED_BYTES) * ALIGNED_BYTES


def _snapshot_lines(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_paragraphs(text.splitlines())))


def _paragraphs(lines: Iterable[str]) -> Iterable[str]:
    """Join what `grep` found of each release file: its fields begin with Origin and end with Date."""
    found: list[str] = []
    for line in lines:
        found.append(line)
        if line.startswith("Date:"):
            yield ", ".join(sorted(found))
            found = []
