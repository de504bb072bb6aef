"""Makes the tree of a root partition in a folder: Debian, its modules, runtimes, the agent, a card's files.

What the kernel and the firmware need is taken out of it: that lies on the boot partition.
"""

import io
import shlex
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from exporter.image.build.debian import BESIDE
from exporter.image.build.kernel import Modules, parse_modules
from exporter.image.build.tools import as_root, run_tool
from exporter.image.card.files import CardFile, CardLink
from exporter.image.errors import BuildError

# brcmfmac's firmware of the boards' own radios; the package has those of fifty others.
_RADIOS: Final = ("43430", "43436", "43455", "43456")
_OURS: Final = "usr/lib/fieldloop"
_BYTECODE_S: Final = 1800
_SAID: Final = 600
_LISTS: Final = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_TAKE_FILES: Final = """\
mkdir -p "$1/$3"
tar -C "$2" --create --no-recursion --files-from=- | tar -C "$1/$3" --extract
"""
_TAKE_MODULES: Final = """\
into="$1/usr/lib/modules/$3"
mkdir -p "$into"
tar -C "$2" --create --no-recursion --files-from=- | tar -C "$into" --extract
depmod -b "$1" "$3"
"""
_ADD_FOLDER: Final = """\
mkdir -p "$1/$3"
tar -C "$2" --create --sort=name --owner=0 --group=0 --mtime="@$4" --clamp-mtime . | tar -C "$1/$3" --extract
"""
_FINISH: Final = f"""\
cd "$1"
mkdir -p var/lib/fieldloop-image
cp {BESIDE}/packages var/lib/fieldloop-image/packages
rm -rf {BESIDE} opt/* var/log/* var/cache/ldconfig var/lib/dpkg/*-old var/cache/debconf/*-old etc/*-
"""
_CLAMP: Final = 'find "$1" -newermt "@$2" -exec touch --no-dereference --date "@$2" {} +'
# mmdebstrap leaves out all of /dev, the folder too.
_UNPACK: Final = """\
tar -C "$1" --extract --numeric-owner --same-permissions --xattrs --xattrs-include="*" --file="$2"
mkdir -p "$1/dev"
"""
# In a namespace of its own, which takes its mounts away when the script ends. `$1` is the root.
_ENTER: Final = """\
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
"""


