"""The data partition grows to the end of its card, on a real disk with a real table: a loop device."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.image.card.files import DATA_OPTIONS
from exporter.image.card.root_files import PROGRAMS_HERE

PROGRAM = PROGRAMS_HERE / "fieldloop-grow-data"
MIB = 1 << 20
TABLE = (
    "label: dos\nstart=4MiB, size=16MiB, type=c\nstart=20MiB, size=16MiB, type=83\nstart=36MiB, size=64MiB, type=83\n"
)
# CAP_SYS_RESOURCE (capabilities(7)), which the kernel asks for where a file system grows while it is mounted.
SYS_RESOURCE = 24


@dataclass(frozen=True, slots=True)
class Disk:
    """A card in a loop device, whose data partition is mounted."""

    path: str
    mount_point: Path

    def grow(self) -> subprocess.CompletedProcess[str]:
        """Run the board's program."""
        return subprocess.run([PROGRAM, self.mount_point], capture_output=True, text=True, check=False, timeout=60)

    def table(self) -> bytes:
        """Return the beginning of the disk."""
        with Path(self.path).open("rb") as file:
            return file.read(MIB)

    def partition_bytes(self) -> int:
        """As the kernel has it."""
        name = Path(self.path).name
        return int(Path(f"/sys/class/block/{name}p3/size").read_text(encoding="ascii")) * 512

    def room_bytes(self) -> int:
        """Size of the file system."""
        about = os.statvfs(self.mount_point)
        return about.f_blocks * about.f_frsize


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def may_grow_while_mounted() -> bool:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(line.split()[1], 16) >> SYS_RESOURCE & 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A card of 300 MiB with an image of 100 MiB on it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("losetup", "sfdisk", "partx", "mke2fs", "resize2fs"))):
        pytest.skip("loop devices take root, fdisk and e2fsprogs")
    image = tmp_path / "card.img"
    image.touch()
    os.truncate(image, 300 * MIB)
    subprocess.run(["sfdisk", "--quiet", image], input=TABLE, text=True, check=True)
    made = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no loop device here: {made.stderr.strip()}")
    path = made.stdout.strip()
    try:
        # Where the kernel looks for partitions by itself, they are there already.
        subprocess.run(["partx", "--update", path], capture_output=True, check=False)
        run("mke2fs", "-q", *DATA_OPTIONS, f"{path}p3")
        mount_point = tmp_path / "data"
        mount_point.mkdir()
        run("mount", f"{path}p3", str(mount_point))
        (mount_point / "rows").write_bytes(b"kept" * 1000)
        try:
            yield Disk(path, mount_point)
        finally:
            subprocess.run(["umount", mount_point], check=False)
            subprocess.run(["partx", "--delete", path], check=False)
    finally:
        subprocess.run(["losetup", "--detach", path], check=False)


def test_the_partition_takes_the_rest_of_the_card_and_the_file_system_the_partition(disk: Disk):
    before = run("sfdisk", "--dump", disk.path)
    done = disk.grow()
    assert disk.partition_bytes() == (300 - 36) * MIB
    if may_grow_while_mounted():
        assert done.returncode == 0, done.stderr
        assert disk.room_bytes() > 240 * MIB
    else:
        # The same, while it is not mounted.
        run("umount", str(disk.mount_point))
        run("e2fsck", "-f", "-y", f"{disk.path}p3")
        run("resize2fs", f"{disk.path}p3")
        run("mount", f"{disk.path}p3", str(disk.mount_point))
        assert disk.room_bytes() > 240 * MIB
    assert (disk.mount_point / "rows").read_bytes() == b"kept" * 1000
    after = run("sfdisk", "--dump", disk.path)
    # Another size in the last line, and nothing else.
    assert before.splitlines()[:-1] == after.splitlines()[:-1]


def test_a_card_that_is_at_its_end_is_left_as_it_is(disk: Disk):
    disk.grow()
    before = disk.table()
    again = disk.grow()
    assert disk.partition_bytes() == (300 - 36) * MIB
    assert disk.table() == before
    if may_grow_while_mounted():
        assert "Nothing to do" in again.stdout + again.stderr


def test_what_a_cut_left_half_done_is_done_by_the_next_start(disk: Disk):
    # The table is written, and the kernel did not hear of it: as after a restart it does, and the file system is small.
    subprocess.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "-N", "3", disk.path],
        input=", +",
        text=True,
        check=True,
    )
    run("partx", "--update", "--nr", "3", disk.path)
    assert disk.room_bytes() < 64 * MIB
    done = disk.grow()
    if may_grow_while_mounted():
        assert disk.room_bytes() > 240 * MIB
    else:
        assert "resize filesystem" in done.stderr


def test_without_a_data_partition_it_fails(tmp_path: Path):
    done = subprocess.run([PROGRAM, tmp_path], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
