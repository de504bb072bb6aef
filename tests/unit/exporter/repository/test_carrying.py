"""An update file holds what TUF's own client needs of a repository, byte by byte, and no more."""

import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.messages import BundleRef
from edge_agent.errors import BundleError
from edge_agent.update_file import open_update
from exporter.cli import app
from exporter.errors import RepositoryError
from exporter.repository.carrying import export_update
from exporter.repository.repository import init_repository, publish_bundle
from exporter.repository.rotation import rotate_key
from tests.unit.exporter.repositories import SetClock, write_bundle

CLOCK = SetClock()
DIGITS, NEXT = BundleRef("digits", 1), BundleRef("digits", 2)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder, keys = tmp_path / "repository", tmp_path / "keys"
    init_repository(folder, keys, clock=CLOCK)
    for version in (1, 2):
        publish_bundle(write_bundle(tmp_path / f"v{version}", version, b"model" * version), folder, keys, clock=CLOCK)
    publish_bundle(write_bundle(tmp_path / "other", name="other"), folder, keys, clock=CLOCK)
    rotate_key("timestamp", folder, keys, clock=CLOCK)
    return folder


def test_it_holds_every_root_the_lists_of_now_and_one_bundle(repository: Path, tmp_path: Path):
    carried = export_update(repository, NEXT, tmp_path / "x.update")
    with open_update(carried.path) as update:
        assert update.bundle == NEXT
    with zipfile.ZipFile(carried.path) as archive:
        names = archive.namelist()
        for name in names[1:]:
            assert archive.read(name) == (repository / name).read_bytes()
    assert names[1:3] == ["metadata/1.root.json", "metadata/2.root.json"]
    assert not [name for name in names if "other" in name or "digits/1" in name or name.endswith("zst")]
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in names if name.startswith("targets/")] == [
        "manifest",
        "model",
    ]
    assert carried.size_bytes == carried.path.stat().st_size
    assert carried.variants == ("onnx-fp32",)


def test_the_same_repository_gives_the_same_bytes_and_an_older_file_is_replaced(repository: Path, tmp_path: Path):
    path = tmp_path / "x.update"
    first = export_update(repository, DIGITS, path).path.read_bytes()
    path.write_bytes(b"older")
    assert export_update(repository, DIGITS, path).path.read_bytes() == first
    assert [each.name for each in tmp_path.glob(".x.update*")] == []


@pytest.mark.parametrize(
    ("ref", "variants", "problem"),
    [(BundleRef("digits", 9), (), "not listed"), (DIGITS, ("native",), "no variant 'native'; it has onnx-fp32")],
)
def test_what_is_not_there_is_named_and_nothing_written(
    repository: Path, tmp_path: Path, ref: BundleRef, variants: tuple[str, ...], problem: str
):
    with pytest.raises(RepositoryError, match=problem):
        export_update(repository, ref, tmp_path / "x.update", variants)
    assert not list(tmp_path.glob("*x.update*"))


def test_a_file_that_was_altered_in_the_repository_is_not_carried_anywhere(repository: Path, tmp_path: Path):
    model = next((repository / "targets" / "digits" / "1").glob("*.model.onnx"))
    model.write_bytes(b"lodem")
    with pytest.raises(BundleError, match="not the file that was signed"):
        export_update(repository, DIGITS, tmp_path / "x.update")
    assert not list(tmp_path.glob("*x.update*"))


def test_a_folder_that_cannot_be_written_is_named(repository: Path, tmp_path: Path):
    with pytest.raises(RepositoryError, match="cannot be written"):
        export_update(repository, DIGITS, tmp_path / "nowhere" / "x.update")


def test_the_command_says_until_when_devices_take_it(repository: Path, tmp_path: Path):
    out = tmp_path / "x.update"
    ran = CliRunner().invoke(
        app, ["repository", "export", "digits/1", "--repository", str(repository), "--out", str(out)]
    )
    assert ran.exit_code == 0, ran.output
    assert "onnx-fp32; its lists expire 2026-05-2" in ran.output
    ran = CliRunner().invoke(app, ["repository", "export", "digits", "--repository", str(repository)])
    assert ran.exit_code == 2
    assert "write name/version" in ran.output
