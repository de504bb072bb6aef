"""With the real mke2fs, mkfs.vfat and mtools: nothing of it is mounted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exporter.image.build import ext4, fat
from exporter.image.errors import BuildError
from tests.waiting import wait_until

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
MIB = 1 << 20
TIME_S = 1_600_000_000

needs_ext4 = pytest.mark.skipif(
    any(shutil.which(tool, path=PATH) is None for tool in ("mke2fs", "debugfs", "unshare")), reason="needs e2fsprogs"
)
needs_fat = pytest.mark.skipif(
    any(shutil.which(tool, path=PATH) is None for tool in ("mkfs.vfat", "mcopy")), reason="needs dosfstools and mtools"
)


def said(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=True, env={**os.environ, "PATH": PATH}
    )
    return done.stdout


def make_tree(folder: Path) -> Path:
    (folder / "etc").mkdir(parents=True)
    (folder / "etc" / "hostname").write_text("press-1\n")
    (folder / "large").write_bytes(os.urandom(3 * MIB))
    for place in (folder / "etc" / "hostname", folder / "large", folder / "etc", folder):
        os.utime(place, (TIME_S - 5, TIME_S - 5))
    return folder


def wanted(*, has_journal: bool = True, size_bytes: int = 32 * MIB) -> ext4.FileSystem:
    return ext4.FileSystem("data", size_bytes, ("-t", "ext4", "-b", "4096"), "seed", TIME_S, has_journal=has_journal)


def _changed_s(path: Path) -> int:
    """Have a file changed without being written, and return when that was."""
    if path.parent.name == "other":
        path.chmod(0o600)
        path.chmod(0o644)
    return int(path.stat().st_ctime)


@needs_ext4
@pytest.mark.parametrize("has_journal", [True, False])
def test_an_ext4_is_sound_and_holds_the_folder_as_roots(tmp_path: Path, *, has_journal: bool):
    image = tmp_path / "data.ext4"
    ext4.make_ext4(make_tree(tmp_path / "tree"), wanted(has_journal=has_journal), image)
    ext4.verify_ext4(image)
    assert said("debugfs", "-R", "cat /etc/hostname", image) == "press-1\n"
    about = said("debugfs", "-R", "stat /etc/hostname", image)
    assert "User:     0   Group:     0" in about
    assert about.count("2020 -- ") == 0
    assert ("has_journal" in said("dumpe2fs", "-h", image)) == has_journal


@needs_ext4
def test_the_same_folder_gives_the_same_ext4_whenever_it_was_written(tmp_path: Path):
    tree = make_tree(tmp_path / "tree")
    ext4.make_ext4(tree, wanted(), tmp_path / "one.ext4")
    # Other times of change and of reading; those of writing are kept.
    shutil.copytree(tree, tmp_path / "other")
    moved = tmp_path / "other" / "large"
    wait_until(lambda: _changed_s(moved) > _changed_s(tree / "large"), 10, "a later second has begun")
    ext4.make_ext4(tmp_path / "other", wanted(), tmp_path / "other.ext4")
    assert (tmp_path / "one.ext4").read_bytes() == (tmp_path / "other.ext4").read_bytes()


@needs_ext4
def test_an_ext4_is_whole_again_from_its_used_ranges_on_a_disk_full_of_anything(tmp_path: Path):
    image, disk = tmp_path / "data.ext4", tmp_path / "disk"
    ext4.make_ext4(make_tree(tmp_path / "tree"), wanted(), image)
    content = image.read_bytes()
    dirty = bytearray(os.urandom(len(content)))
    used = ext4.used_ranges(image)
    for start, end in used:
        dirty[start:end] = content[start:end]
    disk.write_bytes(dirty)
    ext4.verify_ext4(disk)
    assert said("debugfs", "-R", "cat /etc/hostname", disk) == "press-1\n"
    assert sum(end - start for start, end in used) < len(content)


@needs_ext4
def test_a_folder_that_does_not_fit_is_refused(tmp_path: Path):
    with pytest.raises(BuildError, match="mke2fs"):
        ext4.make_ext4(make_tree(tmp_path / "tree"), wanted(size_bytes=2 * MIB, has_journal=False), tmp_path / "small")


@needs_fat
def test_a_fat_holds_its_files_and_is_the_same_again(tmp_path: Path):
    files = {"config.txt": b"arm_64bit=1\n", "vmlinuz": b"\0" * 100_000 + b"end", "overlays/one.dtbo": b"tree"}
    for name in ("one", "other"):
        fat.make_fat(files, "FIELDLOOP", 64 * MIB, TIME_S, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert said("mtype", "-i", tmp_path / "one", "::/overlays/one.dtbo") == "tree"
    assert "FIELDLOOP" in said("mdir", "-i", tmp_path / "one", "::/")


@needs_fat
def test_a_fat_is_whole_again_from_its_used_ranges_on_a_disk_full_of_anything(tmp_path: Path):
    # Zeros are part of a file, too.
    files = {"a.bin": b"\0" * 1_000_000, "b.bin": os.urandom(300_000)}
    image, disk = tmp_path / "boot.fat", tmp_path / "disk"
    fat.make_fat(files, "FIELDLOOP", 64 * MIB, TIME_S, image)
    content = image.read_bytes()
    dirty = bytearray(os.urandom(len(content)))
    used = fat.used_ranges(image)
    for start, end in used:
        dirty[start:end] = content[start:end]
    disk.write_bytes(dirty)
    for name, data in files.items():
        said("mcopy", "-i", disk, f"::/{name}", tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    assert sum(end - start for start, end in used) < 8 * MIB
