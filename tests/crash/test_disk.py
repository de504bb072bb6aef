"""The simulated disk loses what was not synced, and nothing that was: shown on programs that do it right and wrong."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.disk import Disk, Folder, Loss
from tests.crash.oplog import Operation, read_operations
from tests.crash.shim import Control, Shim

SETTING = """
import os, sys, pathlib
from edge_agent.durable import make_folder, replace_file
folder = pathlib.Path(sys.argv[1])
"""
RIGHT = "replace_file(folder / 'file', b'two' * 1000)"
WITHOUT_SYNC = "(folder / 'new').write_bytes(b'two' * 1000); os.rename(folder / 'new', folder / 'file')"
WITHOUT_FOLDER = """
file = os.open(folder / 'new', os.O_WRONLY | os.O_CREAT)
os.write(file, b'two' * 1000); os.fsync(file); os.rename(folder / 'new', folder / 'file'); print(1)
"""
SEEDS = range(20)


def run(shim: Shim, folder: Path, code: str, control: Control | None = None) -> list[Operation]:
    """Run a line of Python on ``folder/disk`` and return what it did there."""
    disk, log = folder / "disk", folder / "log"
    log.touch()
    subprocess.run(
        [sys.executable, "-c", SETTING + code, str(disk)],
        check=True,
        env=os.environ | shim.watching(disk, log, control) | {"PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.DEVNULL,
    )
    return list(read_operations(log))


def begin(folder: Path) -> Disk:
    """Make a disk with one file on it."""
    (folder / "disk").mkdir()
    (folder / "disk" / "file").write_bytes(b"one" * 1000)
    return Disk(folder / "disk")


def left_by_cuts(disk: Disk, operations: list[Operation]) -> set[object]:
    """Return every content that the file may have after a cut."""
    left: set[object] = set()
    for operation in operations:
        left |= {disk.cut(loss, random.Random(seed), operation).get("file") for loss in Loss for seed in SEEDS}
        disk.apply(operation)
    return left


def test_a_file_that_is_replaced_rightly_is_the_old_one_or_the_new(shim: Shim, tmp_path: Path):
    disk = begin(tmp_path)
    assert left_by_cuts(disk, run(shim, tmp_path, RIGHT)) == {b"one" * 1000, b"two" * 1000}
    assert all(disk.cut(loss, random.Random(1))["file"] == b"two" * 1000 for loss in Loss)


def test_a_file_that_is_replaced_without_a_sync_may_be_empty_or_torn(shim: Shim, tmp_path: Path):
    left = left_by_cuts(begin(tmp_path), run(shim, tmp_path, WITHOUT_SYNC))
    assert b"" in left
    assert b"two" * 1000 in left
    assert any(isinstance(content, bytes) and 0 < len(content) < 3000 for content in left)


def test_a_name_whose_folder_was_not_synced_may_be_as_before(shim: Shim, tmp_path: Path):
    disk = begin(tmp_path)
    left_by_cuts(disk, run(shim, tmp_path, WITHOUT_FOLDER))
    assert disk.cut(Loss.NAMES, random.Random(1))["file"] == b"one" * 1000
    assert disk.cut(Loss.CONTENTS, random.Random(1))["file"] == b"two" * 1000


def test_what_lies_in_a_folder_whose_name_is_lost_is_lost(shim: Shim, tmp_path: Path):
    disk = begin(tmp_path)
    code = "(folder / 'in').mkdir(); replace_file(folder / 'in' / 'file', b'x')"
    for operation in run(shim, tmp_path, code):
        disk.apply(operation)
    assert disk.image()["in/file"] == b"x"
    assert set(disk.cut(Loss.ALL, random.Random(1))) == {"file"}


def test_a_folder_that_is_made_rightly_stays(shim: Shim, tmp_path: Path):
    disk = begin(tmp_path)
    code = "make_folder(folder / 'a' / 'b'); replace_file(folder / 'a' / 'b' / 'c', b'x')"
    for operation in run(shim, tmp_path, code):
        disk.apply(operation)
    left = disk.cut(Loss.ALL, random.Random(1))
    assert (left["a"], left["a/b"], left["a/b/c"]) == (Folder(), Folder(), b"x")


@pytest.mark.parametrize("n_bytes", [100, 100_000])
def test_a_torn_write_ends_between_sectors(shim: Shim, tmp_path: Path, n_bytes: int):
    disk = begin(tmp_path)
    *_, last = run(shim, tmp_path, f"os.write(os.open(folder / 'file', os.O_WRONLY), b'x' * {n_bytes})")
    for seed in SEEDS:
        content = disk.cut(Loss.NOTHING, random.Random(seed), last)["file"]
        assert isinstance(content, bytes)
        torn = content.count(b"x")
        assert torn == n_bytes or torn % 512 == 0


def test_a_disk_runs_full_in_the_midst_of_a_write_and_has_room_again(shim: Shim, tmp_path: Path):
    begin(tmp_path)
    control = Control(tmp_path / "control")
    control.fill_from(1, until_refusals=3)
    code = """
file = os.open(folder / 'new', os.O_WRONLY | os.O_CREAT)
assert os.write(file, b'x' * 100) == 50
for _ in range(2):
    try: os.write(file, b'x' * 100)
    except OSError as error: assert error.errno == 28
    else: raise SystemExit('written')
    assert os.statvfs(folder).f_bavail == 0 or _ == 1
assert os.write(file, b'x' * 100) == 100
"""
    run(shim, tmp_path, code, control)
    assert control.refusals == 3
    control.close()


def test_room_that_is_given_back_on_a_full_disk_can_be_taken(shim: Shim, tmp_path: Path):
    begin(tmp_path)
    control = Control(tmp_path / "control")
    control.fill_from(0)
    code = """
try: (folder / 'new').touch()
except OSError as error: assert error.errno == 28
else: raise SystemExit('made')
(folder / 'file').unlink()
(folder / 'new').write_bytes(b'x' * 2000)
"""
    run(shim, tmp_path, code, control)
    assert (tmp_path / "disk" / "new").stat().st_size == 2000
    control.close()