@dataclass(frozen=True, slots=True)
class RootTree:
    """A root in a folder that belongs to root, or to whom stands for root here.

    Attributes:
        time_s: no file of it is newer, UTC seconds since 1970.
    """

    folder: Path
    time_s: int

    @property
    def board(self) -> Path:
        """What lies beside the root: kernel, firmware, busybox."""
        return self.folder / BESIDE

    @property
    def kernel_version(self) -> str:
        """As ``uname -r`` says on the board."""
        return next(path.name.removeprefix("vmlinuz-") for path in (self.board / "boot").glob("vmlinuz-*"))

    @property
    def modules_folder(self) -> Path:
        """The kernel's folder of modules, before they are put into the root."""
        return self.board / "usr/lib/modules" / self.kernel_version

    def run(self, script: str, *arguments: str, given: bytes | None = None) -> bytes:
        """Run a script as root beside the tree, which is ``$1``."""
        return run_tool(as_root(script, str(self.folder), *arguments), time_s=self.time_s, given=given)

    def run_inside(self, *command: str) -> bytes:
        """Run a program of the root, under emulation where it takes that."""
        return self.run(f'{_ENTER}exec chroot "$1" {shlex.join(command)}')

    def remove(self) -> None:
        """Remove all of it."""
        self.run('rm -rf -- "$1"')

    def take_modules(self) -> Modules:
        """Put the modules that boards have use for into the root, and return what depmod says of all."""
        version = self.kernel_version
        run_tool(as_root('exec depmod -b "$1" "$2"', str(self.board), version), time_s=self.time_s)
        modules = parse_modules((self.modules_folder / "modules.dep").read_text(encoding="utf-8"))
        names = [*(str(path) for path in sorted(modules.kept())), *_LISTS]
        self.run(_TAKE_MODULES, str(self.modules_folder), version, given="\n".join([*names, ""]).encode())
        return modules

    def take_radios(self) -> None:
        """Put the firmware of the boards' own radios into the root, where Debian's package of it was unpacked."""
        firmware = self.board / "usr/lib/firmware"
        found = [*firmware.glob("brcm/brcmfmac*"), *firmware.glob("cypress/cyfmac*")]
        names = sorted(str(path.relative_to(firmware)) for path in found if any(name in path.name for name in _RADIOS))
        self.run(_TAKE_FILES, str(firmware), "usr/lib/firmware", given="\n".join([*names, ""]).encode())

    def add_folder(self, source: Path, place: str) -> None:
        """Put all of a folder into the root, where it belongs to root and is no newer than the root.

        Its times must be those that it keeps: bytecode is held against them, and names them.
        """
        self.run(_ADD_FOLDER, str(source), place, str(self.time_s))

    def lay_files(self, files: Iterable[CardFile], links: Iterable[CardLink] = ()) -> None:
        """Lay files and links into the root, where they belong to root."""
        archive = tar_of(files, links, self.time_s)
        self.run('tar -C "$1" --extract --keep-directory-symlink --unlink-first --file=-', given=archive)

    def install_package(self, package: Path) -> None:
        """Install a Debian package, whose scripts run in the root.

        Raises:
            BuildError: it is for another architecture, or what it needs is not there, or it could not make its
                bytecode; dpkg's words.
        """
        self.run('install -m 644 "$2" "$1/opt/package.deb"', str(package))
        # It would give up after a time that is a board's, not that of an emulated one beside other work.
        told = self.run_inside(
            "env",
            "DEBIAN_FRONTEND=noninteractive",
            f"FIELDLOOP_BYTECODE_S={_BYTECODE_S}",
            *("dpkg", "--install", "/opt/package.deb"),
        )
        self.run('rm "$1/opt/package.deb"')
        ours = self.folder / _OURS
        # No reason to fail on a board; but all cards to come would be made of this root, and start slowly.
        if (ours / "make-bytecode").exists() and not (ours / "bytecode" / "made-for").exists():
            said = told.decode(errors="replace").strip()
            raise BuildError(
                f"{package}: the agent's bytecode could not be made in the root; this machine may have been too busy: "
                f"try again when it is not, or with a newer package; dpkg said {said[-_SAID:]}"
            )

    def finish(self, removed: Sequence[str], folders: Sequence[str]) -> None:
        """Take away what only the making needed, make what is mounted on, and set back every later time.

        Args:
            removed: patterns of absolute paths.
            folders: absolute paths.
        """
        for pattern in removed:
            self.run(f'rm -rf -- "$1"{pattern}')
        self.run('cd "$1"; shift; mkdir -p "$@"', *(folder.lstrip("/") for folder in folders))
        self.run(_FINISH)
        self.clamp()

    def clamp(self) -> None:
        """Set back every time that is later than the tree's: mke2fs takes them as they are."""
        self.run(_CLAMP, str(self.time_s))


def unpack(archive: Path, folder: Path, time_s: int) -> RootTree:
    """Unpack a Debian into a folder that is not there yet."""
    tree = RootTree(folder, time_s)
    folder.mkdir()
    tree.run(_UNPACK, str(archive))
    return tree


def newest_in(package: Path) -> int:
    """Return the latest time of a file in a Debian package, UTC seconds since 1970.

    Raises:
        BuildError: it is no package.
    """
    with tarfile.open(fileobj=io.BytesIO(run_tool(["dpkg-deb", "--fsys-tarfile", str(package)], time_s=0))) as tar:
        return max((int(member.mtime) for member in tar), default=0)


def tar_of(files: Iterable[CardFile], links: Iterable[CardLink], time_s: int) -> bytes:
    """Return an archive of files and links that belong to root, with the folders that they lie in left out."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for file in files:
            tar.addfile(_entry(file.place, file.mode, time_s, size=len(file.content)), io.BytesIO(file.content))
        for link in links:
            tar.addfile(_entry(link.path.relative_to("/"), 0o777, time_s, target=link.target))
    return raw.getvalue()


def _entry(
    place: PurePosixPath, mode: int, time_s: int, *, size: int = 0, target: str | None = None
) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(place))
    entry.mode, entry.mtime, entry.size = mode, time_s, size
    entry.uname = entry.gname = "root"
    if target is not None:
        entry.type, entry.linkname = tarfile.SYMTYPE, target
    return entry
