"""The same folder gives the same bytes; what is packed can be unpacked, whole or not at all."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edge_agent.errors import BundleError
from exporter.bundles.archive import pack_folder, unpack_file
from exporter.errors import BundlePlaceError
from tests.conftest import REPOSITORY
from tests.packed import Part, archive
from tests.unit.exporter.repositories import write_bundle

KEPT = sorted((REPOSITORY / "tests" / "data" / "bundles").rglob("*.bundle"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", content=b"a model")


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_a_kept_bundle_unpacked_and_packed_again_has_its_bytes(path: Path, tmp_path: Path) -> None:
    unpack_file(path, tmp_path / "folder")
    assert pack_folder(tmp_path / "folder", tmp_path / "again").read_bytes() == path.read_bytes()


def test_dates_modes_and_the_place_of_a_folder_do_not_matter(folder: Path, tmp_path: Path) -> None:
    first = pack_folder(folder, tmp_path / "first").read_bytes()
    os.utime(folder / "model.onnx", (0, 1_900_000_000))
    (folder / "model.onnx").chmod(0o600)
    folder.rename(tmp_path / "elsewhere")
    assert pack_folder(tmp_path / "elsewhere", tmp_path / "second").read_bytes() == first


def test_the_bytes_are_those_that_the_layout_says(folder: Path, tmp_path: Path) -> None:
    parts = [Part(name, (folder / name).read_bytes()) for name in ("manifest.json", "model.onnx")]
    assert pack_folder(folder, tmp_path / "x").read_bytes() == archive(parts)


@pytest.mark.parametrize("program", [["unzip", "-tqq"], [sys.executable, "-m", "zipfile", "-t"]])
def test_other_programs_look_inside(folder: Path, tmp_path: Path, program: list[str]) -> None:
    packed = pack_folder(folder, tmp_path / "x.bundle")
    try:
        subprocess.run([*program, packed], check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no unzip here: sudo apt-get install unzip")
    with zipfile.ZipFile(packed) as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["manifest.json", "model.onnx"]


def test_a_packed_file_is_named_for_its_bundle_unless_told_otherwise(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pack_folder(folder) == Path("digits-1.bundle")
    assert Path("digits-1.bundle").stat().st_mode & 0o777 == 0o644


def test_a_packed_file_takes_the_place_of_an_older_one_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x.bundle").write_bytes(b"old")
    pack_folder(folder, tmp_path / "x.bundle")
    (folder / "model.onnx").write_bytes(b"a mOdel")
    good = (tmp_path / "x.bundle").read_bytes()
    with pytest.raises(BundleError, match=r"model\.onnx: SHA-256"):
        pack_folder(folder, tmp_path / "x.bundle")
    assert (tmp_path / "x.bundle").read_bytes() == good
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "x.bundle"]


def test_a_folder_with_something_else_in_it_is_not_packed(folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").touch()
    with pytest.raises(BundleError, match=r"holds 'notes\.txt'"):
        pack_folder(folder, tmp_path / "x.bundle")


def test_a_place_that_cannot_be_written_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundlePlaceError, match=r"x\.bundle: cannot be written"):
        pack_folder(folder, tmp_path / "nowhere" / "x.bundle")
    packed = pack_folder(folder, tmp_path / "x.bundle")
    with pytest.raises(BundlePlaceError, match="cannot be written"):
        unpack_file(packed, packed / "below")


def test_nothing_that_lies_there_is_overwritten(folder: Path, tmp_path: Path) -> None:
    packed = pack_folder(folder, tmp_path / "x.bundle")
    with pytest.raises(BundlePlaceError, match="is not empty"):
        unpack_file(packed, folder)
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundlePlaceError, match="cannot be written"):
        unpack_file(packed, tmp_path / "link")
    assert not any((tmp_path / "empty").iterdir())
    assert str(unpack_file(packed, tmp_path / "empty")) == "digits/1"


def test_a_broken_bundle_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    packed = pack_folder(folder, tmp_path / "x.bundle")
    packed.write_bytes(packed.read_bytes().replace(b"a model", b"a mOdel"))
    with pytest.raises(BundleError, match="does not have its checksum"):
        unpack_file(packed, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "x.bundle"]
