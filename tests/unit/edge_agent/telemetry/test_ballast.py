"""What was kept back lets an agent start on a full disk, and is there again for the next start."""

from pathlib import Path

from edge_agent.telemetry.ballast import BALLAST_BYTES, BALLAST_NAME, LEAST_BYTES, Ballast
from tests.small_disk import fill, small_disk


def size_of(folder: Path) -> int:
    path = folder / BALLAST_NAME
    return path.stat().st_size if path.exists() else 0


def test_it_is_taken_once_while_there_is_room_and_stays(tmp_path: Path):
    ballast = Ballast(tmp_path)
    ballast.keep()
    assert size_of(tmp_path) == BALLAST_BYTES
    kept = (tmp_path / BALLAST_NAME).stat().st_ino
    ballast.release_if_full()
    ballast.keep()
    assert (tmp_path / BALLAST_NAME).stat().st_ino == kept
    assert [path.name for path in tmp_path.iterdir()] == [BALLAST_NAME]


def test_a_full_disk_gets_it_and_leaves_of_it_what_it_can(tmp_path: Path):
    with small_disk(tmp_path / "disk", 1024):
        disk = tmp_path / "disk"
        ballast = Ballast(disk)
        ballast.keep()
        filler = fill(disk)
        ballast.release_if_full()
        assert size_of(disk) == 0
        (disk / "opened").write_bytes(bytes(40 << 10))
        ballast.keep()
        assert LEAST_BYTES <= size_of(disk) < BALLAST_BYTES
        filler.unlink()
        ballast.keep()
        assert size_of(disk) == BALLAST_BYTES


def test_a_disk_without_any_room_has_none_and_that_is_no_error(tmp_path: Path):
    with small_disk(tmp_path / "disk", 64):
        fill(tmp_path / "disk")
        ballast = Ballast(tmp_path / "disk")
        ballast.release_if_full()
        ballast.keep()
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["filler"]
