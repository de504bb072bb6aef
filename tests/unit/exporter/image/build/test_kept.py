import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exporter.image.build.kept import MAX_DEBIANS, MAX_ROOTS, Kept

NOW_S = 1_800_000_000.0
HOUR_S = 3600.0
HOLD = """
import sys
from pathlib import Path
from exporter.image.build.kept import Kept
with Kept(Path(sys.argv[1]), float(sys.argv[3])) as kept:
    if sys.argv[2] == "scratch":
        with kept.scratch() as folder:
            print(folder.name, flush=True)
            sys.stdin.read()
    else:
        print(kept.newest(sys.argv[2]).name, flush=True)
        sys.stdin.read()
"""


@contextmanager
def another_build(folder: Path, what: str, used_s: float) -> Iterator[str]:
    """One in a process of its own, which holds something; its name is given. It is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(folder), what, str(used_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


def make_root(folder: Path, name: str, used_s: float) -> Path:
    place = folder / name
    place.mkdir(parents=True)
    (place / "root.ext4").write_bytes(b"root")
    os.utime(place, (used_s, used_s))
    return place


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_the_roots_that_were_used_last_stay(tmp_path: Path):
    for age in range(MAX_ROOTS + 3):
        make_root(tmp_path, f"root-arm64-bookworm-{age:02}", NOW_S - age)
    with Kept(tmp_path, NOW_S) as kept:
        gone = kept.remove_unused()
    assert names(tmp_path) == {f"root-arm64-bookworm-{age:02}" for age in range(MAX_ROOTS)}
    assert len(gone) == 3


def test_the_debians_that_were_used_last_stay(tmp_path: Path):
    for age in range(MAX_DEBIANS + 2):
        archive = tmp_path / f"debian-arm64-bookworm-{age:02}-00000000001.tar"
        archive.write_bytes(b"tar")
        os.utime(archive, (NOW_S - age, NOW_S - age))
    with Kept(tmp_path, NOW_S) as kept:
        kept.remove_unused()
    assert len(names(tmp_path)) == MAX_DEBIANS
    assert "debian-arm64-bookworm-00-00000000001.tar" in names(tmp_path)


def test_use_is_what_counts_not_making(tmp_path: Path):
    oldest = make_root(tmp_path, "root-oldest", NOW_S - 100)
    for age in range(MAX_ROOTS):
        make_root(tmp_path, f"root-{age}", NOW_S - age - 1)
    with Kept(tmp_path, NOW_S) as kept:
        assert kept.newest("root-oldest") == oldest
    with Kept(tmp_path, NOW_S + 1) as kept:
        kept.remove_unused()
    assert oldest.exists()
    assert not (tmp_path / f"root-{MAX_ROOTS - 1}").exists()


def test_what_another_build_uses_stays_until_that_is_gone(tmp_path: Path):
    used = make_root(tmp_path, "root-used", NOW_S - 100)
    for age in range(MAX_ROOTS):
        make_root(tmp_path, f"root-{age}", NOW_S - age)
    with another_build(tmp_path, "root-used", NOW_S - 100) as name, Kept(tmp_path, NOW_S) as kept:
        assert name == used.name
        assert kept.remove_unused() == ()
        assert (used / "root.ext4").exists()
    with Kept(tmp_path, NOW_S) as kept:
        assert kept.remove_unused() == (used,)


def test_what_a_killed_build_left_goes_after_an_hour(tmp_path: Path):
    with another_build(tmp_path, "scratch", NOW_S) as name:
        left = tmp_path / name
        (left / "tree").mkdir()
        (left / "tree" / "file").write_bytes(b"")
        os.utime(left, (NOW_S - HOUR_S - 1, NOW_S - HOUR_S - 1))
        with Kept(tmp_path, NOW_S) as kept:
            assert kept.remove_unused() == ()
        assert (left / "tree" / "file").exists()
    with Kept(tmp_path, NOW_S - 10) as kept:
        assert kept.remove_unused() == ()
    with Kept(tmp_path, NOW_S) as kept:
        kept.remove_unused()
    assert names(tmp_path) == set()


def test_what_is_made_gets_its_name_when_it_is_complete(tmp_path: Path):
    with Kept(tmp_path, NOW_S) as kept:
        with kept.scratch() as scratch:
            made = scratch / "made"
            made.mkdir()
            assert kept.newest("root-*") is None
            place = kept.keep(made, "root-1")
        assert kept.newest("root-*") == place
    assert names(tmp_path) == {"root-1"}


def test_where_two_builds_made_the_same_the_first_one_counts(tmp_path: Path):
    make_root(tmp_path, "root-1", NOW_S)
    with Kept(tmp_path, NOW_S) as kept, kept.scratch() as scratch:
        (scratch / "made").mkdir()
        assert (kept.keep(scratch / "made", "root-1") / "root.ext4").exists()
