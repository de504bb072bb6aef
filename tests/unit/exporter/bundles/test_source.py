"""A bundle's folder is read without following what leads out of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.bundle import MAX_MANIFEST_BYTES, bundle_files
from edge_agent.errors import AlteredError, BundleError
from exporter.bundles.archive import pack_folder
from exporter.bundles.source import open_bundle, read_bundle, write_files
from tests.unit.exporter.repositories import write_bundle

MODEL = b"a model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "bundle", content=MODEL)


def read(path: Path, *, alone: bool = False) -> dict[str, bytes]:
    with read_bundle(path, alone=alone) as bundle:
        return {file.name: b"".join(bundle.chunks(file)) for file in bundle_files(bundle.manifest)}


def replace_by_link(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def replace_by_second_name(path: Path) -> None:
    path.rename(path.parent.parent / path.name)
    path.hardlink_to(path.parent.parent / path.name)


def replace_by_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_device(path: Path) -> None:
    path.unlink()
    try:
        os.mknod(path, 0o20644, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("only root makes devices")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def test_a_folder_and_its_packed_file_are_read_alike(folder: Path, tmp_path: Path) -> None:
    assert read(folder) == read(pack_folder(folder, tmp_path / "x.bundle")) == {"model.onnx": MODEL}


def test_the_folder_itself_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert read(tmp_path / "link", alone=True) == {"model.onnx": MODEL}


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
@pytest.mark.parametrize(
    ("replace", "problem"),
    [
        (replace_by_link, "cannot be read as a plain file"),
        (replace_by_second_name, r"has 2 names \(hard links\)"),
        (replace_by_pipe, "is no plain file"),
        (replace_by_device, "is no plain file|cannot be read as a plain file"),
        (replace_by_folder, "is no plain file"),
        (Path.unlink, "lacks"),
    ],
)
def test_a_file_that_is_none_of_the_folders_own_is_refused(
    folder: Path, name: str, replace: Callable[[Path], None], problem: str
) -> None:
    replace(folder / name)
    with pytest.raises(BundleError, match=problem) as caught:
        read(folder)
    assert name in str(caught.value)


@pytest.mark.parametrize("stranger", ["extra.onnx", ".hidden", "model.onnx~"])
def test_what_the_manifest_does_not_name_is_refused_where_the_bundle_must_be_alone(folder: Path, stranger: str) -> None:
    (folder / stranger).symlink_to("/etc/passwd")
    assert read(folder) == {"model.onnx": MODEL}
    with pytest.raises(BundleError, match=f"holds '{stranger}', which manifest.json does not name"):
        read(folder, alone=True)


def test_a_file_of_another_length_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "model.onnx", 1 << 40)
    with pytest.raises(AlteredError, match="1099511627776 bytes, its manifest says 7"):
        read(folder)


def test_a_file_of_another_content_is_refused(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"a mOdel")
    with pytest.raises(AlteredError, match=r"model\.onnx: SHA-256"):
        read(folder)


def test_a_manifest_too_large_is_refused_unread(folder: Path) -> None:
    os.truncate(folder / "manifest.json", 1 << 40)
    with pytest.raises(BundleError, match=f"at most {MAX_MANIFEST_BYTES} are allowed"):
        read(folder)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere: cannot be read"):
        read(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"lacks manifest\.json"):
        read(tmp_path)


def test_a_packed_bundle_is_a_folder_while_it_is_open(folder: Path, tmp_path: Path) -> None:
    packed = pack_folder(folder, tmp_path / "x.bundle")
    with open_bundle(packed) as opened:
        assert (opened / "model.onnx").read_bytes() == MODEL
        assert (opened / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()
    assert not opened.exists()
    with open_bundle(folder) as opened:
        assert opened == folder


def test_files_are_written_into_no_place_that_is_taken(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").symlink_to(tmp_path / "victim")
    with read_bundle(folder) as bundle, pytest.raises(FileExistsError):
        write_files(bundle, tmp_path / "out")
    assert not (tmp_path / "victim").exists()
